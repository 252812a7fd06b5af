"""Rows in, estimates out: everything that a report shows, as one plain value."""

import json
from collections.abc import Sequence

import polars as pl

from seatrial.analysis.confounds import Share, confound_shares
from seatrial.analysis.curves import Curves, curve_of, parted, values_of
from seatrial.analysis.records import (
    SHOWN_ITEMS,
    Control,
    Effect,
    LayerPoint,
    Point,
    Summary,
    Trial,
)
from seatrial.analysis.side_effects import guarded, judged
from seatrial.analysis.verdict import judge
from seatrial.errors import StoreFault
from seatrial.stats import cluster_mean, control_band, describe, slopes
from seatrial.store import AUDIT, PROGRESS, Labels, Store, TaskLabel
from seatrial.types import Estimate

__all__ = [
    "SHOWN_ITEMS",
    "Control",
    "Effect",
    "LayerPoint",
    "Point",
    "Summary",
    "Trial",
    "summarise",
]


def summarise(store: Store) -> Summary:
    """Compute every estimate of a finished study from its rows.

    Raises:
        StoreFault: if the study is not finished.
    """
    plan, labels = store.plan(), store.labels()
    progress = store.read_json(PROGRESS)
    if progress is None or not progress["finished"]:
        raise StoreFault(
            f"the study in {store.root} is not finished; run it again with the same "
            "--out, which measures only what is missing"
        )
    frame, items = store.frame(), store.items()
    trials = [
        _trial(labels, frame, items, concept, task.name, method.name)
        for concept in progress["concepts"]
        for task in labels.targets
        for method in labels.of_kind("method")
    ]
    return Summary(
        study=plan["study"],
        study_id=plan["id"],
        labels=labels,
        header=plan["header"],
        concepts=progress["about"],
        trials=tuple(trials),
        audit=tuple(store.read_json(AUDIT)),
        cells_planned=progress["cells"],
        cells_stored=frame["cell"].n_unique(),
    )


def _trial(
    labels: Labels,
    frame: pl.DataFrame,
    items: pl.DataFrame,
    concept: str,
    task: str,
    method: str,
) -> Trial:
    rows = Curves(labels, frame, concept, task, method)
    target = labels.target(task)
    unit = target.metric.unit
    response = describe(rows.doses, rows.curve, rows.groups)
    controls = tuple(
        Control(name, seed, rows.slope(curve))
        for (name, seed), curve in rows.controls.items()
    )
    band = control_band([control.slope for control in controls])
    prices = rows.prices(method)
    guards = guarded(rows.guard, labels.guards, method)
    damages = {f"{g.guard} ({g.unit})": g.damages for g in judged(guards)}
    measured = set(rows.own["metric"])
    return Trial(
        concept=concept,
        task=task,
        unit=unit,
        method=method,
        layer=rows.layer,
        verdict=judge(response, band, prices, labels.budget, unit, damages),
        base=cluster_mean(rows.base, rows.groups),
        response=response,
        band=band,
        controls=controls,
        control_verdicts=_control_verdicts(controls),
        instruction=_instruction(rows),
        parts={
            part: rows.slope(rows.curve_of(rows.own, part))
            for part in target.named("promoted", "suppressed")
            if part in measured
        },
        curve=_points(rows),
        effects=_effects(items, concept, task, rows),
        spread=_spread(items, concept, target, rows),
        prices=prices,
        control_prices={
            other.name: cost
            for other in labels.of_kind("control", "baseline")
            if (cost := rows.prices(other.name))
        },
        layers=_layers(rows.here, task, method, rows.metric),
        guards=guards,
    )


def _points(rows: Curves) -> tuple[Point, ...]:
    return tuple(
        Point(
            dose,
            rows.change(rows.curve, dose),
            control_band([rows.change(curve, dose) for curve in rows.controls.values()]),
        )
        for dose in rows.doses
        if dose != 0
    )


def _instruction(rows: Curves) -> Estimate | None:
    """Half the difference between asking for and against, which both doses of it are."""
    baseline = rows.test.filter(pl.col("kind") == "baseline")
    up, down = (
        values_of(baseline.filter(pl.col("dose") == dose), rows.metric)
        for dose in (1.0, -1.0)
    )
    if not up:
        return None
    assert list(up) == list(down) == rows.names, "items of the instruction differ"
    half = [(up[name][1] - down[name][1]) / 2 for name in rows.names]
    return cluster_mean(half, rows.groups)


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
    items: pl.DataFrame, concept: str, task: str, rows: Curves
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


def _spread(
    items: pl.DataFrame, concept: str, target: TaskLabel, rows: Curves
) -> tuple[Share, ...]:
    here = items.filter((pl.col("concept") == concept) & (pl.col("task") == target.name))
    by_item = {
        name: json.loads(text) for name, text in here.select("item", "factors").rows()
    }
    names = list(by_item[rows.names[0]])
    flags = {name: [by_item[item][name] for item in rows.names] for name in names}
    measured = set(rows.own["metric"])
    orders = [name for name in target.named("order") if name in measured]
    order = slopes(rows.doses, rows.curve_of(rows.own, orders[0])) if orders else None
    return confound_shares(slopes(rows.doses, rows.curve), order, flags, rows.groups)


def _layers(
    here: pl.DataFrame, task: str, method: str, metric: str
) -> tuple[LayerPoint, ...]:
    select = here.filter((pl.col("task") == task) & (pl.col("split") == "select"))
    base = values_of(select.filter(pl.col("kind") == "unsteered"), metric)
    groups = [group for group, _ in base.values()]
    points = []
    for (layer,), rows in parted(select.filter(pl.col("method") == method), "layer"):
        doses = sorted({0.0, *rows["dose"]})
        curve = curve_of(rows, base, metric, doses)
        points.append(LayerPoint(layer, cluster_mean(slopes(doses, curve), groups)))
    return tuple(points)
