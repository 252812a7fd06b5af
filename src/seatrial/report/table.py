"""The tables of a report as text, built once and shown in three places.

Numbered traps and requirements are those of docs/hazards.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from seatrial.analysis.records import SHOWN_ITEMS, ClaimResult, Effect, Summary, Trial
from seatrial.analysis.side_effects import judged
from seatrial.analysis.verdict import Label, Price, damages_judged
from seatrial.report.words import anchor, chosen, percent, where
from seatrial.types import Estimate

NOT_MEASURED = "not measured"


class VerdictRow(NamedTuple):
    """One trial in the verdict table; every number with its interval."""

    where: str
    """Run and model, where there are several."""
    behaviour: str
    target: str
    unit: str
    method: str
    label: Label
    slope: str
    band: str
    anti_steerable: str
    baselines: tuple[str, ...]
    """Each baseline with its effect; the effect alone where there is one baseline."""
    price: str
    """Perplexity ratio at the chosen dose or its negative, whichever is worse."""
    guards: tuple[str, ...]
    """Each other guard with its change there, whichever is worse."""
    chosen: str
    """Options and dose."""
    anchor: str


class Line(NamedTuple):
    """One number of a trial, with its interval and its meaning."""

    name: str
    text: str
    unit: str
    n: str
    """What the interval counts."""
    meaning: str


class DoseLine(NamedTuple):
    """What happens at one dose."""

    dose: str
    change: str
    band: str
    perplexity_ratio: str
    kl: str


class PriceLine(NamedTuple):
    """What a control or a baseline costs at one dose."""

    method: str
    dose: str
    perplexity_ratio: str
    kl: str


class GuardLine(NamedTuple):
    """What a guard without a budget says about one steering at one dose."""

    guard: str
    """With the quantity and its unit."""
    method: str
    dose: str
    change: str
    band: str
    """What the controls do at this dose."""


class ElsewhereLine(NamedTuple):
    """The target in another condition, or at another point of its grid."""

    place: str
    base: str
    slope: str
    effect: str


class SeedLine(NamedTuple):
    """What one seed chose, and what its fit does."""

    seed: str
    chosen: str
    slope: str
    effect: str


class ClaimLine(NamedTuple):
    """One claim of a plan."""

    text: str
    outcome: str
    reason: str
    p: str
    adjusted_p: str


class Matrix(NamedTuple):
    """Effects of fits (rows) on questions (columns)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Each with the fit first; empty where it was not asked."""


class CheckLine(NamedTuple):
    """One line of the audit."""

    id: str
    question: str
    status: str
    detail: str


def baseline_title(summary: Summary) -> str:
    """What the column of baselines is called."""
    names = {name for trial in summary.trials for name in trial.baselines}
    return f"{names.pop()} effect" if len(names) == 1 else "baselines"


def verdict_rows(summary: Summary) -> list[VerdictRow]:
    """One row per trial, each a function of its own trial alone (trap T42)."""
    is_one = baseline_title(summary) != "baselines"
    return [_row(trial, where(trial, summary), is_one) for trial in summary.trials]


def _row(trial: Trial, place: str, is_one: bool) -> VerdictRow:
    baselines = tuple(
        str(effect) if is_one else f"{name} {effect}"
        for name, effect in trial.baselines.items()
    )
    return VerdictRow(
        where=place,
        behaviour=trial.behaviour,
        target=trial.target,
        unit=trial.unit,
        method=trial.label,
        label=trial.verdict.label,
        slope=str(trial.response.steerability),
        band=trial.band.ends if trial.band else NOT_MEASURED,
        anti_steerable=percent(trial.response.anti_steerable),
        baselines=baselines or (NOT_MEASURED,),
        price=str(trial.price.perplexity_ratio) if trial.price else NOT_MEASURED,
        guards=_worst_changes(trial),
        chosen=chosen(trial),
        anchor=anchor(trial),
    )


def _worst_changes(trial: Trial) -> tuple[str, ...]:
    lines = []
    for guard in judged(trial.guards):
        there = damages_judged(guard.damages, (trial.dose, -trial.dose))
        changes = [damage.change for damage in there]
        worst = max(changes, key=lambda change: change.high, default=NOT_MEASURED)
        lines.append(f"{guard.guard} {worst}")
    return tuple(lines)


def numbers(trial: Trial) -> list[Line]:
    """Every estimate of a trial, the ones that verdicts rest on first."""
    response, unit = trial.response, f"{trial.unit} per dose"
    anti = response.anti_steerable
    lines = [
        _line("unsteered", trial.base, trial.unit, "the quantity without steering"),
        _line("effect", trial.effect, trial.unit, f"change at dose {trial.dose:g}"),
        _line("mean slope", response.steerability, unit, "the effect of one unit of dose"),
        _line("median slope", response.median_slope, unit, "the item in the middle"),
        _line("lower quartile", response.lower_quartile, unit, "a quarter is below"),
        _line("upper quartile", response.upper_quartile, unit, "a quarter is above"),
        _line(
            "anti-steerable", anti, "of the items", "moved the wrong way or not at all"
        )._replace(text=percent(anti)),
        *_shape(trial),
    ]
    for metric in trial.labels.target(trial.target).metrics:
        if metric.name in trial.parts:
            name, meaning = _PARTS[metric.role]
            meaning = meaning.format(metric.name)
            lines.append(_line(name, trial.parts[metric.name], unit, meaning))
    for share in trial.spread:
        unit = "of the variance of slopes"
        meaning = "what is answered, not the concept (0 is best)"
        if share.leans:
            meaning = f"{meaning}; slopes are {share.leans} where it does"
        if share.among:
            unit = f"{unit}, {share.among}"
        lines.append(_line(f"share by {share.by}", share.share, unit, meaning))
    for name, effect in trial.baselines.items():
        meaning = "baseline: for minus against, halved, or its change where it has one side"
        lines.append(_line(f"{name} effect", effect, trial.unit, meaning))
    if trial.ceiling is not None:
        level, recovery = trial.ceiling.level, trial.ceiling.recovery
        lines.append(_line("ceiling", level, trial.unit, "unsteered, and shown how"))
        if recovery is not None:
            meaning = "share of the way from unsteered to the ceiling, at the chosen dose"
            lines.append(_line("recovery", recovery, "", meaning))
    return lines


def _shape(trial: Trial) -> list[Line]:
    """How far the curve is from a straight line."""
    response, unit = trial.response, f"{trial.unit} per dose"
    lines = [
        _line(f"slope for |dose| up to {limit:g}", slope, unit, "over this range only")
        for limit, slope in sorted(response.slope_by_range.items())
    ]
    if (change := response.range_change) is not None:
        depends = response.depends_on_range
        meaning = "depends on the range" if depends else "no difference shown"
        lines.append(_line("narrowest range minus all", change, unit, meaning))
    if response.r2 is not None:
        meaning = "share that a straight line explains"
        lines.append(_line("R² of the mean curve", response.r2, "", meaning))
    if response.residual is not None:
        meaning = "distance of the mean curve from its line"
        lines.append(_line("residual", response.residual, trial.unit, meaning))
    return lines


def _line(name: str, estimate: Estimate, unit: str, meaning: str) -> Line:
    return Line(name, str(estimate), unit, f"{estimate.n} groups", meaning)


_PARTS = {
    "promoted": ("promoting", "slope of log p({}); positive: made likelier"),
    "suppressed": ("suppressing", "slope of log p({}); negative: made less likely"),
}
"""By the role of a metric: what its slope is called, and what that means."""


def control_lines(trial: Trial) -> list[Line]:
    """The band and each control's slope; nothing where there are none."""
    if trial.band is None:
        return []
    meanings = {steering.name: steering.summary for steering in trial.labels.steerings}
    unit = f"{trial.unit} per dose"
    count = f"{trial.band.n} controls"
    meaning = "holds the controls below, and where one more would lie"
    return [
        Line("control band", str(trial.band), unit, count, meaning),
        *(
            Line(
                f"{control.method}, seed {control.draw}",
                str(control.slope),
                unit,
                f"{control.slope.n} groups",
                meanings.get(control.method, "").removeprefix("control: "),
            )
            for control in trial.controls
        ),
    ]


