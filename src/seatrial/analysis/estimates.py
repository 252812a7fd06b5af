"""One trial's rows in, its estimates and its verdict out."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from seatrial.analysis.confounds import Share, shares
from seatrial.analysis.curves import curve_of, parted, values_of
from seatrial.analysis.damage import damage
from seatrial.analysis.records import Control, Effect, LayerPoint, Point, Trial
from seatrial.analysis.side_effects import guarded, judged
from seatrial.analysis.trials import TrialRows
from seatrial.analysis.verdict import Price, judge
from seatrial.stats import cluster_mean, control_band, describe, slopes
from seatrial.store.labels import TaskLabel
from seatrial.types import Estimate


def estimate(rows: TrialRows, items: pl.DataFrame) -> Trial:
    """Everything that a report says of one trial.

    Args:
        rows: of the trial.
        items: item, text and factors of what was asked.
    """
    curves = Curves(rows)
    target = curves.target
    unit = target.metric.unit
    response = describe(curves.doses, curves.curve, curves.groups)
    controls = tuple(
        Control(name, draw, curves.slope(curve))
        for (name, draw), curve in curves.controls.items()
    )
    band = control_band([control.slope for control in controls]) if controls else None
    prices = curves.prices(rows.name.label)
    guards = guarded(rows.guards, rows.labels.guards, rows.name.label)
    damages = {f"{g.guard} ({g.unit})": g.damages for g in judged(guards)}
    measured = set(curves.own["metric"])
    return Trial(
        run=rows.name.run,
        model=rows.name.model,
        behaviour=rows.name.behaviour,
        target=rows.name.target,
        label=rows.name.label,
        settings=dict(rows.settings),
        choices=rows.choices,
        unit=unit,
        verdict=judge(response, band, prices, rows.labels.budget, unit, damages),
        base=cluster_mean(curves.base, curves.groups),
        response=response,
        band=band,
        controls=controls,
        control_verdicts=_control_verdicts(controls),
        instruction=_instruction(curves),
        parts={
            part: curves.slope(curves.curve_of(curves.own, part))
            for part in target.named("promoted", "suppressed")
            if part in measured
        },
        curve=_points(curves),
        effects=_effects(items, curves),
        spread=_spread(items, curves),
        prices=prices,
        control_prices={
            other: cost
            for other in sorted(set(rows.guards["method"]) - {rows.name.label, "unsteered"})
            if (cost := curves.prices(other))
        },
        candidates=_candidates(rows, target.metric.name),
        elsewhere=_elsewhere(rows, target.metric.name),
        guards=guards,
    )


class Curves:
    """The rows of one trial as curves, item by dose."""

    def __init__(self, rows: TrialRows) -> None:
        self.rows = rows
        self.target: TaskLabel = rows.labels.target(rows.name.target)
        self.metric = self.target.metric.name
        self.own = rows.test.filter(pl.col("kind").is_in(["method", "baseline"])).filter(
            pl.col("method") == rows.name.label
        )
        # Some methods, few-shot for one, have certain doses only.
        self.doses = tuple(sorted({0.0, *self.own["dose"]}))
        base = self.unsteered(self.metric)
        self.names = list(base)
        self.groups = [group for group, _ in base.values()]
        self.base = [value for _, value in base.values()]
        self.curve = self.curve_of(self.own, self.metric)
        drawn = rows.test.filter(pl.col("kind") == "control")
        self.controls = {
            key: self.curve_of(same, self.metric)
            for key, same in parted(drawn, "method", "draw")
        }

    def unsteered(self, metric: str) -> dict[str, tuple[str, float]]:
        """Item -> (group, value) of the unsteered model."""
        return values_of(self.rows.test.filter(pl.col("kind") == "unsteered"), metric)

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
        priced = self.rows.labels.priced
        if priced is None:
            return ()
        rows = self.rows.guards.filter(pl.col("target") == priced.name)
        plain = rows.filter(pl.col("kind") == "unsteered")
        metric, [drift_metric] = priced.metric.name, priced.named("drift")
        base = values_of(plain, metric)
        prices = []
        own = rows.filter((pl.col("method") == method) & (pl.col("dose") != 0))
        for (dose,), same in parted(own, "dose"):
            # Draws of a control are averaged before its price is told.
            mean = same.group_by("item", "group", "metric").agg(pl.col("value").mean())
            loss, drift = values_of(mean, metric), values_of(mean, drift_metric)
            groups = [group for group, _ in loss.values()]
            ratio = damage(
                [base[item][1] for item in loss],
                [value for _, value in loss.values()],
                groups,
                "ratio",
            )
            kl = cluster_mean([value for _, value in drift.values()], groups)
            prices.append(Price(dose, ratio, kl))
        return tuple(prices)


def _points(rows: Curves) -> tuple[Point, ...]:
    return tuple(
        Point(
            dose,
            rows.change(rows.curve, dose),
            control_band([rows.change(curve, dose) for curve in rows.controls.values()])
            if rows.controls
            else None,
        )
        for dose in rows.doses
        if dose != 0
    )


def _instruction(rows: Curves) -> Estimate | None:
    """Half the difference between asking for and against, which both doses of it are."""
    asked = rows.rows.test.filter(pl.col("method") == "instruction")
    up, down = (
        values_of(asked.filter(pl.col("dose") == dose), rows.metric) for dose in (1.0, -1.0)
    )
    if not up or not down:
        return None
    half = [(up[name][1] - down[name][1]) / 2 for name in rows.names]
    return cluster_mean(half, rows.groups)


def _control_verdicts(controls: Sequence[Control]) -> dict[str, str]:
    """What the draws of each control do together, with draws as the units."""
    words = {}
    for name in dict.fromkeys(control.method for control in controls):
        values = [control.slope.value for control in controls if control.method == name]
        mean = cluster_mean(values, [str(k) for k in range(len(values))])
        moves = "moves the behaviour by itself" if mean.excludes(0.0) else "no effect"
        words[name] = f"{moves}: mean slope over {len(values)} draws {mean}"
    return words


def _effects(items: pl.DataFrame, rows: Curves) -> tuple[Effect, ...]:
    words = dict(items.select("item", "text").rows())
    slope = slopes(rows.doses, rows.curve)
    zero = rows.doses.index(0.0)
    one = rows.doses.index(1.0 if 1.0 in rows.doses else max(rows.doses))
    effects = [
        Effect(
            name,
            rows.groups[k],
            words.get(name, name),
            float(slope[k]),
            float(rows.curve[k, zero]),
            float(rows.curve[k, one]),
        )
        for k, name in enumerate(rows.names)
    ]
    return tuple(sorted(effects, key=lambda effect: (-effect.slope, effect.item)))


def _spread(items: pl.DataFrame, rows: Curves) -> tuple[Share, ...]:
    by_item: dict[str, Mapping[str, Any]] = {
        name: json.loads(text) for name, text in items.select("item", "factors").rows()
    }
    names = list(by_item.get(rows.names[0], {}))
    flags = {name: [by_item[item][name] for item in rows.names] for name in names}
    measured = set(rows.own["metric"])
    orders = [name for name in rows.target.named("order") if name in measured]
    order = slopes(rows.doses, rows.curve_of(rows.own, orders[0])) if orders else None
    return shares(slopes(rows.doses, rows.curve), order, flags, rows.groups)


def _candidates(rows: TrialRows, metric: str) -> tuple[LayerPoint, ...]:
    """The mean slope of every candidate on the select split."""
    base = values_of(rows.select.filter(pl.col("kind") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    own = rows.select.filter(pl.col("method") == rows.name.label)
    points = []
    for (settings,), same in parted(own, "settings"):
        doses = sorted({0.0, *same["dose"]})
        curve = curve_of(same, base, metric, doses)
        points.append(LayerPoint(settings, cluster_mean(slopes(doses, curve), groups)))
    return tuple(points)


def _elsewhere(rows: TrialRows, metric: str) -> dict[str, Estimate]:
    """The mean slope in other conditions and at other points of the target's grid."""
    told = {}
    for (point, condition), same in parted(rows.elsewhere, "point", "condition"):
        base = values_of(same.filter(pl.col("kind") == "unsteered"), metric)
        own = same.filter(pl.col("method") == rows.name.label)
        if not base or own.is_empty():
            continue
        doses = sorted({0.0, *own["dose"]})
        groups = [group for group, _ in base.values()]
        curve = curve_of(own, base, metric, doses)
        name = " ".join(filter(None, (str(point), str(condition))))
        told[name] = cluster_mean(slopes(doses, curve), groups)
    return told
