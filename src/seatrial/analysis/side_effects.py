"""What the guards without a budget say: how much worse each gets, dose by dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import polars as pl

from seatrial.analysis.curves import values_of
from seatrial.analysis.measured import NO_SHARES, mean_change
from seatrial.analysis.verdict import Damage
from seatrial.stats import cluster_mean, cluster_share, control_band
from seatrial.store.labels import MetricLabel, TaskLabel
from seatrial.types import Estimate

Values = dict[str, tuple[str, float]]
"""Item -> (group, value), in the order of items."""


@final
@dataclass(frozen=True)
class Guarded:
    """One quantity of one guard, under a method and under its controls."""

    guard: str
    metric: str
    unit: str
    base: Estimate
    """Without steering."""
    damages: tuple[Damage, ...]
    """Of the method, at every dose."""
    controls: dict[str, tuple[Damage, ...]]
    """Of each kind of control, averaged over its seeds, and of each baseline."""


def guarded(
    rows: pl.DataFrame, guards: Sequence[TaskLabel], method: str
) -> tuple[Guarded, ...]:
    """Every guard but the one whose price is a ratio of perplexities.

    Args:
        rows: what was measured on guards, of one method, its controls and baselines.
        guards: of the study.
        method: by name.

    Returns:
        Of each guard first the metric that verdicts look at, then its drift if it has one.
    """
    quantities = []
    for guard in guards:
        if guard.is_priced:
            continue
        for metric in guard.metrics:
            here = rows.filter(
                (pl.col("target") == guard.name) & (pl.col("metric") == metric.name)
            )
            if not here.is_empty():
                quantities.append(_guarded(here, guard.name, metric, method))
    return tuple(quantities)


def judged(quantities: Sequence[Guarded]) -> tuple[Guarded, ...]:
    """Of each guard the quantity that verdicts look at."""
    firsts: dict[str, Guarded] = {}
    for quantity in quantities:
        firsts.setdefault(quantity.guard, quantity)
    return tuple(firsts.values())


def _guarded(rows: pl.DataFrame, guard: str, label: MetricLabel, method: str) -> Guarded:
    metric, sign = label.name, label.sign
    base = values_of(rows.filter(pl.col("kind") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    estimate = cluster_share if _is_share(metric, base) else cluster_mean
    by_method: dict[str, list[Damage]] = {}
    for dose in sorted({*rows["dose"]} - {0.0}):
        same = rows.filter(pl.col("dose") == dose)
        band = _band(same.filter(pl.col("kind") == "control"), base, metric, sign)
        for (name,), own in sorted(same.partition_by("method", as_dict=True).items()):
            mean = own.group_by("item", "group", "metric").agg(pl.col("value").mean())
            change = _change(values_of(mean, metric), base, metric, sign)
            by_method.setdefault(str(name), []).append(Damage(dose, change, band))
    return Guarded(
        guard,
        metric,
        label.unit,
        estimate([value for _, value in base.values()], groups),
        tuple(by_method.pop(method, ())),
        {name: tuple(damages) for name, damages in sorted(by_method.items())},
    )


def _band(controls: pl.DataFrame, base: Values, metric: str, sign: int) -> Estimate | None:
    each = controls.partition_by("method", "draw")
    changes = [_change(values_of(rows, metric), base, metric, sign) for rows in each]
    return control_band(changes) if changes else None


def _change(after: Values, base: Values, metric: str, sign: int) -> Estimate:
    assert list(after) == list(base), f"items of a guard differ in {metric}"
    plain, steered = ([value for _, value in values.values()] for values in (base, after))
    groups = [group for group, _ in base.values()]
    change = mean_change(plain, steered, groups, _is_share(metric, base, after))
    if sign > 0:
        return change
    return Estimate(-change.value, -change.high, -change.low, change.n)


def _is_share(metric: str, *values: Values) -> bool:
    seen = {value for each in values for _, value in each.values()}
    return seen <= {0.0, 1.0} and metric not in NO_SHARES
