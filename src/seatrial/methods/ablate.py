"""Directional ablation: nothing in the stream keeps a component of the direction."""

from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.errors import UnsupportedModel
from seatrial.methods.base import Layer, Method, check_fits, origin_of
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Project
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site


@final
@dataclass(frozen=True)
class Ablate(Method):
    """Remove one direction from all that is written to the residual stream.

        u = (mean(h+) - mean(h-)) / |..|  at one block      h <- h - dose * u (u . h)

    Every write is edited once: the stream after block 0, which holds the embeddings and
    what block 0 adds, and then what each attention and MLP adds, after a norm that follows
    it and whose gain would bring the component back. So at every block's output a dose of 1
    leaves nothing along u, 2 reflects, and negative doses amplify; which side is positive
    does not matter. The paper also edits the input of block 0, which has no site here, so
    block 0 itself still reads the embeddings whole. A block in which no attention or MLP is
    found is edited at its output.
    """

    name: ClassVar[str] = "ablate"
    summary: ClassVar[str] = (
        "remove the difference-of-means direction from all that blocks write"
    )
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.11717"

    layer: Layer = "middle"
    """Decoder block whose output the direction is read from, counted from 0."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "all"
    """Which tokens are edited: all, from_last_prompt, generated, last, prompt, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        positive, negative = contrast(model, data.pairs, site, self.read)
        edit = Project(unit(difference(positive, negative), site).float()[:, None])
        return Intervention(
            {write: edit for write in _writes(model)},
            self.tokens,
            origin=origin_of(self, model, data, seed),
        )


def _writes(model: Model) -> list[Site]:
    """Where all that joins the stream passes once."""
    sites = [model.site(0)]
    for layer in range(1, model.n_layers):
        try:
            sites += [model.site(layer, "attn"), model.site(layer, "mlp")]
        except UnsupportedModel:
            sites.append(model.site(layer))
    return sites
