"""Angular steering: rotation in a plane that holds the behaviour.

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass
from math import inf, radians
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, BadOption
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Edit, Rotate, RotateTo
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData

_NOTHING = 1e-5
"""A second direction this short beside the first is what rounding left of 0."""


@final
@dataclass(frozen=True)
class Angular(Method):
    """Rotate the stream to an angle in one plane for all blocks, with the length kept.

        c_l = unit(mean(h+) - mean(h-)) at the output of each block l
        b1 = the c_l most similar to the others      b2 = PC1 of all c_l, orthogonal to b1
        h <- h - P h + |P h| (cos t b1 + sin t b2)   P projects on the plane of b1 and b2

    A dose of 1 brings every token to the angle t; a dose of s rotates it by the share s of
    the way, so that 0 is the unsteered model, for which the paper has no angle. b2 is
    signed towards the last block; swapping all pairs turns the plane by 180 degrees. Where
    all c_l agree, b2 is the PC1 of the pairs' differences at the last block.
    Departures from the released code: it edits the outputs of the norms and we the stream,
    and by default it turns only tokens with h . b1 > 0, which spares those that lack the
    behaviour (`adaptive` does so here).
    """

    name: ClassVar[str] = "angular"
    summary: ClassVar[str] = "rotate to an angle in a plane that holds the behaviour"
    paper: ClassVar[str] = "https://arxiv.org/abs/2510.26243"

    layer: Layer | Literal["all"] = "all"
    """Decoder block whose output is edited, counted from 0, or all of them; all are
    read."""
    angle: float = 0.0
    """Degrees, counted from the behaviour (0) by way of the second direction (90)."""
    form: Literal["to", "by"] = "to"
    """to: rotate every token to the angle; by: rotate every token by the angle."""
    adaptive: bool = False
    """Whether form `to` spares tokens without a positive component along the behaviour."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.form == "by" and (self.adaptive or self.angle % 360 == 0):
            raise BadOption(
                "form 'by' rotates every token by the same angle: it needs an angle that "
                f"is no whole turn (not {self.angle:g}), and adaptive belongs to form 'to'"
            )
        everywhere: list[Layer] = list(range(model.n_layers))
        layers: list[Layer] = everywhere if self.layer == "all" else [self.layer]
        sites = [model.site(layer) for layer in layers]
        candidates, differences = [], []
        for site in [model.site(layer) for layer in range(model.n_layers)]:
            positive, negative = contrast(model, data.pairs, site, self.read)
            candidates.append(unit(difference(positive, negative), site))
            differences.append(positive.double() - negative.double())
        edit = self._edit(plane(torch.stack(candidates), differences[-1]).float())
        return Intervention(
            dict.fromkeys(sites, edit),
            self.tokens,
            origin=origin_of(self, model, data, seed),
        )

    def _edit(self, basis: Float[Tensor, "d_model 2"]) -> Edit:
        angle = torch.tensor(radians(self.angle))
        if self.form == "by":
            return Rotate(basis, angle)
        return RotateTo(basis, angle, torch.tensor(0.0 if self.adaptive else -inf))


def plane(
    candidates: Float[Tensor, "layer d_model"], differences: Float[Tensor, "pair d_model"]
) -> Float[Tensor, "d_model 2"]:
    """The candidate most like all others, and the direction in which they differ most.

    Args:
        candidates: unit directions, one a block.
        differences: positive minus negative states; asked for the second direction where
            the candidates do not differ.

    Raises:
        BadData: if neither differ, so that there is no second direction.
    """
    first = candidates[(candidates @ candidates.mT).sum(1).argmax()]
    for points in (candidates, differences):
        centred = points - points.mean(0)
        _, values, rows = torch.linalg.svd(centred, full_matrices=False)  # exact: trap T68
        second = values[0] * (rows[0] - (rows[0] @ first) * first)
        if float(second.norm()) > _NOTHING * float(points.norm()):
            second = second * (1 if float(centred[-1] @ second) >= 0 else -1)
            second = second / second.norm()
            second = second - (second @ first) * first  # what rounding left
            return torch.stack([first, second / second.norm()], dim=1)
    raise BadData(
        "the texts differ in one direction only, at the output of every block, so there is "
        "no plane to rotate in; give more pairs, or use a method that needs one direction, "
        "such as caa"
    )
