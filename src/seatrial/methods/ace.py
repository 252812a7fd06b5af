"""Affine concept editing: put the component along one direction where it should be."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Affine
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class ACE(Method):
    """Set the component along the difference of means; leave everything else alone.

        r = mean(h+) - mean(h-)      u = r / |r|
        E(h) = h - u (u . h) + u (u . mean(h-)) + strength * r
        h <- h + dose * (E(h) - h)

    A dose of 1 at strength 1 gives every state the component of the mean positive one,
    whatever it had before; a vector added to all states would keep their spread. In the
    paper the dose is our `strength`, whose 0 is not the unsteered model but the negative
    class; here dose 0 is the unsteered model, as everywhere.
    """

    name: ClassVar[str] = "ace"
    summary: ClassVar[str] = (
        "set the component along the difference of means to the positive one (affine)"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.09003"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""
    strength: float = 1.0
    """The paper's coefficient: 0 lands on the reference point, 1 a difference of means
    beyond it."""
    anchor: Literal["negative", "pooled"] = "negative"
    """The reference point: the negative mean (paper), or the mean of both means (its
    released code)."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        r = difference(positive, negative)
        u = unit(r, site)
        reference = negative.double().mean(0)
        if self.anchor == "pooled":
            reference = reference + r / 2
        matrix = torch.eye(len(u)).to(u) - torch.outer(u, u)
        bias = u * (u @ reference) + self.strength * r
        edit = Affine(matrix.float(), bias.float())
        return Intervention(
            {site: edit}, self.tokens, origin=origin_of(self, model, data, seed)
        )
