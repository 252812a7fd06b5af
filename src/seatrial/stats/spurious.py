"""How much of the spread between items is a letter, a word or an order, and not content.

A vector for "(A)" moves items up where (A) matches and down where (B) does. In a balanced
set that cancels in the mean and stays in the spread, where it looks like unreliability, or
like the behaviour in a set that is not balanced (trap T36).

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float

from seatrial.errors import BadData
from seatrial.stats.bootstrap import Values, critical, partition, resample
from seatrial.types import Estimate

_TINY = 1e-9
"""Shares of a variance below this are rounding."""

_FAR = 20.0
"""Log-odds beyond which a share is 0 or 1 for every purpose."""


@final
@dataclass(frozen=True)
class Factor:
    """What one factor explains of the variance between items."""

    name: str
    correlation: Estimate
    """Of the values with the factor, once what the factors before it explain is taken out
    of the factor; positive where the values are higher if the factor is there."""

    @property
    def share(self) -> Estimate:
        """Of the variance: the square of the correlation."""
        value, *ends = (x**2 for x in self._numbers)
        low = min(ends) if self.correlation.excludes(0.0) else 0.0
        return Estimate(value, low, max(ends), self.correlation.n)

    @property
    def _numbers(self) -> tuple[float, float, float]:
        return self.correlation.value, self.correlation.low, self.correlation.high


def explained(
    values: Values,
    factors: Mapping[str, Sequence[bool]],
    groups: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Factor, ...]:
    """The variance of the items, divided among factors in their order (Tan et al. 2024).

    With residuals ``r_k`` of the least-squares fit of the values on a constant and the
    first ``k`` factors::

        share of factor k = (var(r_(k-1)) - var(r_k)) / var(values)

    as in https://arxiv.org/abs/2407.12404, divided by the whole. It is the square of a
    correlation, whose interval is a bootstrap over groups on Fisher's scale, which covers
    as :mod:`seatrial.stats.bootstrap` says. A factor that explains nothing has a share of
    about 1 in the number of items, not 0: look at the interval.

    Args:
        values: One number per item, such as its propensity or slope.
        factors: By name, whether each item has it, such as that (A) is the matching letter.
        groups: The group of each item.
        level: As in :func:`seatrial.stats.cluster_mean`.
        draws: As there.
        seed: As there.

    Raises:
        BadData: if all values are equal, or a factor is the same for all items.
    """
    for name, flags in factors.items():
        if len(set(flags)) < 2:
            raise BadData(
                f"{name!r} is the same for all items, so it cannot be told what it "
                "explains; leave it out"
            )
    deviations = _deviations(values)
    _check_spread(deviations)
    with np.errstate(invalid="ignore"):
        deviations = deviations / deviations.std()
    columns = [np.ones(len(deviations)), *factors.values(), deviations]
    part = partition(np.column_stack(columns), groups)
    products = replace(part, values=np.einsum("ia,ib->iab", part.values, part.values))
    moments = products.totals
    weights = resample(part, draws=draws, seed=seed)
    drawn = np.arctanh(_correlations(np.tensordot(weights, moments, axes=1)))
    middle = np.arctanh(_correlations(moments.sum(0)[None])[0])
    count = len(part.names)
    half = critical(level, count) * drawn.std(axis=0)
    ends = np.tanh([middle, middle - half, middle + half]).T.tolist()
    return tuple(
        Factor(name, Estimate(value, low, high, count))
        for name, (value, low, high) in zip(factors, ends, strict=True)
    )


def order_share(
    means: Values,
    orders: Values,
    groups: Sequence[str] | np.ndarray,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Which share of the variance is the order, where every item is asked in both.

    An item with the mean ``c`` and half the difference ``o`` scores ``c + o`` in one order
    and ``c - o`` in the other, so that the variance over items and orders is exactly::

        var(c) + mean(o^2)        share = mean(o^2) / (var(c) + mean(o^2))

    A common taste for the first option and one that differs between items count alike. The
    interval is a bootstrap over groups of the log-odds.

    Args:
        means: ``c`` of every item.
        orders: ``o`` of every item.
        groups: The group of each item.
        level: As in :func:`seatrial.stats.cluster_mean`.
        draws: As there.
        seed: As there.

    Raises:
        BadData: if neither items nor orders differ.
    """
    deviations, half = _deviations(means), np.asarray(orders, dtype=float)
    _check_spread(np.concatenate([deviations, half]))
    columns = [np.ones(len(half)), deviations, deviations**2, half**2]
    part = partition(np.column_stack(columns), groups)
    drawn = _log_odds(resample(part, draws=draws, seed=seed) @ part.totals)
    count = len(part.names)
    reach = critical(level, count) * float(drawn.std())
    [middle] = _log_odds(part.totals.sum(0)[None])
    ends = np.array([middle, middle - reach, middle + reach])
    # Rounded, so that no order at all is 0, and order alone 1.
    value, low, high = (1 / (1 + np.exp(-ends))).round(8).tolist()
    return Estimate(value, low, high, count)


def varies(values: Values) -> bool:
    """Whether values differ by more than rounding, so that there is a spread to divide."""
    return bool(_deviations(values).any())


def _deviations(values: Values) -> Float[np.ndarray, " item"]:
    """Values less their mean; exactly 0 where rounding is all that they differ by."""
    numbers = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):  # `partition` says what is not finite
        rest = numbers - numbers.sum() / max(1, len(numbers))
        return np.where(np.abs(rest) <= _TINY * np.abs(numbers).max(initial=0), 0.0, rest)


def _check_spread(deviations: np.ndarray) -> None:
    if not deviations.any():
        raise BadData(
            "all items have the same value, so there is no spread to divide; ask others"
        )


def _correlations(moments: Float[np.ndarray, "draw c c"]) -> Float[np.ndarray, "draw k"]:
    """Of the last column with each of those between, less the columns before that one.

    Args:
        moments: products of a constant, the factors and the values, summed over items.

    Returns:
        Not quite 1 at most, where Fisher's scale has no end.
    """
    left = _without_first(moments)
    total, columns = left[:, -1, -1], []
    while left.shape[1] > 1:
        size = left[:, 0, 0] * total
        columns.append(left[:, 0, -1] / np.sqrt(np.where(size > _TINY, size, np.inf)))
        left = _without_first(left)
    return np.clip(np.stack(columns, axis=1), _TINY - 1, 1 - _TINY)


def _without_first(moments: Float[np.ndarray, "draw c c"]) -> Float[np.ndarray, "draw d d"]:
    """What is left of the other columns once the first is taken out of them."""
    row, pivot = moments[:, 0, 1:], moments[:, 0, 0]
    # In a draw in which all items have a factor, or none, it explains nothing.
    pivot = np.where(pivot > _TINY, pivot, np.inf)[:, None, None]
    return moments[:, 1:, 1:] - row[:, :, None] * row[:, None, :] / pivot


def _log_odds(totals: Float[np.ndarray, "draw 4"]) -> Float[np.ndarray, " draw"]:
    """Of the order against the content; the columns are those of ``order_share``."""
    n, linear, squares, order = totals.T
    content = np.maximum(squares - linear**2 / n, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(order) - np.log(content)
    return np.clip(np.nan_to_num(odds, nan=0.0, posinf=_FAR, neginf=-_FAR), -_FAR, _FAR)
