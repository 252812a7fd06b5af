"""Everything that is measured, one file each; this page is the table."""

from seatrial.tasks.base import Protocol, Splits, Target, Task, Writing, fit_data
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity
from seatrial.tasks.prose import Prose

TARGETS: dict[str, type[Target]] = {"propensity": Propensity, "open": Open}
GUARDS: dict[str, type[Task]] = {"prose": Prose}
TASKS: dict[str, type[Protocol]] = {**TARGETS, **GUARDS}

__all__ = [
    "GUARDS",
    "TARGETS",
    "TASKS",
    "Open",
    "Propensity",
    "Prose",
    "Protocol",
    "Splits",
    "Target",
    "Task",
    "Writing",
    "fit_data",
]
