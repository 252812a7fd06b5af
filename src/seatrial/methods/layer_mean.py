"""The mean state of prompts with examples: what a function vector must beat."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from seatrial.data.templates import generator_for, template_named
from seatrial.methods.base import Layer, Method, Need, check_fits, origin_of, state_norms
from seatrial.methods.fitting.map_prompts import (
    draw_prompts,
    last_states,
    solved,
)
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site


@final
@dataclass(frozen=True)
class LayerMean(Method):
    """Add the mean of what a block gives at the last token of prompts with examples.

        v = mean over prompts of h_l[last]      h <- h + dose * v

    The baseline of function vectors: whatever the model does with the examples is in it,
    and so is all else that the prompts have in common.
    """

    name: ClassVar[str] = "layer-mean"
    summary: ClassVar[str] = "of a map: add the mean state of prompts with examples"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.15213"
    needs: ClassVar[tuple[Need, ...]] = ("examples",)

    layer: Layer = "middle"
    """Decoder block whose output is read and edited, counted from 0."""
    shots: int = 10
    """Examples in a prompt."""
    mean_prompts: int = 100
    """How many prompts are averaged; at most one for each example."""
    only_solved: bool = False
    """Whether only queries that the model answers rightly after examples are used."""
    template: str = "qa"
    """How prompts are written: qa, bare, arrow, or a sentence of yours that holds {x}."""
    tokens: str = "last"
    """Which tokens are edited: last, from_last_prompt, generated, prompt, all, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site, template = model.site(self.layer), template_named(self.template)
        examples = data.examples
        generator = generator_for(seed, self.name, "means")
        shown = draw_prompts(examples, template, self.shots, self.mean_prompts, generator)
        counts = {"prompts_asked": len(shown)}
        if self.only_solved:
            shown = solved(model, shown, template)
        counts["prompts_read"] = len(shown)
        vector, norms = _read(model, tuple(prompt for prompt, _ in shown))[site]
        origin = origin_of(self, model, data, seed, {**counts, **norms})
        return Intervention({site: Add(vector)}, self.tokens, origin=origin)


def _read(
    model: Model, prompts: tuple[str, ...]
) -> dict[Site, tuple[Tensor, dict[str, object]]]:
    """Mean state at the last token of the prompts, and how long states are, by block."""

    def read() -> dict[Site, tuple[Tensor, dict[str, object]]]:
        # Every block out of one pass: a sweep over layers asks for them in turn.
        everywhere = [Site(layer) for layer in range(model.n_layers)]
        states = last_states(model, prompts, everywhere)
        return {
            site: (h.double().mean(0).float(), state_norms({site: [h]}))
            for site, h in states.items()
        }

    return model.readings.remembered((LayerMean.name, *prompts), read)
