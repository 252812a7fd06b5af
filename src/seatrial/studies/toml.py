"""A plan as TOML text, for readers; the standard library only reads TOML."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isinf, isnan
from typing import Any

WIDTH = 92
"""Columns of a line; a table that does not fit into one gets a section of its own."""


def as_toml(table: Mapping[str, Any]) -> str:
    """Plain values as TOML: reading it gives equal values, named tables in their order.

    Raises:
        TypeError: for what TOML has no word for, such as ``None``.
    """
    return "\n".join(_lines(table, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    # Once a named table has its section, those that follow need one, too: their order is
    # part of a plan.
    sections: dict[str, Mapping[str, Any]] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and (
            (path and sections) or not _is_short(key, value)
        ):
            sections[key] = value
        else:
            yield from _entry(key, value)
    for key, value in sections.items():
        inside = (*path, key)
        yield from ("", f"[{'.'.join(map(_key, inside))}]")
        yield from _lines(value, inside)


def _is_short(key: str, table: Mapping[str, Any]) -> bool:
    """Whether a table reads well on one line: no more than one table inside of another."""
    inside = [each for each in table.values() if isinstance(each, Mapping)]
    deeper = any(isinstance(x, Mapping) for each in inside for x in each.values())
    return not deeper and len(f"{_key(key)} = {_value(table)}") <= WIDTH


def _entry(key: str, value: Any) -> Iterator[str]:
    line = f"{_key(key)} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, Sequence) or isinstance(value, str):
        yield line
        return
    yield f"{_key(key)} = ["
    yield from (f"    {_value(each)}," for each in value)
    yield "]"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int():
            return str(value)
        case float():
            return "nan" if isnan(value) else _number(value)
        case Mapping():
            inside = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML has no word for {value!r}")


def _number(value: float) -> str:
    return ("inf" if value > 0 else "-inf") if isinf(value) else repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
