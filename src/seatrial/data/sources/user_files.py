"""Your own data: a small TOML file that says where it is and which column means what.

::

    kind = "items"  # pairs, maps or items
    source = "answers.csv"  # .jsonl, .csv, .tsv or .parquet, beside this file
    licence = "CC0-1.0"  # optional, like attribution

    [columns]
    question = "prompt"
    matching = "chosen"
    not_matching = "rejected"
    group = "topic"  # optional, like id

In place of ``source``, ``dataset = "owner/name"`` takes a data set of the Hugging Face hub
with its ``split`` and ``revision``, and ``config`` where it has several; or a folder beside
this file that its package ``datasets`` can read, which has no ``revision``. That package
comes with ``pip install seatrial[datasets]``. A kind's columns:

- pairs: positive, negative, and prompt where both continue one;
- maps: input, output;
- items: question, matching, not_matching.

Without a column ``group``, rows with the same question, input or prompt are one group.
Before the columns, ``about`` may say what is shown, and ``encourage`` and ``discourage``
ask for it and against it, which a study needs.

A file whose columns have these names already needs no TOML file: ``read_bare``.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from seatrial.data.records import ChoiceItem, MapPair, Record, TextPair, group_of
from seatrial.data.sources.read import text_of
from seatrial.data.sources.rows import hub_rows, local_rows
from seatrial.errors import BadData

Kind = Literal["pairs", "maps", "items"]

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "pairs": ("positive", "negative"),
    "maps": ("input", "output"),
    "items": ("question", "matching", "not_matching"),
}
"""The columns that each kind needs."""

_OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "pairs": ("prompt", "id", "group"),
    "maps": ("id", "group"),
    "items": ("id", "group"),
}
_TEXTS = ("dataset", "config", "split", "revision", "licence", "attribution", "about",
          "encourage", "discourage")  # fmt: skip
_KEYS = ("kind", "source", "columns", *_TEXTS)
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
"""How a file ends that rows are read from."""


@final
@dataclass(frozen=True)
class OwnData:
    """What such a TOML file says, checked."""

    name: str
    kind: Kind
    source: Path | None
    """A local file; None: ``dataset`` names one of the hub."""
    dataset: str
    config: str
    split: str
    revision: str
    """The commit of the hub, so that the data stays what it is; empty for a folder."""
    columns: dict[str, str]
    """From ours to the source's."""
    licence: str
    """Empty where you do not say."""
    attribution: str
    about: str = ""
    """What the items show, in words."""
    encourage: str = ""
    """An instruction that asks for it."""
    discourage: str = ""
    """Its opposite."""

    def load(self) -> tuple[Record, ...]:
        """The records, in the order of the source.

        Raises:
            BadData: with the row and what is wrong with it.
            BadOption: if a data set is asked for and ``datasets`` is not installed.
            Unreachable: if the hub does not give it.
        """
        records = tuple(
            self.record(row, number, where)
            for number, (where, row) in enumerate(self.rows())
        )
        if not records:
            raise BadData(f"{self.name} holds no rows; give at least a few dozen")
        return records

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows of the source as they are, each with its place in words.

        Raises:
            BadData, BadOption, Unreachable: as ``load`` does.
        """
        if self.source is not None:
            return local_rows(self.source, self.name)
        return hub_rows(self.dataset, self.config, self.split, self.revision, self.name)

    def record(self, row: Mapping[str, Any], number: int, where: str) -> Record:
        """What a row says.

        Args:
            row: as ``rows`` gives it.
            number: its place, counted from 0; names it where there is no id.
            where: its place in words.

        Raises:
            BadData: for a column that is missing, empty or no text.
        """
        return _record(self, row, number, where)


def read_own(path: Path) -> OwnData:
    """Read the TOML file strictly.

    Raises:
        BadData: with the key that is unknown, missing or wrong.
    """
    try:
        entry = tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"{path.name} is no TOML ({error})") from error
    _check_keys(path.name, entry, _KEYS)
    kind, columns = entry.get("kind"), entry.get("columns")
    if kind not in COLUMNS:
        raise BadData(f"{path.name}: kind is {kind!r}; write one of {', '.join(COLUMNS)}")
    if not isinstance(columns, dict):
        raise BadData(f"{path.name} needs a table [columns] that names {_listed(kind)}")
    _check_keys(f"{path.name}, columns", columns, (*COLUMNS[kind], *_OPTIONAL[kind]))
    if missing := [key for key in COLUMNS[kind] if key not in columns]:
        raise BadData(
            f"{path.name}: [columns] does not say which column is {missing[0]!r}; {kind} "
            f"need {_listed(kind)}"
        )
    texts = {**entry, **columns}
    if odd := [k for k, v in texts.items() if k != "columns" and not isinstance(v, str)]:
        raise BadData(f"{path.name}: {odd[0]} is {texts[odd[0]]!r}; write a text in quotes")
    source = _source(path, entry)
    values = {key: entry.get(key, "") for key in _TEXTS}
    if (folder := _folder(path, entry)) is not None:
        values["dataset"] = str(folder)
    return OwnData(name=path.stem, kind=kind, source=source, columns=columns, **values)


def read_bare(path: Path) -> OwnData:
    """A file without a TOML file, whose columns have the names of a kind already.

    Raises:
        BadData: if it has no rows, or they have the columns of no kind.
    """
    first = next(iter(bare(path, "pairs", ()).rows()), None)
    if first is None:
        raise BadData(f"{path.name} holds no rows; give at least a few dozen")
    seen = first[1]
    for kind in COLUMNS:
        if set(COLUMNS[kind]) <= set(seen):
            columns = [*COLUMNS[kind], *(key for key in _OPTIONAL[kind] if key in seen)]
            return bare(path, kind, columns)
    choices = "; ".join(f"{kind}: {_listed(kind)}" for kind in COLUMNS)
    raise BadData(
        f"{path.name} has the columns {', '.join(map(str, seen))}; give it those of one "
        f"kind ({choices}), or write a .toml file that says which column means what"
    )


def bare(path: Path, kind: Kind, columns: Iterable[str]) -> OwnData:
    """What a TOML file would say that gives columns the names they have."""
    named = {key: key for key in columns}
    return OwnData(path.stem, kind, path, "", "", "", "", named, "", "")


def _source(path: Path, entry: Mapping[str, Any]) -> Path | None:
    if ("source" in entry) == ("dataset" in entry):
        raise BadData(
            f"{path.name} needs either source, a file beside it, or dataset, a name of the "
            "Hugging Face hub"
        )
    if "dataset" in entry:
        _check_dataset(path, entry)
        return None
    if extra := [key for key in ("config", "split", "revision") if key in entry]:
        raise BadData(f"{path.name}: {extra[0]} belongs to dataset, not to source")
    source = path.parent / entry["source"]
    if source.suffix not in SUFFIXES:
        raise BadData(
            f"{path.name}: source is {entry['source']!r}; give a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    return source


def _folder(path: Path, entry: Mapping[str, Any]) -> Path | None:
    """The folder that ``dataset`` names, if it names one and no data set of the hub."""
    folder = path.parent / entry.get("dataset", "")
    return folder.resolve() if entry.get("dataset") and folder.is_dir() else None


def _check_dataset(path: Path, entry: Mapping[str, Any]) -> None:
    is_local = _folder(path, entry) is not None
    if is_local and entry.get("revision"):
        raise BadData(
            f"{path.name}: {entry['dataset']!r} is a folder, which has no revision; leave "
            "that out"
        )
    required = ("split",) if is_local else ("split", "revision")
    if missing := [key for key in required if not entry.get(key)]:
        why = ", and revision = the commit on its page, so that the data stays what it is"
        raise BadData(
            f"{path.name} names the data set {entry['dataset']!r} without {missing[0]}; "
            f'write split = "test" or another{"" if is_local else why}'
        )


def _check_keys(where: str, entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := [key for key in entry if key not in known]:
        raise BadData(
            f"{where} has an unknown key {unknown[0]!r}; known: {', '.join(known)}"
        )


def _listed(kind: Kind) -> str:
    return ", ".join(COLUMNS[kind])


def _record(own: OwnData, row: Mapping[str, Any], number: int, where: str) -> Record:
    values: dict[str, str] = {}
    for ours, theirs in own.columns.items():
        if theirs not in row:
            raise BadData(f"{where} has no {theirs!r}; it has {', '.join(map(str, row))}")
        value = row[theirs]
        if ours in ("id", "group") and isinstance(value, int):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise BadData(
                f"{where}: {theirs} is {value!r}; wanted: a text that is not empty"
            )
        values[ours] = value
    id = f"{own.name}/{values.pop('id', number)}"
    group = values.pop("group", None)
    if own.kind == "pairs":
        content = values.get("prompt") or "\n".join(sorted(values.values()))
        return TextPair(id, group or group_of(content), **values)
    if own.kind == "maps":
        group = group or group_of(values["input"])
        return MapPair(id, group, values["input"], values["output"])
    return ChoiceItem(
        id,
        group or group_of(values["question"]),
        values["question"],
        (values["matching"], values["not_matching"]),
        correct=0,
        opposite=1,
        row=number,
        published=values["question"],
    )
