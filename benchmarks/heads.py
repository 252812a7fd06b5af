"""Benchmark 3: the causal effect of every attention head (function vectors, step one).

Todd et al. 2024 (https://arxiv.org/abs/2310.15213): a head's mean activation over ten-shot
prompts of a map takes the place of its activation at the last token of a prompt whose
examples are shuffled; how much likelier does the right answer become?
"""

import random
from collections.abc import Iterator

import torch

from benchmarks.compare import compare
from benchmarks.prompts import map_request, mean_tokens, one_token_pairs
from benchmarks.rows import Row
from seatrial.model import Model
from seatrial.steering.edits import Patch
from seatrial.steering.intervention import Intervention, Steering
from seatrial.types import Site, Text

SHOTS = 10


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """All layers and heads on 25 prompts of the map of opposites."""
    pairs = one_token_pairs(model, "antonym")
    n = 2 if tiny else 25
    draw = random.Random(0)
    groups = [draw.sample(pairs, SHOTS + 1) for _ in range(2 * n)]
    requests = [map_request(group[1:], group[0], wrong=True) for group in groups[:n]]
    shown = [Text(map_request(group[1:], group[0]).prompt, "") for group in groups[n:]]
    layers = range(2 if tiny else model.n_layers)
    sites = [Site(layer, "heads") for layer in layers]
    cells = []
    for site, h in model.activations(shown, sites, "last").items():
        heads = model.structure.blocks[site.layer].heads
        assert heads is not None
        for head in range(heads.n_heads):
            where = torch.zeros(heads.n_heads, heads.d_head, dtype=torch.bool)
            where[head] = True
            edit = Patch(h.mean(0), where.flatten())
            cells.append(Steering(Intervention({site: edit}, "last"), 1.0))
    length = mean_tokens(model, [str(request.prompt) for request in requests])
    yield from compare(
        "3 causal effect of every head",
        model,
        requests,
        cells,
        sizes=f"{len(cells)} heads of {len(layers)} layers, {n} ten-shot prompts of "
        f"{length:.0f} tokens",
        goal=60.0,
    )
