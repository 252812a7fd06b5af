"""Function vectors: what the few heads that carry a task add, given without examples."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from seatrial.data.templates import template_named
from seatrial.errors import BadOption
from seatrial.methods.base import Layer, Method, Need, check_fits, origin_of, state_norms
from seatrial.methods.fitting.heads import check_heads, mean_contribution
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.methods.fitting.patching import best, survey
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData

BARE = 25
"""How many bare queries are read for the length of states, which the fit does not read."""


@final
@dataclass(frozen=True)
class FunctionVector(Method):
    """Add what the heads with the largest causal effect write on prompts with examples.

        AIE_lj = mean of P(y | a_lj := mean a_lj) - P(y)      on prompts with moved labels
        v = sum over the best heads of what they add          h <- h + dose * v

    ``a_lj`` is the state of head j of block l at the prompt's last token, ``y`` the first
    token of the right answer. With ``residual``, a head's share is what reaches the stream,
    ``g * (W_O[:, j] a_lj) / rms(o)`` where a norm with gain g follows the projection (Gemma
    2 and 3, OLMo 2), averaged over prompts. ``textbook`` is ``W_O[:, j] mean(a_lj)``, as
    published; where no norm follows, both are the same up to the family's own factor.
    Biases belong to no head (released code adds the projection's once for each).
    """

    name: ClassVar[str] = "function-vector"
    summary: ClassVar[str] = "of a map: add what its causally strongest heads write"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.15213"
    needs: ClassVar[tuple[Need, ...]] = ("examples",)

    layer: Layer | Literal["third"] = "third"
    """Decoder block whose output is edited, counted from 0; third: a third of the way."""
    heads: int = 10
    """How many heads are summed; all where there are fewer."""
    use: tuple[tuple[int, int], ...] = ()
    """Sum these instead, each a layer and a head: what works for many maps, for example."""
    write: Literal["residual", "textbook"] = "residual"
    """What a head is held to add; see above."""
    shots: int = 10
    """Examples in a prompt."""
    mean_prompts: int = 100
    """Clean prompts whose states are averaged; at most one for each example."""
    effect_prompts: int = 25
    """Prompts with moved labels, on which effects are measured; at most as above."""
    only_solved: bool = False
    """Whether only queries that the model answers rightly after examples are used."""
    template: str = "qa"
    """How prompts are written: qa, bare, arrow, or a sentence of yours that holds {x}."""
    tokens: str = "last"
    """Which tokens are edited: last, from_last_prompt, generated, prompt, all, or
    first_K."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.heads < 1 or self.effect_prompts < 1:
            raise BadOption(
                "function-vector needs at least 1 head and 1 effect prompt, not "
                f"{self.heads} and {self.effect_prompts}"
            )
        third = round(model.n_layers / 3)
        site = model.site(third if self.layer == "third" else self.layer)
        check_heads(model, self.use)
        states, table, counts = survey(
            model,
            data,
            shots=self.shots,
            mean_prompts=self.mean_prompts,
            effect_prompts=0 if self.use else self.effect_prompts,
            only_solved=self.only_solved,
            template=self.template,
            seed=seed,
        )
        heads = self.use if table is None else best(model, table, self.heads)
        vector = mean_contribution(model, states, heads, self.write)
        chosen = [[*head, None if table is None else float(table[head])] for head in heads]
        form = template_named(self.template)
        bare = [form.prompt((), example.input) for example in data.examples[:BARE]]
        norms = state_norms({site: [last_states(model, bare, [site])[site]]})
        facts = {**counts, "chosen": chosen, **norms}
        origin = origin_of(self, model, data, seed, facts)
        return Intervention({site: Add(vector)}, self.tokens, origin=origin)
