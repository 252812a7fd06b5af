"""How an effect grows with the dose: its slope, and whether a line says it at all.

A line through a saturating curve has a slope that depends on the doses tried. So the slope
never travels alone: beside it stand the residual, the slope over narrower ranges, and
whether the curve turns back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy.special import ndtri, stdtrit

from seatrial.errors import BadData
from seatrial.stats.bootstrap import (
    Values,
    check_level,
    cluster_difference,
    cluster_mean,
    critical,
    partition,
    resample,
)
from seatrial.stats.least_squares import (
    ROUNDING,
    explained_share,
    moved_curves,
    off_line,
    slopes,
)
from seatrial.stats.shares import cluster_share
from seatrial.types import Estimate

RANGES: tuple[float, ...] = (0.5, 1.0, 1.5)
"""Largest absolute doses of the ranges over which slopes are compared."""


@dataclass(frozen=True)
class Curvature:
    """What a line through the mean curve leaves out."""

    slope_by_range: dict[float, Estimate]
    """Mean slope over the doses with ``|dose| <= range``, for each range that holds at
    least 3 doses and more of them than the range before it."""
    range_change: Estimate | None
    """Slope over the narrowest range minus slope over all doses, paired by item. None where
    the doses allow no narrower range: then there is nothing to compare."""
    monotone: bool
    """False if the mean curve both rises and falls, each beyond its noise. The noise is
    that of groups, at one level for all pairs of doses together; with few groups little can
    be shown, and true means "not shown to turn back"."""

    @property
    def depends_on_range(self) -> bool:
        """Whether the slope over small doses differs from that over all, beyond noise."""
        return self.range_change is not None and self.range_change.excludes(0.0)


@dataclass(frozen=True)
class DoseResponse(Curvature):
    """The dose-response of one cell, as estimates over its items, curvature included.

    Law: ``steerability`` (the mean of the slopes) is the slope of the mean curve.
    """

    steerability: Estimate
    """Mean slope, in units of the metric per unit of dose."""
    median_slope: Estimate
    """Slope of the median item."""
    lower_quartile: Estimate
    """A quarter of the items have a slope below this."""
    upper_quartile: Estimate
    """A quarter of the items have a slope above this."""
    anti_steerable: Estimate
    """Share of items whose slope is 0 or has the wrong sign."""
    r2: Estimate | None
    """Share of the movement of the mean curve that a line explains; [0, 1] if it cannot be
    said whether the curve moves. Cautious: it covers the truth more often than the level
    asks. None of two doses, between which every curve is a line."""
    residual: Estimate | None
    """Root mean square distance of the mean curve from its line, in units of the metric.
    Its low end is 0 where noise alone could bend the curve as much. Cautious, and None, as
    ``r2``."""


def curvature(
    doses: Values,
    curve: Real[np.ndarray, "item dose"],
    groups: Sequence[str] | np.ndarray,
    *,
    ranges: Sequence[float] = RANGES,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Curvature:
    """Whether the slope depends on the range of doses, and the mean curve turns back.

    Args:
        doses: The dose of each column, in any order.
        curve: The metric of each item at each dose.
        groups: The group of each item.
        ranges: Largest absolute dose of each range.
        level: As in :func:`seatrial.stats.cluster_mean`.
        draws: As in :func:`seatrial.stats.cluster_mean`.
        seed: As in :func:`seatrial.stats.cluster_mean`.
    """
    options = {"level": level, "draws": draws, "seed": seed}
    dose = np.asarray(doses, dtype=float)
    whole = slopes(dose, curve)
    by_range: dict[float, Estimate] = {}
    change, held = None, 2
    for limit in sorted(ranges):
        inside = np.abs(dose) <= limit * (1 + ROUNDING)
        if inside.sum() <= held:
            continue
        held = int(inside.sum())
        part = slopes(dose[inside], curve[:, inside])
        if not by_range and held < len(dose):
            change = cluster_difference(part, whole, groups, **options)
        by_range[float(limit)] = cluster_mean(part, groups, **options)
    return Curvature(by_range, change, _is_monotone(dose, curve, groups, level))


def describe(
    doses: Values,
    curve: Real[np.ndarray, "item dose"],
    groups: Sequence[str] | np.ndarray,
    *,
    ranges: Sequence[float] = RANGES,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> DoseResponse:
    """Everything that is said about one dose-response, with intervals over groups.

    Args:
        doses: The dose of each column, in any order; at least 2, one of them 0.
        curve: The metric of each item at each dose.
        groups: The group of each item.
        ranges: As in :func:`curvature`.
        level: As in :func:`seatrial.stats.cluster_mean`.
        draws: As in :func:`seatrial.stats.cluster_mean`.
        seed: As in :func:`seatrial.stats.cluster_mean`.
    """
    options = {"level": level, "draws": draws, "seed": seed}
    dose = np.asarray(doses, dtype=float)
    if dose.size < 2 or not (dose == 0).any():
        raise BadData(
            "a dose-response needs at least 2 doses and dose 0 among them, got "
            f"{dose.tolist()}. Dose 0 is the unsteered model that the others move from."
        )
    slope = slopes(dose, curve)
    bend = curvature(dose, curve, groups, ranges=ranges, **options)
    r2, residual = None, None
    if dose.size > 2:
        r2, residual = _mean_curve_fit(dose, curve, groups, **options)
    return DoseResponse(
        steerability=cluster_mean(slope, groups, **options),
        median_slope=cluster_mean(slope, groups, statistic="median", **options),
        lower_quartile=cluster_mean(slope, groups, statistic="lower-quartile", **options),
        upper_quartile=cluster_mean(slope, groups, statistic="upper-quartile", **options),
        anti_steerable=cluster_share(slope <= 0, groups, level=level),
        r2=r2,
        residual=residual,
        monotone=bend.monotone,
        slope_by_range=bend.slope_by_range,
        range_change=bend.range_change,
    )


def _mean_curve_fit(
    dose: Float[np.ndarray, " dose"],
    curve: Real[np.ndarray, "item dose"],
    groups: Sequence[str] | np.ndarray,
    *,
    level: float,
    draws: int,
    seed: int,
) -> tuple[Estimate, Estimate]:
    """R^2 and root mean square residual of the mean curve.

    Noise only ever bends a line, so the residuals of resamples are all too large and their
    percentiles exclude the truth where it is 0. Instead: the length of the curve's off-line
    part can be wrong by at most the length of the off-line part of its error (triangle
    inequality), whose distribution the bootstrap knows. The same for the part along the
    line; R^2 combines both, each with half of the allowed misses.
    """
    ascending, moved = moved_curves(dose, curve)
    part = partition(moved, groups)
    count, totals = len(part.names), part.totals
    mean = totals.sum(axis=0, keepdims=True) / part.sizes.sum()
    weights = resample(part, draws=draws, seed=seed)
    error = (weights @ totals) / (weights @ part.sizes)[:, None] - mean

    spread = float(np.sqrt(np.square(ascending - ascending.mean()).sum()))
    along = float(np.abs(slopes(ascending, mean)[0])) * spread
    across = float(np.linalg.norm(off_line(ascending, mean)))
    along_error = slopes(ascending, error) * spread
    across_error = np.linalg.norm(off_line(ascending, error), axis=1)

    def across_reach(at: float) -> float:
        widening = critical(at, count) / float(ndtri((1 + at) / 2))
        return float(np.quantile(across_error, at)) * widening

    halved = (1 + level) / 2
    reach = across_reach(level)
    rms = float(np.sqrt(dose.size))
    residual = Estimate(
        across / rms, max(across - reach, 0.0) / rms, (across + reach) / rms, count
    )

    along_reach = critical(halved, count) * float(along_error.std())
    reach = across_reach(halved)
    least, most = max(along - along_reach, 0.0), along + along_reach
    straightest, bent = max(across - reach, 0.0), across + reach
    total = np.array([along**2 + across**2])
    scale = np.array([np.abs(curve).max()])
    value = float(explained_share(np.array([across**2]), total, scale)[0])
    low = least**2 / (least**2 + bent**2) if least > 0 else 0.0
    high = most**2 / (most**2 + straightest**2) if straightest > 0 else 1.0
    return Estimate(value, min(low, value), max(high, value), count), residual


def _is_monotone(
    dose: Float[np.ndarray, " dose"],
    curve: Real[np.ndarray, "item dose"],
    groups: Sequence[str] | np.ndarray,
    level: float,
) -> bool:
    """Whether the mean curve does not both rise and fall beyond the noise of the groups.

    All pairs of doses are looked at, not only neighbours: a slow decline over many doses
    hides in the noise of each single step.
    """
    check_level(level)
    _, moved = moved_curves(dose, curve)
    part = partition(moved, groups)
    count, items = len(part.names), int(part.sizes.sum())
    mean = part.totals.sum(axis=0) / items
    deviations = part.totals - part.sizes[:, None] * mean
    covariance = count / (count - 1) * (deviations.T @ deviations) / items**2

    before, after = np.triu_indices(dose.size, k=1)
    change = mean[after] - mean[before]
    variance = (
        covariance[before, before]
        + covariance[after, after]
        - 2 * covariance[before, after]
    )
    quantile = float(stdtrit(count - 1, 1 - (1 - level) / (2 * len(change))))
    noise = quantile * np.sqrt(np.maximum(variance, 0.0)) + ROUNDING * np.abs(curve).max()
    return not ((change > noise).any() and (change < -noise).any())
