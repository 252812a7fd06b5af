"""Reads scores off logits: log-probabilities of answers, and drift from the unsteered."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, SteeringFault
from seatrial.model.layout import Bucket, Row, Target
from seatrial.model.tokens import Encoded
from seatrial.types import Answer, Request


@dataclass
class Results:
    """Scores as they come in, by request and answer."""

    log_probs: dict[tuple[int, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    kl: dict[tuple[int, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )


def read_scores(
    bucket: Bucket,
    rows: Sequence[Row],
    logits: Float[Tensor, "row column vocabulary"],
    owners: Sequence[Results],
    base: dict[tuple[int, int], Tensor] | None,
    *,
    fill: bool,
) -> None:
    """Read the scored tokens off the logits and add them to their owners' results."""
    wanted = [(k, target) for k, row in enumerate(rows) for target in row.targets]
    places = torch.tensor([k for k, _ in wanted])
    columns = torch.tensor([target.column - bucket.first_column for _, target in wanted])
    tokens = torch.tensor([target.token for _, target in wanted])
    log_dist = logits[places, columns].float().log_softmax(-1)
    scores = log_dist.gather(-1, tokens.to(log_dist.device)[:, None])[:, 0].tolist()
    divergences = [0.0] * len(scores)
    if base is not None:
        keys = list(dict.fromkeys((t.request, t.answer) for _, t in wanted))
        fresh = fill and keys[0] not in base
        if fresh:
            for key in keys:
                mine = [
                    n for n, (_, t) in enumerate(wanted) if (t.request, t.answer) == key
                ]
                base[key] = log_dist[mine]
        else:
            reference = aligned(wanted, base)
            divergences = (log_dist.exp() * (log_dist - reference)).sum(-1).tolist()
    if not all(math.isfinite(score) for score in scores):
        raise overflow(logits.dtype)
    for (k, target), score, divergence in zip(wanted, scores, divergences, strict=True):
        owners[k].log_probs[target.request, target.answer].append(score)
        owners[k].kl[target.request, target.answer].append(divergence)


def overflow(dtype: torch.dtype) -> SteeringFault:
    """The one sentence for activations that an edit drove out of range."""
    return SteeringFault(
        f"a score is not finite: the edited activations overflowed {dtype}; use a smaller "
        "dose or load the model in float32"
    )


def answer_of(result: Results, request: int, n_answers: int, kl: bool) -> Answer:
    """The finished answer to one request."""
    return Answer(
        tuple(tuple(result.log_probs[request, a]) for a in range(n_answers)),
        tuple(tuple(result.kl[request, a]) for a in range(n_answers)) if kl else None,
    )


def merge(into: Results, other: Results) -> None:
    """Give one steering the results of another pass."""
    into.log_probs.update(other.log_probs)
    into.kl.update(other.kl)


def check_alike(
    requests: Sequence[Request],
    plain: Sequence[tuple[Encoded, ...]],
    edited: dict[int, tuple[Encoded, ...]],
) -> None:
    """Refuse to compare other tokens after a prompt edit with those before it."""
    for index, answers in edited.items():
        for number, (before, after) in enumerate(zip(plain[index], answers, strict=True)):
            if before.scored != after.scored:
                raise BadData(
                    f"answer {requests[index].answers[number]!r} of request "
                    f"{requests[index].id!r} has other tokens after the edited prompt "
                    "than after the plain one, so no KL between them exists; end the "
                    "prompt at a word boundary"
                )


def aligned(
    wanted: list[tuple[int, Target]], base: dict[tuple[int, int], Tensor]
) -> Tensor:
    """The unsteered log-distribution at each wanted token, in the same order."""
    counters: dict[tuple[int, int, int], int] = defaultdict(int)
    picked = []
    for k, target in wanted:
        key = (target.request, target.answer)
        n = counters[k, *key]
        counters[k, *key] += 1
        picked.append(base[key][n])
    return torch.stack(picked)
