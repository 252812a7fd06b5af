"""The grammar of plans: shorthands written out, and one law by which pieces of plan meet.

A plan is a table of plain values. Some of its tables are *named*: their keys are labels and
their values say what a label names and with which options. Shorthands stand for them (a
list of names, a string in place of a table), and are written out before anything meets.
Then ``laid_over`` is the one law: tables meet key by key, everything else is replaced, and
a list over a named table leaves exactly its labels.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from math import inf, isnan
from pathlib import PurePath
from typing import Any, TypeGuard, final

from seatrial.errors import BadOption

Plain = Mapping[str, Any]

KEYS: tuple[str, ...] = (
    *("name", "models", "seeds", "split", "conditions", "transfer", "doses", "rule"),
    *("choose", "limit", "refits", "controls", "baselines", "claims", "guards"),
    *("behaviours", "methods", "scales", "published"),
)
"""What a plan may say."""

PIECE_KEYS = tuple(key for key in KEYS if key not in ("scales", "published"))
"""What a piece that is laid over a plan may say."""

WITH_KEYS = tuple(key for key in PIECE_KEYS if key not in ("name", "models"))
"""What a model may lay over the plan for itself."""

AXES = ("grid", "choose")
"""Tables of options with several values each."""

FILES = (".csv", ".gguf", ".json", ".jsonl", ".parquet", ".safetensors", ".toml", ".tsv")
"""Endings by which a name is told to be that of a file."""

LARGEST = 2**63 - 1
"""Integers beyond it fit into no file of a run."""


class Exactly(dict[str, Any]):
    """A named table that was written as a list: laid over another, it leaves its labels."""


@final
@dataclass(frozen=True)
class Named:
    """A kind of named table: what its entries name, and what may stand inside of them."""

    key: str
    """Under this key an entry says what it names; unsaid, that is its label."""
    number: str = ""
    """What a number in place of an entry says, if it may stand there."""
    short: tuple[str, ...] = ()
    """Keys of an entry that have a shorthand."""
    inside: Mapping[str, "Named"] | None = None
    """Named tables in an entry."""


_CONDITIONS = Named("name")
_CONTROLS = Named("name", number="draws")
_TARGETS = Named("task", short=("limit",), inside={"conditions": _CONDITIONS})
_METHODS = Named("name", short=("limit", "rule"), inside={"controls": _CONTROLS})
NAMED: dict[str, Named] = {
    "models": Named("name", short=("with",)),
    "conditions": _CONDITIONS,
    "behaviours": Named(
        "source",
        short=("limit", "fit"),
        inside={"targets": _TARGETS, "conditions": _CONDITIONS},
    ),
    "guards": Named("task", short=("limit",)),
    "methods": _METHODS,
    "baselines": _METHODS,
    "controls": _CONTROLS,
}
"""The named tables of a plan."""


def written_out(
    piece: Plain, where: str = "", keys: tuple[str, ...] = KEYS
) -> dict[str, Any]:
    """A plan, or a piece of one, without shorthands; written out twice it stays the same.

    Args:
        piece: as read from TOML; it is not changed.
        where: in the plan it stands, such as ``scales.full``; empty: it is the plan.
        keys: that it may have.

    Raises:
        BadOption: for a key that it may not have, or a value of another shape.
    """
    check_keys(piece, keys, where)
    written: dict[str, Any] = {}
    for key, value in plain_values(piece, where).items():
        here = at(where, key)
        if key in NAMED:
            written[key] = _named_table(NAMED[key], value, here)
        elif key in ("scales", "published"):
            written[key] = {
                name: _piece(each, at(here, name), PIECE_KEYS)
                for name, each in as_table(value, here).items()
            }
        elif key in ("limit", "rule"):
            written[key] = _SHORT[key](value, here)
        else:
            written[key] = value
    return written


def laid_over(base: Plain, piece: Plain) -> dict[str, Any]:
    """The one law: what two pieces of plan say together, both written out already.

    Tables meet key by key; all else is replaced. A named table that was written as a list
    leaves exactly its labels, of which known ones keep their options. An option is fixed,
    or in ``grid``, or in ``choose``: where the piece says another of these than the base,
    the piece holds.
    """
    is_list = isinstance(piece, Exactly)
    met = Exactly() if is_list or isinstance(base, Exactly) else {}
    met.update({} if is_list else _without_restated(base, piece))
    for key, value in piece.items():
        before = met.get(key, base.get(key))
        if is_table(before) and is_table(value):
            met[key] = laid_over(before, value)
        else:
            met[key] = value
    return met


def _without_restated(base: Plain, piece: Plain) -> dict[str, Any]:
    """A base without options that a piece fixes or varies where the base does not."""
    left = dict(base)
    varied = {axes: set(piece[axes]) for axes in AXES if is_table(piece.get(axes))}
    for axes in AXES:
        if is_table(base.get(axes)):
            others = (names for other, names in varied.items() if other != axes)
            gone = set(piece).union(*others)
            left[axes] = {k: v for k, v in base[axes].items() if k not in gone}
    for name in set().union(*varied.values()) - set(KEYS):
        left.pop(name, None)
    return left


def is_spread(value: object) -> bool:
    """Whether a table is a spread of layers, ``{ evenly = 6 }`` or ``{ every = 2 }``."""
    return isinstance(value, Mapping) and set(value) in ({"evenly"}, {"every"})


def is_table(value: object) -> TypeGuard[Plain]:
    """Whether a value is a table whose keys may meet those of another; a spread is not."""
    return isinstance(value, Mapping) and not is_spread(value)


def label_of(name: str) -> str:
    """The label of what is named without one: the name; of a file its stem."""
    path = PurePath(name)
    return path.stem if is_file(name) else name


def is_file(name: str) -> bool:
    """Whether a name is that of a file."""
    return PurePath(name).suffix in FILES


def at(where: str, key: object) -> str:
    """Where a key stands, as TOML writes it: ``behaviours."factor/news".targets``."""
    return f"{where}.{_written(str(key))}" if where else _written(str(key))


@cache
def _written(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def brief(value: object) -> str:
    """A value as messages show it: not longer than half a line."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a very long number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_keys(table: Plain, keys: Iterable[str], where: str) -> None:
    """Refuse a key that is not known there.

    Raises:
        BadOption: which says the known ones, and the nearest first.
    """
    known = list(keys)
    for key in table:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise BadOption(
                f"{where or 'the plan'} has no key {key!r}{hint}; its keys: "
                f"{', '.join(known)}"
            )


