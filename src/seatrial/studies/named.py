"""The tasks that a plan names in their roles: ours, installed ones, or dotted names."""

from collections.abc import Mapping
from typing import TypeVar

from seatrial.errors import UnknownName
from seatrial.extensions import find
from seatrial.tasks import GUARDS, TARGETS, Contrastive, Task

T = TypeVar("T", bound=Task)


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
