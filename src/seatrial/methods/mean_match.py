"""Mean matching: the shift that moves one class mean onto the other."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from seatrial.methods.base import Layer, Method, check_fits, origin_of, state_norms
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
from seatrial.steering.edits import Add, Affine
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class MeanMatch(Method):
    """Shift states by the difference of the class means.

        h <- h + dose * (mean(h+) - mean(h-))

    A dose of 1 moves the mean negative state onto the mean positive one and leaves the
    covariance as it is. The paper shifts only states that a classifier calls negative; we
    shift all, so this is the vector of `caa`, which here needs no pairing of the texts.
    With `erase` the class is erased first (LEACE), so that states of *either* class have
    the mean positive state as their mean:

        h <- h + dose * (A (h - m) + mean(h+) - h),   m = mean of all states
    """

    name: ClassVar[str] = "mean-match"
    summary: ClassVar[str] = (
        "shift the negative mean onto the positive one, if asked after erasing both"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.09631"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""
    erase: bool = False
    """Whether the class is erased before the shift (LEACE, with estimated shrinkage)."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        shift = difference(positive, negative)
        edit: Add | Affine = Add(shift.float())
        read = state_norms({site: (positive, negative)})
        if self.erase:
            unit(shift, site)  # refuses classes with one mean
            points = torch.cat([positive, negative]).double()
            centre, spread = points.mean(0), covariance(points)
            share = shrinkage_of(points - centre, None)
            level = float(spread.trace()) / len(spread)
            matrix = eraser(shrunk(spread, share, level), shift)
            bias = positive.double().mean(0) - matrix @ centre
            edit, read = Affine(matrix.float(), bias.float()), {}
        origin = origin_of(self, model, data, seed, read)
        return Intervention({site: edit}, self.tokens, origin=origin)
