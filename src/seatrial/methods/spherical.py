"""Spherical steering: along the sphere towards the behaviour, as far as it is lacking."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Slerp
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Spherical(Method):
    """Move tokens that lack the behaviour towards its direction, with the length kept.

        m = unit(mean(h+) - mean(h-))
        lack = p(-m) - p(m),  p = softmax(kappa * cos(h, m), kappa * cos(h, -m))
        t = clip(alpha (lack - beta) / (1 - beta), 0, 1)      angle to m <- (1 - t) * angle

    Tokens with lack <= beta are left alone. A dose scales t, never beyond m itself, and a
    negative one moves towards -m by the same rule. The defaults are those published for an
    8B model; beta has to suit the angles of yours.
    """

    name: ClassVar[str] = "spherical"
    summary: ClassVar[str] = "move what lacks the behaviour along the sphere towards it"
    paper: ClassVar[str] = "https://arxiv.org/abs/2602.08169"
    is_odd: ClassVar[bool] = True

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    kappa: float = 20.0
    """How sharply the lack depends on the angle."""
    alpha: float = 0.7
    """Share of the way that a token at the antipode goes at dose 1."""
    beta: float = -0.15
    """Tokens that lack no more than this are left alone; from -1 (none) to below 1."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        for option in ("kappa", "alpha"):
            if getattr(self, option) <= 0:
                raise BadOption(
                    f"{option} must be above 0, not {getattr(self, option)}; a negative "
                    "dose pushes the other way"
                )
        if not -1 <= self.beta < 1:
            raise BadOption(f"beta must be at least -1 and below 1, not {self.beta}")
        site = model.site(self.layer)
        pole = unit(difference(*contrast(model, data.pairs, site, self.read)), site).float()
        numbers = (torch.tensor(float(x)) for x in (self.kappa, self.alpha, self.beta))
        return Intervention(
            {site: Slerp(pole, *numbers)},
            self.tokens,
            origin=origin_of(self, model, data, seed),
        )
