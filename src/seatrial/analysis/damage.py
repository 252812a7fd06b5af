"""How much worse a guard gets: told alike for choices, prices and verdicts."""

from collections.abc import Sequence
from math import exp, inf
from typing import Literal

from seatrial.stats import Values, cluster_difference, cluster_mean
from seatrial.types import Estimate

DamageKind = Literal["difference", "ratio", "level"]
"""difference: how much worse than unsteered, in the metric's unit; ratio: of perplexities,
from losses in nats; level: of what is 0 unsteered by definition, such as a divergence."""


def damage(
    unsteered: Values,
    steered: Values,
    groups: Sequence[str],
    kind: DamageKind,
    sign: int = 1,
    *,
    level: float = 0.95,
) -> Estimate:
    """The damage of a steering on the items of a guard.

    Args:
        unsteered: one value an item.
        steered: of the same items in the same order.
        groups: the group of each item.
        kind: how it is told.
        sign: 1 where more of the metric is worse, else -1.
        level: of the interval.
    """
    if kind == "level":
        return cluster_mean(steered, groups, level=level)
    change = cluster_difference(steered, unsteered, groups, level=level)
    if sign < 0:
        change = Estimate(-change.value, -change.high, -change.low, change.n)
    if kind == "difference":
        return change
    low, high = _ratio(change.low), _ratio(change.high)
    return Estimate(_ratio(change.value), low, high, change.n)


def _ratio(change: float) -> float:
    """exp, with infinity instead of an overflow for a model in ruins."""
    return exp(change) if change < 700 else inf
