"""What select items decide: the options of a method on a target, then its dose. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple, final

import numpy as np
import polars as pl

from seatrial.stats import slopes
from seatrial.studies.plan import Rule


@final
@dataclass(frozen=True)
class Candidate:
    """What may be chosen, with the cells in which it was measured on select items."""

    settings: str
    """Options on trial as JSON."""
    dose: float
    """Its own dose, or 1: where a rule that is no slope looks."""
    cells: Mapping[float, str]
    """Cell ids by dose, those of the unsteered model (0) among them."""


class Ranked(NamedTuple):
    """A candidate with what the rule compared: more is better."""

    candidate: Candidate
    value: float


def rank(
    candidates: Sequence[Candidate], rows: pl.DataFrame, rule: Rule, metric: str, sign: int
) -> list[Ranked]:
    """Candidates with the best first; of those that tie the first one named.

    Args:
        candidates: in the order of the plan.
        rows: cell, item, metric, value on select items.
        rule: what is compared, and what breaks ties. A metric that the target does not
            have means the change of its own one.
        metric: of the target.
        sign: 1 where more of the metric is more of the behaviour, else -1.
    """
    known = set(rows["metric"])

    def value(candidate: Candidate, by: str) -> float:
        if by == "slope":
            doses = sorted(candidate.cells)
            curve = [_values(rows, candidate.cells[dose], metric) for dose in doses]
            return sign * float(slopes(doses, np.array(curve).T).mean())
        steered = candidate.cells[candidate.dose]
        if by in known:
            return float(_values(rows, steered, by).mean())
        plain = _values(rows, candidate.cells[0.0], metric)
        return sign * float((_values(rows, steered, metric) - plain).mean())

    ranked = [Ranked(candidate, value(candidate, rule.by)) for candidate in candidates]
    ties = [value(each.candidate, rule.then) if rule.then else 0.0 for each in ranked]
    order = sorted(
        range(len(ranked)), key=lambda k: (*_down(ranked[k].value), *_down(ties[k]), k)
    )
    return [ranked[k] for k in order]


def _down(value: float) -> tuple[bool, float]:
    """A key that sorts the largest first, and what is no number last."""
    return (True, 0.0) if isnan(value) else (False, -value)


def _values(rows: pl.DataFrame, cell: str, metric: str) -> np.ndarray:
    """One value an item, in the order of items."""
    picked = rows.filter((pl.col("cell") == cell) & (pl.col("metric") == metric))
    return picked.sort("item")["value"].to_numpy()


@final
@dataclass(frozen=True)
class Offer:
    """A dose that may be chosen, with what it costs on each guard with a budget."""

    dose: float
    upper: Mapping[str, float]
    """By guard, the one-sided 95 % upper end of its damage."""


class Dose(NamedTuple):
    """The dose that was chosen, and whether every budget holds there."""

    dose: float
    is_within: bool


def largest_within(offers: Sequence[Offer], budgets: Mapping[str, float]) -> Dose:
    """The largest dose within every budget; where none is, the smallest, and it is said."""
    ordered = sorted(offers, key=lambda offer: offer.dose)
    within = [offer for offer in ordered if _is_within(offer, budgets)]
    return Dose(within[-1].dose, True) if within else Dose(ordered[0].dose, False)


def first_within(offers: Sequence[Offer], budgets: Mapping[str, float]) -> Dose:
    """Of offers in the order of a rule the first within every budget; else the first."""
    for offer in offers:
        if _is_within(offer, budgets):
            return Dose(offer.dose, True)
    return Dose(offers[0].dose, False)


def _is_within(offer: Offer, budgets: Mapping[str, float]) -> bool:
    # Asked this way round, damage that is no number is within no budget.
    return all(offer.upper[guard] <= budget for guard, budget in budgets.items())


def settings_of(options: Mapping[str, object]) -> str:
    """Options on trial as text that names them: JSON with sorted keys."""
    return json.dumps(dict(options), sort_keys=True)
