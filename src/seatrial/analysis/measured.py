"""One task measured without and with steering: every number with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

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


def compare(
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
    (``stats.cluster_mean``). Where no item's flag changes at all, the interval
    of the difference is as wide as the share of items that might have changed.

    Args:
        unsteered: one score an item.
        steered: the same items in the same order; None: there is no steering.
        dose: of the steering.
        first: the metric that is told first.
        condition: of the prompts, where there are several.
        bounds: the least and the most that metrics can be, where they have such ends.
    """
    pairs = list(zip(unsteered, unsteered if steered is None else steered, strict=True))
    assert all(one.item == other.item for one, other in pairs)
    names = dict.fromkeys(
        name for pair in pairs for score in pair for name in score.metrics
    )
    ordered = sorted(names, key=lambda name: name != first)  # stable
    found = [
        _compared(pairs, name, steered is not None, dose, (bounds or {}).get(name))
        for name in ordered
    ]
    return [replace(row, condition=condition) for row in found]


def _compared(
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
    change = difference(plain, after, groups, is_share)
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
    found = cluster_share(inside, groups)
    value, least, most = (low + width * x for x in (found.value, found.low, found.high))
    return Estimate(value, least, most, found.n)


def difference(
    plain: Sequence[float], after: Sequence[float], groups: Sequence[str], is_share: bool
) -> Estimate:
    """The mean of ``after - plain``; see ``compare`` for flags of which none changed."""
    found = cluster_difference(after, plain, groups)
    if not is_share or found.low < found.high:
        return found
    # All flags moved alike, or none did: a bootstrap would be sure of what it has not seen.
    kept = cluster_share([a - b == found.value for a, b in zip(after, plain, strict=True)],
                         groups).low  # fmt: skip
    if found.value == 0:
        return Estimate(0.0, kept - 1, 1 - kept, found.n)
    ends = sorted((found.value, found.value * (2 * kept - 1)))
    return Estimate(found.value, ends[0], ends[1], found.n)


def measured_table(
    rows: Sequence[Measured], unit: str = "", width: int | None = None
) -> Table:
    """The rows for a terminal; where it is narrow, one estimate a line.

    Args:
        rows: of one or several steerings, in one or several conditions.
        unit: of the metric in the first row.
        width: columns of the terminal; None: as many as it takes.
    """
    wide = _wide(rows, unit)
    console = Console(width=1000)
    needed = Measurement.get(console, console.options, wide).maximum
    return wide if width is None or needed <= width else _narrow(rows, unit)


def _wide(rows: Sequence[Measured], unit: str) -> Table:
    is_steered = any(row.dose is not None for row in rows)
    is_shifted = any(row.condition for row in rows)
    titles = ["dose", "unsteered", "steered", "difference"] if is_steered else ["unsteered"]
    said = ["condition"] if is_shifted else []
    table = _empty([*said, *titles, "items", "without it"])
    for row in rows:
        said = [row.condition] if is_shifted else []
        dose = [f"{row.dose:g}" if row.dose is not None else ""] if is_steered else []
        counts = [str(row.n_items), str(row.n_without)]
        cells = [*said, *dose, *_cells(row, is_steered), *counts]
        table.add_row(_name(row, rows, unit), *cells)
    return table


def _narrow(rows: Sequence[Measured], unit: str) -> Table:
    is_steered = any(row.dose is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    table.add_column("")
    table.add_column("estimate", justify="right", no_wrap=True)
    for row in rows:
        name = _name(row, rows, unit)
        if row.condition:
            name.append(f"\n{row.condition}")
        if row.dose is not None:
            name.append(f"\ndose {row.dose:g}")
        name.append(f"\n{row.n_items} items")
        if row.n_without:
            name.append(f", {row.n_without} without it")
        titles = ("unsteered", "steered", "difference")[: 3 if is_steered else 1]
        cells = "\n".join(str(cell) for cell in _cells(row, is_steered))
        table.add_row(name, "\n".join(titles), Text(cells))
        table.add_section()
    return table


def _empty(titles: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _name(row: Measured, rows: Sequence[Measured], unit: str) -> Text:
    name = Text(row.metric)
    if unit and row.metric == rows[0].metric:
        name.append(f"\n{unit}", style="dim")
    return name


def _cells(row: Measured, is_steered: bool) -> list[Text]:
    found = [row.unsteered, row.steered, row.difference] if is_steered else [row.unsteered]
    none = "one group only" if row.n_items else "no item"
    return [Text(none, style="dim") if e is None else Text(str(e)) for e in found]
