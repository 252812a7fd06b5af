"""Every way to steer, one file each; this page is the table."""

from seatrial.methods.ablate import Ablate
from seatrial.methods.ace import ACE
from seatrial.methods.actadd import ActAdd
from seatrial.methods.angular import Angular
from seatrial.methods.base import Layer, Method, options_of, origin_of
from seatrial.methods.caa import CAA
from seatrial.methods.cast import CAST
from seatrial.methods.conceptor import Conceptor
from seatrial.methods.dola import DoLa
from seatrial.methods.few_shot import FewShot
from seatrial.methods.function_vector import FunctionVector
from seatrial.methods.icv import ICV
from seatrial.methods.instruction import Instruction
from seatrial.methods.iti import ITI
from seatrial.methods.k_steering import KSteering
from seatrial.methods.layer_mean import LayerMean
from seatrial.methods.leace import LEACE
from seatrial.methods.logistic import Logistic
from seatrial.methods.mean_match import MeanMatch
from seatrial.methods.mimic import MiMiC
from seatrial.methods.orthogonal import Orthogonal
from seatrial.methods.other_task import OtherTask
from seatrial.methods.random import Random
from seatrial.methods.repe import RepE
from seatrial.methods.shuffled import Shuffled
from seatrial.methods.spherical import Spherical
from seatrial.methods.task_vector import TaskVector

METHODS: dict[str, type[Method]] = {
    "ablate": Ablate,
    "ace": ACE,
    "actadd": ActAdd,
    "angular": Angular,
    "caa": CAA,
    "cast": CAST,
    "conceptor": Conceptor,
    "dola": DoLa,
    "few-shot": FewShot,
    "function-vector": FunctionVector,
    "icv": ICV,
    "instruction": Instruction,
    "iti": ITI,
    "k-steering": KSteering,
    "layer-mean": LayerMean,
    "leace": LEACE,
    "logistic": Logistic,
    "mean-match": MeanMatch,
    "mimic": MiMiC,
    "orthogonal": Orthogonal,
    "other-task": OtherTask,
    "random": Random,
    "repe": RepE,
    "shuffled": Shuffled,
    "spherical": Spherical,
    "task-vector": TaskVector,
}

__all__ = [
    "ACE",
    "CAA",
    "CAST",
    "ICV",
    "ITI",
    "LEACE",
    "METHODS",
    "Ablate",
    "ActAdd",
    "Angular",
    "Conceptor",
    "DoLa",
    "FewShot",
    "FunctionVector",
    "Instruction",
    "KSteering",
    "Layer",
    "LayerMean",
    "Logistic",
    "MeanMatch",
    "Method",
    "MiMiC",
    "Orthogonal",
    "OtherTask",
    "Random",
    "RepE",
    "Shuffled",
    "Spherical",
    "TaskVector",
    "options_of",
    "origin_of",
]
