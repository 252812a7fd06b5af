"""What is done to a model: edits, prompt, readout, gate; saved, composed, compared."""

from seatrial.steering.compare import Comparison, compared
from seatrial.steering.compose import joined, weighted
from seatrial.steering.edits import EDITS, Add, Edit
from seatrial.steering.gate import Gate
from seatrial.steering.intervention import (
    SCOPES,
    UNSTEERED,
    Intervention,
    Part,
    Steering,
)
from seatrial.steering.prompt import PromptEdit
from seatrial.steering.readout import READOUTS, ContrastLayers, Readout
from seatrial.steering.saving import load, save

__all__ = [
    "EDITS",
    "READOUTS",
    "SCOPES",
    "UNSTEERED",
    "Add",
    "Comparison",
    "ContrastLayers",
    "Edit",
    "Gate",
    "Intervention",
    "Part",
    "PromptEdit",
    "Readout",
    "Steering",
    "compared",
    "joined",
    "load",
    "save",
    "weighted",
]
