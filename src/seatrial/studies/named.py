"""The methods and tasks that a plan names: ours, installed ones, or dotted names."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from seatrial.errors import BadOption, SeatrialError, UnknownName
from seatrial.extensions import find
from seatrial.methods import METHODS, Method
from seatrial.tasks import GUARDS, TARGETS, Contrastive, Task

T = TypeVar("T", bound=Task)


def method_kind(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        UnknownName: for a method that does not exist.
        BadOption: for a dotted name that cannot be imported, or is no method.
    """
    return find("method", name, METHODS, Method)


def target_kind(name: str) -> type[Contrastive]:
    """The class of a target task, which also gives the pairs to fit on.

    Raises:
        UnknownName: for a task that does not exist or is none.
        BadOption: for a dotted name that cannot be imported, or is no such task.
    """
    return _task_kind("target", name, TARGETS, Contrastive)


def guard_kind(name: str) -> type[Task]:
    """The class of a guard task; raises as ``target_kind``."""
    return _task_kind("guard", name, GUARDS, Task)


def _task_kind(role: str, name: str, ours: Mapping[str, type[T]], base: type[T]) -> type[T]:
    try:
        return find("task", name, ours, base)
    except UnknownName as error:
        text = str(error).replace("unknown task", f"unknown {role} task", 1)
        raise UnknownName(text) from error


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """Build a method from plain values.

    Raises:
        UnknownName: for a method that does not exist.
        BadOption: for an option it does not have or a value of the wrong type.
    """
    kind = method_kind(name)
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
        table: Any = (tables or {})[inside[0]]
        known = ", ".join(field.name for field in fields(table))
        return f"{inside[0]!r} has no key {key!r}; its keys: {known}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message} (got {first['input']!r})"
