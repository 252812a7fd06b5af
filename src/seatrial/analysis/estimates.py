"""One trial's rows in, its estimates and its verdict out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from seatrial.analysis.confounds import Share, confound_shares
from seatrial.analysis.curves import (
    Curves,
    Values,
    changes,
    curve_of,
    groups_of,
    mean_of,
    values_of,
)
from seatrial.analysis.records import (
    CandidateResult,
    Ceiling,
    Control,
    Effect,
    Elsewhere,
    Point,
    Refit,
    SeedResult,
    Transferred,
    Trial,
)
from seatrial.analysis.recovery import recovery
from seatrial.analysis.side_effects import Guarded, guarded, judged
from seatrial.analysis.trials import TrialRows, parted
from seatrial.analysis.verdict import Verdict, judge
from seatrial.errors import BadData
from seatrial.stats import cluster_mean, control_band, describe
from seatrial.types import Estimate


def estimate_trial(curves: Curves) -> Trial:
    """Everything that a report says of one trial.

    Raises:
        BadData: if too little was measured to say anything.
    """
    rows = curves.rows
    name = rows.name
    controls = tuple(
        Control(control, draw, curve.slope)
        for (control, draw), curve in curves.controls.items()
    )
    band = _band(curves, controls)
    effect = curves.at_choice()
    if not effect:
        raise BadData(f"{name.label} was not measured at the dose that it chose")
    measured = set(curves.own["metric"])
    paid = curves.prices_at_choice()
    guards = guarded(rows.guards, rows.labels.guards, name.label)
    return Trial(
        *name,
        settings=dict(rows.settings),
        dose=rows.dose,
        choices=rows.choices,
        unit=rows.target.metric.unit,
        verdict=_verdict(curves, controls, guards),
        base=cluster_mean(curves.sign * curves.curve.at(0.0), curves.curve.groups),
        effect=mean_of(effect),
        price=max(paid, key=lambda price: price.perplexity_ratio.high, default=None),
        response=_response(curves),
        band=band,
        controls=controls,
        control_verdicts=_control_verdicts(controls),
        baselines=_baselines(curves),
        parts={
            part: curves.curve_at(curves.own, part).slope
            for part in rows.target.named("promoted", "suppressed")
            if part in measured
        },
        curve=_points(curves),
        effects=_effects(curves),
        spread=_spread(curves),
        prices=curves.prices(name.label),
        control_prices={
            other: cost
            for other in sorted(set(rows.guards["method"]) - {name.label, "unsteered"})
            if (cost := curves.prices(other))
        },
        candidates=_candidates(rows, curves),
        labels=rows.labels,
        about=_about(rows),
        seeds=_seeds(rows, curves),
        refits=_refits(curves),
        ceiling=_ceiling(rows, curves, effect),
        elsewhere=_elsewhere(rows, curves),
        transfers=_transfers(rows),
        guards=guards,
        left_out=curves.left_out,
    )


def _response(curves: Curves):
    curve = curves.curve
    return describe(curve.doses, curve.values, curve.groups)


def _verdict(
    curves: Curves, controls: Sequence[Control], guards: Sequence[Guarded]
) -> Verdict:
    rows, curve = curves.rows, curves.curve
    band = _band(curves, controls)
    doses = [d for d in (rows.dose, -rows.dose) if d in {*curve.doses, *_sides(curves)}]
    chosen = {price.dose: price for price in curves.prices_at_choice()}
    verdict = judge(
        _response(curves),
        band,
        list(chosen.values()),
        rows.labels.budget,
        f"{rows.target.metric.unit}",
        {f"{g.guard} ({g.unit})": g.damages for g in judged(guards)},
        doses=doses,
        missing=_missing(rows.least_draws, controls),
    )
    reasons = list(verdict.reasons)
    if any(choice.get("is_within") is False for choice in rows.choices):
        reasons.append(
            "no dose that was offered is within every budget on select items; the first or "
            "smallest was taken"
        )
    if refits := _refits(curves):
        ends = [refit.effect.value for refit in refits]
        reasons.append(
            f"fitted anew {len(refits)} times, each without a part of its data, its effect "
            f"is between {min(ends):.3g} and {max(ends):.3g}"
        )
    return replace(verdict, reasons=tuple(reasons))


def _band(curves: Curves, controls: Sequence[Control]) -> Estimate | None:
    """What the deciding controls do; of a method without such, what all of them do."""
    least = curves.rows.least_draws
    slopes = [c.slope for c in controls if not least or c.method in least]
    return control_band(slopes) if slopes else None


def _sides(curves: Curves) -> list[float]:
    own = curves.rows.chosen.filter(pl.col("method") == curves.label)
    return [side * curves.rows.dose for side in own["side"].unique()]


def _missing(least: Mapping[str, int], controls: Sequence[Control]) -> str:
    """Which controls are missing for a verdict, in words; empty where none is."""
    if not least:
        return "no random or shuffled control applies to it, so nothing can be compared"
    counts = {
        name: len([control for control in controls if control.method == name])
        for name in least
    }
    few = [
        f"{counts[name]} of at least {number} {name} draws"
        for name, number in least.items()
        if counts[name] < number
    ]
    return f"only {' and '.join(few)} were measured" if few else ""


def _baselines(curves: Curves) -> dict[str, Any]:
    chosen = curves.rows.chosen
    names = chosen.filter(pl.col("kind") == "baseline")["method"].unique().sort()
    return {name: effect for name in names if (effect := curves.baseline(name))}


def _points(curves: Curves) -> tuple[Point, ...]:
    points = []
    for dose in curves.doses:
        if dose != 0:
            drawn = curves.draws_at(dose)
            band = control_band(drawn) if drawn else None
            points.append(Point(dose, curves.curve.change(dose), band))
    return tuple(points)


def _control_verdicts(controls: Sequence[Control]) -> dict[str, str]:
    """What the draws of each control do together, with draws as the units."""
    words = {}
    for name in dict.fromkeys(control.method for control in controls):
        values = [control.slope.value for control in controls if control.method == name]
        if len(values) < 2:
            words[name] = "one draw only: nothing is said about others"
            continue
        mean = cluster_mean(values, [str(k) for k in range(len(values))])
        moves = "moves the behaviour by itself" if mean.excludes(0.0) else "no effect"
        words[name] = f"{moves}: mean slope over {len(values)} draws {mean}"
    return words


def _effects(curves: Curves) -> tuple[Effect, ...]:
    curve, items = curves.curve, curves.rows.items
    slope = curve.slopes
    plain = curves.sign * curve.at(0.0)
    steered = curves.sign * curve.at(1.0 if 1.0 in curve.doses else max(curve.doses))
    effects = [
        Effect(
            item,
            curve.groups[k],
            items.get(item, (item, {}))[0],
            float(slope[k]),
            float(plain[k]),
            float(steered[k]),
        )
        for k, item in enumerate(curve.items)
    ]
    return tuple(sorted(effects, key=lambda effect: (-effect.slope, effect.item)))


def _spread(curves: Curves) -> tuple[Share, ...]:
    curve, items = curves.curve, curves.rows.items
    factors = [items.get(item, ("", {}))[1] for item in curve.items]
    names = [name for name in factors[0] if all(name in flags for flags in factors)]
    flags = {name: [each[name] for each in factors] for name in names}
    measured = set(curves.own["metric"])
    [order, *_] = [
        *(name for name in curves.rows.target.named("order") if name in measured),
        None,
    ]
    orders = None
    if order is not None:
        turned = curves.curve_at(curves.own, order)
        orders = turned.slopes if turned.items == curve.items else None
    return confound_shares(curve.slopes, orders, flags, curve.groups)


def _candidates(rows: TrialRows, curves: Curves) -> tuple[CandidateResult, ...]:
    """The mean slope of every candidate on the select split."""
    base = values_of(rows.select.filter(pl.col("kind") == "unsteered"), curves.metric)
    own = rows.select.filter(pl.col("method") == rows.name.label)
    chosen = {choice["settings"] for choice in rows.choices}
    points = []
    for (settings,), same in parted(own, "settings"):
        slope = curve_of(same, base, curves.metric, curves.sign).slope
        points.append(CandidateResult(settings_words(settings), slope, settings in chosen))
    return tuple(sorted(points, key=lambda point: _order(point.settings)))


def settings_words(settings: str | Mapping[str, Any]) -> str:
    """Options in words: ``layer 3, heads 10``."""
    options = json.loads(settings) if isinstance(settings, str) else settings
    return ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else json.dumps(value)}"
        for name, value in options.items()
    )


def _order(words: str) -> list[Any]:
    """Numbers in words as numbers, so that layer 9 stands before layer 12."""
    parts = words.replace(",", "").split()
    return [(0, float(part), "") if _is_number(part) else (1, 0.0, part) for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _about(rows: TrialRows) -> dict[str, Any]:
    about = dict(rows.header.get("behaviour", {}))
    return {key: value for key, value in about.items() if key != "family"}


def _seeds(rows: TrialRows, curves: Curves) -> tuple[SeedResult, ...]:
    results = []
    for choice in rows.choices:
        own = rows.by_seed[choice["seed"]]
        base = values_of(own.filter(pl.col("kind") == "unsteered"), curves.metric)
        mine = own.filter(
            (pl.col("method") == rows.name.label)
            & (pl.col("kind") != "control")
            & (pl.col("metric") == curves.metric)
        )
        if mine.is_empty():
            continue
        curve = curve_of(mine, base, curves.metric, curves.sign)
        dose = float(choice["dose"])
        if dose in curve.doses:
            results.append(
                SeedResult(
                    choice["seed"],
                    json.loads(choice["settings"]),
                    dose,
                    choice.get("is_within", True),
                    curve.slope,
                    curve.change(dose),
                )
            )
    return tuple(results)


def _refits(curves: Curves) -> tuple[Refit, ...]:
    """What each refit does at the chosen dose, by seed and part."""
    own = curves.rows.refits.filter(pl.col("side") == 1)
    return tuple(
        Refit(seed, part, mean_of(effect))
        for (seed, part), same in parted(own, "seed", "draw")
        if (effect := changes(values_of(same, curves.metric), curves.base, curves.sign))
    )


def _ceiling(rows: TrialRows, curves: Curves, effect: Values) -> Ceiling | None:
    top = values_of(rows.ceiling, curves.metric)
    way = changes(top, curves.base, curves.sign)
    both = [item for item in way if item in effect]
    if len({way[item][0] for item in both}) < 2:
        return None
    share = recovery(
        np.array([effect[item][1] for item in both]),
        np.array([way[item][1] for item in both]),
        [way[item][0] for item in both],
    )
    return Ceiling(mean_of(top), share)


def _elsewhere(rows: TrialRows, curves: Curves) -> tuple[Elsewhere, ...]:
    """Other conditions and points of the target's grid, in the order of the plan."""
    plan = rows.header["targets"][rows.name.target]
    entries = []
    for point in plan["points"]:
        for condition in plan["conditions"]:
            here = (pl.col("point") == point) & (pl.col("condition") == condition)
            same, chosen = (
                frame.filter(here & (pl.col("metric") == curves.metric))
                for frame in (rows.elsewhere, rows.elsewhere_chosen)
            )
            base = values_of(same.filter(pl.col("kind") == "unsteered"), curves.metric)
            own = same.filter(pl.col("method") == rows.name.label)
            effect = elsewhere_effect(chosen, base, curves)
            if len(set(groups_of(effect))) < 2 or own.is_empty():
                continue
            curve = curve_of(own, base, curves.metric, curves.sign)
            entries.append(
                Elsewhere(point, condition, mean_of(base), curve.slope, mean_of(effect))
            )
    return tuple(entries)


