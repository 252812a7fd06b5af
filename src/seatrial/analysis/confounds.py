"""What a letter, a word or an order explains of the spread between items (trap T36).

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from seatrial.stats import Values, explained, order_share, varies
from seatrial.types import Estimate, Score


@final
@dataclass(frozen=True)
class Share:
    """Which share of the variance something is that should not decide an answer."""

    by: str
    share: Estimate
    leans: Literal["higher", "lower", ""] = ""
    """How values are where it does; empty where that is not shown."""
    among: str = ""
    """What is divided, where it is not all of it."""


def confound_shares(
    values: Values,
    orders: Values | None,
    factors: Mapping[str, Sequence[bool]],
    groups: Sequence[str],
) -> tuple[Share, ...]:
    """Divide the variance of the items' values; nothing where nothing can be divided.

    Args:
        values: one number an item.
        orders: half of what each gains by having the matching answer named first, if it
            was asked in both orders.
        factors: by name, whether each item has it; one that is the same for all is left
            out.
        groups: the group of each item.
    """
    if len(set(groups)) < 2:
        return ()
    parts = []
    if orders is not None and (varies(values) or np.asarray(orders).any()):
        by = "which answer is named first (items in both orders)"
        parts.append(Share(by, order_share(values, orders, groups)))
    vary = {name: flags for name, flags in factors.items() if len(set(flags)) > 1}
    for factor in explained(values, vary, groups) if vary and varies(values) else ():
        leans = ""
        if factor.correlation.excludes(0.0):
            leans = "higher" if factor.correlation.value > 0 else "lower"
        among = "" if orders is None else "of the items' means"
        parts.append(Share(f"whether {factor.name} matches", factor.share, leans, among))
    return tuple(parts)


def spread_sentences(
    unsteered: Sequence[Score],
    steered: Mapping[str, Sequence[Score]],
    metric: str,
    factors: Mapping[str, Mapping[str, bool]],
) -> list[str]:
    """A sentence for the unsteered values and one for the changes under each steering.

    Args:
        unsteered: one score an item; with a metric ``order``, of two requests each.
        steered: the same items in the same order, by the name of the steering.
        metric: whose spread is divided.
        factors: by name, whether each item has it, by the item's id.
    """
    groups = [score.group for score in unsteered]
    flags = {
        name: [by_item[score.item] for score in unsteered]
        for name, by_item in factors.items()
    }
    before = _columns(unsteered, metric)
    spreads = {"unsteered": before}
    for name, scores in steered.items():
        spreads[f"change at {name}"] = {
            key: [a - b for a, b in zip(values, before[key], strict=True)]
            for key, values in _columns(scores, metric).items()
        }
    lines = []
    for name, columns in spreads.items():
        divided = confound_shares(columns[metric], columns.get("order"), flags, groups)
        if divided:
            parts = "; ".join(map(_in_words, divided))
            lines.append(f"Share of the variance of {metric} ({name}): {parts}")
    return lines


def _columns(scores: Sequence[Score], metric: str) -> dict[str, list[float]]:
    names = [name for name in (metric, "order") if name in scores[0].metrics]
    return {name: [score.metrics[name] for score in scores] for name in names}


def _in_words(part: Share) -> str:
    among = f"{part.among}, " if part.among else ""
    leans = f", {part.leans} where it does" if part.leans else ""
    return f"{among}{part.share} by {part.by}{leans}"