def dose_lines(trial: Trial) -> list[DoseLine]:
    """Effect and price, dose by dose."""
    prices = {price.dose: price for price in trial.prices}
    return [
        DoseLine(
            f"{point.dose:+g}",
            str(point.change),
            point.band.ends if point.band else NOT_MEASURED,
            *_price_texts(prices.get(point.dose)),
        )
        for point in trial.curve
    ]


def price_lines(trial: Trial) -> list[PriceLine]:
    """The price of the controls and of the baselines."""
    return [
        PriceLine(method, f"{price.dose:+g}", *_price_texts(price))
        for method, prices in trial.control_prices.items()
        for price in prices
    ]


def guard_lines(trial: Trial) -> list[GuardLine]:
    """Every guard without a budget: under the method, its controls and the baselines."""
    return [
        GuardLine(
            f"{quantity.guard}: {quantity.metric}, {quantity.unit}",
            method,
            f"{damage.dose:+g}",
            str(damage.change),
            damage.band.ends if damage.band else NOT_MEASURED,
        )
        for quantity in trial.guards
        for method, damages in {trial.label: quantity.damages, **quantity.controls}.items()
        for damage in damages
    ]


def _price_texts(price: Price | None) -> tuple[str, str]:
    if price is None:
        return NOT_MEASURED, NOT_MEASURED
    return str(price.perplexity_ratio), str(price.kl)


