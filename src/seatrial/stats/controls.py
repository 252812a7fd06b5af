"""What an effect must beat to be believed: controls, chance, and the number of tries."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from seatrial.errors import BadData, BadOption
from seatrial.stats.bootstrap import BLOCK, Values, partition
from seatrial.types import Estimate


def control_band(estimates: Sequence[Estimate]) -> Estimate:
    """Where controls fall: random, shuffled, other-task vectors, and one more of them.

    The band is the envelope of the controls' intervals, widened where needed to hold the
    95 % prediction interval of a further control, because the largest of 8 values is beaten
    by a ninth that is no different in 1 of 9 studies:

        mean ± t(.975, n - 1) * sd * sqrt(1 + 1 / n)        over n >= 2 control values

    The value is the mean of the controls, and ``n`` is their number.
    """
    if not estimates:
        raise BadData(
            "a control band needs at least one control cell, got none. "
            "Add random, shuffled-label or other-task cells to the study."
        )
    ends = [(cell.value, cell.low, cell.high) for cell in estimates]
    if not np.isfinite(ends).all():
        raise BadData(
            "a control cell is not finite, so nothing could be compared with the band. "
            "Run that cell again or find out why it failed."
        )
    values = np.array([cell.value for cell in estimates])
    mean, n, reach = float(values.mean()), len(values), 0.0
    if n >= 2:
        reach = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) * np.sqrt(1 + 1 / n))
    return Estimate(
        value=mean,
        low=min(mean - reach, *(cell.low for cell in estimates)),
        high=max(mean + reach, *(cell.high for cell in estimates)),
        n=n,
    )


def beats(claim: Estimate, band: Estimate) -> bool:
    """Whether the whole interval of a claim lies above the band of its controls.

    Higher must mean more of the claimed effect: turn the sign of both where lower is
    better.
    """
    return claim.low > band.high


def holm(p_values: Values) -> Float[np.ndarray, " test"]:
    """Holm's adjusted p-values, in the order given: reject where one is below alpha.

    It holds the chance of any false rejection in the family at alpha, whatever the
    dependence between the tests. https://www.jstor.org/stable/4615733
    """
    raw = np.asarray(p_values, dtype=float)
    if not ((raw >= 0) & (raw <= 1)).all():
        wrong = raw[~((raw >= 0) & (raw <= 1))][0]
        raise BadData(
            f"p-values lie between 0 and 1, got {wrong:g}. Check the test they are from."
        )
    order = np.argsort(raw)
    stepped = np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def paired_sign_flip_p(
    differences: Values,
    groups: Sequence[str] | np.ndarray,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "the mean difference is 0", flipping signs of whole groups.

    Valid if, without an effect, the differences of a group are as likely as their
    negatives. With few groups every flip is tried; the result can then not fall below ``2 /
    2**groups``, which with 5 groups or fewer is above .05 whatever the data.

    Args:
        differences: One paired difference per item.
        groups: The group of each item.
        draws: Random flips; all flips are tried instead where that is not more work.
        seed: Makes the random flips.
    """
    if draws < 100:
        raise BadOption(
            f"draws must be at least 100, got {draws}; the p-value would be coarse."
        )
    part = partition(differences, groups)
    if part.values.ndim != 1:
        raise BadData(
            f"differences must be one number per item, got shape {part.values.shape}."
        )
    count, totals = len(part.names), part.totals
    # Flips that tie with the data must count, so they are given room for rounding.
    observed = abs(float(totals.sum())) - 1e-12 * float(np.abs(totals).sum())
    if 2**count <= draws:
        flips = np.array(list(product((-1.0, 1.0), repeat=count)))
        return float(np.mean(np.abs(flips @ totals) >= observed))
    # The data as they are is one of the possible flips; leaving it out could give p = 0.
    rng, beyond, block = np.random.default_rng(seed), 1, max(1, BLOCK // count)
    for start in range(0, draws, block):
        flips = rng.choice((-1.0, 1.0), size=(min(block, draws - start), count))
        beyond += np.count_nonzero(np.abs(flips @ totals) >= observed)
    return beyond / (draws + 1)
