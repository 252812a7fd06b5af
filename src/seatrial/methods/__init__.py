"""Every way to steer, one file each; this page is the table."""

from seatrial.methods.base import Layer, Method, options_of, origin_of
from seatrial.methods.caa import CAA
from seatrial.methods.prompt import Prompt
from seatrial.methods.random import Random
from seatrial.methods.shuffled import Shuffled

METHODS: dict[str, type[Method]] = {
    "caa": CAA,
    "prompt": Prompt,
    "random": Random,
    "shuffled": Shuffled,
}

__all__ = [
    "CAA",
    "METHODS",
    "Layer",
    "Method",
    "Prompt",
    "Random",
    "Shuffled",
    "options_of",
    "origin_of",
]
