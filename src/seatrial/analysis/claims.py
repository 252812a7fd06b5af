"""What a plan claims, judged trial by trial and corrected for how many claims there are."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import polars as pl

from seatrial.analysis.curves import Curves, Values, changes, groups_of, mean_of, values_of
from seatrial.analysis.records import ClaimResult, Trial
from seatrial.stats import holm, paired_sign_flip_p, slopes
from seatrial.types import Estimate

ALPHA = 0.05
"""A claim holds where Holm's adjusted p is not above this."""

RELIABLE = ("works", "works at a price")
"""Verdicts of what moves most items the right way, beyond every control."""


@final
@dataclass(frozen=True)
class Evidence:
    """What claims need of one trial beside its estimates: numbers item by item."""

    trial: Trial
    family: str
    """Of the behaviour: the label that the plan gives to all sources of one list."""
    arm: str
    """The label of the method in the plan, without a point of its grid."""
    is_judged: bool
    """Whether it has controls that decide."""
    slope: Values
    effects: Mapping[str, Values]
    """Change at the chosen dose, of the label and of every baseline."""
    points: Mapping[str, Values]
    """The same of the label, by point of the target's grid."""
    guards: Mapping[str, Values]
    """Damage at the chosen dose by guard."""
    matters: float | None

    @property
    def names(self) -> set[str]:
        """By which a claim may name where the trial stands."""
        return {self.trial.behaviour, self.family, self.trial.target}

    @property
    def labels(self) -> set[str]:
        """By which a claim may name what is tried."""
        return {self.trial.label, self.arm}


def evidence_of(trial: Trial, curves: Curves) -> Evidence:
    """What claims need of a trial."""
    rows, curve = curves.rows, curves.curve
    slope = dict(
        zip(curve.items, zip(curve.groups, curve.slopes.tolist(), strict=True), strict=True)
    )
    header = rows.header
    family = header.get("behaviour", {}).get("family", trial.behaviour)
    arm = header.get("families", {}).get(trial.label, trial.label.split(" ")[0])
    effects = {name: curves.effect_of(name) for name in (trial.label, *trial.baselines)}
    return Evidence(
        trial,
        family,
        arm,
        trial.verdict.label != "not judged",
        slope,
        effects,
        _by_point(curves, effects[trial.label]),
        _by_guard(curves),
        header["targets"][trial.target].get("matters"),
    )


def _by_point(curves: Curves, here: Values) -> dict[str, Values]:
    rows = curves.rows
    points = rows.header["targets"][rows.name.target]["points"]
    if len(points) < 2:
        return {}
    effects = {rows.point: here}
    for point in points[1:]:
        at = (pl.col("point") == point) & (pl.col("condition") == rows.condition)
        plain = rows.elsewhere.filter(at & (pl.col("kind") == "unsteered"))
        own = rows.elsewhere_chosen.filter(
            at & (pl.col("method") == curves.label) & (pl.col("side") == 1)
        )
        base = values_of(plain, curves.metric)
        effects[point] = changes(values_of(own, curves.metric), base, curves.sign)
    return effects


def _by_guard(curves: Curves) -> dict[str, Values]:
    damages = {}
    for guard in curves.rows.labels.guards:
        metric = guard.metric
        plain = curves.guard(guard.name).filter(pl.col("kind") == "unsteered")
        own = curves.rows.guards_chosen.filter(
            (pl.col("target") == guard.name)
            & (pl.col("method") == curves.label)
            & (pl.col("kind") != "control")
            & (pl.col("side") == 1)
        )
        base, after = (values_of(each, metric.name) for each in (plain, own))
        damages[guard.name] = changes(after, base, metric.sign)
    return damages


def judge_claims(
    claims: Sequence[Mapping[str, Any]], evidence: Sequence[Evidence]
) -> tuple[ClaimResult, ...]:
    """Every claim about every trial that it names, with Holm's correction over all.

    Args:
        claims: of a plan, as plain tables; none: that every trial of a method under test
            that has deciding controls works.
        evidence: of every trial of the run.
    """
    unsaid = [each for each in evidence if each.is_judged]
    results = [_verdict_claim(each, "works") for each in unsaid] if not claims else []
    for claim in claims:
        results += _judged(claim, evidence)
    return _corrected(results)


