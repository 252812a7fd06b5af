"""What a study's plan may say: one check a key, and the sentence where it fails."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seatrial.data import Concept
from seatrial.data.records import ContrastiveItem
from seatrial.data.split import contents_of
from seatrial.errors import BadData, BadOption, SeatrialError, unknown
from seatrial.methods import METHODS, Instruction, Method
from seatrial.methods.base import has_one_layer


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """Build a method from plain values.

    Raises:
        UnknownName: for a method that does not exist.
        BadOption: for an option it does not have or a value of the wrong type.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    kind = METHODS[name]
    known = [k for k in kind.__dataclass_fields__ if k not in ("name", "reference")]  # pyright: ignore
    for key in options:
        if key not in known:
            options_known = ", ".join(known) or "none"
            raise BadOption(
                f"method {name!r} has no option {key!r}; its options: {options_known}"
            )
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise BadOption(f"method {name!r}: {clause(error)}") from error


def clause(error: ValidationError, tables: Mapping[str, type] | None = None) -> str:
    """The first complaint of pydantic as one clause; one of ours is raised as it is.

    Args:
        error: what pydantic raised.
        tables: dataclasses inside of the one that was read, by the key they stand under.
    """
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), SeatrialError):
        raise cause
    *inside, key = [str(part) for part in first["loc"]] or ["value"]
    where = ".".join([*inside, key])
    if first["type"] == "missing":
        return f"the key {where!r} is missing; give it a value"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = ", ".join((tables or {})[inside[0]].__dataclass_fields__)
        return f"{inside[0]!r} has no key {key!r}; its keys: {known}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message} (got {first['input']!r})"


def check_name(name: str) -> None:
    """A study's name also names its folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name):
        raise BadOption(
            f"name {name!r} cannot name a folder; use letters, digits, dots, dashes and "
            "underscores"
        )


def check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Every name must be in its table."""
    known = list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def check_distinct(key: str, values: Collection[object], study: str) -> None:
    """What a study lists must be there, each once."""
    if not values:
        raise BadOption(f"{key} of study {study!r} is empty; name at least one")
    if len(set(values)) < len(values):
        listed = ", ".join(map(str, values))
        raise BadOption(
            f"{key} of study {study!r} repeat a name: {listed}; name each once, "
            "and run variants as separate studies"
        )


def check_doses(doses: Sequence[float], select_doses: Sequence[float]) -> None:
    """Doses must allow a comparison with none, and prices at 1 and -1."""
    for key, values in (("doses", doses), ("select_doses", select_doses)):
        if not all(map(isfinite, values)) or len(set(values)) < len(values):
            raise BadOption(f"{key} must be finite and all different, not {list(values)}")
    if not {-1.0, 0.0, 1.0} <= set(doses):
        raise BadOption(
            f"doses must contain -1, 0 and 1, not only {list(doses)}: 0 is the "
            "unsteered model to compare with, and prices are those at 1 and -1"
        )
    if not select_doses or 0 in select_doses:
        raise BadOption(
            f"select_doses must be some doses without 0, which is always measured, not "
            f"{list(select_doses)}"
        )


def check_method(options: Mapping[str, Any]) -> None:
    """A method of a study has a name, fitting options, and something to be beaten by."""
    if "name" not in options:
        raise BadOption(f"a method needs a name: {', '.join(METHODS)}; got {dict(options)}")
    name = str(options["name"])
    kind = METHODS.get(name)
    if kind is not None and (kind.is_control or kind is Instruction):
        raise BadOption(
            f"{name!r} is a control that every study has; methods need not name it"
        )
    if kind is not None and kind.changes == "readout":
        raise BadOption(
            f"{name!r} learns nothing from pairs, so none of a study's controls would "
            "differ from it; measure it with `seatrial measure`"
        )
    if kind is not None and "layer" in options and has_one_layer(kind):
        raise BadOption(
            "a method's layer is chosen by the study; give candidates in `layers`"
        )
    make_method(name, {k: v for k, v in options.items() if k != "name"})


def check_copies(concept: Concept) -> None:
    """Refuse a text in two groups: it would count as two, or straddle two splits."""
    first: dict[str, ContrastiveItem] = {}
    for item in concept.items:
        for text in contents_of(item):
            before = first.setdefault(" ".join(re.findall(r"\w+", text.lower())), item)
            if before.group != item.group:
                raise BadData(
                    f"{concept.name}: items {before.id} and {item.id} hold the same text "
                    f"{text!r}, but stand in two groups, {before.group} and {item.group}; "
                    "remove the copy, or give both one `group`"
                )
