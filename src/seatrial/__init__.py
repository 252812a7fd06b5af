"""Sea trials for steering: fit any method to any model and learn whether it works."""

# Names are loaded when they are first used (PEP 562): `import seatrial` and `seatrial
# --help` need not wait for torch. No function has the name of a package, so that
# `seatrial.report` is the room and `seatrial.make_report` what is made there.

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seatrial.errors import SeatrialError
    from seatrial.methods import METHODS, Method
    from seatrial.model import Model
    from seatrial.report import make_report
    from seatrial.steering import (
        UNSTEERED,
        Add,
        Edit,
        Intervention,
        Steering,
        load,
        save,
    )
    from seatrial.store import Store
    from seatrial.studies import Study, read_study
    from seatrial.studies.run import run
    from seatrial.tasks import TASKS, Task
    from seatrial.tasks.measure import measure
    from seatrial.types import Estimate, Message, Pair, Request, Site, Text

__all__ = [
    "METHODS",
    "TASKS",
    "UNSTEERED",
    "Add",
    "Edit",
    "Estimate",
    "Intervention",
    "Message",
    "Method",
    "Model",
    "Pair",
    "Request",
    "SeatrialError",
    "Site",
    "Steering",
    "Store",
    "Study",
    "Task",
    "Text",
    "load",
    "make_report",
    "measure",
    "read_study",
    "run",
    "save",
]

_HOMES = {
    "errors": ("SeatrialError",),
    "methods": ("METHODS", "Method"),
    "model": ("Model",),
    "report": ("make_report",),
    "steering": ("UNSTEERED", "Add", "Edit", "Intervention", "Steering", "load", "save"),
    "store": ("Store",),
    "studies": ("Study", "read_study"),
    "studies.run": ("run",),
    "tasks": ("TASKS", "Task"),
    "tasks.measure": ("measure",),
    "types": ("Estimate", "Message", "Pair", "Request", "Site", "Text"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'seatrial' has no attribute {name!r}")
    return getattr(import_module(f"seatrial.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