def elsewhere_lines(trial: Trial) -> list[ElsewhereLine]:
    """Other conditions and points of the grid, told without a verdict."""
    return [
        ElsewhereLine(
            ", ".join(filter(None, (each.point, each.condition))),
            str(each.base),
            str(each.slope),
            str(each.effect),
        )
        for each in trial.elsewhere
    ]


def seed_lines(trial: Trial) -> list[SeedLine]:
    """Each seed with its choice and its effect; nothing where there is one seed."""
    if len(trial.seeds) < 2:
        return []
    return [
        SeedLine(
            str(seed.seed),
            chosen(replace(trial, settings=seed.settings, dose=seed.dose)),
            str(seed.slope),
            str(seed.effect),
        )
        for seed in trial.seeds
    ]


def claim_lines(summary: Summary) -> list[ClaimLine]:
    """Every claim, those that do not hold first."""
    many = len(summary.studies) > 1
    return [
        ClaimLine(
            f"{claim.run}: {claim.text}" if many else claim.text,
            "holds" if claim.holds else "does not hold",
            claim.reason,
            _p(claim.p),
            _p(claim.adjusted_p),
        )
        for claim in sorted(summary.claims, key=_holds)
    ]


def _holds(claim: ClaimResult) -> bool:
    return claim.holds


def _p(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2g}"


def matrices(summary: Summary) -> list[Matrix]:
    """What fits do elsewhere: behaviours on behaviours, conditions in conditions."""
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for trial in summary.trials:
        place = where(trial, summary)
        for each in trial.transfers:
            if each.kind == "behaviour":
                title = f"{trial.label}: a behaviour's fit asked on others"
                row = f"{trial.behaviour} ({trial.target})"
            else:
                title = (
                    f"{trial.label} for {trial.behaviour} on {trial.target}: fitted in a "
                    "condition, asked in all"
                )
                row = each.fitted
            title += f" ({place})" if place else ""
            cells.setdefault(title, _at_home(trial, each.kind))
            if each.kind == "behaviour":
                cells[title] |= _at_home(trial, each.kind)
            cells[title][row, each.place] = str(each.effect)
    return [_matrix(title, entries) for title, entries in cells.items()]


def _at_home(trial: Trial, kind: str) -> dict[tuple[str, str], str]:
    """What a trial says itself of its own place in a matrix."""
    if kind == "behaviour":
        row = f"{trial.behaviour} ({trial.target})"
        return {(row, f"{trial.behaviour} on {trial.target}"): str(trial.effect)}
    first = trial.elsewhere[0].point if trial.elsewhere else ""
    return {
        ("base", "base"): str(trial.effect),
        **{
            ("base", each.condition): str(each.effect)
            for each in trial.elsewhere
            if each.point == first and each.condition != "base"
        },
    }


def _matrix(title: str, entries: dict[tuple[str, str], str]) -> Matrix:
    rows = list(dict.fromkeys(row for row, _ in entries))
    columns = list(dict.fromkeys(column for _, column in entries))
    return Matrix(
        title,
        tuple(columns),
        tuple((row, *(entries.get((row, c), "") for c in columns)) for row in rows),
    )


def worst_items(trial: Trial) -> Sequence[Effect]:
    """The items that moved least or the wrong way, the worst first; shown always (R22)."""
    return trial.effects[::-1][:SHOWN_ITEMS]


def best_items(trial: Trial) -> Sequence[Effect]:
    """The items that moved most, none of which is among the worst."""
    return trial.effects[: -len(worst_items(trial)) or None][:SHOWN_ITEMS]


def checks(summary: Summary) -> list[CheckLine]:
    """The audit, failures first."""
    order = ("failed", "warned", "passed")
    lines = [
        CheckLine(**{key: entry[key] for key in CheckLine._fields})
        for entry in summary.audit
    ]
    return sorted(dict.fromkeys(lines), key=lambda line: order.index(line.status))
