"""The hazard audit: a study checks itself for the known ways to get steering wrong.

Checks carry their numbers in docs/hazards.md, H1 to H14; what the engine refuses by itself
(hooks that do not fire, edits that overflow) is not asked again. A check that fails stops
the study.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from typing import Any, Literal, final

import polars as pl

from seatrial.data import check_disjoint
from seatrial.data.split import kinds
from seatrial.errors import BadData
from seatrial.model import Model, TokenSelector
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.studies.behaviour import Behaviour
from seatrial.tasks import Contrastive
from seatrial.types import Answer, Request

NOISE_LIMITS = {"float32": 1e-4, "float16": 0.07, "bfloat16": 0.6}
"""Largest difference of a token's log-probability, in nats, for an item alone and in its
batch. Rounding grows with the logits; SmolLM2-135M shows 2e-5, 0.03 and 0.25."""


@final
@dataclass(frozen=True)
class Check:
    """One answered question about a run."""

    id: str
    question: str
    status: Literal["passed", "warned", "failed"]
    detail: str
    value: float | None = None
    """What was measured, where it is one number: of H5, the noise in nats per token."""


def audit_behaviour(behaviour: Behaviour) -> list[Check]:
    """Splits and balance of one concept's items."""
    check_disjoint(behaviour.parts)
    sizes = {name: len(items) for name, items in behaviour.parts.items()}
    checks = [
        _check(
            "H6",
            f"{behaviour.concept.name}: no item, text or topic in two splits?",
            True,
            ", ".join(f"{name} {size} items" for name, size in sizes.items())
            + "; compared by content",
        )
    ]
    for name, items in behaviour.parts.items():
        labels = kinds(items)
        if not {"yes", "no"} & set(labels):
            continue  # there is no answer that could be said always
        yes = labels.count("yes") / len(items)
        checks.append(
            _check(
                "H9",
                f"{behaviour.concept.name}: is yes right for half of the {name} items?",
                0.4 <= yes <= 0.6,
                f"{yes:.0%} of {len(items)}",
                soft=True,
            )
        )
    return checks


def audit_model(
    model: Model,
    concept: str,
    task: Contrastive,
    fitted: Intervention,
    read: TokenSelector | None,
) -> list[Check]:
    """What the model does with one fitted intervention, on the select split."""
    requests = task.requests("select")
    # A steering with a gate leaves the other prompts alone, as it should.
    acts = model.acts_on([request.prompt for request in requests], fitted)
    acted = [request for request, does in zip(requests, acts, strict=True) if does]
    requests = (acted or requests)[:4]
    label = f"{concept}, {task.name}"
    before = model.log_probs(requests)[0]
    beside, *steered, zero = model.log_probs(
        requests, [UNSTEERED, *(Steering(fitted, dose) for dose in (1.0, -1.0, 0.0))]
    )
    after = model.log_probs(requests)[0]
    return [
        _dose_zero(before, [*beside, *zero, *after], steered[0], label, acts=bool(acted)),
        _alone(model, requests, fitted, steered, label),
        _positions(model, acted, fitted, label),
        _reads(model, task, read, label),
    ]


def _dose_zero(
    before: Sequence[Answer],
    others: Sequence[Answer],
    steered: Sequence[Answer],
    label: str,
    *,
    acts: bool,
) -> Check:
    """Compare unsteered answers; there are some lines of others, one after the other."""
    differ = sum(answer != before[k % len(before)] for k, answer in enumerate(others))
    moved = max(_distance(a, b) for a, b in zip(before, steered, strict=True))
    return _check(
        "H1",
        f"{label}: is dose 0 the unsteered model, before, beside and after steered ones?",
        differ == 0 and (moved > 0) == acts,
        f"{differ} of {len(others)} answers differ, while dose 1 moves a token "
        f"by up to {moved:.3g} nats",
    )


def _alone(
    model: Model,
    requests: Sequence[Request],
    fitted: Intervention,
    together: Sequence[Sequence[Answer]],
    label: str,
) -> Check:
    limit = NOISE_LIMITS[model.dtype]
    under = [Steering(fitted, 1.0), Steering(fitted, -1.0)]
    alone = [model.log_probs([request], under) for request in requests]
    worst = max(
        _distance(alone[k][s][0], line[k])
        for s, line in enumerate(together)
        for k in range(len(requests))
    )
    return _check(
        "H5",
        f"{label}: does an item get the same score alone as in its batch?",
        worst <= limit,
        f"noise up to {worst:.1e} nats per token, limit {limit:.0e} in {model.dtype}",
        value=worst,
    )


