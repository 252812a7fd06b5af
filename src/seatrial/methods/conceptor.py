"""Conceptors: a soft projection on the directions in which the positive states lie."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Affine
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Conceptor(Method):
    """Multiply states by the conceptor of the positive ones.

        R = mean of h+ h+' (not centred)      C = R (R + I / aperture^2)^-1
        paper:    h <- h + dose * (beta C h - h)
        released: h <- h + dose * beta C h

    C has the eigenvectors of R; an eigenvalue r becomes r / (r + aperture^-2), so that
    directions with much signal stay and those with little go. Aperture is in units of
    1 / activation: what suits one model is far off for another. One conceptor serves all
    edited tokens (released code makes one for each position). Only positive texts are
    used, so nothing says what sets them apart from the negative ones.
    """

    name: ClassVar[str] = "conceptor"
    summary: ClassVar[str] = "softly project on the space of the positive states"
    paper: ClassVar[str] = "https://arxiv.org/abs/2410.16314"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "prompt"
    """Which tokens are edited: prompt, all, from_last_prompt, generated, last, or
    first_K."""
    aperture: float = 0.1
    """How much is let through; published values are .01 to 100."""
    beta: float = 1.0
    """Factor of C h, 0 to 1 in the paper."""
    form: Literal["paper", "released"] = "paper"
    """paper: C h takes the place of h; released: it is added to h."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if not self.aperture > 0:
            raise BadOption(f"aperture must be larger than 0, not {self.aperture}")
        site = model.site(self.layer)
        positive, _ = contrast(model, data.pairs, site, self.read)
        matrix = self.beta * conceptor(positive, self.aperture)
        if self.form == "released":
            matrix = matrix + torch.eye(len(matrix)).to(matrix)
        edit = Affine(matrix.float(), torch.zeros(len(matrix)))
        return Intervention(
            {site: edit}, self.tokens, origin=origin_of(self, model, data, seed)
        )


def conceptor(
    states: Float[Tensor, "point width"], aperture: float
) -> Float[Tensor, "width width"]:
    """``C = R (R + I / aperture^2)^-1`` with the correlation matrix ``R`` of the states.

    Computed in float64 from the singular values of the states, so that it is symmetric and
    exactly 0 where they have no component.
    """
    _, values, rows = torch.linalg.svd(states.double(), full_matrices=False)
    signal = values.square() / len(states) * aperture**2
    return (rows.mT * (signal / (signal + 1))) @ rows
