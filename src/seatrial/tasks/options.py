"""Options of a task from plain values: names checked, types checked, one sentence each."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from seatrial.errors import BadOption, unknown
from seatrial.tasks.base import Protocol, Target
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity

_INNER: dict[str, type[Target]] = {"propensity": Propensity, "open": Open}


def with_options(task: Protocol, options: Mapping[str, Any]) -> Protocol:
    """The task with some of its fields replaced.

    Args:
        task: is not changed. Its options are the fields that have defaults.
        options: values by field. A task inside of the task is named (``inner="open"``),
            and its own fields follow a dot (``{"inner.form": "ab"}``).

    Raises:
        UnknownName: for a field that is no option, or a task that does not exist.
        BadOption: for a value of the wrong type or out of range.
    """
    known = options_of(task)
    changed: dict[str, Any] = {}
    for key, value in options.items():
        head, _, rest = key.partition(".")
        if head not in known or (rest and not isinstance(known[head], Protocol)):
            raise unknown(f"option of {task.name!r}", key, known)
        current = changed.get(head, known[head])
        if rest:
            changed[head] = with_options(current, {rest: value})
        elif isinstance(current, Target):
            changed[head] = _other(current, value)
        else:
            changed[head] = _checked(task, head, value)
    # At once: what one option allows can depend on another.
    return replace(task, **changed)  # pyright: ignore[reportArgumentType]


def options_of(task: Protocol) -> dict[str, Any]:
    """Fields that can be set, with their values: those with defaults, and inner tasks."""
    assert is_dataclass(task)
    values = [(part, getattr(task, part.name)) for part in fields(task) if part.init]
    return {
        part.name: value
        for part, value in values
        if _has_default(part) or isinstance(value, Target)
    }


def _has_default(part: Field) -> bool:
    return part.default is not MISSING or part.default_factory is not MISSING


def _other(inner: Target, name: object) -> Target:
    if name not in _INNER:
        raise unknown("concept task", str(name), _INNER)
    return _INNER[str(name)](inner.splits)  # pyright: ignore[reportCallIssue]


def _checked(task: Protocol, key: str, value: object) -> object:
    hint = get_type_hints(type(task))[key]
    try:
        return TypeAdapter(hint).validate_python(value)
    except PydanticSchemaGenerationError as error:
        raise BadOption(
            f"{key} of {task.name!r} is no plain value and cannot be set by name; build "
            "the task in Python"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][0].lower() + first["msg"][1:]
        raise BadOption(f"{key} of {task.name!r}: {message} (got {value!r})") from error
