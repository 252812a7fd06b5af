"""Rows in, estimates out: everything that a report shows, as one plain value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Any, final

import numpy as np
import polars as pl

from seatrial.errors import StoreFault
from seatrial.stats import (
    DoseResponse,
    cluster_difference,
    cluster_mean,
    control_band,
    describe,
    slopes,
)
from seatrial.store import Store
from seatrial.study import Study
from seatrial.tasks import TASKS
from seatrial.types import Estimate
from seatrial.verdict import Price, Verdict, judge

SHOWN_ITEMS = 5
"""How many items are shown at each end."""


@final
@dataclass(frozen=True)
class Point:
    """The mean change of the metric from the unsteered model at one dose."""

    dose: float
    change: Estimate
    band: Estimate
    """What the controls do at this dose."""


@final
@dataclass(frozen=True)
class Effect:
    """What steering did to one item."""

    item: str
    group: str
    text: str
    slope: float
    unsteered: float
    """The metric without steering."""
    steered: float
    """The metric at dose 1."""


@final
@dataclass(frozen=True)
class Control:
    """One control's mean slope."""

    method: str
    seed: int
    slope: Estimate


@final
@dataclass(frozen=True)
class LayerPoint:
    """The mean slope at a candidate layer, on the select split."""

    layer: int
    slope: Estimate


@final
@dataclass(frozen=True)
class Trial:
    """One method on one concept and one target task."""

    concept: str
    task: str
    unit: str
    method: str
    layer: int
    verdict: Verdict
    base: Estimate
    """The metric without steering."""
    response: DoseResponse
    band: Estimate
    """The control band of the mean slope."""
    controls: tuple[Control, ...]
    control_verdicts: dict[str, str]
    """For each kind of control: what its seeds do together, in words."""
    prompt: Estimate | None
    """The effect of asking in words: half the difference between asking for and against."""
    parts: dict[str, Estimate]
    """Mean slope of log p(matching) and of log p(other): promoting and suppressing,
    apart."""
    curve: tuple[Point, ...]
    effects: tuple[Effect, ...]
    """Every item, the one that moved most in the right direction first."""
    prices: tuple[Price, ...]
    control_prices: dict[str, tuple[Price, ...]]
    """The price of the controls and of the prompt, at the doses where it was measured."""
    layers: tuple[LayerPoint, ...]


@final
@dataclass(frozen=True)
class Summary:
    """Everything a report shows."""

    study: dict[str, Any]
    study_id: str
    header: dict[str, Any]
    concepts: dict[str, dict[str, str]]
    """What each concept means, and how many items of each split were used."""
    trials: tuple[Trial, ...]
    audit: tuple[dict[str, Any], ...]
    cells_planned: int
    cells_stored: int


def summarise(store: Store) -> Summary:
    """Compute every estimate of a finished study from its rows.

    Raises:
        StoreFault: if the study is not finished.
    """
    plan, study = store.plan(), store.study()
    progress = store.read_json("progress.json")
    if progress is None or not progress["finished"]:
        raise StoreFault(
            f"the study in {store.root} is not finished; run it again with the same "
            "--out, which "
            "measures only what is missing"
        )
    frame, items = store.frame(), store.items()
    trials = []
    for concept in progress["concepts"]:
        for task in study.targets:
            for options in study.methods:
                trials.append(_trial(study, frame, items, concept, task, options["name"]))
    return Summary(
        study=plan["study"],
        study_id=plan["id"],
        header=plan["header"],
        concepts=progress["about"],
        trials=tuple(trials),
        audit=tuple(store.read_json("audit.json")),
        cells_planned=progress["cells"],
        cells_stored=frame["cell"].n_unique(),
    )


@final
class _Measured:
    """The rows of one trial, as curves."""

    def __init__(
        self, study: Study, frame: pl.DataFrame, concept: str, task: str, method: str
    ) -> None:
        self.metric = TASKS[task].metric
        self.here = frame.filter(
            (pl.col("concept") == concept)
            & pl.col("reference").is_in([method, "unsteered", "prompt"])
        )
        self.test = self.here.filter((pl.col("task") == task) & (pl.col("split") == "test"))
        self.own = self.test.filter(pl.col("method") == method)
        # Some methods, few-shot for one, have certain doses only.
        measured = {0.0, *self.own["dose"]}
        self.doses = tuple(dose for dose in study.doses if dose in measured)
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
            for key, rows in _by(self.test.filter(pl.col("is_control")), "method", "seed")
        }
        self.guard = self.here.filter(
            pl.col("task").is_in(list(study.guards))
            & pl.col("layer").is_in([self.layer, -1])
        )

    def unsteered(self, metric: str) -> dict[str, tuple[str, float]]:
        """Item -> (group, value) of the unsteered model."""
        return _values(self.test.filter(pl.col("method") == "unsteered"), metric)

    def curve_of(self, rows: pl.DataFrame, metric: str) -> np.ndarray:
        """Item x dose."""
        return _curve(rows, self.unsteered(metric), metric, self.doses)

    def slope(self, curve: np.ndarray) -> Estimate:
        """Mean slope of a curve."""
        return cluster_mean(slopes(self.doses, curve), self.groups)

    def change(self, curve: np.ndarray, dose: float) -> Estimate:
        """Mean change from the unsteered model at a dose."""
        moved = curve[:, self.doses.index(dose)] - curve[:, self.doses.index(0.0)]
        return cluster_mean(moved, self.groups)

    def prices(self, method: str) -> tuple[Price, ...]:
        """What a method or control costs, at the doses where it was measured."""
        plain = self.guard.filter(pl.col("method") == "unsteered")
        return _prices(self.guard.filter(pl.col("method") == method), plain)


