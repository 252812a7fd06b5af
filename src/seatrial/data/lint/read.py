"""Reads a file in whatever form it has, and goes on after rows that it cannot read."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seatrial.data.dialogues import parse_contexts, parse_dialogues
from seatrial.data.facts import parse_facts
from seatrial.data.jsonl import json_value
from seatrial.data.lint.forms import FIELDS, form_of, read_row
from seatrial.data.lint.rows import (
    context_rows,
    dialogue_row,
    fact_row,
    item_rows,
    map_row,
    pair_row,
    value_row,
)
from seatrial.data.lint.sheet import Finding, Form, Sheet, SheetRow
from seatrial.data.sources import OWN, caa_format
from seatrial.data.sources.read import json_entries, text_of
from seatrial.data.sources.user_files import Kind, OwnData, bare, read_own
from seatrial.data.values import parse_values
from seatrial.errors import BadData, BadFile

Reading = tuple[Sheet, list[Finding]]

_KINDS: dict[Form, Kind] = {"map": "maps", "pairs": "pairs", "items": "items"}
_FORMS: dict[Kind, Form] = {kind: form for form, kind in _KINDS.items()}

_PADDED = frozenset({"matching", "not_matching", "positive", "negative"})
"""Texts that may begin with one space, as answers of published files do."""

_WHOLE: dict[Form, tuple[Callable[..., Sequence[Any]], Callable[..., SheetRow]]] = {
    "facts": (parse_facts, fact_row),
    "values": (parse_values, value_row),
    "dialogues": (parse_dialogues, dialogue_row),
}
"""Forms that are read as a whole: rows of these belong together."""


def read_sheet(path: Path) -> Reading:
    """The rows of a file, and what kept others from being read.

    Raises:
        BadFile: if there is no such file, or its ending or columns say nothing.
        BadData: if it is no UTF-8 text, or a TOML file is malformed.
        BadOption, Unreachable: if a TOML file names data that cannot be had.
    """
    if not path.is_file():
        raise BadFile(f"{path} is no file; give the path of a data file")
    if path.suffix not in OWN:
        raise BadFile(
            f"{path.name} ends in {path.suffix or 'nothing'!r}; give a file that ends in "
            f"{', '.join(OWN)}"
        )
    readers = {".toml": _toml, ".json": _json, ".jsonl": _jsonl}
    return readers.get(path.suffix, _table)(path)


def from_error(error: BadData, place: str = "", lines: Iterable[int] = ()) -> Finding:
    """A refusal of the strict readers as a finding; theirs read ``what is wrong; do``."""
    what, _, remedy = str(error).removeprefix(place).lstrip(":, ").partition("; ")
    return Finding(
        "error", "reading", what, remedy.rstrip(".") or "correct it there", tuple(lines)
    )


def _toml(path: Path) -> Reading:
    text = text_of(path)
    try:
        keys = tomllib.loads(text).keys()
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"{path.name} is no TOML ({error}); mend that line") from error
    if {"system", "paragraph", "transcript"} & keys:
        rows = context_rows(parse_contexts(text, path.name))
        return Sheet(path.name, "contexts", tuple(rows), "entry"), []
    return _own(read_own(path), path.name)


def _table(path: Path) -> Reading:
    rows = list(bare(path, "pairs", ()).rows())
    form = form_of([row for _, row in rows], path.name)
    if form not in _KINDS:
        raise BadFile(
            f"{path.name} looks like {form}, which is read from .jsonl only; save it so"
        )
    columns = [key for key in rows[0][1] if key in _columns(form)]
    return _own(bare(path, _KINDS[form], columns), path.name, rows)


def _json(path: Path) -> Reading:
    """A list of questions in the format of CAA; their letters stand for options."""
    findings, numbers, items = [], [], []
    for row, (where, entry) in enumerate(json_entries(path)):
        try:
            item = caa_format.read_choice_item(entry, path.stem, row, where)
        except BadData as error:
            findings.append(from_error(error, where, [row + 1]))
            continue
        answers = (entry["answer_matching_behavior"], entry["answer_not_matching_behavior"])
        shown = replace(
            item, question=item.published, options=answers, correct=0, opposite=1
        )
        items.append(shown)
        numbers.append(row + 1)
    rows = tuple(item_rows(numbers, items))
    return Sheet(path.name, "items", rows, "entry", False, _PADDED), findings


def _columns(form: Form) -> set[str]:
    return {"id", *FIELDS[form][0], *FIELDS[form][1]} - {"also"}


def _own(
    own: OwnData, name: str, rows: Sequence[tuple[str, Mapping[str, Any]]] | None = None
) -> Reading:
    """The rows of data that a TOML file describes, or that need none."""
    findings, lines, records, units = [], [], [], ["line"]
    for number, (where, row) in enumerate(own.rows() if rows is None else rows):
        place = re.search(r"(line|row) (\d+)$", where)
        assert place is not None
        units.append(place[1])
        try:
            records.append(own.record(row, number, where))
            lines.append(int(place[2]))
        except BadData as error:
            findings.append(from_error(error, where, [int(place[2])]))
    made = _rows_of(own.kind, lines, records)
    return Sheet(
        name,
        _FORMS[own.kind],
        tuple(made),
        "row" if units[-1] == "row" else "line",
        "id" in own.columns,
        _PADDED,
    ), findings


def _rows_of(kind: Kind, lines: Sequence[int], records: Sequence[Any]) -> list[SheetRow]:
    if kind == "items":
        return item_rows(lines, records)
    make = map_row if kind == "maps" else pair_row
    return [make(line, record) for line, record in zip(lines, records, strict=True)]


def _jsonl(path: Path) -> Reading:
    findings: list[Finding] = []
    if path.read_bytes().startswith(b"\xef\xbb\xbf"):
        what = "the file begins with a byte-order mark, which is no JSON"
        remedy = "save it as UTF-8 without a byte-order mark"
        findings.append(Finding("error", "reading", what, remedy, (1,)))
    # Not splitlines(): JSON texts may hold line separators such as U+2028.
    lines = text_of(path).split("\n")
    entries = _entries(lines, findings)
    form = form_of([entry for _, entry in entries], path.name)
    if form in ("pairs", "items"):
        columns = sorted({key for _, entry in entries for key in entry} & _columns(form))
        placed = [(f"{path.name}, line {line}", entry) for line, entry in entries]
        sheet, more = _own(bare(path, _KINDS[form], columns), path.name, placed)
        return sheet, [*findings, *more]
    rows: list[SheetRow] = []
    if form in _WHOLE:
        parse, make = _WHOLE[form]
        try:
            records = parse(lines, path.name)
            rows = [make(line, r) for (line, _), r in zip(entries, records, strict=True)]
        except BadData as error:
            findings.append(from_error(error, path.name))
        return Sheet(path.name, form, tuple(rows)), findings
    for line, entry in entries:
        if form == "concept" and set(entry) == {"concept"}:
            continue  # what it may say is checked when the file is loaded
        try:
            rows.append(read_row(form, line, entry, path.stem))
        except BadData as error:
            findings.append(from_error(error, "", [line]))
    return Sheet(path.name, form, tuple(rows), has_ids=form != "map"), findings


def _entries(lines: Sequence[str], findings: list[Finding]) -> list[tuple[int, dict]]:
    """The objects, each with its line; what is none becomes a finding."""
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json_value(line, "this")
            if not isinstance(entry, dict):
                kind = type(entry).__name__
                raise BadData(f"this is no object but {kind}; write one object a line")
            entries.append((number, entry))
        except BadData as error:
            findings.append(from_error(error, "", [number]))
    return entries
