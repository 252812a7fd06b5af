"""Least-squares lines through the dose-response of items: slope, residual and R^2."""

import numpy as np
from jaxtyping import Float, Real

from seatrial.errors import BadData
from seatrial.stats.bootstrap import Values

ROUNDING = 1e-12
"""Differences below this share of the values are float64 rounding, not effects."""


def slopes(
    doses: Values, curve: Real[np.ndarray, "item dose"]
) -> Float[np.ndarray, " item"]:
    """The least-squares slope of each item over all doses, dose 0 among them.

    Items that do not move have a slope of exactly 0.

    Args:
        doses: The dose of each column, in any order.
        curve: The metric of each item at each dose.
    """
    dose, moved = moved_curves(doses, curve)
    centred = dose - dose.mean()
    slope = moved @ centred / (centred @ centred)
    # A slope of +1e-17 is a 0 that rounding has pushed out of the anti-steerable share.
    rounding = ROUNDING * np.abs(moved).max(axis=1) / np.abs(centred).max()
    return np.where(np.abs(slope) <= rounding, 0.0, slope)


def moved_curves(
    doses: Values, curve: Real[np.ndarray, "item dose"]
) -> tuple[Float[np.ndarray, " dose"], Float[np.ndarray, "item dose"]]:
    """Doses ascending, and each item's curve minus its value at the lowest dose.

    Subtracting a value of the curve itself, not its rounded mean, makes slopes of constant
    curves exactly 0, which the anti-steerable share counts on.
    """
    dose, table = np.asarray(doses, dtype=float), np.asarray(curve, dtype=float)
    if table.ndim != 2 or dose.ndim != 1 or table.shape[1] != dose.size:
        raise BadData(
            "a curve needs one row per item and one column per dose, "
            f"got shape {table.shape} for {dose.size} doses."
        )
    if len(table) == 0:
        raise BadData(
            "a dose-response needs at least one item, got none. "
            "Check that the split and the filters leave items to measure."
        )
    if not np.isfinite(dose).all() or len(set(dose.tolist())) < max(2, dose.size):
        raise BadData(
            f"a slope needs at least 2 doses, finite and each once, got {dose.tolist()}. "
            "Average repeated measurements of one dose first."
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise BadData(
            f"the curve of item {row} is not finite at dose {dose[column]:g}. "
            "Mend or leave out that item before any statistics."
        )
    order = np.argsort(dose)
    table = table[:, order]
    return dose[order], table - table[:, :1]


def off_line(
    dose: Float[np.ndarray, " dose"], moved: Float[np.ndarray, "row dose"]
) -> Float[np.ndarray, "row dose"]:
    """What each curve leaves over after its least-squares line."""
    centred = dose - dose.mean()
    slope = moved @ centred / (centred @ centred)
    return moved - moved.mean(axis=1, keepdims=True) - slope[:, None] * centred


def explained_share(
    residual: Float[np.ndarray, " row"],
    total: Float[np.ndarray, " row"],
    scale: Float[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """R^2 by row: the share of the squares about the row's mean that its line explains.

    A curve that does not move has nothing to explain; by convention its share is 0, so that
    what steering leaves untouched never counts as well explained.
    """
    moves = total > np.square(ROUNDING * scale)
    share = 1 - residual / np.where(moves, total, 1.0)
    return np.where(moves, np.clip(share, 0.0, 1.0), 0.0)
