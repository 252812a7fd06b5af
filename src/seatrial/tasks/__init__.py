"""Everything that is measured, one file each; this page is the table."""

from seatrial.tasks.base import Splits, Target, Task, fit_data
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity
from seatrial.tasks.prose import Prose

TARGETS: dict[str, type[Target]] = {"propensity": Propensity, "open": Open}
GUARDS: dict[str, type[Task]] = {"prose": Prose}
TASKS: dict[str, type[Task]] = {**TARGETS, **GUARDS}

__all__ = [
    "GUARDS",
    "TARGETS",
    "TASKS",
    "Open",
    "Propensity",
    "Prose",
    "Splits",
    "Target",
    "Task",
    "fit_data",
]
