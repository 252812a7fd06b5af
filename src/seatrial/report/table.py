"""The tables of a report as text, built once and shown in three places.

Numbered traps and requirements are those of docs/hazards.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

from seatrial.analysis.side_effects import judged
from seatrial.analysis.summary import SHOWN_ITEMS, Effect, Summary, Trial
from seatrial.analysis.verdict import Label, Price
from seatrial.report.words import anchor, percent
from seatrial.types import Estimate

NOT_MEASURED = "not measured"


class VerdictRow(NamedTuple):
    """One trial in the verdict table; every number with its interval."""

    concept: str
    task: str
    unit: str
    method: str
    label: Label
    slope: str
    band: str
    anti_steerable: str
    instruction: str
    price: str
    """Perplexity ratio at dose 1 or -1, whichever is worse."""
    guards: tuple[str, ...]
    """Each other guard with its change at dose 1 or -1, whichever is worse."""
    layer: str
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
    """What a control or the instruction costs at one dose."""

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


class CheckLine(NamedTuple):
    """One line of the audit."""

    id: str
    question: str
    status: str
    detail: str


def verdict_rows(summary: Summary) -> list[VerdictRow]:
    """One row per trial, each a function of its own trial alone (trap T42)."""
    return [_row(trial) for trial in summary.trials]


def _row(trial: Trial) -> VerdictRow:
    at_one = [price for price in trial.prices if abs(price.dose) == 1]
    worst = max(at_one, key=lambda price: price.perplexity_ratio.high, default=None)
    return VerdictRow(
        concept=trial.concept,
        task=trial.task,
        unit=trial.unit,
        method=trial.method,
        label=trial.verdict.label,
        slope=str(trial.response.steerability),
        band=trial.band.ends,
        anti_steerable=percent(trial.response.anti_steerable),
        instruction=str(trial.instruction) if trial.instruction else NOT_MEASURED,
        price=str(worst.perplexity_ratio) if worst else NOT_MEASURED,
        guards=_worst_changes(trial),
        layer=str(trial.layer),
        anchor=anchor(trial),
    )


def _worst_changes(trial: Trial) -> tuple[str, ...]:
    lines = []
    for guard in judged(trial.guards):
        at_one = [damage.change for damage in guard.damages if abs(damage.dose) == 1]
        worst = max(at_one, key=lambda change: change.high, default=NOT_MEASURED)
        lines.append(f"{guard.guard} {worst}")
    return tuple(lines)


def numbers(trial: Trial, summary: Summary) -> list[Line]:
    """Every estimate of a trial, the ones that verdicts rest on first."""
    response, unit = trial.response, f"{trial.unit} per dose"
    anti = response.anti_steerable
    lines = [
        _line("unsteered", trial.base, trial.unit, "the quantity without steering"),
        _line("mean slope", response.steerability, unit, "the effect of one unit of dose"),
        _line("median slope", response.median_slope, unit, "the item in the middle"),
        _line("lower quartile", response.lower_quartile, unit, "a quarter is below"),
        _line("upper quartile", response.upper_quartile, unit, "a quarter is above"),
        _line(
            "anti-steerable", anti, "of the items", "moved the wrong way or not at all"
        )._replace(text=percent(anti)),
        *_shape(trial),
    ]
    for metric in summary.labels.target(trial.task).metrics:
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
    if trial.instruction is not None:
        meaning = "asking for it minus against it, halved"
        lines.append(_line("instruction effect", trial.instruction, trial.unit, meaning))
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
    meaning = "share that a straight line explains"
    lines.append(_line("R² of the mean curve", response.r2, "", meaning))
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


def control_lines(trial: Trial, summary: Summary) -> list[Line]:
    """The band and each control's slope."""
    meanings = {steering.name: steering.summary for steering in summary.labels.steerings}
    unit = f"{trial.unit} per dose"
    count = f"{trial.band.n} controls"
    meaning = "holds the controls below, and where one more would lie"
    return [
        Line("control band", str(trial.band), unit, count, meaning),
        *(
            Line(
                f"{control.method}, seed {control.seed}",
                str(control.slope),
                unit,
                f"{control.slope.n} groups",
                meanings[control.method].removeprefix("control: "),
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
            point.band.ends,
            *_price_texts(prices.get(point.dose)),
        )
        for point in trial.curve
    ]


def price_lines(trial: Trial) -> list[PriceLine]:
    """The price of the controls and of the instruction."""
    return [
        PriceLine(method, f"{price.dose:+g}", *_price_texts(price))
        for method, prices in trial.control_prices.items()
        for price in prices
    ]


def guard_lines(trial: Trial) -> list[GuardLine]:
    """Every guard without a budget: under the method, its controls and the instruction."""
    return [
        GuardLine(
            f"{quantity.guard}: {quantity.metric}, {quantity.unit}",
            method,
            f"{damage.dose:+g}",
            str(damage.change),
            damage.band.ends if damage.band else NOT_MEASURED,
        )
        for quantity in trial.guards
        for method, damages in {trial.method: quantity.damages, **quantity.controls}.items()
        for damage in damages
    ]


def _price_texts(price: Price | None) -> tuple[str, str]:
    if price is None:
        return NOT_MEASURED, NOT_MEASURED
    return str(price.perplexity_ratio), str(price.kl)


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
    return sorted(lines, key=lambda line: order.index(line.status))
