"""Everything that is measured, one file each; this page is the table."""

from seatrial.tasks.application import Application
from seatrial.tasks.arithmetic import Arithmetic
from seatrial.tasks.base import Contrastive, Scored, Splits, Task, Written, fit_data
from seatrial.tasks.bbq import Bbq
from seatrial.tasks.choice import Bbh, Choice, Facts, Mmlu
from seatrial.tasks.conditions import CONDITIONS, shifted, told_about
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
    "application": Application,
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

__all__ = [
    "CONDITIONS",
    "GUARDS",
    "TARGETS",
    "TASKS",
    "TRANSFERS",
    "WRITTEN",
    "Application",
    "Arithmetic",
    "Bbh",
    "Bbq",
    "Choice",
    "Contrastive",
    "CrowsPairs",
    "Dialogue",
    "Facts",
    "Factuality",
    "Fluency",
    "Generation",
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
    "shifted",
    "told_about",
]
