"""Contrastive activation addition: the difference of means, the method to beat."""

from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.methods.base import Layer, Method, check_fits, origin_of, state_norms
from seatrial.methods.fitting.contrast import contrast
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class CAA(Method):
    """Add the mean difference between positive and negative activations.

        v = mean(h+) - mean(h-)        h <- h + dose * v

    A dose of 1 is the raw difference: it moves the average negative text onto the average
    positive one. Released code for the paper also rescales vectors so that all behaviours
    share one norm per layer; we do not, and report the norm instead.
    """

    name: ClassVar[str] = "caa"
    summary: ClassVar[str] = "add the difference of mean activations of contrastive texts"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.06681"
    is_odd: ClassVar[bool] = True

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: the last one, the one before it (the letter of
    "(A)"), the prompt's last, or the mean over the completion or over everything."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        # In float64, so that the order of the texts cannot be seen in the result.
        vector = (positive.double().mean(0) - negative.double().mean(0)).float()
        read = state_norms({site: (positive, negative)})
        origin = origin_of(self, model, data, seed, read)
        return Intervention({site: Add(vector)}, self.tokens, origin=origin)
