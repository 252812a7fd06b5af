"""Reads published files strictly, JSON and tables: a bad line is one sentence.

Lines of JSON are read, and empty texts refused, by ``seatrial.data.jsonl``; what is added
here are files, lists, tables, and fields that have types of their own.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seatrial.data.jsonl import check_texts, json_values
from seatrial.errors import BadData

Kinds = type | tuple[type, ...]
"""What a value may be."""


def json_lines(
    path: Path,
    required: Mapping[str, Kinds] | None,
    optional: Mapping[str, Kinds] | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a file with one JSON object a line, as (where, object).

    Args:
        path: Of a UTF-8 file.
        required: The fields that each object has, with their types; None: any.
        optional: Fields that it may have besides.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    for where, entry in json_values(text_of(path).split("\n"), path.name):
        yield where, checked(entry, required, optional or {}, where)


def json_list(
    path: Path, required: Mapping[str, Kinds], key: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a JSON list, as (where, object).

    Args:
        path: Of a UTF-8 file.
        required: The fields that each object has, with their types.
        key: The list stands under this key of an object; None: it is the whole file.

    Raises:
        BadData: with the number of the entry, counted from 1.
    """
    for where, entry in json_entries(path, key):
        yield where, checked(entry, required, {}, where)


def json_entries(path: Path, key: str | None = None) -> Iterator[tuple[str, Any]]:
    """Every value of a JSON list, whatever it is, as (where, value); see ``json_list``."""
    try:
        entries = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise BadData(f"{path.name} is no JSON ({error}); write one list") from error
    if key is not None and isinstance(entries, dict):
        entries = entries.get(key)
    if not isinstance(entries, list):
        under = "" if key is None else f" under {key!r}"
        raise BadData(f"{path.name} holds no JSON list{under}; write one")
    for number, entry in enumerate(entries, 1):
        yield f"{path.name}, entry {number}", entry


def read_table(
    path: Path,
    columns: Sequence[str] | None,
    *,
    delimiter: str = ",",
    may_be_empty: Sequence[str] = (),
) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row of a table with a header line, as (where, row).

    Args:
        path: Of a UTF-8 file; a byte-order mark at its start is skipped.
        columns: Exactly those that it has, none empty; None: any, and cells may be empty.
        delimiter: Between two cells.
        may_be_empty: Columns whose cells may be blank.

    Raises:
        BadData: with the line on which the bad row ends.
    """
    # io.StringIO with newline="" leaves line breaks inside quotes as they are.
    reader = csv.DictReader(
        io.StringIO(text_of(path), newline=""), delimiter=delimiter, strict=True
    )
    try:
        header = list(reader.fieldnames or ())
        if columns is not None and header != list(columns):
            raise BadData(
                f"{path.name} has the columns {', '.join(header)}; wanted: "
                f"{', '.join(columns)}"
            )
        for row in reader:
            where = f"{path.name}, line {reader.line_num}"
            _check_row(row, columns or (), may_be_empty, where)
            yield where, row
    except csv.Error as error:
        raise BadData(
            f"{path.name}, line {reader.line_num} is no row of a table ({error}); close "
            "every quote"
        ) from error


def _check_row(
    row: Mapping[Any, Any], columns: Sequence[str], may_be_empty: Sequence[str], where: str
) -> None:
    # DictReader puts surplus cells under None, and None into missing ones.
    if None in row or None in row.values():
        raise BadData(
            f"{where} has another number of cells than the header; quote cells that hold "
            "the delimiter or a line break"
        )
    for column in columns:
        if column not in may_be_empty and not row[column].strip():
            raise BadData(f"{where}: {column or 'the unnamed column'} is empty; fill it in")


def text_of(path: Path) -> str:
    """The text of a UTF-8 file, without a byte-order mark.

    Raises:
        BadData: if the file is not there or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(
            f"{path.name} is no UTF-8 text ({error}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise BadData(
            f"{path} cannot be read ({error.strerror}); check the path"
        ) from error


def checked(
    entry: object,
    required: Mapping[str, Kinds] | None,
    optional: Mapping[str, Kinds],
    where: str,
) -> dict[str, Any]:
    """An object that has the wanted fields with the right types and no others.

    Raises:
        BadData: naming what is wrong.
    """
    if not isinstance(entry, dict):
        raise BadData(
            f"{where} is no JSON object but {type(entry).__name__}; write {{...}}"
        )
    if required is None:
        return entry
    if not required.keys() <= entry.keys() <= required.keys() | optional.keys():
        raise BadData(
            f"{where} has the fields {', '.join(entry)}; wanted: {', '.join(required)}"
        )
    for key, kinds in {**required, **optional}.items():
        if key in entry and not isinstance(entry[key], kinds):
            names = kinds if isinstance(kinds, tuple) else (kinds,)
            raise BadData(
                f"{where}: {key} is {entry[key]!r}; wanted: "
                f"{' or '.join(kind.__name__ for kind in names)}"
            )
        if isinstance(entry.get(key), str):
            check_texts(where, entry, (key,))
    return entry