def as_table(value: object, where: str) -> Plain:
    """The value, if it is a table.

    Raises:
        BadOption: if it is none.
    """
    if isinstance(value, Mapping):
        return value
    raise BadOption(f"{where} is {brief(value)}; write a table of keys and values")


def plain_values(value: Any, where: str) -> Any:
    """A copy made of texts, numbers, lists and tables alone.

    Raises:
        BadOption: for anything else: a date, no number, a number without end (which only a
            budget may be) or one that no file can hold.
    """
    match value:
        case bool() | str():
            return value
        case int():
            if abs(value) > LARGEST:
                raise BadOption(f"{where} is too large; write a number below 9e18")
            return value
        case float():
            is_budget = value == inf and where.endswith(".budget")
            if isnan(value) or (abs(value) == inf and not is_budget):
                raise BadOption(f"{where} is {value}; write a finite number")
            return value
        case PurePath():
            return str(value)
        case Mapping():
            if any(not isinstance(key, str) or not key.strip() for key in value):
                raise BadOption(f"{where or 'the plan'} has a key without a name; name it")
            kind = Exactly if isinstance(value, Exactly) else dict
            return kind(
                {key: plain_values(each, at(where, key)) for key, each in value.items()}
            )
        case list() | tuple():
            return [plain_values(each, where) for each in value]
        case _:
            raise BadOption(
                f"{where} is {brief(value)}; write a text in quotes, a number, true or "
                "false, a list or a table"
            )


def _named_table(kind: Named, value: Any, where: str) -> dict[str, Any]:
    """One named table, written out: label -> what it names, with its options."""
    if isinstance(value, list):
        return _listed(kind, value, where)
    if not isinstance(value, Mapping):
        raise BadOption(
            f"{where} is {brief(value)}; write a list of names or a table of tables"
        )
    table = Exactly() if isinstance(value, Exactly) else {}
    for label, entry in value.items():
        table[label] = _entry(kind, entry, at(where, label))
    return table


def _listed(kind: Named, entries: list[Any], where: str) -> Exactly:
    table = Exactly()
    for entry in entries:
        name = entry.get(kind.key) if isinstance(entry, Mapping) else entry
        if not isinstance(name, str) or not name.strip():
            raise BadOption(
                f"{where} lists {brief(entry)}; write a name, or a table with the key "
                f"{kind.key!r}"
            )
        label = label_of(name)
        if label in table:
            raise BadOption(
                f"{where} lists {label!r} twice; give each a label of its own in a table "
                f"of tables, such as {at('', label + '-2')} = {{ {kind.key} = "
                f"{json.dumps(name)} }}"
            )
        # Known labels keep what they name and their options, unless the list says more.
        is_label = isinstance(entry, str) and label == entry
        table[label] = {} if is_label else _entry(kind, entry, at(where, label))
    return table


def _entry(kind: Named, entry: Any, where: str) -> dict[str, Any]:
    if isinstance(entry, str):
        return {kind.key: entry}
    if isinstance(entry, int | float) and not isinstance(entry, bool) and kind.number:
        return {kind.number: entry}
    if not isinstance(entry, Mapping):
        shapes = (
            f"a table, a name, or {kind.number}" if kind.number else "a table or a name"
        )
        raise BadOption(f"{where} is {brief(entry)}; write {shapes}")
    written: dict[str, Any] = {}
    for key, value in entry.items():
        here = at(where, key)
        if kind.inside and key in kind.inside:
            written[key] = _named_table(kind.inside[key], value, here)
        else:
            written[key] = _SHORT[key](value, here) if key in kind.short else value
    return written


def _limit(value: Any, where: str) -> Plain:
    if value == "all":
        return dict.fromkeys(("fit", "select", "test"), "all")
    if isinstance(value, int) and not isinstance(value, bool):
        return {"test": value}
    if not isinstance(value, Mapping):
        raise BadOption(
            f'{where} is {brief(value)}; write a number of test items, "all", or a table '
            "of fit, select and test"
        )
    return value


def _under(key: str) -> Callable[[Any, str], Plain]:
    def write(value: Any, where: str) -> Plain:
        return {key: value} if isinstance(value, str) else as_table(value, where)

    return write


def _with(value: Any, where: str) -> Plain:
    return _piece(value, where, WITH_KEYS)


def _piece(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    return written_out(as_table(value, where), where, keys)


_SHORT: dict[str, Callable[[Any, str], Any]] = {
    "limit": _limit,
    "rule": _under("by"),
    "fit": _under("task"),
    "with": _with,
}
"""Keys that have a shorthand, with what writes it out."""
