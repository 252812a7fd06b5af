"""The hazard audit: a unit checks itself for the known ways to get steering wrong.

Checks carry their numbers in docs/hazards.md, H1 to H14; what the engine refuses by itself
(hooks that do not fire, edits that overflow) is not asked again. A check of items that
fails stops the unit, one of a method that method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isnan
from typing import Any, Literal, final

from seatrial.data import check_disjoint
from seatrial.data.split import kinds
from seatrial.errors import BadData, SteeringFault
from seatrial.model import Model, TokenSelector
from seatrial.steering import UNSTEERED, Intervention, Steering
from seatrial.tasks import Contrastive, Scored, Task
from seatrial.types import Answer, FitData, Request

NOISE_LIMITS = {"float32": 1e-4, "float16": 0.07, "bfloat16": 0.6}
"""Largest difference of a token's log-probability, in nats, for an item alone and in its
batch. Rounding grows with the logits; SmolLM2-135M shows 2e-5, 0.03 and 0.25."""

WITHOUT_NORM = 100
"""How many times as noisy a readout of early states may be that pass no norm: their logits
reach 1e5 (docs/speed.md), where one step of float32 is .008."""

ASKED = 4
"""Requests that the checks of a steering ask."""


@final
@dataclass(frozen=True)
class Check:
    """One answered question about a unit."""

    id: str
    question: str
    status: Literal["passed", "warned", "failed"]
    detail: str
    value: float | None = None
    """What was measured, where it is one number: of H5, the noise in nats per token."""


def audit_items(label: str, task: Task, *, leak: bool = False) -> list[Check]:
    """Splits and balance of the items of a target.

    Args:
        label: of the behaviour.
        task: in the base condition.
        leak: whether test items are fitted on, as published somewhere.
    """
    parts = getattr(task, "splits", None)
    if not isinstance(parts, Mapping):
        return []
    try:
        check_disjoint(parts)
        overlap = ""
    except BadData as error:
        overlap = str(error)
    if leak:
        overlap = "the plan's split.leak lets methods fit on test items, as published"
    sizes = ", ".join(f"{name} {len(items)} items" for name, items in parts.items())
    checks = [
        _check(
            "H6",
            f"{label}: no item, text or topic in two splits?",
            not overlap,
            overlap or f"{sizes}; compared by content",
            soft=leak,
        )
    ]
    for name, items in parts.items():
        labels = kinds(items) if isinstance(task, Contrastive) else ()
        if not {"yes", "no"} & set(labels):
            continue  # there is no answer that could be said always
        yes = labels.count("yes") / len(items)
        checks.append(
            _check(
                "H9",
                f"{label}: is yes right for half of the {name} items?",
                0.4 <= yes <= 0.6,
                f"{yes:.0%} of {len(items)}",
                soft=True,
            )
        )
    return checks


def audit_fit(
    model: Model, label: str, task: Scored, fitted: Intervention, doses: Sequence[float]
) -> list[Check]:
    """What the model does with one fitted intervention, on select items.

    Args:
        model: is asked.
        label: of the fit and the target, in words.
        task: in the base condition.
        fitted: what was chosen.
        doses: at which it is tested, one or two of them.
    """
    requests = task.requests("select") or task.requests("test")
    # A steering with a gate leaves the other prompts alone, as it should.
    acts = model.acts_on([request.prompt for request in requests], fitted)
    acted = [request for request, does in zip(requests, acts, strict=True) if does]
    requests = (acted or list(requests))[:ASKED]
    before = model.log_probs(requests)[0]
    under = [UNSTEERED, *(Steering(fitted, dose) for dose in (*doses, 0.0))]
    beside, *steered, zero = model.log_probs(requests, under)
    after = model.log_probs(requests)[0]
    others = [*beside, *zero, *after]
    return [
        _dose_zero(before, others, steered[0], label, doses[0], acts=bool(acted)),
        _alone(model, requests, fitted, doses, steered, label),
        _positions(model, acted, fitted, label),
    ]


def audit_reads(
    model: Model, label: str, data: FitData, read: TokenSelector | None
) -> list[Check]:
    """Whether the texts of a fit are read at the tokens that are meant.

    Args:
        model: reads them.
        label: of the fit, in words.
        data: what was fitted on.
        read: where the method reads; ``None``: at several places, or none.
    """
    if not data.pairs:
        return []
    return [_reads(model, data, read, label)]


def refuse(checks: Sequence[Check]) -> None:
    """Stop where a check failed.

    Raises:
        SteeringFault: for what the model or a steering did.
        BadData: for what is wrong with the items.
    """
    for check in checks:
        if check.status == "failed":
            kind = SteeringFault if check.id in ("H1", "H2", "H3", "H4", "H5") else BadData
            raise kind(
                f"check {check.id} of the audit failed ({check.question} {check.detail}), "
                "so nothing more is measured of it; what was measured is kept, and "
                "`seatrial audit` shows all checks"
            )


def _dose_zero(
    before: Sequence[Answer],
    others: Sequence[Answer],
    steered: Sequence[Answer],
    label: str,
    dose: float,
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
        f"{differ} of {len(others)} answers differ, while dose {dose:g} moves a token "
        f"by up to {moved:.3g} nats",
    )


def _alone(
    model: Model,
    requests: Sequence[Request],
    fitted: Intervention,
    doses: Sequence[float],
    together: Sequence[Sequence[Answer]],
    label: str,
) -> Check:
    limit = NOISE_LIMITS[model.dtype]
    if fitted.readout is not None and fitted.readout.norm == "none":
        limit *= WITHOUT_NORM
    under = [Steering(fitted, dose) for dose in doses]
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
    if not fitted.parts:  # words or a readout reach every token that is scored
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


def _reads(model: Model, data: FitData, read: TokenSelector | None, label: str) -> Check:
    bos = model.special.bos
    pairs = data.pairs
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


def plain_checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Checks as plain values."""
    return [asdict(check) for check in checks]


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
