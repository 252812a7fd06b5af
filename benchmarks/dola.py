"""Benchmark 5: contrasts of layers at the output (DoLa), all buckets and thresholds.

Chuang et al. 2023 (https://arxiv.org/abs/2309.03883). The naive way is one forward for each
setting; of its states only those that predict scored tokens pass the vocabulary.

A difference of hundreds of nats would be a token that stands on the threshold itself: the
last bits decide whether it is ruled out.
"""

from collections.abc import Iterator, Sequence
from math import log

import torch
from torch import Tensor

from benchmarks.compare import compare
from benchmarks.naive import Batch
from benchmarks.prompts import mean_tokens
from benchmarks.rows import Row
from seatrial.data.facts import load_facts
from seatrial.model import Model
from seatrial.steering.intervention import Intervention, Steering
from seatrial.steering.readout import FLOOR, ContrastLayers
from seatrial.types import Request

BUCKETS = ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.0, 1.0))
"""Shares of the depth; every second state between them is a candidate."""
ALPHAS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """24 settings on 50 factual questions with four answers each."""
    requests = [
        Request(
            fact.id,
            fact.group,
            f"Q: {fact.question}\nA:",
            tuple(f" {option}" for option in fact.options),
        )
        for fact in load_facts()[:: 150 if tiny else 6]
    ]
    cells = [
        Steering(Intervention(readout=ContrastLayers(candidates(model, *bucket), alpha)))
        for bucket in BUCKETS
        for alpha in ALPHAS
    ]
    length = mean_tokens(model, [str(request.prompt) for request in requests])
    yield from compare(
        "5 contrast of layers (DoLa)",
        model,
        requests,
        cells,
        sizes=f"{len(BUCKETS)} buckets x {len(ALPHAS)} alphas, {len(requests)} questions "
        f"of {length:.0f} tokens with 4 answers",
        goal=15.0,
        way=one_forward,
        against="one forward a setting",
    )


def candidates(model: Model, low: float, high: float) -> tuple[int, ...]:
    """Every second state of a part of the depth; -1 is the embeddings."""
    n = model.n_layers
    return tuple(state - 1 for state in range(0, n, 2) if low * n <= state < high * n)


@torch.inference_mode()
def one_forward(model: Model, found: Sequence[Batch], steering: Steering) -> Tensor:
    """Log-probability of every scored token under one contrast."""
    readout = steering.intervention.readout
    assert isinstance(readout, ContrastLayers)
    norm, unembedding = model.structure.final_norm, model.structure.unembedding
    assert norm is not None
    scores = torch.zeros(sum(len(batch.slots) for batch in found))
    for batch in found:
        output = model.engine.network(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            use_cache=False,
            output_hidden_states=True,
        )
        final = output.logits[batch.rows, batch.columns].log_softmax(-1)
        premature = torch.zeros_like(final)
        farthest = torch.full(final.shape[:1], -1.0)
        for layer in readout.layers:
            h = output.hidden_states[layer + 1][batch.rows, batch.columns]
            early = unembedding(norm(h)).log_softmax(-1)
            distance = jensen_shannon(final, early)
            is_farther = distance > farthest
            premature[is_farther] = early[is_farther]
            farthest = torch.maximum(farthest, distance)
        contrast = (final - premature).log_softmax(-1)
        if readout.plausibility:
            bound = final.amax(-1, keepdim=True) + log(readout.plausibility)
            kept = final >= bound
            contrast = (final - premature).masked_fill(~kept, -torch.inf).log_softmax(-1)
            contrast = contrast.masked_fill(~kept, FLOOR)
        scores[batch.slots] = contrast[torch.arange(len(contrast)), batch.tokens]
    return scores


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Divergence of distributions given as log-probabilities, row by row, in nats."""
    mixture = torch.logaddexp(p, q) - log(2)
    return ((p.exp() * (p - mixture) + q.exp() * (q - mixture)) / 2).sum(-1)
