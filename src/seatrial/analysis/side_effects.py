"""What other guards than prose say: how much worse each gets, dose by dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import polars as pl

from seatrial.analysis.curves import values_of
from seatrial.analysis.measured import NO_SHARES, difference
from seatrial.analysis.verdict import Damage
from seatrial.stats import cluster_mean, cluster_share, control_band
from seatrial.tasks import GUARDS, Scored
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
    """Of each kind of control, averaged over its seeds, and of the instruction."""

    @property
    def is_metric(self) -> bool:
        """Whether verdicts look at it; else it stands beside the guard's metric."""
        return self.metric == GUARDS[self.guard].about.metric


def guarded(rows: pl.DataFrame, guards: Sequence[str], method: str) -> tuple[Guarded, ...]:
    """Every guard but prose, whose price is a ratio of perplexities.

    Args:
        rows: what was measured on one concept, of one method and its controls.
        guards: of the study.
        method: by name.
    """
    found = []
    for guard in guards:
        if guard == "prose":
            continue
        kind = GUARDS[guard]
        drifts = issubclass(kind, Scored) and kind.needs_kl
        quantities = {
            kind.about.metric: kind.about.unit,
            **({"kl": "nats per token"} if drifts else {}),
        }
        for metric, unit in quantities.items():
            here = rows.filter((pl.col("task") == guard) & (pl.col("metric") == metric))
            found.append(_guarded(here, guard, metric, unit, method))
    return tuple(found)


def _guarded(
    rows: pl.DataFrame, guard: str, metric: str, unit: str, method: str
) -> Guarded:
    base = values_of(rows.filter(pl.col("method") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    estimate = cluster_share if _is_share(metric, base) else cluster_mean
    found: dict[str, list[Damage]] = {}
    for dose in sorted({*rows["dose"]} - {0.0}):
        same = rows.filter(pl.col("dose") == dose)
        band = _band(same.filter(pl.col("is_control")), base, metric)
        for (name,), own in sorted(same.partition_by("method", as_dict=True).items()):
            mean = own.group_by("item", "group", "metric").agg(pl.col("value").mean())
            change = _change(values_of(mean, metric), base, metric)
            found.setdefault(str(name), []).append(Damage(dose, change, band))
    return Guarded(
        guard,
        metric,
        unit,
        estimate([value for _, value in base.values()], groups),
        tuple(found.pop(method, ())),
        {name: tuple(damages) for name, damages in sorted(found.items())},
    )


def _band(controls: pl.DataFrame, base: Values, metric: str) -> Estimate | None:
    each = controls.partition_by("method", "seed")
    changes = [_change(values_of(rows, metric), base, metric) for rows in each]
    return control_band(changes) if changes else None


def _change(after: Values, base: Values, metric: str) -> Estimate:
    assert list(after) == list(base), f"items of a guard differ in {metric}"
    plain, steered = ([value for _, value in values.values()] for values in (base, after))
    groups = [group for group, _ in base.values()]
    return difference(plain, steered, groups, _is_share(metric, base, after))


def _is_share(metric: str, *values: Values) -> bool:
    seen = {value for each in values for _, value in each.values()}
    return seen <= {0.0, 1.0} and metric not in NO_SHARES