def _trial(
    study: Study,
    frame: pl.DataFrame,
    items: pl.DataFrame,
    concept: str,
    task: str,
    method: str,
) -> Trial:
    rows = _Measured(study, frame, concept, task, method)
    unit = TASKS[task].unit
    response = describe(rows.doses, rows.curve, rows.groups)
    controls = tuple(
        Control(name, seed, rows.slope(curve))
        for (name, seed), curve in rows.controls.items()
    )
    band = control_band([control.slope for control in controls])
    prices = rows.prices(method)
    others = rows.guard.filter(~pl.col("method").is_in([method, "unsteered"]))
    return Trial(
        concept=concept,
        task=task,
        unit=unit,
        method=method,
        layer=rows.layer,
        verdict=judge(response, band, prices, study.budget, unit),
        base=cluster_mean(rows.base, rows.groups),
        response=response,
        band=band,
        controls=controls,
        control_verdicts=_control_verdicts(controls),
        prompt=_prompt(rows.test, rows.names, rows.groups, rows.metric),
        parts={
            part: rows.slope(rows.curve_of(rows.own, part))
            for part in ("matching", "other")
        },
        curve=_points(rows),
        effects=_effects(items, concept, task, rows),
        prices=prices,
        control_prices={
            name: rows.prices(name) for name in sorted(others["method"].unique().to_list())
        },
        layers=_layers(rows.here, task, method, rows.metric),
    )


def _points(rows: _Measured) -> tuple[Point, ...]:
    return tuple(
        Point(
            dose,
            rows.change(rows.curve, dose),
            control_band([rows.change(curve, dose) for curve in rows.controls.values()]),
        )
        for dose in rows.doses
        if dose != 0
    )


def _by(frame: pl.DataFrame, *keys: str) -> list[tuple[tuple, pl.DataFrame]]:
    return sorted(frame.partition_by(list(keys), as_dict=True).items())


def _values(rows: pl.DataFrame, metric: str) -> dict[str, tuple[str, float]]:
    """Item -> (group, value), in the order of items."""
    picked = rows.filter(pl.col("metric") == metric).sort("item")
    return {
        item: (group, value)
        for item, group, value in picked.select("item", "group", "value").rows()
    }


def _curve(
    rows: pl.DataFrame,
    base: Mapping[str, tuple[str, float]],
    metric: str,
    doses: Sequence[float],
) -> np.ndarray:
    """Item x dose; dose 0 is the unsteered model. All doses have the same items (T44)."""
    columns = []
    for dose in doses:
        if dose == 0:
            columns.append([value for _, value in base.values()])
            continue
        found = _values(rows.filter(pl.col("dose") == dose), metric)
        assert list(found) == list(base), f"items differ at dose {dose}"
        columns.append([value for _, value in found.values()])
    return np.array(columns).T


def _prompt(
    test: pl.DataFrame, names: list[str], groups: list[str], metric: str
) -> Estimate | None:
    rows = test.filter(pl.col("method") == "prompt")
    asked = {
        dose: _values(rows.filter(pl.col("dose") == dose), metric) for dose in (-1.0, 1.0)
    }
    if not asked[1.0]:
        return None
    assert all(list(values) == names for values in asked.values())
    half = [(asked[1.0][name][1] - asked[-1.0][name][1]) / 2 for name in names]
    return cluster_mean(half, groups)


def _prices(rows: pl.DataFrame, plain: pl.DataFrame) -> tuple[Price, ...]:
    """Perplexity ratio and KL at each dose; controls are averaged over seeds first."""
    base = _values(plain, "loss")
    prices = []
    for (dose,), same in _by(rows.filter(pl.col("dose") != 0), "dose"):
        mean = same.group_by("item", "group", "metric").agg(pl.col("value").mean())
        loss, kl = _values(mean, "loss"), _values(mean, "kl")
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


def _control_verdicts(controls: Sequence[Control]) -> dict[str, str]:
    """What the seeds of each control do together, with seeds as the units."""
    words = {}
    for name in dict.fromkeys(control.method for control in controls):
        values = [control.slope.value for control in controls if control.method == name]
        seeds = [str(k) for k in range(len(values))]
        mean = cluster_mean(values, seeds)
        moves = "moves the behaviour by itself" if mean.excludes(0.0) else "no effect"
        words[name] = f"{moves}: mean slope over {len(values)} seeds {mean}"
    return words


def _effects(
    items: pl.DataFrame, concept: str, task: str, rows: _Measured
) -> tuple[Effect, ...]:
    here = items.filter((pl.col("concept") == concept) & (pl.col("task") == task))
    words = dict(here.select("item", "text").rows())
    slope = slopes(rows.doses, rows.curve)
    zero, one = rows.doses.index(0.0), rows.doses.index(1.0)
    effects = [
        Effect(
            name,
            rows.groups[k],
            words[name],
            float(slope[k]),
            float(rows.curve[k, zero]),
            float(rows.curve[k, one]),
        )
        for k, name in enumerate(rows.names)
    ]
    return tuple(sorted(effects, key=lambda effect: (-effect.slope, effect.item)))


def _layers(
    here: pl.DataFrame, task: str, method: str, metric: str
) -> tuple[LayerPoint, ...]:
    select = here.filter((pl.col("task") == task) & (pl.col("split") == "select"))
    base = _values(select.filter(pl.col("method") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    points = []
    for (layer,), rows in _by(select.filter(pl.col("method") == method), "layer"):
        doses = sorted({0.0, *rows["dose"]})
        curve = _curve(rows, base, metric, doses)
        points.append(LayerPoint(layer, cluster_mean(slopes(doses, curve), groups)))
    return tuple(points)
