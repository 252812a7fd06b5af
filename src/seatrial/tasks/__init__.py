"""Everything that is measured, one file each; this page is the table."""

from seatrial.tasks.application import Application
from seatrial.tasks.arithmetic import Arithmetic
from seatrial.tasks.base import Protocol, Splits, Target, Task, Writing, fit_data
from seatrial.tasks.bbq import Bbq
from seatrial.tasks.choice import Bbh, Choice, Facts, Mmlu
from seatrial.tasks.concept_sources import read_concept
from seatrial.tasks.crows_pairs import CrowsPairs
from seatrial.tasks.dialogue import Dialogue
from seatrial.tasks.factuality import Factuality
from seatrial.tasks.fluency import Fluency
from seatrial.tasks.map import Map
from seatrial.tasks.open import Open
from seatrial.tasks.propensity import Propensity
from seatrial.tasks.prose import Prose
from seatrial.tasks.shifts import CONDITIONS, shifted, told_about
from seatrial.tasks.values import Values
from seatrial.tasks.writing import Generation

TARGETS: dict[str, type[Target]] = {"propensity": Propensity, "open": Open}
WRITTEN: dict[str, type[Writing]] = {"generation": Generation}
"""Targets that are measured on what the model writes, and that give no pairs."""
TRANSFERS: dict[str, type[Protocol]] = {
    "values": Values,
    "crows-pairs": CrowsPairs,
    "bbq": Bbq,
    "factuality": Factuality,
    "application": Application,
}
GUARDS: dict[str, type[Protocol]] = {
    "prose": Prose,
    "dialogue": Dialogue,
    "facts": Facts,
    "mmlu": Mmlu,
    "bbh": Bbh,
    "arithmetic": Arithmetic,
    "fluency": Fluency,
}
TASKS: dict[str, type[Protocol]] = {**TARGETS, "map": Map, **WRITTEN, **TRANSFERS, **GUARDS}

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
    "Protocol",
    "Splits",
    "Target",
    "Task",
    "Values",
    "Writing",
    "fit_data",
    "read_concept",
    "shifted",
    "told_about",
]
