"""Questions of a map behind solved examples, and the states at their last tokens.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from seatrial.data.templates import Template, draw, with_labels_moved
from seatrial.errors import BadData, BadOption
from seatrial.model import Model
from seatrial.types import Example, Request, Site, Text


class MapPrompt(NamedTuple):
    """A prompt that ends where the answer to its query begins."""

    prompt: str
    query: Example


def draw_prompts(
    examples: Sequence[Example],
    template: Template,
    shots: int,
    n: int,
    generator: np.random.Generator,
    *,
    queries: Sequence[Example] | None = None,
    labels_moved: bool = False,
) -> list[MapPrompt]:
    """Prompts with random demonstrations, each with another query.

    Args:
        examples: what demonstrations are drawn from, never the query's own.
        template: how they are written.
        shots: demonstrations of a prompt.
        n: how many prompts; as many as there are queries, where those are fewer.
        generator: of the choice.
        queries: what is asked; the examples by default.
        labels_moved: whether every demonstration shows another one's output.

    Raises:
        BadOption: for fewer than 1 shot or prompt.
        BadData: for too few examples.
    """
    if shots < 1 or n < 1:
        raise BadOption(f"shots and prompts must be at least 1, not {shots} and {n}")
    queries = examples if queries is None else queries
    prompts = []
    for k in generator.permutation(len(queries))[:n].tolist():
        shown = draw(examples, shots, generator, query=queries[k])
        if labels_moved:
            shown = with_labels_moved(shown, generator)
        prompts.append(MapPrompt(template.prompt(shown, queries[k].input), queries[k]))
    return prompts


def requests_of(
    model: Model, prompts: Sequence[MapPrompt], template: Template
) -> list[Request]:
    """How likely is the right answer to each query?

    Raises:
        BadData: where the answer's text and the end of the prompt become one token, so
            that the last token before the answer is not the one that the prompt ends in.
    """
    requests = []
    for prompt, query in prompts:
        answer = template.answer(query.output)
        request = Request(query.input, query.input, prompt, (answer,))
        [whole] = model.answer_tokens(request)
        if whole.n_prompt != len(model.tokens(prompt)):
            raise BadData(
                f"the output {query.output!r} of {query.input!r} melts into one token with "
                "the end of the prompt, so the token that should be edited is not there; "
                "leave this example out, or use another template"
            )
        requests.append(request)
    return requests


def solved(
    model: Model, prompts: Sequence[MapPrompt], template: Template
) -> list[MapPrompt]:
    """The prompts that greedy decoding answers rightly.

    Raises:
        BadData: if there are none.
    """
    requests = requests_of(model, prompts, template)
    [line] = model.log_probs(requests, top=True)
    kept = [q for q, a in zip(prompts, line, strict=True) if a.is_top and all(a.is_top[0])]
    if not kept:
        raise BadData(
            f"the model solves none of the {len(prompts)} prompts with demonstrations, so "
            "nothing is left to read; fit without only_solved, or on an easier map"
        )
    return kept


def last_states(
    model: Model, prompts: Sequence[str], sites: Sequence[Site]
) -> dict[Site, Float[Tensor, "prompt width"]]:
    """Activations at the last token of each prompt, which must be the end of its text.

    Raises:
        BadData: if it is not (traps T6, T48).
    """
    for prompt in prompts:
        last = model.decode(model.tokens(prompt)[-1:]).strip()
        if not last or not prompt.endswith(last):
            raise BadData(
                f"the last token read is {last!r}, but the prompt ends in "
                f"{prompt[-12:]!r}; use a template whose end the tokenizer keeps as it is"
            )
    return model.activations([Text(prompt, "") for prompt in prompts], sites, "last")


def mean_state(
    model: Model, prompts: Sequence[str], site: Site
) -> Float[Tensor, " d_model"]:
    """Mean of what a block gives at the last token of some prompts."""

    def read() -> dict[Site, Tensor]:
        # Every block out of one pass: a sweep over layers asks for them in turn.
        everywhere = [Site(layer) for layer in range(model.n_layers)]
        states = last_states(model, prompts, everywhere)
        return {site: h.double().mean(0).float() for site, h in states.items()}

    return model.readings.remembered(("means", *prompts), read)[site]
