"""Sea trials for steering: fit any method to any model and learn whether it works."""

# Names are loaded when they are first used (PEP 562): `import seatrial` and `seatrial
# --help` need not wait for torch.

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seatrial.data import load_concept
    from seatrial.errors import SeatrialError
    from seatrial.methods import CAA, METHODS, Instruction, Method, Random, Shuffled
    from seatrial.model import Model
    from seatrial.report import make_report
    from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
    from seatrial.store import Store
    from seatrial.studies.run import run as run_study
    from seatrial.studies.study import Study, make_study, read_study
    from seatrial.tasks import TASKS
    from seatrial.types import Estimate, FitData, Message, Pair, Request, Site, Text

__all__ = [
    "CAA",
    "METHODS",
    "TASKS",
    "UNSTEERED",
    "Estimate",
    "FitData",
    "Instruction",
    "Intervention",
    "Message",
    "Method",
    "Model",
    "Pair",
    "Random",
    "Request",
    "SeatrialError",
    "Shuffled",
    "Site",
    "Steering",
    "Store",
    "Study",
    "Text",
    "load_concept",
    "make_report",
    "make_study",
    "read_study",
    "run_study",
]

_HOMES = {
    "data": ("load_concept",),
    "errors": ("SeatrialError",),
    "steering.intervention": ("Intervention", "Steering", "UNSTEERED"),
    "methods": ("CAA", "METHODS", "Method", "Instruction", "Random", "Shuffled"),
    "model": ("Model",),
    "store": ("Store",),
    "studies.study": ("Study", "make_study", "read_study"),
    "tasks": ("TASKS",),
    "types": ("Estimate", "FitData", "Message", "Pair", "Request", "Site", "Text"),
}
_HOME = {name: (home, name) for home, names in _HOMES.items() for name in names}
_HOME |= {"make_report": ("report", "make_report"), "run_study": ("studies.run", "run")}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'seatrial' has no attribute {name!r}")
    home, original = _HOME[name]
    return getattr(import_module(f"seatrial.{home}"), original)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
