"""From stored select rows to settings and doses: what is decided between phases."""

from collections.abc import Mapping
from math import isnan
from typing import Any

import polars as pl

from seatrial.analysis.damage import damage
from seatrial.store import UnitFolder
from seatrial.studies.arms import Arm, arms_of
from seatrial.studies.choose import (
    Candidate,
    Offer,
    first_within,
    largest_within,
    rank,
    settings_of,
)
from seatrial.studies.expand import Shape
from seatrial.studies.plan import Plan

Choice = dict[str, Any]
"""Label, target, settings (JSON), dose, and what led to them: plain values."""

ONE_SIDED = 0.90
"""The upper end of a two-sided interval at this level is a one-sided one at 95 %."""


def options_chosen(plan: Plan, folder: UnitFolder) -> list[Choice]:
    """Settings of every arm on every target, from the rows of *select*.

    A choice has ``doses``, in the order in which *price* may take them, and ``values``,
    what the rule compared.
    """
    names = folder.names().filter(pl.col("phase") == "select")
    rows = folder.rows(names["cell"])
    names = names.filter(pl.col("cell").is_in(rows["cell"].unique().to_list()))
    described = folder.header["header"]
    shape = Shape(described["layers"], described["heads"])
    arms = {arm.label: arm for arm in arms_of(plan, shape)}
    targets = described["targets"]
    return [
        _chosen(arms[label], target, ask, targets[ask], names, rows)
        for target, about in targets.items()
        for ask in [about["chosen_on"] or target]
        for label in about["arms"]
    ]


def _chosen(
    arm: Arm,
    target: str,
    ask: str,
    about: Mapping[str, Any],
    names: pl.DataFrame,
    rows: pl.DataFrame,
) -> Choice:
    """What an arm chooses for a target, on the select items of ``asked``."""
    own = names.filter((pl.col("label") == arm.label) & (pl.col("target") == ask))
    plain = names.filter((pl.col("label") == "unsteered") & (pl.col("target") == ask))
    candidates = _candidates(arm, own, plain)
    choice: Choice = {
        "label": arm.label,
        "target": target,
        "settings": settings_of(arm.candidates[0]),
        "doses": list(arm.offered),
        "by_rule": arm.by_rule,
        "values": {},
    }
    if candidates:
        ranked = rank(candidates, rows, arm.rule, about["metric"], about["sign"])
        best = ranked[0].candidate
        choice["settings"] = best.settings
        choice["values"] = {
            f"{each.settings} at {each.dose:g}": None if isnan(value) else value
            for each, value in ranked
        }
        if arm.by_rule:
            same = [each for each, _ in ranked if each.settings == best.settings]
            choice["doses"] = [each.dose for each in same]
    choice["dose"] = choice["doses"][0] if arm.by_rule else max(choice["doses"])
    return choice


def _candidates(arm: Arm, own: pl.DataFrame, plain: pl.DataFrame) -> list[Candidate]:
    """What was measured of an arm, in the order of the plan."""
    candidates = []
    for settings in map(settings_of, arm.candidates):
        here = own.filter(pl.col("settings") == settings)
        if here.is_empty():
            continue
        base = plain.filter(pl.col("ask") == here["ask"][0])["cell"][0]
        cells = {0.0: base, **dict(here.select("dose", "cell").rows())}
        steered = [dose for dose in cells if dose]
        if arm.by_rule:
            candidates += [
                Candidate(settings, dose, {0.0: base, dose: cells[dose]})
                for dose in arm.offered
                if dose in cells
            ]
        else:
            candidates.append(Candidate(settings, max(steered), cells))
    return candidates


def doses_chosen(folder: UnitFolder) -> list[Choice]:
    """The choices with a dose each, from the rows of *price*.

    Where a guard's budget was measured, ``upper`` has its damage by dose and guard, and
    ``is_within`` says whether every budget holds at the dose.
    """
    names = folder.names().filter(pl.col("phase") == "price")
    rows = folder.rows(names["cell"]).join(
        folder.items().select("ask", "item", "group"), on="item"
    )
    guards = folder.header["header"]["guards"]
    chosen = []
    for choice in folder.choices:
        own = names.filter(
            (pl.col("label") == choice["label"])
            & (pl.col("settings") == choice["settings"])
        )
        budgets = {
            guard: guards[guard]["budget"]
            for guard in sorted(set(own["target"]))
            if _is_measured(guard, names, own, rows)
        }
        offers = [
            Offer(
                dose,
                {
                    guard: _upper(names, own, rows, guard, guards[guard], dose)
                    for guard in budgets
                },
            )
            for dose in choice["doses"]
        ]
        take = first_within if choice["by_rule"] else largest_within
        dose, is_within = take(offers, budgets)
        upper = {f"{offer.dose:g}": dict(offer.upper) for offer in offers if budgets}
        chosen.append({**choice, "dose": dose, "is_within": is_within, "upper": upper})
    return chosen


def _is_measured(
    guard: str, names: pl.DataFrame, own: pl.DataFrame, rows: pl.DataFrame
) -> bool:
    """Whether a guard was asked unsteered and at every dose of an arm; else one failed."""
    plain = names.filter(pl.col("label") == "unsteered")
    both = pl.concat([plain, own]).filter(pl.col("target") == guard)
    return set(both["cell"]) <= set(rows["cell"])


def _upper(
    names: pl.DataFrame,
    own: pl.DataFrame,
    rows: pl.DataFrame,
    guard: str,
    about: Mapping[str, Any],
    dose: float,
) -> float:
    """The one-sided 95 % upper end of a guard's damage at a dose."""
    here = names.filter(pl.col("target") == guard)
    plain = here.filter(pl.col("label") == "unsteered")
    steered = own.filter((pl.col("target") == guard) & (pl.col("dose") == dose))
    both = [
        rows.filter(
            (pl.col("cell") == cell["cell"][0])
            & (pl.col("ask") == cell["ask"][0])
            & (pl.col("metric") == about["metric"])
        ).sort("item")
        for cell in (plain, steered)
    ]
    return damage(
        both[0]["value"].to_numpy(),
        both[1]["value"].to_numpy(),
        both[0]["group"].to_list(),
        about["damage"],
        about["sign"],
        level=ONE_SIDED,
    ).high
