"""The method itself, fitted on permuted labels: what it finds where there is nothing to find."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch

from seatrial.edits import Add
from seatrial.intervention import Intervention
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Shuffled(Method):
    """Swap positive and negative in a random half of the pairs, then fit the reference method.

    The mean difference of such pairs tends to 0 like 1/sqrt(n), so at its own length this control
    would be beaten by size alone: by default its vectors get the length of the reference's.
    """

    name: ClassVar[str] = "shuffled"
    summary: ClassVar[str] = "control: the method fitted on pairs with half of the labels swapped"
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        n = len(data.pairs)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        swapped = set(order[: n // 2])
        pairs = tuple(
            replace(pair, positive=pair.negative, negative=pair.positive) if k in swapped else pair
            for k, pair in enumerate(data.pairs)
        )
        fitted = self.reference.fit(model, replace(data, pairs=pairs), seed=seed)
        edits = dict(fitted.edits)
        if self.rescale:
            honest = self.reference.fit(model, data, seed=seed)
            for site, edit in fitted.edits.items():
                goal = honest.edits[site]
                if isinstance(edit, Add) and isinstance(goal, Add):
                    edits[site] = Add(edit.vector * (goal.vector.norm() / edit.vector.norm()))
        origin = origin_of(self, model, data, seed)
        return Intervention(edits, fitted.tokens, fitted.prompt, origin)
