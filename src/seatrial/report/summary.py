"""Rows in, estimates out: everything that a report shows, as one plain value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
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


def _trial(
    study: Study,
    frame: pl.DataFrame,
    items: pl.DataFrame,
    concept: str,
    task: str,
    method: str,
) -> Trial:
    kind = TASKS[task]
    here = frame.filter(
        (pl.col("concept") == concept)
        & pl.col("reference").is_in([method, "unsteered", "prompt"])
    )
    test = here.filter((pl.col("task") == task) & (pl.col("split") == "test"))
    chosen = test.filter(pl.col("method") == method)["layer"].unique().to_list()
    assert len(chosen) == 1, f"{concept} {task} {method} was tested at layers {chosen}"
    layer = chosen[0]
    base = _values(test.filter(pl.col("method") == "unsteered"), kind.metric)
    own = test.filter(pl.col("method") == method)
    curve = _curve(own, base, kind.metric, study.doses)
    names, groups = list(base), [group for group, _ in base.values()]
    response = describe(study.doses, curve, groups)
    control_curves = {
        (name, seed): _curve(rows, base, kind.metric, study.doses)
        for (name, seed), rows in _by(test.filter(pl.col("is_control")), "method", "seed")
    }
    controls = tuple(
        Control(name, seed, cluster_mean(slopes(study.doses, values), groups))
        for (name, seed), values in control_curves.items()
    )
    band = control_band([control.slope for control in controls])
    guard = here.filter(
        pl.col("task").is_in(list(study.guards)) & pl.col("layer").is_in([layer, -1])
    )
    plain = guard.filter(pl.col("method") == "unsteered")
    prices = _prices(guard.filter(pl.col("method") == method), plain)
    zero = study.doses.index(0.0)
    points = tuple(
        Point(
            dose,
            cluster_mean(curve[:, k] - curve[:, zero], groups),
            control_band(
                [
                    cluster_mean(c[:, k] - c[:, zero], groups)
                    for c in control_curves.values()
                ]
            ),
        )
        for k, dose in enumerate(study.doses)
        if dose != 0
    )
    return Trial(
        concept=concept,
        task=task,
        unit=kind.unit,
        method=method,
        layer=layer,
        verdict=judge(response, band, prices, study.budget, kind.unit),
        base=cluster_mean([value for _, value in base.values()], groups),
        response=response,
        band=band,
        controls=controls,
        control_verdicts=_control_verdicts(controls),
        prompt=_prompt(test, names, groups, kind.metric),
        parts={
            part: cluster_mean(
                slopes(
                    study.doses,
                    _curve(
                        own,
                        _values(test.filter(pl.col("method") == "unsteered"), part),
                        part,
                        study.doses,
                    ),
                ),
                groups,
            )
            for part in ("matching", "other")
        },
        curve=points,
        effects=_effects(items, concept, task, names, groups, study.doses, curve),
        prices=prices,
        control_prices={
            name: _prices(rows, plain)
            for (name,), rows in _by(
                guard.filter(~pl.col("method").is_in([method, "unsteered"])), "method"
            )
        },
        layers=_layers(here, task, method, kind.metric, study),
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
    """Item x dose; dose 0 is the unsteered model. All doses must have the same items
    (T44)."""
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
    """Perplexity ratio and KL at each dose; controls are averaged over their seeds
    first."""
    base = _values(plain, "loss")
    prices = []
    for (dose,), same in _by(rows.filter(pl.col("dose") != 0), "dose"):
        mean = same.group_by("item", "group", "metric").agg(pl.col("value").mean())
        loss, kl = _values(mean, "loss"), _values(mean, "kl")
        groups = [group for group, _ in loss.values()]
        change = cluster_difference(
            [value for _, value in loss.values()], [base[item][1] for item in loss], groups
        )
        ratio = Estimate(exp(change.value), exp(change.low), exp(change.high), change.n)
        drift = cluster_mean([value for _, value in kl.values()], groups)
        prices.append(Price(dose, ratio, drift))
    return tuple(prices)


def _control_verdicts(controls: Sequence[Control]) -> dict[str, str]:
    """What the seeds of each control do together: the same question, with seeds as the
    units."""
    words = {}
    for name in dict.fromkeys(control.method for control in controls):
        values = [control.slope.value for control in controls if control.method == name]
        seeds = [str(k) for k in range(len(values))]
        mean = cluster_mean(values, seeds)
        words[name] = (
            f"no effect: mean slope over {len(values)} seeds {mean}"
            if not mean.excludes(0.0)
            else f"moves the behaviour by itself: mean slope over {len(values)} seeds {mean}"
        )
    return words


def _effects(
    items: pl.DataFrame,
    concept: str,
    task: str,
    names: list[str],
    groups: list[str],
    doses: Sequence[float],
    curve: np.ndarray,
) -> tuple[Effect, ...]:
    here = items.filter((pl.col("concept") == concept) & (pl.col("task") == task))
    words = dict(here.select("item", "text").rows())
    slope = slopes(doses, curve)
    zero, one = doses.index(0.0), doses.index(1.0)
    effects = [
        Effect(
            name,
            groups[k],
            words[name],
            float(slope[k]),
            float(curve[k, zero]),
            float(curve[k, one]),
        )
        for k, name in enumerate(names)
    ]
    return tuple(sorted(effects, key=lambda effect: (-effect.slope, effect.item)))


def _layers(
    here: pl.DataFrame, task: str, method: str, metric: str, study: Study
) -> tuple[LayerPoint, ...]:
    select = here.filter((pl.col("task") == task) & (pl.col("split") == "select"))
    base = _values(select.filter(pl.col("method") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    doses = sorted({*study.select_doses, 0.0})
    return tuple(
        LayerPoint(
            layer, cluster_mean(slopes(doses, _curve(rows, base, metric, doses)), groups)
        )
        for (layer,), rows in _by(select.filter(pl.col("method") == method), "layer")
    )
