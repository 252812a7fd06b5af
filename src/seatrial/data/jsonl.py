"""Reads JSON lines strictly, ours and published ones: one value a line, with its place."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seatrial.errors import BadData


def lines_of(path: Path) -> list[str]:
    """The lines of a UTF-8 file, divided at line feeds only.

    JSON texts may hold other line separators, such as U+2028, at which ``splitlines`` would
    divide them.

    Raises:
        BadData: if it is no UTF-8 text.
    """
    try:
        return path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise BadData(f"{path} is no UTF-8 text ({error}); save it as UTF-8") from error


def json_values(lines: Iterable[str], name: str) -> Iterator[tuple[str, Any]]:
    """The JSON value of every line that is not blank, with its place in words.

    Args:
        lines: of a file, divided at line feeds only, as ``lines_of`` does.
        name: of the file.

    Raises:
        BadData: for a line that is no JSON.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        yield place, json_value(line, place)


def json_value(line: str, place: str) -> Any:
    """The JSON value of one line.

    Raises:
        BadData: if it is no JSON.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        what = f"{error.msg} at character {error.pos + 1}"
        raise BadData(f"{place} is no JSON ({what}); write one object a line") from error


def read_entries(
    lines: Sequence[str], name: str, required: Sequence[str]
) -> list[tuple[str, dict]]:
    """JSON objects that have the wanted fields and no other, each with its place in words.

    Raises:
        BadData: for a line that is no such object, a repeated id, or no lines at all.
    """
    records: list[tuple[str, dict]] = []
    for place, entry in json_values(lines, name):
        check_fields(place, entry, required)
        records.append((place, entry))
    if not records:
        raise BadData(f"{name} holds no items; write one JSON object a line")
    check_ids(name, [entry["id"] for _, entry in records])
    return records


def check_fields(place: str, entry: object, required: Sequence[str]) -> dict:
    """The entry; refused if it is no object with exactly the wanted fields.

    Raises:
        BadData: naming the fields that are there and those that are required.
    """
    if not isinstance(entry, dict):
        raise BadData(
            f"{place} is {type(entry).__name__}; write an object with the fields "
            f"{', '.join(required)}"
        )
    if set(entry) != set(required):
        raise BadData(
            f"{place} has the fields {', '.join(sorted(entry)) or 'none'}; wanted: "
            f"{', '.join(required)}"
        )
    return entry


def check_texts(place: str, entry: dict, keys: Sequence[str]) -> None:
    """Refuse fields that are no text or an empty one.

    Raises:
        BadData: naming the first such field.
    """
    for key in keys:
        if not isinstance(entry[key], str):
            raise BadData(f"{place}: {key} is {entry[key]!r}; write a text in quotes")
        if not entry[key].strip():
            raise BadData(f"{place}: {key} is empty; fill it in")


def check_ids(name: str, ids: Sequence[object]) -> None:
    """Refuse an id that is used twice.

    Raises:
        BadData: naming that id.
    """
    seen: set[str] = set()
    for identity in map(repr, ids):
        if identity in seen:
            raise BadData(f"{name} uses the id {identity} twice; give every item its own")
        seen.add(identity)
