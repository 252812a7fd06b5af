"""Everything that can go wrong by a user's hand, as one tree.

::

    SeatrialError
    ├── UnknownName (ValueError)          a model, method, task, key ... that does not exist
    ├── BadOption (ValueError)            a value out of range: layer, dose, size, scope ...
    ├── BadData (ValueError)              empty, one-sided, overlapping or malformed items
    ├── UnsupportedModel (ValueError)     an architecture whose parts are not found
    ├── ForeignIntervention (ValueError)  a steering that belongs to another model
    ├── BadFile (ValueError)              a corrupt or foreign file, or another version's
    ├── SteeringFault (RuntimeError)      an edit that did not happen, or cannot matter
    ├── OutOfMemory (RuntimeError)        a single sequence that does not fit
    ├── JudgeFault (RuntimeError)         a judge that cannot be read, or asked any more
    ├── StoreFault (OSError)              a results folder that cannot be used or written
    └── Unreachable (ConnectionError)     something that must be fetched and cannot be

Each message says what is wrong, what would be right, and what to do. To add one: inherit
``SeatrialError`` and the builtin it replaces, draw it above, test its message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class SeatrialError(Exception):
    """A user's mistake or a broken surrounding: exit code 2 and one sentence."""


class UnknownName(SeatrialError, ValueError):
    """A name that is in no table."""


class BadOption(SeatrialError, ValueError):
    """An option value that cannot be used."""


class BadData(SeatrialError, ValueError):
    """Items that cannot be measured or fitted on."""


class UnsupportedModel(SeatrialError, ValueError):
    """An architecture in which the parts that steering needs are not found."""


class ForeignIntervention(SeatrialError, ValueError):
    """A steering that was fitted on another model."""


class BadFile(SeatrialError, ValueError):
    """A file that cannot be read as what it should be."""


class SteeringFault(SeatrialError, RuntimeError):
    """An edit that was expected and did not happen, or cannot reach a score."""


class OutOfMemory(SeatrialError, RuntimeError):
    """Not even one sequence under one steering fits into memory."""


class JudgeFault(SeatrialError, RuntimeError):
    """A judge whose replies cannot be used, or that may not be asked any more."""


class StoreFault(SeatrialError, OSError):
    """A results folder that cannot be used."""


class Unreachable(SeatrialError, ConnectionError):
    """Something remote that could not be fetched."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The one sentence for a name that is in no table, with the nearest right one first."""
    # "or a path to ..." is no name; it closes the list.
    names = sorted(known, key=lambda entry: (entry.startswith("or "), entry))
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UnknownName(
        f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}.{hint}"
    )


def sentence(error: BaseException) -> str:
    """The first line of somebody else's error message, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def complaint(error: "ValidationError", tables: Mapping[str, type] | None = None) -> str:
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
        table: Any = (tables or {})[inside[0]]
        known = ", ".join(field.name for field in fields(table))
        return f"{inside[0]!r} has no key {key!r}; its keys: {known}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message} (got {first['input']!r})"
