"""Curves that are no lines are told from lines, and intervals cover what is planted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from seatrial.errors import BadData
from seatrial.stats import cluster_mean, curvature, describe, slopes

DOSES = np.linspace(-1.5, 1.5, 7)
GROUPS = [f"group-{index // 4}" for index in range(48)]


def noisy(shape: np.ndarray, seed: int = 0, noise: float = 0.3) -> np.ndarray:
    """Items in groups of 4 around a mean curve; level and slope vary by group and item."""
    rng = np.random.default_rng(seed)
    by_group = np.repeat(rng.normal(size=(12, 2)), 4, axis=0)
    by_item = rng.normal(size=(48, 2))
    level, tilt = 0.3 * (by_group + by_item).T
    wiggle = noise * rng.normal(size=(48, len(DOSES)))
    return shape + level[:, None] + tilt[:, None] * DOSES + wiggle


def test_steerability_is_the_slope_of_the_mean_curve():
    curve = noisy(np.tanh(DOSES))

    response = describe(DOSES, curve, GROUPS)

    of_mean = scipy_stats.linregress(DOSES, curve.mean(axis=0)).slope
    assert response.steerability.value == pytest.approx(of_mean, abs=1e-6)


def test_the_order_of_doses_and_items_changes_nothing():
    curve = noisy(DOSES)
    columns = np.random.default_rng(1).permutation(len(DOSES))
    rows = np.random.default_rng(2).permutation(len(curve))

    straight = describe(DOSES, curve, GROUPS)
    mixed = describe(
        DOSES[columns], curve[rows][:, columns], [GROUPS[index] for index in rows]
    )

    for name, value in vars(straight).items():
        if name not in ("monotone", "slope_by_range"):
            found = getattr(mixed, name)
            assert (found.value, found.low, found.high) == pytest.approx(
                (value.value, value.low, value.high), abs=1e-9
            )


def test_a_planted_saturating_curve_is_flagged():
    response = describe(DOSES, noisy(np.tanh(2 * DOSES)), GROUPS)

    assert response.depends_on_range
    assert response.range_change.low > 0
    assert response.slope_by_range[0.5].value > 1.3 * response.slope_by_range[1.5].value
    assert response.residual.low > 0
    assert response.r2.high < 1
    assert response.monotone


def test_a_planted_straight_curve_is_hardly_ever_flagged():
    responses = [describe(DOSES, noisy(0.5 * DOSES, seed), GROUPS) for seed in range(100)]

    assert np.mean([response.depends_on_range for response in responses]) <= 0.10
    assert np.mean([not response.monotone for response in responses]) <= 0.05
    assert np.mean([response.residual.low > 0 for response in responses]) <= 0.10
    assert np.mean([response.r2.high < 1 for response in responses]) <= 0.10


def test_a_planted_curve_that_turns_back_is_flagged():
    peak = 0.6 - np.square(DOSES - 0.5)

    assert not describe(DOSES, noisy(peak), GROUPS).monotone


def test_noise_around_no_effect_is_hardly_ever_said_to_turn_back():
    """Every dose wanders on its own: 21 pairs of doses are 21 chances to be fooled."""
    flags = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        curve = np.repeat(rng.normal(size=(12, 7)), 4, axis=0) + rng.normal(size=(48, 7))
        flags.append(not curvature(DOSES, curve, GROUPS, draws=100).monotone)

    assert np.mean(flags) <= 0.05


def test_a_falling_curve_is_monotone():
    response = describe(DOSES, noisy(-DOSES), GROUPS)

    assert response.monotone
    assert response.steerability.high < 0
    assert response.anti_steerable.value > 0.9


def test_residual_and_r2_cover_a_known_bend():
    bent = DOSES + 0.15 * np.square(DOSES)
    line = scipy_stats.linregress(DOSES, bent)
    residual = np.sqrt(np.mean(np.square(bent - line.intercept - line.slope * DOSES)))

    responses = [
        describe(DOSES, noisy(bent, seed), GROUPS, draws=300) for seed in range(100)
    ]

    hits = [r.residual.low <= residual <= r.residual.high for r in responses]
    shares = [r.r2.low <= line.rvalue**2 <= r.r2.high for r in responses]
    assert np.mean(hits) >= 0.92
    assert np.mean(shares) >= 0.92


def test_r2_of_a_curve_that_may_not_move_says_nothing():
    response = describe(DOSES, noisy(np.zeros(7)), GROUPS)

    assert response.r2.low == 0.0
    assert response.r2.high == 1.0


def test_quartiles_and_median_are_those_of_the_slopes():
    curve = noisy(DOSES)

    response = describe(DOSES, curve, GROUPS)

    quartiles = np.quantile(slopes(DOSES, curve), [0.25, 0.5, 0.75])
    found = (response.lower_quartile, response.median_slope, response.upper_quartile)
    assert [estimate.value for estimate in found] == pytest.approx(quartiles)


def test_ranges_are_slopes_over_their_doses_alone():
    curve = noisy(np.tanh(DOSES))
    middle = np.abs(DOSES) <= 1.0

    bend = curvature(DOSES, curve, GROUPS)

    expected = cluster_mean(slopes(DOSES[middle], curve[:, middle]), GROUPS)
    assert list(bend.slope_by_range) == [0.5, 1.0, 1.5]
    assert bend.slope_by_range[1.0] == expected


def test_ranges_that_add_no_dose_or_hold_too_few_are_left_out():
    doses = np.array([-1.0, 0.0, 1.0])

    bend = curvature(doses, noisy(DOSES)[:, 1:4], GROUPS)

    assert list(bend.slope_by_range) == [1.0]
    assert bend.range_change is None
    assert not bend.depends_on_range


def test_ranges_can_be_chosen_for_doses_on_another_scale():
    bend = curvature(
        10 * DOSES, noisy(np.tanh(2 * DOSES)), GROUPS, ranges=(5.0, 10.0, 15.0)
    )

    assert list(bend.slope_by_range) == [5.0, 10.0, 15.0]
    assert bend.depends_on_range


def test_a_response_is_a_value():
    curve = noisy(DOSES)

    one, two = describe(DOSES, curve, GROUPS), describe(DOSES, curve, GROUPS)

    assert one == two
    assert replace(one, monotone=not one.monotone) != two


def test_two_doses_have_a_slope_and_no_bend():
    curve = noisy(DOSES)[:, [3, 5]]

    response = describe([0.0, 1.0], curve, GROUPS)

    assert response.steerability.value == pytest.approx((curve[:, 1] - curve[:, 0]).mean())
    assert (response.r2, response.residual, response.range_change) == (None, None, None)
    assert response.monotone


@pytest.mark.parametrize("doses", [[-1.0, 1.0, 2.0], [0.0]])
def test_a_dose_response_needs_the_unsteered_answers(doses):
    with pytest.raises(BadData, match="at least 2 doses and dose 0 among them, got"):
        describe(doses, np.ones((4, len(doses))), ["a", "b", "c", "d"])


def test_one_group_has_no_dose_response():
    with pytest.raises(BadData, match="an interval needs at least 2 groups, got 1"):
        describe(DOSES, np.ones((4, 7)), ["a"] * 4)
