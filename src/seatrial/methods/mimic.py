"""MiMiC: carry the negative class onto the positive one, mean and covariance."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance, power, shrinkage_of, shrunk
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Affine
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class MiMiC(Method):
    """Apply the optimal transport map between two Gaussians with the classes' moments.

        E(h) = mean(h+) + A (h - mean(h-))      h <- h + dose * (E(h) - h)
        A = S0^(-1/2) (S0^(1/2) S1 S0^(1/2))^(1/2) S0^(-1/2)
        S0, S1 = covariance of the negative and of the positive states

    A dose of 1 gives the negative states the mean and covariance of the positive ones at
    the least mean squared change. The paper moves only states that a classifier calls
    negative; we move all. Both covariances are shrunk by one share towards one multiple of
    the identity, so that A leaves alone what no text varies in (the paper's code keeps 768
    principal components and adds 1e-5; with fewer states than dimensions that lets A
    stretch directions without data up to some hundred times).
    """

    name: ClassVar[str] = "mimic"
    summary: ClassVar[str] = (
        "carry negative states onto positive ones, mean and covariance (optimal transport)"
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
    shrinkage: float | None = None
    """Share of both covariances that a multiple of the identity takes over, 0 to 1; left
    out, it is estimated (Ledoit and Wolf)."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if len(data.pairs) == 1:
            raise BadData(
                "'mimic' needs at least 2 pairs, for one text has no covariance; give more "
                "fit items, or use 'mean-match'"
            )
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        target, source = positive.double().mean(0), negative.double().mean(0)
        matrix = transport(*_covariances(negative, positive, self.shrinkage))
        edit = Affine(matrix.float(), (target - matrix @ source).float())
        return Intervention(
            {site: edit}, self.tokens, origin=origin_of(self, model, data, seed)
        )


def transport(
    source: Float[Tensor, "width width"], target: Float[Tensor, "width width"]
) -> Float[Tensor, "width width"]:
    """The symmetric ``A`` with ``A S0 A = S1`` (within the range of ``S0``).

    Directions in which the source does not vary at all are left as they are.
    """
    root, inverse = power(source, 0.5), power(source, -0.5)
    matrix = inverse @ power(root @ target.double() @ root, 0.5) @ inverse
    return matrix + torch.eye(len(matrix)).to(matrix) - power(source, 0.0)


def _covariances(
    source: Float[Tensor, "pair width"],
    target: Float[Tensor, "pair width"],
    shrinkage: float | None,
) -> tuple[Float[Tensor, "width width"], Float[Tensor, "width width"]]:
    within = torch.cat([x.double() - x.double().mean(0) for x in (source, target)])
    share = shrinkage_of(within, shrinkage)
    level = float(within.square().mean())  # the mean variance of a coordinate
    one, other = (shrunk(covariance(x), share, level) for x in (source, target))
    return one, other