def _corrected(results: Sequence[ClaimResult]) -> tuple[ClaimResult, ...]:
    known = [k for k, result in enumerate(results) if result.p is not None]
    raw = [result.p for result in results if result.p is not None]
    adjusted = dict(zip(known, holm(raw), strict=True))
    final = []
    for k, result in enumerate(results):
        if k not in adjusted:
            final.append(replace(result, holds=False))
            continue
        p = float(adjusted[k])
        holds, reason = result.holds and p <= ALPHA, result.reason
        if result.holds and not holds:
            reason = f"{reason}; not beyond chance among {len(known)} claims"
        final.append(replace(result, holds=holds, reason=reason, adjusted_p=p))
    return tuple(final)


def _judged(
    claim: Mapping[str, Any], evidence: Sequence[Evidence]
) -> Iterator[ClaimResult]:
    that = claim.get("that", "works")
    named = [each for each in evidence if _is_named(claim, each)]
    if not named:
        runs = {each.trial.run for each in evidence}
        text = _text(claim)
        reason = "nothing that it names was measured"
        yield ClaimResult(", ".join(sorted(runs)), text, False, reason, None, None)
    seen: set[tuple[str, ...]] = set()
    for each in named:
        match that:
            case "works" | "reliable":
                yield _verdict_claim(each, that)
            case "better" | "not worse":
                yield _compared(each, that, claim["than"], evidence)
            case "falls" | "rises":
                yield _along(each, that, claim["along"])
            case "suffers":
                for guard in _guards(claim, each):
                    # A guard does not depend on the target, but on what was chosen for it.
                    key = (
                        *_place(each),
                        guard,
                        _chosen(each),
                    )
                    if key not in seen:
                        seen.add(key)
                        yield _suffering(each, guard)
            case _:
                reason = f"{that!r} cannot be judged by this version"
                yield _cannot(each, that, reason)


def _is_named(claim: Mapping[str, Any], each: Evidence) -> bool:
    methods, on, models = (_listed(claim, key) for key in ("method", "on", "model"))
    if methods and not each.labels & methods:
        return False
    if models and each.trial.model not in models:
        return False
    guards = {guard.name for guard in each.trial.labels.guards}
    where = on - guards if claim.get("that") == "suffers" else on
    if each.labels & {claim.get("than", "")}:
        return False
    if claim.get("along") and not _values_along(each.points, claim["along"]):
        return False
    return not where or bool(each.names & where)


def _listed(claim: Mapping[str, Any], key: str) -> set[str]:
    value = claim.get(key) or ()
    return {value} if isinstance(value, str) else set(value)


def _guards(claim: Mapping[str, Any], each: Evidence) -> list[str]:
    on = _listed(claim, "on")
    known = [guard.name for guard in each.trial.labels.guards]
    return [guard for guard in known if guard in on] or known


def _chosen(each: Evidence) -> str:
    return repr((sorted(each.trial.settings.items()), each.trial.dose))


def _place(each: Evidence) -> tuple[str, str, str, str]:
    trial = each.trial
    return trial.run, trial.model, trial.behaviour, trial.label


def _subject(each: Evidence) -> str:
    trial = each.trial
    return f"{trial.label} for {trial.behaviour} on {trial.target} ({trial.model})"


def _text(claim: Mapping[str, Any]) -> str:
    words = [
        " and ".join(sorted(_listed(claim, "method"))) or "every method",
        str(claim.get("that", "works")),
    ]
    if claim.get("than"):
        words.append(f"than {claim['than']}")
    if claim.get("along"):
        words.append(f"along {claim['along']}")
    if on := sorted(_listed(claim, "on")):
        words.append(f"on {' and '.join(on)}")
    if models := sorted(_listed(claim, "model")):
        words.append(f"with {' and '.join(models)}")
    return " ".join(words)


def _result(
    each: Evidence,
    text: str,
    holds: bool,
    reason: str,
    p: float | None,
    difference: Estimate | None = None,
) -> ClaimResult:
    return ClaimResult(each.trial.run, text, holds, reason, p, None, difference)


def _cannot(each: Evidence, that: str, reason: str) -> ClaimResult:
    return _result(each, f"{_subject(each)}: {that}", False, reason, None)


