"""What is done to a model: edits, prompt, readout, gate; saved, composed, compared."""

from seatrial.steering.compare import Comparison, comparison
from seatrial.steering.compose import combine_files, combined, joined, weighted
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
from seatrial.steering.saving import load, load_several, save

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
    "combine_files",
    "combined",
    "comparison",
    "joined",
    "load",
    "load_several",
    "save",
    "weighted",
]
