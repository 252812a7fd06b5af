"""LEACE: the smallest affine change after which no linear probe finds the classes."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import (
    covariance,
    difference,
    eraser,
    shrinkage_of,
    shrunk,
    unit,
)
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Affine
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class LEACE(Method):
    """Erase the difference of the classes in the least-squares sense.

        E(h) = h - W^+ P W (h - m)      W = S^(-1/2),  P projects on W (mean(h+) - mean(h-))
        h <- h + dose * (E(h) - h)      m, S = mean and covariance of all states

    After a dose of 1 both classes have one mean, so that the best linear probe on the
    states that it was fitted on knows nothing; of all affine maps of that kind it moves
    states least. It erases and does not push to one side: which side is positive does not
    matter. With fewer states than dimensions S is shrunk towards a multiple of the
    identity; the means agree exactly in any case. (The trace of the covariance, which
    released code keeps from growing, cannot grow here: W belongs to the S in use.)
    """

    name: ClassVar[str] = "leace"
    summary: ClassVar[str] = "erase the classes, so that no linear probe tells them apart"
    paper: ClassVar[str] = "https://arxiv.org/abs/2306.03819"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""
    projection: Literal["leace", "orthogonal"] = "leace"
    """leace: the oblique one with the least change; orthogonal: as if S were the
    identity."""
    shrinkage: float | None = None
    """Share of S that a multiple of the identity takes over, 0 to 1; left out, it is
    estimated (Ledoit and Wolf)."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        points = torch.cat([positive, negative]).double()
        direction = unit(difference(positive, negative), site)
        centre, spread = points.mean(0), covariance(points)
        share = shrinkage_of(points - centre, self.shrinkage)
        if self.projection == "orthogonal":
            share = 1.0
        level = float(spread.trace()) / len(spread)
        matrix = eraser(shrunk(spread, share, level), direction)
        edit = Affine(matrix.float(), (centre - matrix @ centre).float())
        return Intervention(
            {site: edit}, self.tokens, origin=origin_of(self, model, data, seed)
        )
