"""The method itself on permuted labels: what it finds where there is nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch

from seatrial.edits import Add
from seatrial.errors import BadData
from seatrial.intervention import Intervention
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData

_ROUNDING = 1e-6
"""A vector this much shorter than the reference's is what rounding left of 0."""


@final
@dataclass(frozen=True)
class Shuffled(Method):
    """Swap positive and negative in a random half of the pairs, then fit the reference.

    The mean difference of such pairs tends to 0 like 1/sqrt(n), so at its own length this
    control would be beaten by size alone: by default its vectors get the length of the
    reference's.
    """

    name: ClassVar[str] = "shuffled"
    summary: ClassVar[str] = (
        "control: the method fitted on pairs with half of the labels swapped"
    )
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        n = len(data.pairs)
        if n < 2:
            raise BadData(
                f"'shuffled' needs at least 2 pairs, got {n}: half of a single pair is "
                "none, and the "
                "control would be the method itself. Give more fit items"
            )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
        swapped = set(order[: n // 2])
        pairs = tuple(
            replace(pair, positive=pair.negative, negative=pair.positive)
            if k in swapped
            else pair
            for k, pair in enumerate(data.pairs)
        )
        fitted = self.reference.fit(model, replace(data, pairs=pairs), seed=seed)
        edits = dict(fitted.edits)
        if self.rescale:
            honest = self.reference.fit(model, data, seed=seed)
            for site, edit in fitted.edits.items():
                goal = honest.edits[site]
                if isinstance(edit, Add) and isinstance(goal, Add):
                    left, wanted = edit.vector.norm(), goal.vector.norm()
                    if left <= _ROUNDING * wanted:
                        raise BadData(
                            f"at site {site} nothing is left to rescale after half of the "
                            "labels were "
                            "swapped: all pairs differ alike, so they count as one. Give "
                            "pairs with "
                            "different texts, or read at a token where they differ"
                        )
                    edits[site] = Add(edit.vector * (wanted / left))
        origin = origin_of(self, model, data, seed)
        return Intervention(edits, fitted.tokens, fitted.prompt, origin)
