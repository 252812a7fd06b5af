"""Which share of what can be reached is reached."""

from collections.abc import Sequence

import numpy as np

from seatrial.stats import cluster_mean, partition, resample
from seatrial.stats.bootstrap import critical
from seatrial.types import Estimate


def recovery(
    reached: np.ndarray,
    reachable: np.ndarray,
    groups: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate | None:
    """The mean change over the mean way to the ceiling, with a bootstrap over groups.

    Args:
        reached: change of each item under steering.
        reachable: change of the same items at the ceiling.
        groups: the group of each item.
        level: as in :func:`seatrial.stats.cluster_mean`.
        draws: as there.
        seed: as there.

    Returns:
        None where the interval of the way holds 0: a share of nothing is no number.
    """
    way = cluster_mean(reachable, groups, level=level, draws=draws, seed=seed)
    if not way.excludes(0.0):
        return None
    part = partition(np.column_stack([reached, reachable]), groups)
    whole = part.totals.sum(axis=0)
    drawn = resample(part, draws=draws, seed=seed) @ part.totals
    # Fieller's way: the spread of what is left over once the share is taken out.
    share = float(whole[0] / whole[1])
    items = part.sizes.sum()
    rest = (drawn[:, 0] - share * drawn[:, 1]) / items
    half = critical(level, len(part.names)) * float(rest.std())
    half /= abs(float(whole[1])) / items
    return Estimate(share, share - half, share + half, len(part.names))
