"""Benchmarks 1 and 2: layers x doses on questions with the answers A and B."""

from collections.abc import Iterator, Sequence

import torch

from benchmarks.compare import compare
from benchmarks.prompts import letters, mean_tokens
from benchmarks.rows import Row
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention, Steering
from seatrial.types import Request, Site, Text

DOSES = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
"""None is 0, which would be free for the engine."""

SCOPES = {
    # scope: (benchmark, prompts, goal by model)
    "from_last_prompt": (
        "1 layers x doses, from the last prompt token",
        64,
        {"smollm2-135m": 60.0, "gemma3-270m": 100.0},
    ),
    # Fewer prompts, because nothing before the edited layer is all that can be shared.
    "all": (
        "2 layers x doses, all tokens",
        8,
        {"smollm2-135m": 2.0, "gemma3-270m": 5.0},
    ),
}


def grid(
    model: Model,
    requests: Sequence[Request],
    scope: str,
    layers: Sequence[int],
    doses: Sequence[float] = DOSES,
) -> list[Steering]:
    """One random direction a layer, a tenth of the activations long, at every dose."""
    sites = [Site(layer) for layer in layers]
    read = [Text(request.prompt, "") for request in requests[:4]]
    lengths = {
        site: float(h.norm(dim=1).mean())
        for site, h in model.activations(read, sites, "last").items()
    }
    generator = torch.Generator().manual_seed(0)
    cells = []
    for site in sites:
        v = torch.randn(model.d_model, generator=generator)
        edits = {site: Add(v * (lengths[site] / 10 / v.norm()))}
        intervention = Intervention(edits, scope)
        cells += [Steering(intervention, dose) for dose in doses]
    return cells


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """Both scopes."""
    layers = range(2 if tiny else model.n_layers)
    for scope, (benchmark, n, goals) in SCOPES.items():
        requests = letters(2 if tiny else n)
        texts = [model.encoder.encode(r.prompt, r.answers) for r in requests]
        assert all(len(text.scored) == 1 for answers in texts for text in answers)
        length = mean_tokens(model, [str(request.prompt) for request in requests])
        yield from compare(
            benchmark,
            model,
            requests,
            grid(model, requests, scope, layers),
            sizes=f"{len(layers)} layers x {len(DOSES)} doses, {len(requests)} prompts of "
            f"{length:.0f} tokens",
            goal=goals.get(model.card.name, 1.0),
        )
