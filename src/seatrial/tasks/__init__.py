"""Everything that is measured, one file each; this page is the table."""

from seatrial.extensions import find
from seatrial.tasks.arithmetic import Arithmetic
from seatrial.tasks.base import (
    Contrastive,
    Instructions,
    Scored,
    Splits,
    Task,
    Written,
    fit_data,
)
from seatrial.tasks.bbq import Bbq
from seatrial.tasks.choice import Bbh, Choice, Facts, Mmlu
from seatrial.tasks.conditions import CONDITIONS, Condition, in_condition
from seatrial.tasks.crows_pairs import CrowsPairs
from seatrial.tasks.dialogue import Dialogue
from seatrial.tasks.factuality import Factuality
from seatrial.tasks.fluency import Fluency
from seatrial.tasks.generation import Generation
from seatrial.tasks.map import Map
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity
from seatrial.tasks.prose import Prose
from seatrial.tasks.values import Values

TARGETS: dict[str, type[Contrastive]] = {"propensity": Propensity, "open": Open}
WRITTEN: dict[str, type[Written]] = {"generation": Generation}
"""Targets that are measured on what the model writes, and that give no pairs."""
TRANSFERS: dict[str, type[Task]] = {
    "values": Values,
    "crows-pairs": CrowsPairs,
    "bbq": Bbq,
    "factuality": Factuality,
}
GUARDS: dict[str, type[Task]] = {
    "prose": Prose,
    "dialogue": Dialogue,
    "facts": Facts,
    "mmlu": Mmlu,
    "bbh": Bbh,
    "arithmetic": Arithmetic,
    "fluency": Fluency,
}
TASKS: dict[str, type[Task]] = {**TARGETS, "map": Map, **WRITTEN, **TRANSFERS, **GUARDS}


def task_named(name: str) -> type[Task]:
    """A kind of task: one of ``TASKS``, of an installed package, or ``module:Class``.

    Raises:
        UnknownName: for a name that is in no table.
        BadOption: for a module that cannot be imported, or a class that is no task.
    """
    return find("task", name, TASKS, Task)


__all__ = [
    "CONDITIONS",
    "GUARDS",
    "TARGETS",
    "TASKS",
    "TRANSFERS",
    "WRITTEN",
    "Arithmetic",
    "Bbh",
    "Bbq",
    "Choice",
    "Condition",
    "Contrastive",
    "CrowsPairs",
    "Dialogue",
    "Facts",
    "Factuality",
    "Fluency",
    "Generation",
    "Instructions",
    "Map",
    "Mmlu",
    "Open",
    "Propensity",
    "Prose",
    "Scored",
    "Splits",
    "Task",
    "Values",
    "Written",
    "fit_data",
    "in_condition",
    "task_named",
]
