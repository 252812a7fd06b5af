"""The edit that climbs a score: steps along the gradient of a small network.

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData
from seatrial.steering.edits.base import Dose, Edit, per_position, widened
from seatrial.steering.edits.drawing import Draw


@final
@dataclass(frozen=True, eq=False)
class Ascend(Edit):
    """Climb a score that a small network gives to an activation (K-Steering).

        f(h) = goal . relu(B relu(A h + a) + b)        h <- h + dose * step * grad f(h)

    once for each step, so that with several of them a dose is no straight line. The
    gradient is written out, because models run without gradients, and is taken at each
    position on its own (trap T26).
    """

    first: Float[Tensor, "hidden d_model"]
    """``A``."""
    first_bias: Float[Tensor, " hidden"]
    """``a``."""
    second: Float[Tensor, "hidden_2 hidden"]
    """``B``."""
    second_bias: Float[Tensor, " hidden_2"]
    """``b``."""
    goal: Float[Tensor, " hidden_2"]
    """Wanted minus unwanted logits as a function of the last hidden layer."""
    steps: Float[Tensor, " step"]
    """Size of each step at dose 1, in units of the gradient."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Take the steps."""
        wide = widened(h)
        strength, edited = per_position(dose, wide), wide
        for step in self.steps.to(wide):
            edited = edited + strength * step * self.gradient(edited)
        return torch.where(strength == 0, h, edited.to(h.dtype))

    def gradient(
        self, h: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Of the score, at each position."""
        first, second, goal = (x.to(h) for x in (self.first, self.second, self.goal))
        hidden = h @ first.mT + self.first_bias.to(h)
        last = hidden.relu() @ second.mT + self.second_bias.to(h)
        back = (goal * (last > 0)) @ second
        return (back * (hidden > 0)) @ first

    def turned(self, draw: Draw) -> Edit:
        """The climb of a score that looks elsewhere, with as long a gradient on average.

        It climbs ``f(m + Q' (h - m))``, ``m`` the mean state.

        Raises:
            BadOption: for another manner than even.
            BadData: if that score is flat at all states.
        """
        draw.only(self, "even")
        first, states = draw.basis(self.first.mT).mT, draw.states()
        mean, away = states.double().mean(0), self.first.double() - first.double()
        bias = self.first_bias.double() + away @ mean
        climb = replace(self, first=first, first_bias=bias.float())
        length, goal = (
            float(edit.gradient(states).norm(dim=-1).mean()) for edit in (climb, self)
        )
        if not length > 0:
            raise BadData(
                "the score that is climbed is flat at all fit states once it is turned at "
                "random, so there is no control of the same size; use another seed"
            )
        return replace(climb, steps=climb.steps * (goal / length))

    @property
    def width(self) -> int:
        """Width of what the network reads."""
        return self.first.shape[1]

    @property
    def is_gated(self) -> bool:
        """Yes: where all of its units are off, there is no way up."""
        return True