def _distance(one: Answer, other: Answer) -> float:
    """Largest difference of a token's log-probability; infinite where one is no number."""
    return max(
        inf if isnan(a - b) else abs(a - b)
        for x, y in zip(one.log_probs, other.log_probs, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def _positions(
    model: Model, requests: Sequence[Request], fitted: Intervention, label: str
) -> Check:
    question = (
        f"{label}: do the edits, scope {fitted.tokens!r}, reach the score of every answer?"
    )
    if (
        fitted.prompt_edit and not fitted.parts
    ):  # words stand before everything that is scored
        return _check("H4", question, True, "no activation is edited")
    if not requests:
        return _check("H4", question, True, "its gate opens for none of these prompts")
    missed, answers, words = [], 0, ""
    for request in requests:
        edited = model.where(request, fitted)
        words = words or " ".join(repr(token.token) for token in edited[:6])
        reached = {token.answer for token in edited if token.predicts_scored}
        answers += len(request.answers)
        missed += [request.id for k in range(len(request.answers)) if k not in reached]
    at = f" ({', '.join(dict.fromkeys(missed))})" if missed else ""
    return _check(
        "H4",
        question,
        not missed,
        f"{len(missed)} of {answers} answers missed{at}; edited: {words or 'nothing'} ...",
    )


def _reads(
    model: Model, task: Contrastive, read: TokenSelector | None, label: str
) -> Check:
    bos = model.special.bos
    pairs = task.pairs("fit")
    tokens, wrong, double = [], [], 0
    for text in (text for pair in pairs for text in (pair.positive, pair.negative)):
        double += bos is not None and model.tokens(text)[:2] == (bos, bos)
        if read is not None:
            try:
                tokens.append(model.read_tokens(text, read))
            except BadData as error:
                wrong.append(str(error))
    shown = "; ".join(repr(token) for token in tokens[:6:2]) or "none"
    first = f", such as: {wrong[0]}" if wrong else ""
    return _check(
        "H3",
        f"{label}: has every text at most one BOS, and is what was read at {read!r} right?",
        double == 0 and not wrong,
        f"{double} of {2 * len(pairs)} texts begin with two, {len(wrong)} are read at "
        f"another token than meant{first}; read, for example {shown}",
    )


def audit_rows(frame: pl.DataFrame, planned: Collection[str]) -> list[Check]:
    """What can be seen in the rows alone.

    Args:
        frame: all rows of the store.
        planned: the ids of the study's cells.
    """
    stored = set(frame["cell"])
    missing, foreign = set(planned) - stored, stored - set(planned)
    twice = frame.height - frame.select("cell", "item", "metric").n_unique()
    items = frame.group_by("concept", "task", "split", "cell").agg(
        pl.col("item").unique().sort().implode().alias("items")
    )
    unequal = (
        items.group_by("concept", "task", "split")
        .agg(pl.col("items").n_unique().alias("sets"))
        .filter(pl.col("sets") > 1)
        .height
    )
    finite = frame.filter(~pl.col("value").is_finite()).height
    logs = frame.filter(pl.col("metric").is_in(["matching", "other"]))
    above = logs.filter(pl.col("value") > 0).height
    return [
        _check(
            "H7",
            "Are the planned cells stored, and do compared cells have the same items?",
            not (missing or foreign or twice or unequal),
            f"{len(planned)} cells planned, {len(missing)} of them missing, {len(foreign)} "
            f"others stored, {twice} rows twice, {unequal} comparisons with unequal items",
        ),
        _check(
            "H8",
            "Are all scores finite, and all log-probabilities at most 0?",
            finite == 0 and above == 0,
            f"{frame.height} rows, {finite} not finite, {above} above 0",
        ),
    ]


def plain_checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as plain values, in a fixed order."""
    return [
        asdict(check) for check in sorted(checks, key=lambda c: (int(c.id[1:]), c.question))
    ]


def _check(
    identity: str,
    question: str,
    ok: bool,
    detail: str,
    *,
    soft: bool = False,
    value: float | None = None,
) -> Check:
    status = "passed" if ok else ("warned" if soft else "failed")
    return Check(identity, question, status, detail, value)
