"""The method itself on permuted labels: what it finds where there is nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch

from seatrial.data.templates import with_labels_moved
from seatrial.errors import BadData, BadOption
from seatrial.methods.base import (
    Method,
    check_fits,
    later,
    origin_of,
    recorded_norms,
    rescaled,
)
from seatrial.model import Model
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Pair


@final
@dataclass(frozen=True)
class Shuffled(Method):
    """Swap positive and negative in a random half of the pairs, then fit the reference.

    Of a map, whose examples have no sides, every output goes to another input.

    The mean difference of swapped pairs tends to 0 like 1/sqrt(n), so at its own length
    this control would be beaten by size alone: by default added vectors get the length of
    the reference's, site by site, or together where labels decide which sites are edited.
    Edits that are not added (maps, rotations, projections ...) have a size of their own,
    which the labels do not shrink, and stay as they are fitted.

    A method that reads no labels (``reads_labels``) would be handed back as its own
    control, so it is refused, and studies leave this control out there.
    """

    name: ClassVar[str] = "shuffled"
    summary: ClassVar[str] = "control: the method fitted with half of the labels swapped"
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors ..."""
    like: Method | None = later(None)  # noqa: RUF009
    """... or of this one's, which stands beside a steering that was fitted before."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if not self.reference.reads_labels:
            raise BadOption(
                f"'shuffled' fits on other labels, but {self.reference.name!r} as given "
                "finds the same direction whatever the labels are, so this control would "
                f"be the method itself or its opposite; {_instead(self.reference)}"
            )
        fitted = self.reference.fit(model, shuffled(data, seed), seed=seed)
        if self.rescale:
            fitted = rescaled(
                fitted,
                (self.like or self.reference).fit(model, data, seed=seed),
                "at site {site} nothing is left to rescale after half of the labels were "
                "swapped: all pairs differ alike, so they count as one. Give pairs with "
                "different texts, or read at a token where they differ",
            )
        origin = origin_of(self, model, data, seed, recorded_norms(fitted))
        return replace(fitted, origin=origin)


def _instead(method: Method) -> str:
    """What to do where no shuffled control can be had."""
    if method.is_control:
        return "control the method that it stands beside"
    if method.changes == "readout":
        return "compare it with the unsteered model"
    if method.changes == "prompt":
        return "use 'other-task' to control it"
    return "use 'random' or 'other-task' to control it"


def shuffled(data: FitData, seed: int) -> FitData:
    """The same texts with other labels.

    Raises:
        BadData: for fewer than 2 pairs and examples.
    """
    if not data.examples and len(data.pairs) < 2:
        raise BadData(
            f"'shuffled' needs at least 2 pairs, got {len(data.pairs)}: half of a single "
            "pair is none, and the control would be the method itself. Give more fit items"
        )
    if data.examples:
        moved = with_labels_moved(data.examples, np.random.default_rng(seed))
        data = replace(data, examples=moved)
    return replace(data, pairs=_swapped(data.pairs, seed))


def _swapped(pairs: tuple[Pair, ...], seed: int) -> tuple[Pair, ...]:
    n = len(pairs)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    swapped = set(order[: n // 2])
    return tuple(
        replace(pair, positive=pair.negative, negative=pair.positive)
        if k in swapped
        else pair
        for k, pair in enumerate(pairs)
    )
