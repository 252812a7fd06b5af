"""The rows of one trial as curves, item by dose, and what can be read off them.

Values are turned so that more is always more of the behaviour. Numbered traps are those of
docs/hazards.md.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import polars as pl

from seatrial.analysis.damage import damage
from seatrial.analysis.trials import TrialRows, averaged, parted
from seatrial.analysis.verdict import Price
from seatrial.errors import BadData
from seatrial.stats import cluster_mean, slopes
from seatrial.types import Estimate

Values = dict[str, tuple[str, float]]
"""Item -> (group, value), in the order of items."""


def values_of(rows: pl.DataFrame, metric: str) -> Values:
    """Item -> (group, value), in the order of items."""
    picked = rows.filter(pl.col("metric") == metric).sort("item")
    return {
        item: (group, value)
        for item, group, value in picked.select("item", "group", "value").rows()
    }


def changes(after: Values, before: Values, sign: int = 1) -> Values:
    """Change of every item that has both, in the order of items."""
    return {
        item: (group, sign * (value - before[item][1]))
        for item, (group, value) in after.items()
        if item in before
    }


def mean_of(values: Values) -> Estimate:
    """The mean over items, with an interval over their groups."""
    return cluster_mean([value for _, value in values.values()], groups_of(values))


def groups_of(values: Values) -> list[str]:
    """The group of each item."""
    return [group for group, _ in values.values()]


@final
class Curve(NamedTuple):
    """Items by doses; at dose 0 stands the unsteered model."""

    items: tuple[str, ...]
    groups: tuple[str, ...]
    doses: tuple[float, ...]
    values: np.ndarray
    """Item x dose."""

    @property
    def slopes(self) -> np.ndarray:
        """Of every item."""
        return slopes(self.doses, self.values)

    @property
    def slope(self) -> Estimate:
        """Mean over items."""
        return cluster_mean(self.slopes, self.groups)

    def at(self, dose: float) -> np.ndarray:
        """Of every item at one dose."""
        return self.values[:, self.doses.index(dose)]

    def change(self, dose: float) -> Estimate:
        """Mean change from the unsteered model at a dose."""
        return cluster_mean(self.at(dose) - self.at(0.0), self.groups)


def curve_of(
    rows: pl.DataFrame,
    base: Values,
    metric: str,
    sign: int = 1,
    doses: Sequence[float] = (),
) -> Curve:
    """One steering's curve. All doses have equal items (trap T44): those with all of them.

    Args:
        rows: of the steering.
        base: of the unsteered model.
        metric: which.
        sign: 1 where more of it is more of the behaviour, else -1.
        doses: with 0 among them; unsaid, all that there are.
    """
    doses = tuple(doses or sorted({0.0, *rows["dose"]}))
    columns = [
        base if dose == 0 else values_of(rows.filter(pl.col("dose") == dose), metric)
        for dose in doses
    ]
    items = tuple(item for item in base if all(item in column for column in columns))
    if not items:
        raise BadData(f"no item has {metric} at all of the doses {list(doses)}")
    table = np.array([[column[item][1] for item in items] for column in columns]).T
    groups = tuple(base[item][0] for item in items)
    return Curve(items, groups, doses, sign * table)


@final
class Curves:
    """The rows of one trial, as curves.

    Raises:
        BadData: if the method was not measured on the target.
    """

    def __init__(self, rows: TrialRows) -> None:
        self.rows, self.label = rows, rows.name.label
        self.metric, self.sign = rows.target.metric.name, rows.target.metric.sign
        is_own = (pl.col("method") == self.label) & (pl.col("kind") != "control")
        self.own = rows.test.filter(is_own)
        if self.own.filter(pl.col("metric") == self.metric).is_empty():
            raise BadData(f"{self.label} was not measured on {rows.name.target}")
        self.base = values_of(rows.test.filter(pl.col("kind") == "unsteered"), self.metric)
        # Seeds that chose other doses have these beside what all of them were asked at.
        most = self.own["seeds"].max()
        shared = self.own.filter(pl.col("seeds") == most)
        self.doses = tuple(sorted({0.0, *shared["dose"]}))
        self.curve = self.curve_at(self.own, self.metric, self.sign)
        self.controls: dict[tuple[str, int], Curve] = {
            key: curve_of(averaged(same, "dose"), self.base, self.metric, self.sign)
            for key, same in parted(rows.drawn, "method", "draw")
        }

    @property
    def left_out(self) -> int:
        """How many items lack the metric at some dose."""
        return len(self.base) - len(self.curve.items)

    def unsteered(self, metric: str) -> Values:
        """Values of the unsteered model."""
        return values_of(self.rows.test.filter(pl.col("kind") == "unsteered"), metric)

    def curve_at(self, rows: pl.DataFrame, metric: str, sign: int = 1) -> Curve:
        """The curve of another metric, at the doses of the trial."""
        return curve_of(rows, self.unsteered(metric), metric, sign, self.doses)

    def at_choice(self, side: int = 1) -> Values:
        """Change of every item at the dose that each seed chose, or at its negative."""
        return self.effect_of(self.label, side)

    def effect_of(self, label: str, side: int = 1) -> Values:
        """The same of a method or baseline."""
        rows = self.rows.chosen.filter(
            (pl.col("method") == label)
            & (pl.col("kind") != "control")
            & (pl.col("side") == side)
        )
        return changes(values_of(rows, self.metric), self.base, self.sign)

    def baseline(self, label: str) -> Estimate | None:
        """Half of for minus against, or the change where it has one side only."""
        up, down = self.effect_of(label), self.effect_of(label, -1)
        both = {item: (group, (value - down[item][1]) / 2)
                for item, (group, value) in up.items() if item in down}  # fmt: skip
        values = both or up
        return mean_of(values) if values else None

    def draws_at(self, dose: float) -> list[Estimate]:
        """What every deciding control that was measured at a dose does there."""
        deciding = self.rows.least_draws
        return [
            curve.change(dose)
            for (control, _), curve in self.controls.items()
            if dose in curve.doses and (not deciding or control in deciding)
        ]

    def guard(self, name: str) -> pl.DataFrame:
        """The rows of a guard."""
        return self.rows.guards.filter(pl.col("target") == name)

    def prices(self, method: str) -> tuple[Price, ...]:
        """What a method or control costs, at the doses where it was measured."""
        priced = self.rows.labels.priced
        if priced is None:
            return ()
        rows = self.guard(priced.name).filter(pl.col("method") == method)
        return tuple(
            price
            for (dose,), same in parted(rows.filter(pl.col("dose") != 0), "dose")
            for price in [self._price(same, dose)]
            if price is not None
        )

    def prices_at_choice(self) -> tuple[Price, ...]:
        """What the method costs at the dose that each seed chose, and at its negative."""
        priced = self.rows.labels.priced
        if priced is None:
            return ()
        own = self.rows.guards_chosen.filter(
            (pl.col("method") == self.label) & (pl.col("target") == priced.name)
        )
        return tuple(
            price
            for (side,), same in parted(own, "side")
            for price in [self._price(same, side * self.rows.dose)]
            if price is not None
        )

    def _price(self, rows: pl.DataFrame, dose: float) -> Price | None:
        priced = self.rows.labels.priced
        assert priced is not None
        metric, [drift_metric] = priced.metric.name, priced.named("drift")
        plain = self.guard(priced.name).filter(pl.col("kind") == "unsteered")
        base = values_of(plain, metric)
        # Draws of a control are averaged before its price is told.
        mean = rows.group_by("item", "group", "metric").agg(pl.col("value").mean())
        loss, drift = values_of(mean, metric), values_of(mean, drift_metric)
        if not base.keys() >= loss.keys() or not loss:
            return None
        ratio = damage(
            [base[item][1] for item in loss],
            [value for _, value in loss.values()],
            groups_of(loss),
            "ratio",
        )
        return Price(dose, ratio, mean_of(drift))
