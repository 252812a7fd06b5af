"""What judged scores add up to, with the unreadable replies counted and bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from seatrial.errors import BadData
from seatrial.stats import cluster_mean, cluster_share
from seatrial.tasks.judges.base import Scale
from seatrial.types import Estimate, Score


@final
@dataclass(frozen=True)
class Tally:
    """The mean score of some texts, and what the unreadable ones could make of it."""

    mean: Estimate
    """Over the texts that have a score."""
    n: int
    """How many texts were judged."""
    unreadable: int
    """How many of them have no score."""
    share: Estimate
    """Of unreadable replies."""
    lowest: float
    """The mean if every unreadable one had the least score there is."""
    highest: float
    """The mean if every unreadable one had the greatest."""


def tally(scores: Sequence[Score], scale: Scale, *, metric: str = "score") -> Tally:
    """Sum up scores of which some may lack the metric.

    Args:
        scores: one for each text that was judged.
        scale: of the judge.
        metric: which of the numbers.

    Raises:
        BadData: if no text has a score, or those that have are of one group.
    """
    read = [score for score in scores if metric in score.metrics]
    if not read:
        raise BadData(
            f"none of the {len(scores)} texts has a {metric} that could be averaged; read "
            "what the judge replied"
        )
    values = [score.metrics[metric] for score in read]
    mean = cluster_mean(values, [score.group for score in read])
    share = cluster_share(
        [metric not in score.metrics for score in scores],
        [score.group for score in scores],
    )
    unreadable = len(scores) - len(read)
    lowest, highest = (
        (sum(values) + unreadable * end) / len(scores) for end in (scale.low, scale.high)
    )
    return Tally(mean, len(scores), unreadable, share, lowest, highest)
