"""Slopes obey their law, and lines explain what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats as scipy_stats

from seatrial.errors import BadData
from seatrial.stats import slopes
from seatrial.stats.least_squares import explained_share, moved_curves, off_line

DOSES = np.linspace(-1.5, 1.5, 7)


def left_and_explained(curve):
    """Of each item: the squares about its line, and their share of those about its mean."""
    dose, moved = moved_curves(DOSES, curve)
    total = np.square(moved - moved.mean(axis=1, keepdims=True)).sum(axis=1)
    residual = np.square(off_line(dose, moved)).sum(axis=1)
    return residual, explained_share(residual, total, np.abs(curve).max(axis=1))


@given(
    curve=arrays(
        float,
        array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
        elements=st.floats(-50, 50),
    )
)
def test_the_slope_of_the_mean_is_the_mean_of_the_slopes(curve):
    doses = np.linspace(-1, 2, curve.shape[1])

    of_mean = slopes(doses, curve.mean(axis=0, keepdims=True))[0]

    assert slopes(doses, curve).mean() == pytest.approx(of_mean, abs=1e-6)


def test_slopes_and_fits_are_those_of_scipy():
    curve = DOSES + np.random.default_rng(0).normal(size=(48, len(DOSES)))

    own, (residual, explained) = slopes(DOSES, curve), left_and_explained(curve)

    for item, row in enumerate(curve):
        expected = scipy_stats.linregress(DOSES, row)
        line = expected.intercept + expected.slope * DOSES
        assert own[item] == pytest.approx(expected.slope)
        assert explained[item] == pytest.approx(expected.rvalue**2)
        assert residual[item] == pytest.approx(np.square(row - line).sum())


def test_an_item_that_does_not_move_counts_as_anti_steerable():
    still = np.full((2, 7), 0.1) + np.array([[0.0], [0.2]])

    assert (slopes(DOSES, still) == 0).all()


def test_a_curve_that_rises_and_falls_alike_has_no_slope_but_0():
    assert slopes(DOSES, 0.1 * np.abs(DOSES)[None]).tolist() == [0.0]


def test_a_constant_curve_is_explained_by_nothing_and_leaves_nothing_over():
    residual, explained = left_and_explained(np.full((1, 7), 0.1))

    assert residual.tolist() == [0.0]
    assert explained.tolist() == [0.0]


def test_a_straight_curve_is_explained_whole():
    residual, explained = left_and_explained(0.1 + 0.3 * DOSES[None])

    assert explained == pytest.approx(np.ones(1))
    assert residual == pytest.approx(np.zeros(1))


def test_whole_numbers_are_a_curve_too():
    assert slopes([-1, 0, 1], np.array([[0, 1, 2]])).tolist() == [1.0]


def test_a_curve_needs_a_column_per_dose():
    with pytest.raises(BadData, match=r"got shape \(2, 3\) for 2 doses"):
        slopes([0.0, 1.0], np.ones((2, 3)))


def test_a_curve_needs_an_item():
    with pytest.raises(BadData, match="at least one item, got none"):
        slopes([0.0, 1.0], np.ones((0, 2)))


@pytest.mark.parametrize("doses", [[1.0], [0.0, 0.0], [0.0, np.nan]])
def test_a_slope_needs_two_different_doses(doses):
    with pytest.raises(BadData, match="at least 2 doses, finite and each once"):
        slopes(doses, np.ones((2, len(doses))))


def test_a_value_that_is_not_finite_is_located():
    curve = np.ones((3, 2))
    curve[2, 0] = np.nan

    with pytest.raises(BadData, match=r"the curve of item 2 is not finite at dose 0\.5"):
        slopes([0.5, 0.0], curve)
