"""What a letter, a word or an order explains of the spread between items, in words."""

from collections.abc import Mapping, Sequence

from seatrial.errors import BadData
from seatrial.stats import explained, order_share
from seatrial.types import Score


def spread_told(
    unsteered: Sequence[Score],
    steered: Mapping[str, Sequence[Score]],
    metric: str,
    factors: Mapping[str, Sequence[bool]],
) -> list[str]:
    """A sentence for the unsteered values and one for the changes under each steering.

    Args:
        unsteered: one score an item; with a metric ``order``, of two requests each.
        steered: the same items in the same order, by the name of the steering.
        metric: whose spread is divided.
        factors: by name, whether each item has it; one that is the same for all is left
            out.
    """
    if len({score.group for score in unsteered}) < 2:
        return []
    told = [("unsteered", _columns(unsteered, metric))]
    for name, scores in steered.items():
        after = _columns(scores, metric)
        before = told[0][1]
        changes = {
            key: [a - b for a, b in zip(values, before[key], strict=True)]
            for key, values in after.items()
        }
        told.append((f"change at {name}", changes))
    groups = [score.group for score in unsteered]
    lines = []
    for name, columns in told:
        if parts := _parts(columns, metric, factors, groups):
            lines.append(f"Share of the variance of {metric} ({name}): {'; '.join(parts)}")
    return lines


def _columns(scores: Sequence[Score], metric: str) -> dict[str, list[float]]:
    names = [name for name in (metric, "order") if name in scores[0].metrics]
    return {name: [score.metrics[name] for score in scores] for name in names}


def _parts(
    columns: Mapping[str, Sequence[float]],
    metric: str,
    factors: Mapping[str, Sequence[bool]],
    groups: Sequence[str],
) -> list[str]:
    values, orders = columns[metric], columns.get("order")
    vary = {name: flags for name, flags in factors.items() if len(set(flags)) > 1}
    found = []
    try:
        if orders is not None:
            share = order_share(values, orders, groups)
            found.append(f"{share} by which answer is named first (items in both orders)")
        for factor in explained(values, vary, groups) if vary else ():
            tilt = ""
            if factor.correlation.excludes(0.0):
                more = "higher" if factor.correlation.value > 0 else "lower"
                tilt = f", {more} where it does"
            of = "" if orders is None else "of the items' means, "
            found.append(f"{of}{factor.share} by whether {factor.name} matches{tilt}")
    except BadData:  # all values are the same, so there is nothing to divide
        return []
    return found