def _verdict_claim(each: Evidence, that: str) -> ClaimResult:
    text = f"{_subject(each)} {'works' if that == 'works' else 'is reliable'}"
    label, reasons = each.trial.verdict.label, each.trial.verdict.reasons
    if not each.is_judged:
        return _result(each, text, False, f"not judged: {'; '.join(reasons[1:2])}", None)
    holds = label == "works" if that == "works" else label in RELIABLE
    return _result(each, text, holds, f"the verdict is: {label}", _p(each.slope))


def _compared(
    each: Evidence, that: str, than: str, evidence: Sequence[Evidence]
) -> ClaimResult:
    words = "is better than" if that == "better" else "is not worse than"
    text = f"{_subject(each)} {words} {than}"
    other = _effect_of(than, each, evidence)
    own = each.effects[each.trial.label]
    if other is None:
        reason = f"{than} was not measured there, at one point of its grid alone"
        return _result(each, text, False, reason, None)
    difference = changes(own, other)
    if not _is_enough(difference):
        return _result(each, text, False, "they share too few items", None)
    margin = 0.0
    if that == "not worse":
        if each.matters is None:
            reason = "the target does not say what size matters, so nothing is too little"
            return _result(each, text, False, reason, None)
        margin = each.matters
    mean = mean_of(difference)
    beyond = {item: (g, value + margin) for item, (g, value) in difference.items()}
    limit = f"{-margin:g}" if margin else "0"
    holds = mean.low > -margin
    reason = (
        f"difference at the chosen doses {mean} {each.trial.unit}, "
        f"{'above' if holds else 'not shown to be above'} {limit}"
    )
    return _result(each, text, holds, reason, _p(beyond), mean)


def _effect_of(than: str, each: Evidence, evidence: Sequence[Evidence]) -> Values | None:
    if than in each.effects:
        return each.effects[than]
    trial = each.trial
    others = [
        other
        for other in evidence
        if than in other.labels
        and _place(other)[:3] == _place(each)[:3]
        and other.trial.target == trial.target
    ]
    exact = [other for other in others if other.trial.label == than]
    chosen = exact or others
    return chosen[0].effects[chosen[0].trial.label] if len(chosen) == 1 else None


def _along(each: Evidence, that: str, option: str) -> ClaimResult:
    text = f"the effect of {_subject(each)} {that} along {option}"
    values = _values_along(each.points, option)
    order = list(dict.fromkeys(values.values()))
    by_value = [
        [each.points[point] for point, value in values.items() if value == one]
        for one in order
    ]
    complete = all(effect for same in by_value for effect in same)
    items = set.intersection(*(set(effect) for same in by_value for effect in same))
    first = by_value[0][0]
    if not complete or len({first[item][0] for item in items}) < 2:
        return _result(each, text, False, "it was not measured at every point", None)
    kept = [item for item in first if item in items]
    table = np.array(
        [
            [np.mean([effect[item][1] for effect in same]) for same in by_value]
            for item in kept
        ]
    )
    slope = slopes(range(len(order)), table)
    paired = {
        item: (first[item][0], float(value))
        for item, value in zip(kept, slope, strict=True)
    }
    mean = mean_of(paired)
    holds = mean.high < 0 if that == "falls" else mean.low > 0
    reason = (
        f"slope of the effect from {option}={order[0]} to {option}={order[-1]}: {mean} "
        f"{each.trial.unit} per value"
    )
    return _result(each, text, holds, reason, _p(paired), mean)


def _values_along(points: Mapping[str, Values], option: str) -> dict[str, str]:
    """Point -> value of an option of the grid, where a grid has it."""
    pattern = re.compile(rf'(?:^| ){re.escape(option)}=("(?:[^"\\]|\\.)*"|\S+)')
    matches = {point: pattern.search(point) for point in points}
    return {point: match[1] for point, match in matches.items() if match}


def _suffering(each: Evidence, guard: str) -> ClaimResult:
    text = f"{guard} suffers under {_subject(each)}"
    damages = each.guards.get(guard, {})
    if not _is_enough(damages):
        reason = "the guard was not measured at the chosen dose"
        return _result(each, text, False, reason, None)
    mean = mean_of(damages)
    label = next(g for g in each.trial.labels.guards if g.name == guard)
    reason = f"damage at the chosen dose {mean} {label.metric.unit}"
    return _result(each, text, mean.low > 0, reason, _p(damages), mean)


def _is_enough(values: Values) -> bool:
    return len(set(groups_of(values))) >= 2


def _p(values: Values) -> float:
    return paired_sign_flip_p([value for _, value in values.values()], groups_of(values))
