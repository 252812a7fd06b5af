"""Benchmark 4: a task vector at every layer of a question without examples.

Hendel et al. 2023 (https://arxiv.org/abs/2310.15916): what a block gives at the last token
of a prompt with examples takes the place of what it gives at the last token of a bare
question.
"""

from collections.abc import Iterator

from benchmarks.compare import compare
from benchmarks.prompts import map_request, mean_tokens, one_token_pairs
from benchmarks.rows import Row
from seatrial.model import Model
from seatrial.steering.edits import Replace
from seatrial.steering.intervention import Intervention, Steering
from seatrial.types import Site, Text

SHOTS, SHOWN = 10, 4


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """All layers on 50 questions of the map of opposites."""
    pairs = one_token_pairs(model, "antonym")
    n = 2 if tiny else 50
    requests = [map_request((), pair) for pair in pairs[:n]]
    others = pairs[n:]
    shown = [
        Text(map_request(others[first : first + SHOTS], others[-1]).prompt, "")
        for first in range(0, SHOWN * SHOTS, SHOTS)
    ]
    sites = [Site(layer) for layer in range(2 if tiny else model.n_layers)]
    cells = [
        Steering(Intervention({site: Replace(h.mean(0))}, "last"), 1.0)
        for site, h in model.activations(shown, sites, "last").items()
    ]
    length = mean_tokens(model, [str(request.prompt) for request in requests])
    yield from compare(
        "4 task vector at every layer",
        model,
        requests,
        cells,
        sizes=f"{len(cells)} layers, {n} questions of {length:.1f} tokens",
        goal=15.0,
        sample=10,
    )