def elsewhere_effect(chosen: pl.DataFrame, base: Values, curves: Curves) -> Values:
    """Change at the chosen dose in some place of the target."""
    own = chosen.filter((pl.col("method") == curves.label) & (pl.col("side") == 1))
    return changes(values_of(own, curves.metric), base, curves.sign)


def _transfers(rows: TrialRows) -> tuple[Transferred, ...]:
    """Fits of this trial asked on other behaviours, and those of other conditions here."""
    own = rows.transfer_chosen.filter(
        (pl.col("method") == rows.name.label) & (pl.col("side") == 1)
    )
    entries = []
    for (target, condition, fitted), same in parted(
        own, "target", "condition", "fit_condition"
    ):
        behaviour, _, there = target.rpartition("/")
        is_mine = target == rows.name.target
        if not behaviour and not is_mine:
            continue
        metric, sign = rows.target.metric.name, rows.target.metric.sign
        if behaviour:
            about = rows.header.get("elsewhere", {}).get(target, {})
            metric = about.get("metric", _only_metric(same, metric))
            sign = about.get("sign", 1)
            plain = rows.transfer.filter(pl.col("target") == target)
        else:
            frames = [rows.test, rows.elsewhere]
            plain = pl.concat(frames).filter(
                (pl.col("kind") == "unsteered")
                & (pl.col("condition") == condition)
                & (pl.col("point") == rows.point)
            )
        effect = changes(values_of(same, metric), values_of(plain, metric), sign)
        if len(set(groups_of(effect))) < 2:
            continue
        kind = "behaviour" if behaviour else "condition"
        place = f"{behaviour} on {there}" if behaviour else condition
        entries.append(
            Transferred(kind, rows.name.behaviour if behaviour else fitted, place,
                        mean_of(effect))
        )  # fmt: skip
    return tuple(entries)


def _only_metric(rows: pl.DataFrame, metric: str) -> str:
    """The metric of another target: this one's where it has it, else its first by name."""
    names = sorted(set(rows["metric"]))
    return metric if metric in names else names[0]
