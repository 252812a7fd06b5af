"""Task vectors: the state after examples takes the place of the state without them."""

from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data.templates import draw, generator_for, template_named
from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, Need, check_fits, origin_of
from seatrial.methods.fitting.map_prompts import mean_state
from seatrial.model import Model
from seatrial.steering.edits import Replace
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class TaskVector(Method):
    """Put the state that a block has after examples in the place of its last token's.

        theta = mean over dummy queries x' of h_l(examples, x')[last]
        h[last] <- (1 - dose) * h[last] + dose * theta

    The dummy queries come from the fit split, so no test item is among them. As published,
    each test item has examples of its own; here one vector serves all, and ``contexts``
    above 1 averages it over several sets of examples (the multi-context variant). To follow
    the paper item by item, fit once for each seed and test item.
    """

    name: ClassVar[str] = "task-vector"
    summary: ClassVar[str] = "of a map: replace the last state by that after examples"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.15916"
    needs: ClassVar[tuple[Need, ...]] = ("examples",)

    layer: Layer = "middle"
    """Decoder block whose output is read and replaced, counted from 0."""
    shots: int = 5
    """Examples in a context."""
    dummies: int = 2
    """Queries that are asked in each context; none of them is among its examples."""
    contexts: int = 1
    """Sets of examples that are averaged over."""
    template: str = "arrow"
    """How prompts are written: arrow, qa, bare, or a sentence of yours that holds {x}."""
    tokens: str = "last"
    """Which tokens are replaced: last, from_last_prompt, generated, prompt, all, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        site = model.site(self.layer)
        prompts = self.prompts(data, seed=seed)
        value = mean_state(model, prompts, site)
        origin = origin_of(self, model, data, seed)
        return Intervention({site: Replace(value)}, self.tokens, origin=origin)

    def prompts(self, data: FitData, *, seed: int) -> list[str]:
        """The prompts whose last states are averaged.

        Raises:
            BadOption: for an option below 1.
            BadData: without enough examples.
        """
        if min(self.shots, self.dummies, self.contexts) < 1:
            raise BadOption(
                "task-vector needs at least 1 shot, dummy and context, not "
                f"{self.shots}, {self.dummies} and {self.contexts}"
            )
        examples, template = data.examples, template_named(self.template)
        generator = generator_for(seed, self.name, "contexts")
        prompts = []
        for _ in range(self.contexts):
            drawn = draw(examples, self.shots + self.dummies, generator)
            shown, queries = drawn[: self.shots], drawn[self.shots :]
            prompts += [template.prompt(shown, query.input) for query in queries]
        return prompts
