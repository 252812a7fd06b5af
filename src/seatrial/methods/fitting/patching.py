"""What each attention head does to an answer: patched alone, all of them in one call."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.data.templates import generator_for, template_named
from seatrial.errors import BadOption
from seatrial.methods.fitting.heads import Head, attending
from seatrial.methods.fitting.map_prompts import (
    draw_prompts,
    last_states,
    requests_of,
    solved,
)
from seatrial.model import Model
from seatrial.steering.edits import Patch
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.types import FitData, Request, Site


class Survey(NamedTuple):
    """What was found about all heads of a model on one map."""

    states: dict[Site, Float[Tensor, "prompt width"]]
    """At the last token of clean prompts, at all ``heads`` and ``attn`` sites."""
    effects: Float[Tensor, "layer head"] | None
    """Mean indirect effects, if they were asked for."""
    counts: dict[str, int]
    """How many prompts were asked, read and patched, for the record."""


def patches(
    model: Model, values: Mapping[int, Float[Tensor, " width"]]
) -> dict[Head, Steering]:
    """For every head, a steering that puts its part of ``values`` at the last token.

    Args:
        model: the model.
        values: states at the ``heads`` sites, by layer.
    """
    steerings: dict[Head, Steering] = {}
    for layer, heads in attending(model).items():
        for head in range(heads.n_heads):
            where = torch.zeros(heads.n_heads, heads.d_head, dtype=torch.bool)
            where[head] = True
            edits = {Site(layer, "heads"): Patch(values[layer], where.flatten())}
            steerings[layer, head] = Steering(Intervention(edits, "last"))
    return steerings


def indirect_effects(
    model: Model,
    requests: Sequence[Request],
    values: Mapping[int, Float[Tensor, " width"]],
) -> Float[Tensor, "layer head"]:
    """How much likelier each head, patched alone, makes the first token of the answers.

        AIE_lj = mean over requests of  P(y | a_lj := values_lj) - P(y)

    patched at the last token of the prompt (https://arxiv.org/abs/2310.15213, eq. 3 and 4).
    Rows of blocks without attention are 0: nothing there can be patched.

    Args:
        model: the model.
        requests: prompts, each with its right answer.
        values: what is put in place, by layer.
    """
    under = patches(model, values)
    lines = model.log_probs(requests, [UNSTEERED, *under.values()])
    plain, *means = [
        torch.tensor([answer.log_probs[0][0] for answer in line]).double().exp().mean()
        for line in lines
    ]
    n_heads = max(heads.n_heads for heads in attending(model).values())
    table = torch.zeros(model.n_layers, n_heads, dtype=torch.float64)
    for head, mean in zip(under, means, strict=True):
        table[head] = mean - plain
    return table


def survey(
    model: Model,
    data: FitData,
    *,
    shots: int,
    mean_prompts: int,
    effect_prompts: int,
    only_solved: bool,
    template: str,
    seed: int,
) -> Survey:
    """Read all heads on clean prompts and patch them on prompts with moved labels.

    What was found last is remembered, because it serves all layers and strengths.

    Args:
        model: the model.
        data: of a map; prompts and queries are made of its examples.
        shots: demonstrations of a prompt.
        mean_prompts: clean prompts; their mean states are what is patched in.
        effect_prompts: prompts with moved labels; 0 leaves effects out.
        only_solved: use only queries whose clean prompt the model answers rightly.
        template: how prompts are written.
        seed: of the prompts.

    Raises:
        BadData: without examples, or with too few.
        UnsupportedModel: if the model has no heads.
    """
    examples, form = data.examples, template_named(template)
    layers = attending(model)

    def make() -> Survey:
        clean, moved = (generator_for(seed, "heads", use) for use in ("means", "effects"))
        shown = draw_prompts(examples, form, shots, mean_prompts, clean)
        counts = {"prompts_asked": len(shown)}
        shown = solved(model, shown, form) if only_solved else shown
        counts["prompts_read"] = len(shown)
        sites = [Site(layer, point) for layer in layers for point in ("heads", "attn")]
        states = last_states(model, [prompt for prompt, _ in shown], sites)
        if effect_prompts == 0:
            return Survey(states, None, counts)
        queries = [query for _, query in shown]
        prompts = draw_prompts(
            examples,
            form,
            shots,
            effect_prompts,
            moved,
            queries=queries,
            labels_moved=True,
        )
        counts["prompts_patched"] = len(prompts)
        values = {layer: states[Site(layer, "heads")].mean(0) for layer in layers}
        requests = requests_of(model, prompts, form)
        return Survey(states, indirect_effects(model, requests, values), counts)

    options = (shots, mean_prompts, effect_prompts, only_solved, template, seed)
    return model.readings.remembered(("heads", examples, *options), make)


def effects(
    model: Model,
    data: FitData,
    *,
    shots: int = 10,
    mean_prompts: int = 100,
    effect_prompts: int = 25,
    only_solved: bool = False,
    template: str = "qa",
    seed: int = 0,
) -> Float[Tensor, "layer head"]:
    """The mean indirect effect of every head, by which function vectors choose theirs.

    See ``survey`` for the arguments and ``indirect_effects`` for the formula.
    """
    table = survey(
        model,
        data,
        shots=shots,
        mean_prompts=mean_prompts,
        effect_prompts=max(1, effect_prompts),
        only_solved=only_solved,
        template=template,
        seed=seed,
    ).effects
    assert table is not None
    return table


def best(model: Model, table: Float[Tensor, "layer head"], heads: int) -> tuple[Head, ...]:
    """The heads with the largest entries, the largest first; ties go to the earlier one."""
    known = attending(model)
    every = [(layer, head) for layer in known for head in range(known[layer].n_heads)]
    return tuple(sorted(every, key=lambda head: (-float(table[head]), head))[:heads])


def universal(
    model: Model,
    maps: Sequence[FitData],
    heads: int,
    measure: Callable[[Model, FitData], Float[Tensor, "layer head"]] = effects,
) -> tuple[Head, ...]:
    """The heads with the largest mean effect over several maps, the largest first.

    They are what ``use`` of `function-vector` takes. Every map counts alike.

    Args:
        model: the model.
        maps: fit splits of different maps.
        heads: how many.
        measure: gives the effects of one map; ``functools.partial(effects, shots=5)``
            measures with other options.

    Raises:
        BadOption: for no maps, or fewer than one head.
    """
    if not maps or heads < 1:
        raise BadOption(
            "universal heads need at least 1 map and 1 head, not "
            f"{len(maps)} and {heads}; one map's own are what function-vector finds"
        )
    tables = torch.stack([measure(model, data) for data in maps])
    return best(model, tables.mean(0), heads)
