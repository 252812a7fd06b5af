"""Every way to steer, one file each; this page is the table."""

from seatrial.methods.ablate import Ablate
from seatrial.methods.ace import ACE
from seatrial.methods.angular import Angular
from seatrial.methods.base import Layer, Method, options_of, origin_of
from seatrial.methods.caa import CAA
from seatrial.methods.conceptor import Conceptor
from seatrial.methods.few_shot import FewShot
from seatrial.methods.icv import ICV
from seatrial.methods.iti import ITI
from seatrial.methods.k_steering import KSteering
from seatrial.methods.leace import LEACE
from seatrial.methods.logistic import Logistic
from seatrial.methods.mean_match import MeanMatch
from seatrial.methods.mimic import MiMiC
from seatrial.methods.orthogonal import Orthogonal
from seatrial.methods.other_task import OtherTask
from seatrial.methods.prompt import Prompt
from seatrial.methods.random import Random
from seatrial.methods.repe import RepE
from seatrial.methods.shuffled import Shuffled
from seatrial.methods.spherical import Spherical

METHODS: dict[str, type[Method]] = {
    "ablate": Ablate,
    "ace": ACE,
    "angular": Angular,
    "caa": CAA,
    "conceptor": Conceptor,
    "few-shot": FewShot,
    "icv": ICV,
    "iti": ITI,
    "k-steering": KSteering,
    "leace": LEACE,
    "logistic": Logistic,
    "mean-match": MeanMatch,
    "mimic": MiMiC,
    "orthogonal": Orthogonal,
    "other-task": OtherTask,
    "prompt": Prompt,
    "random": Random,
    "repe": RepE,
    "shuffled": Shuffled,
    "spherical": Spherical,
}

__all__ = [
    "ACE",
    "CAA",
    "ICV",
    "ITI",
    "LEACE",
    "METHODS",
    "Ablate",
    "Angular",
    "Conceptor",
    "FewShot",
    "KSteering",
    "Layer",
    "Logistic",
    "MeanMatch",
    "Method",
    "MiMiC",
    "Orthogonal",
    "OtherTask",
    "Prompt",
    "Random",
    "RepE",
    "Shuffled",
    "Spherical",
    "options_of",
    "origin_of",
]
