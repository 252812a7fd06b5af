"""A sweep by the engine beside one hooked forward of everything for each of its cells."""

import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from benchmarks import naive
from benchmarks.rows import Row, steadily, timed
from seatrial.model import Model
from seatrial.model.engine.onednn import quick_linears
from seatrial.steering.intervention import Steering
from seatrial.types import Request

Way = Callable[[Model, Sequence[naive.Batch], Steering], Tensor]
"""The naive way to the log-probability of every scored token under one steering."""


def compare(
    benchmark: str,
    model: Model,
    requests: Sequence[Request],
    cells: Sequence[Steering],
    *,
    sizes: str,
    goal: float,
    sample: int = 4,
    way: Way = naive.log_probs,
    against: str = "hooked forwards",
) -> Iterator[Row]:
    """Time both ways, and compare what they say on a random sample of cells.

    The naive way takes the same time for every cell, so it is timed on the sample and
    scaled up. A second row times it with the faster matrix products of the engine, which
    tells what the reuse of work alone gives.
    """
    batches = naive.batches(model, requests)
    chosen = random.Random(0).sample(range(len(cells)), min(sample, len(cells)))
    model.log_probs(requests[:2], cells[:2])
    with torch.inference_mode():
        model.engine.network(input_ids=batches[0].ids, attention_mask=batches[0].mask)
    seconds, answers = steadily(lambda: model.log_probs(requests, cells))
    measured, worst = 0.0, 0.0
    for cell in chosen:
        taken, scores = timed(lambda cell=cell: way(model, batches, cells[cell]))
        measured += taken
        worst = max(worst, float((scores - naive.flat(answers[cell])).abs().max()))
    yield Row(
        benchmark,
        model.card.name,
        against,
        f"{sizes}; batches of {len(batches[0].ids)}",
        measured,
        f"{len(chosen)} of {len(cells)} cells",
        measured * len(cells) / len(chosen),
        seconds,
        worst,
        goal=goal,
    )
    few = chosen[:1]
    with quick_linears(model.engine.network):
        measured = sum(
            timed(lambda cell=cell: way(model, batches, cells[cell]))[0] for cell in few
        )
    yield Row(
        benchmark,
        model.card.name,
        f"{against}, our matrix products",
        sizes,
        measured,
        f"{len(few)} of {len(cells)} cells",
        measured * len(cells) / len(few),
        seconds,
        None,
    )
