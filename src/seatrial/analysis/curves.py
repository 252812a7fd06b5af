"""The rows of one trial as curves, item by dose, and what can be read off them.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from math import exp, inf
from typing import final

import numpy as np
import polars as pl

from seatrial.analysis.verdict import Price
from seatrial.stats import cluster_difference, cluster_mean, slopes
from seatrial.store import Labels, TaskLabel
from seatrial.types import Estimate


@final
class Curves:
    """The rows of one trial, as curves."""

    def __init__(
        self, labels: Labels, frame: pl.DataFrame, concept: str, task: str, method: str
    ) -> None:
        self.priced = labels.priced
        self.metric = labels.target(task).metric.name
        # What all methods share stands beside each of them.
        is_shared = pl.col("kind").is_in(["unsteered", "baseline"])
        self.here = frame.filter(
            (pl.col("concept") == concept) & ((pl.col("reference") == method) | is_shared)
        )
        self.test = self.here.filter((pl.col("task") == task) & (pl.col("split") == "test"))
        self.own = self.test.filter(pl.col("method") == method)
        # Some methods, few-shot for one, have certain doses only.
        self.doses = tuple(sorted({0.0, *self.own["dose"]}))
        chosen = self.own["layer"].unique().to_list()
        assert len(chosen) == 1, f"{concept} {task} {method} was tested at layers {chosen}"
        self.layer: int = chosen[0]
        base = self.unsteered(self.metric)
        self.names = list(base)
        self.groups = [group for group, _ in base.values()]
        self.base = [value for _, value in base.values()]
        self.curve = self.curve_of(self.own, self.metric)
        self.controls = {
            key: self.curve_of(rows, self.metric)
            for key, rows in parted(
                self.test.filter(pl.col("kind") == "control"), "method", "seed"
            )
        }
        self.guard = self.here.filter(
            pl.col("task").is_in([guard.name for guard in labels.guards])
            & pl.col("layer").is_in([self.layer, -1])
        )

    def unsteered(self, metric: str) -> dict[str, tuple[str, float]]:
        """Item -> (group, value) of the unsteered model."""
        return values_of(self.test.filter(pl.col("kind") == "unsteered"), metric)

    def curve_of(self, rows: pl.DataFrame, metric: str) -> np.ndarray:
        """Item x dose."""
        return curve_of(rows, self.unsteered(metric), metric, self.doses)

    def slope(self, curve: np.ndarray) -> Estimate:
        """Mean slope of a curve."""
        return cluster_mean(slopes(self.doses, curve), self.groups)

    def change(self, curve: np.ndarray, dose: float) -> Estimate:
        """Mean change from the unsteered model at a dose."""
        moved = curve[:, self.doses.index(dose)] - curve[:, self.doses.index(0.0)]
        return cluster_mean(moved, self.groups)

    def prices(self, method: str) -> tuple[Price, ...]:
        """What a method or control costs, at the doses where it was measured."""
        if self.priced is None:
            return ()
        rows = self.guard.filter(pl.col("task") == self.priced.name)
        plain = rows.filter(pl.col("kind") == "unsteered")
        own = rows.filter(pl.col("method") == method)
        return _prices(own, plain, self.priced)


def parted(frame: pl.DataFrame, *keys: str) -> list[tuple[tuple, pl.DataFrame]]:
    """The rows of each combination of keys, in the order of the keys."""
    return sorted(frame.partition_by(list(keys), as_dict=True).items())


def values_of(rows: pl.DataFrame, metric: str) -> dict[str, tuple[str, float]]:
    """Item -> (group, value), in the order of items."""
    picked = rows.filter(pl.col("metric") == metric).sort("item")
    return {
        item: (group, value)
        for item, group, value in picked.select("item", "group", "value").rows()
    }


def curve_of(
    rows: pl.DataFrame,
    base: Mapping[str, tuple[str, float]],
    metric: str,
    doses: Sequence[float],
) -> np.ndarray:
    """Item x dose; dose 0 is the unsteered model. All doses have equal items (trap T44)."""
    columns = []
    for dose in doses:
        if dose == 0:
            columns.append([value for _, value in base.values()])
            continue
        values = values_of(rows.filter(pl.col("dose") == dose), metric)
        assert list(values) == list(base), f"items differ at dose {dose}"
        columns.append([value for _, value in values.values()])
    return np.array(columns).T


def _prices(rows: pl.DataFrame, plain: pl.DataFrame, guard: TaskLabel) -> tuple[Price, ...]:
    """Perplexity ratio and KL at each dose; controls are averaged over seeds first."""
    metric, [drift_metric] = guard.metric.name, guard.named("drift")
    base = values_of(plain, metric)
    prices = []
    for (dose,), same in parted(rows.filter(pl.col("dose") != 0), "dose"):
        mean = same.group_by("item", "group", "metric").agg(pl.col("value").mean())
        loss, kl = values_of(mean, metric), values_of(mean, drift_metric)
        groups = [group for group, _ in loss.values()]
        change = cluster_difference(
            [value for _, value in loss.values()], [base[item][1] for item in loss], groups
        )
        low, high = _ratio(change.low), _ratio(change.high)
        ratio = Estimate(_ratio(change.value), low, high, change.n)
        drift = cluster_mean([value for _, value in kl.values()], groups)
        prices.append(Price(dose, ratio, drift))
    return tuple(prices)


def _ratio(change: float) -> float:
    """exp, with infinity instead of an overflow for a model in ruins."""
    return exp(change) if change < 700 else inf
