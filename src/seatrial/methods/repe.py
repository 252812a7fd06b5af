"""Representation engineering: the principal direction of the differences.

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption, unknown
from seatrial.methods.base import Layer, Method, check_fits, later, origin_of, state_norms
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Add, AddBySide
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site


@final
@dataclass(frozen=True)
class RepE(Method):
    """Add the direction along which positive and negative states differ most.

        u = PC1 of the differences h+ - h-      c = (mean(h+) - mean(h-)) . u
        linear:    h <- h + dose * c * u
        piecewise: h <- h + dose * sign(h . u) * |c| * u

    A dose of 1 moves the mean negative projection on u onto the mean positive one, so the
    arbitrary sign of a principal component cannot be seen (trap T13). Centring differences
    that all point from - to + would remove their mean, which is the signal (trap T12);
    so they are not centred, or every second one is turned round first, as in the paper.
    """

    name: ClassVar[str] = "repe"
    summary: ClassVar[str] = (
        "add the first principal component of the differences (RepE, LAT)"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.01405"

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    blocks: int = 1
    """How many blocks, counted on from `layer`, get a direction each."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""
    centre: Literal["none", "half-turned"] = "none"
    """none: differences as they are; half-turned: a random half of them is turned round,
    then all are centred (the paper's random order of each pair)."""

    form: Literal["linear", "piecewise"] = later("linear")
    """linear: all states are pushed to the positive side; piecewise: each further to the
    side of u on which it is, so that the labels do not matter."""

    @property
    def is_odd(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Only the linear form: in the other one, u and its opposite do the same."""
        return self.form == "linear"

    @property
    def reads_labels(self) -> bool:
        """Never: a principal component has no side, so that labels only give its sign."""
        return False

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.blocks < 1:
            raise BadOption(f"blocks must be at least 1, not {self.blocks}")
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        first = model.site(self.layer).layer
        edits, read = {}, {}
        for site in [model.site(first + k) for k in range(self.blocks)]:
            read[site] = positive, negative = contrast(model, data.pairs, site, self.read)
            deltas = positive.double() - negative.double()
            turned = _half_turned(deltas, seed) if self.centre == "half-turned" else deltas
            edits[site] = FORMS[self.form](_along(principal(turned, site), deltas).float())
        origin = origin_of(self, model, data, seed, state_norms(read))
        return Intervention(edits, self.tokens, origin=origin)


FORMS: dict[str, type[Add] | type[AddBySide]] = {"linear": Add, "piecewise": AddBySide}
"""What is done with the direction, by ``form``."""


def principal(points: Float[Tensor, "point width"], site: Site) -> Float[Tensor, " width"]:
    """First right singular vector, by an exact solver (trap T68); its sign is arbitrary.

    Raises:
        BadData: if all points are 0.
    """
    # Scaled by the largest singular value, it is 0 where there is nothing to find.
    _, values, rows = torch.linalg.svd(points.double(), full_matrices=False)
    return unit(values[0] * rows[0], site)


def _half_turned(
    deltas: Float[Tensor, "pair width"], seed: int
) -> Float[Tensor, "pair width"]:
    order = torch.randperm(len(deltas), generator=torch.Generator().manual_seed(seed))
    signs = torch.ones(len(deltas), 1, dtype=deltas.dtype)
    signs[order[: len(deltas) // 2]] = -1
    return signs * deltas - (signs * deltas).mean(0)


def _along(
    u: Float[Tensor, " width"], deltas: Float[Tensor, "pair width"]
) -> Float[Tensor, " width"]:
    return (deltas.mean(0) @ u) * u
