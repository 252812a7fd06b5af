"""The hazard audit: a study checks itself for the known ways to get steering wrong.

Checks named H1 to H12 look at the run as it happened; what an engine or a record makes impossible
by design (hooks that do not fire, edits that reach no score, splits that overlap) stops the run with
an error instead and is listed as passed when the run came through.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import polars as pl

from seatrial.data import check_disjoint
from seatrial.intervention import UNSTEERED, Intervention, Steering
from seatrial.model import Model, TokenSelector
from seatrial.study import Ground
from seatrial.tasks import Target
from seatrial.types import Request

NOISE_LIMIT = 1e-4
"""Largest difference in log-probability, in nats, between an item alone and in its batch."""


@final
@dataclass(frozen=True)
class Check:
    """One answered question about a run."""

    id: str
    question: str
    status: Literal["passed", "warned", "failed"]
    detail: str


def audit_ground(ground: Ground) -> list[Check]:
    """Splits and balance of one concept's items."""
    check_disjoint(ground.parts)
    sizes = {name: len(items) for name, items in ground.parts.items()}
    checks = [
        _check(
            "H6",
            f"{ground.concept.name}: no item, text or topic in two splits?",
            True,
            ", ".join(f"{name} {size} items" for name, size in sizes.items()) + "; compared by content",
        )
    ]
    for name, items in ground.parts.items():
        yes = sum(item.matching == "yes" for item in items) / len(items)
        checks.append(
            _check(
                "H9",
                f"{ground.concept.name}: is yes the matching answer for half of the {name} items?",
                0.4 <= yes <= 0.6,
                f"{yes:.0%} of {len(items)}",
                soft=True,
            )
        )
    return checks


def audit_model(
    model: Model, concept: str, task: Target, fitted: Intervention, read: TokenSelector | None
) -> list[Check]:
    """What the model does with one fitted intervention, on the select split."""
    requests = task.requests("select")[:4]
    label = f"{concept}, {task.name}"
    return [
        _dose_zero(model, requests, fitted, label),
        _alone(model, requests, fitted, label),
        _positions(model, requests[0], fitted, label),
        _reads(model, task, read, label),
    ]


def _dose_zero(
    model: Model, requests: Sequence[Request], fitted: Intervention, label: str
) -> Check:
    before = model.log_probs(requests)[0]
    under = [UNSTEERED, Steering(fitted, 1.0), Steering(fitted, 0.0)]
    inside = model.log_probs(requests, under)
    after = model.log_probs(requests)[0]
    same = before == inside[0] == inside[2] == after
    moved = max(
        abs(a - b)
        for one, other in zip(inside[0], inside[1], strict=True)
        for a, b in zip(one.sums, other.sums, strict=True)
    )
    return _check(
        "H1",
        f"{label}: is dose 0 the unsteered model, before, beside and after steered requests?",
        same and moved > 0,
        f"bit for bit over {len(requests)} items, while dose 1 moves a score by up to {moved:.3g} nats",
    )


def _alone(model: Model, requests: Sequence[Request], fitted: Intervention, label: str) -> Check:
    under = [Steering(fitted, 1.0), Steering(fitted, -1.0)]
    batch = model.log_probs(requests, under)
    worst = 0.0
    for k, request in enumerate(requests):
        for s, steering in enumerate(under):
            alone = model.log_probs([request], [steering])[0][0]
            worst = max(
                worst,
                *(
                    abs(a - b)
                    for x, y in zip(alone.log_probs, batch[s][k].log_probs, strict=True)
                    for a, b in zip(x, y, strict=True)
                ),
            )
    return _check(
        "H5",
        f"{label}: does an item get the same score alone as in its batch?",
        worst <= NOISE_LIMIT,
        f"numerical noise floor {worst:.1e} nats per token",
    )


def _positions(model: Model, request: Request, fitted: Intervention, label: str) -> Check:
    edited = [token for token in model.where(request, fitted) if token.answer == 0]
    reach = [token for token in edited if token.predicts_scored]
    words = " ".join(repr(token.token) for token in edited[:6])
    return _check(
        "H4",
        f"{label}: are the edited tokens the ones of scope {fitted.tokens!r}, and do they reach a score?",
        bool(reach),
        f"in item {request.id}: {words}{' ...' if len(edited) > 6 else ''}",
    )


def _reads(model: Model, task: Target, read: TokenSelector | None, label: str) -> Check:
    bos = model.encoder.tokenizer.bos_token_id
    pairs = task.pairs("fit")
    tokens, double = [], 0
    for pair in pairs:
        encoded = model.encoder.encode_text(pair.positive)
        double += bos is not None and encoded.ids[:2] == (bos, bos)
        if read is not None:
            start, stop = model.encoder.read_span(encoded, read)
            tokens.append(model.encoder.tokenizer.decode(list(encoded.ids[start:stop])))
    shown = "; ".join(repr(token) for token in tokens[:3]) or "none"
    return _check(
        "H3",
        f"{label}: at most one BOS, and which tokens were read at {read!r}?",
        double == 0,
        f"{len(pairs)} fit pairs, for example {shown}",
    )


def audit_rows(frame: pl.DataFrame, planned: int) -> list[Check]:
    """What can be seen in the rows alone."""
    stored = frame["cell"].n_unique()
    finite = frame.filter(~pl.col("value").is_finite()).height
    logs = frame.filter(pl.col("metric").is_in(["matching", "other"]))
    above = logs.filter(pl.col("value") > 0).height
    counts = frame.group_by("concept", "task", "split", "cell").agg(
        pl.col("item").sort().unique(maintain_order=True).implode().alias("items")
    )
    unequal = (
        counts.group_by("concept", "task", "split")
        .agg(pl.col("items").n_unique().alias("sets"))
        .filter(pl.col("sets") > 1)
        .height
    )
    return [
        _check(
            "H7",
            "Are all planned cells stored, and all compared cells measured on the same items?",
            stored == planned and unequal == 0,
            f"{stored} of {planned} cells, {unequal} comparisons with unequal items",
        ),
        _check(
            "H8",
            "Are all scores finite, and all log-probabilities at most 0?",
            finite == 0 and above == 0,
            f"{frame.height} rows, {finite} not finite, {above} above 0",
        ),
    ]


def plain(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as plain values, in a fixed order."""
    return [asdict(check) for check in sorted(checks, key=lambda c: (int(c.id[1:]), c.question))]


def _check(identity: str, question: str, ok: bool, detail: str, *, soft: bool = False) -> Check:
    status = "passed" if ok else ("warned" if soft else "failed")
    return Check(identity, question, status, detail)
