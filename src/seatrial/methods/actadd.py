"""Activation addition: the difference of two prompts, token by token, at the front."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, BadOption
from seatrial.methods.base import (
    Layer,
    Method,
    Need,
    check_fits,
    lacking,
    origin_of,
    state_norms,
)
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention, Part
from seatrial.types import FitData, Site

_ROUNDING = 1e-6
"""A row this much shorter than the longest is what rounding left of 0."""


@final
@dataclass(frozen=True)
class ActAdd(Method):
    """Add the token-by-token difference of two short prompts to the front of every prompt.

        D = h(p+) - h(p-)      token d_model, the shorter prompt padded on the right
        h_i <- h_i + dose * coefficient * D_i      i = 0 .. k-1, once, as the prompt is read

    A dose of 1 is the coefficient as given. Tokens that both prompts begin with, such as
    the beginning-of-sequence token, have the same state in both and get no edit. Generated
    tokens are not edited, and prompts shorter than the longer of the two are refused.
    Departures from the released code: the prompts are by default the instructions that
    come with the data ("Love" and "Hate" there, at coefficient 5), and what is added stands
    at the front of a prompt only, as published. The code's other places, the middle and the
    back, depend on the length of each prompt, which no token scope expresses.
    """

    name: ClassVar[str] = "actadd"
    summary: ClassVar[str] = (
        "add the difference of two prompts, token by token, to the front of every prompt"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2308.10248"
    is_odd: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("instructions",)

    layer: Layer | Literal["eighth"] = "eighth"
    """Decoder block whose output is read and edited, counted from 0; eighth: the one whose
    output enters the block an eighth of the way (block 6 of 48 in the paper)."""
    positive: str = ""
    """Plain prompt that shows the behaviour; empty: the data's instruction for it."""
    negative: str = ""
    """Plain prompt that shows the opposite; empty: the data's instruction against it. For
    a blank one give a space."""
    coefficient: float = 5.0
    """Size of what a dose of 1 adds, in differences."""
    padding: Literal["space", "pad"] = "space"
    """What the shorter prompt is padded with: the token of a space, or the pad token."""

    @property
    def reads_labels(self) -> bool:
        """Never: what it reads are two prompts, not pairs."""
        return False

    def misfit(self, data: FitData) -> str | None:
        """What is wrong with data without instructions, unless prompts are given."""
        if self.positive or self.negative:
            return None
        return lacking(self.name, self.needs, data)

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if not isfinite(self.coefficient) or self.coefficient == 0:
            raise BadOption(f"coefficient must be a number but 0, not {self.coefficient}")
        layer = max(0, model.n_layers // 8 - 1) if self.layer == "eighth" else self.layer
        site = model.site(layer)
        positive, negative = self._prompts(model, data)
        one, other = states_of(model, positive, negative, site)
        rows = self.coefficient * (one - other)
        lengths = rows.norm(dim=-1)
        edited = (lengths > _ROUNDING * lengths.max()).nonzero()[:, 0].tolist()
        first, *others = [Part({site: Add(rows[k])}, f"at_{k}") for k in edited]
        read = [[model.decode([token]) for token in ids] for ids in (positive, negative)]
        norms = state_norms({site: (one[edited], other[edited])})
        return Intervention(
            first.edits,
            first.tokens,
            origin=origin_of(self, model, data, seed, {"read": read, **norms}),
            also=tuple(others),
        )

    def _prompts(
        self, model: Model, data: FitData
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of both prompts, of one length."""
        own = self.positive, self.negative
        prompts = own if any(own) else (data.encourage, data.discourage)
        if not all(prompts):
            raise BadOption(
                f"actadd needs two prompts, not {prompts[0]!r} and {prompts[1]!r}; give "
                "both positive and negative (a blank one is a space), or neither and data "
                "that has instructions"
            )
        one, other = map(model.tokens, prompts)
        k = max(len(one), len(other))
        if len(one) != len(other):
            filler = self._filler(model)
            one, other = (ids + filler * (k - len(ids)) for ids in (one, other))
        if one == other:
            raise BadOption(
                f"the prompts {prompts[0]!r} and {prompts[1]!r} are the same tokens, so "
                "they have no difference to add; give two that differ"
            )
        return one, other

    def _filler(self, model: Model) -> tuple[int]:
        space = model.tokens(" ", bare=True)
        token = model.special.pad if self.padding == "pad" else (*space, None)[0]
        if not isinstance(token, int):
            other = "space" if self.padding == "pad" else "pad"
            raise BadOption(
                f"this model's tokenizer has no {self.padding} token to pad the shorter "
                f"prompt with; use padding {other}, or prompts of equally many tokens"
            )
        return (token,)


def states_of(
    model: Model, positive: tuple[int, ...], negative: tuple[int, ...], site: Site
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token width"]]:
    """States of two sequences of one length, in float32.

    As long as both are the same, so are they, bit for bit: no token sees later ones.

    Raises:
        BadData: if no state differs.
    """
    # In one order, so that exchanging the two only turns the sign of their difference.
    low, high = sorted((positive, negative))
    before, after = (read[site] for read in model.token_activations([low, high], [site]))
    same = next(k for k in range(len(low)) if low[k] != high[k])
    after = torch.cat([before[:same], after[same:]])
    if torch.equal(before, after):
        raise BadData(
            f"the two prompts have the same states at site {site}; read at another layer"
        )
    return (after, before) if positive == high else (before, after)
