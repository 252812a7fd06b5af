"""A random direction of the same length: what any push of that size does."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from seatrial.edits import Add
from seatrial.errors import BadOption
from seatrial.intervention import Intervention
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Random(Method):
    """Replace each vector of another method by a random one of the same norm.

        v = |v_ref| * g / |g|,  g ~ N(0, I)        same sites, tokens and doses as the
        reference

    Several seeds make the band that a claim has to leave.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = (
        "control: a random direction with the norm of the method's vector"
    )
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        fitted = self.reference.fit(model, data, seed=seed)
        if not fitted.edits:
            raise BadOption(
                f"'random' controls methods that add vectors; {self.reference.name!r} "
                "adds none, so "
                "this control would do nothing and be beaten by anything"
            )
        generator = torch.Generator().manual_seed(seed)
        edits = {}
        for site, edit in fitted.edits.items():
            if not isinstance(edit, Add):
                raise BadOption(
                    f"'random' controls methods that add vectors; {self.reference.name!r} "
                    "makes a "
                    f"{type(edit).__name__} edit. Use 'shuffled' to control it."
                )
            direction = torch.randn(
                edit.vector.shape, generator=generator, dtype=torch.float64
            )
            direction *= edit.vector.double().norm() / direction.norm()
            edits[site] = Add(direction.float())
        return Intervention(edits, fitted.tokens, origin=origin_of(self, model, data, seed))
