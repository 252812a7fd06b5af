"""In-context vectors: one direction through all blocks, added with the length kept.

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import AddKeepingNorm
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData

_NOTHING = 1e-6
"""A spread this small beside the differences themselves is what rounding left of 0."""


@final
@dataclass(frozen=True)
class ICV(Method):
    """Turn what every block writes towards one direction fitted through all blocks at once.

        D = differences h+ - h- of all blocks side by side      (pair, blocks * d_model)
        w = mean(D) + PC1(D - mean(D)), cut into blocks again
        h <- |h| unit(unit(h) + dose * strength * s * unit(w_block))
        s = 1 + max(0, -cos(h, w_block))

    A dose of 1 is the published strength of 0.1 at every block. PC1 has length 1 and the
    mean has not, so what they add up to depends on the scale of the model. Departures from
    the published code: all fit pairs are read and not 5, PC1 is signed towards the mean
    (there by its largest entry, trap T13), and the result keeps the dtype of the model.
    """

    name: ClassVar[str] = "icv"
    summary: ClassVar[str] = (
        "turn what every block writes towards a joint direction, with the length kept"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2311.06668"
    is_odd: ClassVar[bool] = True

    layer: Layer | Literal["all"] = "all"
    """Decoder block that is edited, counted from 0, or all of them; all are read."""
    strength: float = 0.1
    """Length of what a dose of 1 adds to an activation of length 1."""
    direction: Literal["mean+pca", "mean", "pca"] = "mean+pca"
    """mean+pca: as published; mean: of the differences; pca: their first principal
    component, not centred and signed towards the mean."""
    point: Literal["mlp", "resid"] = "mlp"
    """What is edited: what the MLP adds to the stream, as published, or the stream."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""

    @property
    def reads_labels(self) -> bool:
        """Unless it is a principal component alone, of which labels only give the sign."""
        return self.direction != "pca"

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.strength <= 0:
            raise BadOption(
                f"strength must be above 0, not {self.strength}; a negative dose pushes "
                "the other way"
            )
        everywhere: list[Layer] = list(range(model.n_layers))
        layers: list[Layer] = everywhere if self.layer == "all" else [self.layer]
        sites = [model.site(layer, self.point) for layer in layers]
        deltas = []
        for layer in range(model.n_layers):
            positive, negative = contrast(model, data.pairs, model.site(layer), self.read)
            deltas.append(positive.double() - negative.double())
        joint = joint_direction(torch.cat(deltas, dim=1), self.direction)
        rows = joint.reshape(model.n_layers, -1)
        edits = {
            site: AddKeepingNorm((self.strength * unit(rows[site.layer], site)).float())
            for site in sites
        }
        return Intervention(edits, self.tokens, origin=origin_of(self, model, data, seed))


def joint_direction(
    deltas: Float[Tensor, "pair width"], kind: Literal["mean+pca", "mean", "pca"]
) -> Float[Tensor, " width"]:
    """What the differences have in common; of one pair, or equal ones, their mean."""
    mean = deltas.mean(0)
    if kind == "mean":
        return mean
    centred = deltas - mean if kind == "mean+pca" else deltas
    # By the pairs' inner products, which are few; an exact solver, too (trap T68).
    _, vectors = torch.linalg.eigh(centred @ centred.mT)
    component = vectors[:, -1] @ centred
    if component.norm() <= _NOTHING * deltas.norm():
        return mean
    component = component / component.norm()
    component = component if float(component @ mean) >= 0 else -component
    return component if kind == "pca" else mean + component
