"""The direction of a logistic probe that tells positive from negative states."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, check_fits, origin_of, state_norms
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Logistic(Method):
    """Add the weight vector of a logistic regression on pair-centred states.

        P(+|h) = sigmoid(w . (h - mean of its pair)),  no intercept,  |w|^2/2 + C * loss
        u = w / |w|      c = (mean(h+) - mean(h-)) . u      h <- h + dose * c * u

    A dose of 1 moves the mean negative projection on u onto the mean positive one. A
    direction that detects well need not steer well: in AxBench probes detect best and steer
    worse than differences of means.
    """

    name: ClassVar[str] = "logistic"
    summary: ClassVar[str] = "add the weight direction of a logistic probe"
    paper: ClassVar[str] = "https://arxiv.org/abs/2501.17148"
    is_odd: ClassVar[bool] = True

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""
    C: float = 1.0
    """Weight of the loss against |w|^2/2; small values tend to the difference of means."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if not self.C > 0:
            raise BadOption(f"C must be larger than 0, not {self.C}")
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        deltas = positive.double() - negative.double()
        u = unit(probe(deltas / 2, self.C), site)
        vector = ((deltas.mean(0) @ u) * u).float()
        read = state_norms({site: (positive, negative)})
        origin = origin_of(self, model, data, seed, read)
        return Intervention({site: Add(vector)}, self.tokens, origin=origin)


def probe(halves: Float[Tensor, "pair width"], C: float) -> Float[Tensor, " width"]:
    """Weights that tell each point from its negative.

    Args:
        halves: positive states minus the mean of their pair, that is, half of the
            difference; the negative states are their negatives.
        C: weight of the loss.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    # The weights lie in the span of the points, so as many coordinates as pairs do.
    _, _, rows = torch.linalg.svd(halves.double(), full_matrices=False)
    inside = halves.double() @ rows.mT
    points = torch.cat([inside, -inside]).numpy()
    labels = [1] * len(halves) + [0] * len(halves)
    fitted = LogisticRegression(
        C=C, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=1000
    ).fit(points, labels)
    weights = torch.from_numpy(fitted.coef_[0])
    return weights @ rows
