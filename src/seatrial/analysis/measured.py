"""One task measured without and with steering: every number with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from seatrial.stats import cluster_difference, cluster_mean, cluster_share
from seatrial.types import Estimate, Score

NO_SHARES = ("kl", "tokens", "words")
"""Counts and divergences: no shares of items, though they can be 0 or 1 in all of them."""


@final
@dataclass(frozen=True)
class Measured:
    """One metric unsteered and under one steering, on the same items."""

    metric: str
    dose: float | None
    """None: there is no steering."""
    unsteered: Estimate | None
    """None, like those below, where fewer than two groups of items have the metric."""
    steered: Estimate | None
    difference: Estimate | None
    """Steered minus unsteered, item by item."""
    n_items: int
    """How many items have the metric on both sides."""
    n_without: int
    """How many do not."""
    condition: str = ""
    """What the prompts carried, where several conditions are compared."""


def measured_rows(
    unsteered: Sequence[Score],
    steered: Sequence[Score] | None = None,
    *,
    dose: float | None = None,
    first: str = "",
    condition: str = "",
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> list[Measured]:
    """All metrics of a task, with 95 % intervals over groups.

    A metric that is 0 or 1 in every item is a share of them (``stats.cluster_share``), and
    so is one with bounds, from one end to the other; any other is a mean
    (``stats.cluster_mean``). Where no item's flag changes at all, the interval of the
    difference is as wide as the share of items that might have changed.

    Args:
        unsteered: one score an item.
        steered: the same items in the same order; None: there is no steering.
        dose: of the steering.
        first: the metric that stands first.
        condition: of the prompts, where there are several.
        bounds: the least and the most that metrics can be, where they have such ends.
    """
    pairs = list(zip(unsteered, unsteered if steered is None else steered, strict=True))
    assert all(one.item == other.item for one, other in pairs)
    names = dict.fromkeys(
        name for pair in pairs for score in pair for name in score.metrics
    )
    ordered = sorted(names, key=lambda name: name != first)  # stable
    rows = [
        _measured(pairs, name, steered is not None, dose, (bounds or {}).get(name))
        for name in ordered
    ]
    return [replace(row, condition=condition) for row in rows]


def _measured(
    pairs: Sequence[tuple[Score, Score]],
    name: str,
    is_steered: bool,
    dose: float | None,
    bounds: tuple[float, float] | None,
) -> Measured:
    both = [
        (a.metrics[name], b.metrics[name], a.group)
        for a, b in pairs
        if name in a.metrics and name in b.metrics
    ]
    counts = (len(both), len(pairs) - len(both))
    if len({group for _, _, group in both}) < 2:
        return Measured(name, dose, None, None, None, *counts)
    plain, after, groups = (list(column) for column in zip(*both, strict=True))
    is_share = {*plain, *after} <= {0.0, 1.0} and name not in NO_SHARES
    ends = (0.0, 1.0) if is_share else bounds
    if ends is not None and not all(map(partial(_within, ends), (*plain, *after))):
        ends = None
    estimate = cluster_mean if ends is None else partial(_bounded, ends)
    if not is_steered:
        return Measured(name, dose, estimate(plain, groups), None, None, *counts)
    change = mean_change(plain, after, groups, is_share)
    if ends is not None:
        most = ends[1] - ends[0]
        change = replace(change, low=max(change.low, -most), high=min(change.high, most))
    return Measured(
        name,
        dose,
        estimate(plain, groups),
        estimate(after, groups),
        change,
        *counts,
    )


def _within(ends: tuple[float, float], value: float) -> bool:
    """Whether a value lies between them, but for rounding."""
    slack = 1e-6 * (ends[1] - ends[0])
    return ends[0] - slack <= value <= ends[1] + slack


def _bounded(
    ends: tuple[float, float], values: Sequence[float], groups: Sequence[str]
) -> Estimate:
    """The mean of numbers between two ends; its interval stays between them."""
    low, width = ends[0], ends[1] - ends[0]
    inside = [min(max((value - low) / width, 0.0), 1.0) for value in values]
    share = cluster_share(inside, groups)
    value, least, most = (low + width * x for x in (share.value, share.low, share.high))
    return Estimate(value, least, most, share.n)


def mean_change(
    plain: Sequence[float], after: Sequence[float], groups: Sequence[str], is_share: bool
) -> Estimate:
    """The mean of ``after - plain``; ``measured_rows`` says what of flags that stayed."""
    change = cluster_difference(after, plain, groups)
    if not is_share or change.low < change.high:
        return change
    # All flags moved alike, or none did: a bootstrap would be sure of what it has not seen.
    kept = cluster_share([a - b == change.value for a, b in zip(after, plain, strict=True)],
                         groups).low  # fmt: skip
    if change.value == 0:
        return Estimate(0.0, kept - 1, 1 - kept, change.n)
    ends = sorted((change.value, change.value * (2 * kept - 1)))
    return Estimate(change.value, ends[0], ends[1], change.n)
