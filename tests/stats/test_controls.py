"""Chance and controls are beaten by real effects, and hardly ever by nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from seatrial.errors import BadData, BadOption
from seatrial.stats import beats, cluster_mean, control_band, holm, paired_sign_flip_p
from seatrial.types import Estimate

GROUPS = [f"group-{index // 4}" for index in range(48)]


def cell(rng: np.random.Generator, effect: float) -> Estimate:
    """One vector's mean effect on 12 groups of 4 items; vectors differ by chance, too."""
    chance = 0.1 * rng.normal()
    by_group = np.repeat(rng.normal(size=12), 4)
    items = effect + chance + np.sqrt(0.7) * by_group + np.sqrt(0.3) * rng.normal(size=48)
    return cluster_mean(items, GROUPS, draws=200)


def test_a_band_is_the_envelope_of_its_controls_where_they_agree():
    band = control_band([Estimate(0.5, -1.0, 1.0, 12), Estimate(0.5, 0.2, 2.0, 12)])

    assert band == Estimate(0.5, -1.0, 2.0, 2)


def test_a_single_control_is_its_own_band():
    assert control_band([Estimate(0.5, 0.2, 0.8, 12)]) == Estimate(0.5, 0.2, 0.8, 1)


def test_a_band_has_room_for_one_more_control():
    """Values 0, 1, 2: mean 1, sd 1, t(.975, 2) = 4.303, so 1 ± 4.303 * sqrt(4/3)."""
    band = control_band([Estimate(value, value, value, 12) for value in (0.0, 1.0, 2.0)])

    assert (band.value, band.n) == (1.0, 3)
    assert band.low == pytest.approx(1 - 4.302653 * np.sqrt(4 / 3))
    assert band.high == pytest.approx(1 + 4.302653 * np.sqrt(4 / 3))


def test_one_more_control_beats_the_band_rarely_and_a_plain_envelope_often():
    """Without item noise, the largest of 8 is beaten by a ninth in 1 of 9 studies."""
    draws = np.random.default_rng(7).normal(size=(4000, 9))
    over_band = over_envelope = 0
    for *controls, claim in draws.tolist():
        band = control_band([Estimate(value, value, value, 12) for value in controls])
        over_band += beats(Estimate(claim, claim, claim, 12), band)
        over_envelope += claim > max(controls)

    assert over_band / len(draws) <= 0.05
    assert over_envelope / len(draws) > 0.08


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.floats(0, 10))
def test_a_band_holds_every_control_whole(values, half):
    cells = [Estimate(value, value - half, value + half, 12) for value in values]

    band = control_band(cells)

    assert all(band.low <= cell.low and cell.high <= band.high for cell in cells)
    assert band.low <= band.value <= band.high


def test_a_claim_must_lie_above_the_band_with_its_whole_interval():
    band = Estimate(0.0, -0.5, 0.5, 8)

    assert beats(Estimate(1.0, 0.6, 1.4, 12), band)
    assert not beats(Estimate(1.0, 0.5, 1.5, 12), band)
    assert not beats(Estimate(-1.0, -1.4, -0.6, 12), band)


def test_nothing_hardly_ever_beats_its_controls():
    rng = np.random.default_rng(0)

    wins = [
        beats(cell(rng, 0.0), control_band([cell(rng, 0.0) for _ in range(8)]))
        for _ in range(200)
    ]

    assert np.mean(wins) <= 0.05


def test_a_planted_effect_beats_its_controls():
    rng = np.random.default_rng(1)

    wins = [
        beats(cell(rng, 2.5), control_band([cell(rng, 0.0) for _ in range(8)]))
        for _ in range(50)
    ]

    assert np.mean(wins) >= 0.80


def test_no_controls_are_no_band():
    with pytest.raises(BadData, match="at least one control cell, got none"):
        control_band([])


def test_a_control_that_failed_is_no_band():
    with pytest.raises(BadData, match="a control cell is not finite"):
        control_band([Estimate(0.0, -1.0, float("nan"), 12)])


def test_holm_agrees_with_a_hand_made_example():
    """Times 4, 3, 2, 1 in rising order: .02, .03, .06, and .04, which is lifted to .06."""
    adjusted = holm([0.01, 0.04, 0.03, 0.005])

    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_adjustment_and_bonferroni(p_values):
    adjusted = holm(p_values)

    raw = np.array(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw * len(raw), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()


def test_holm_of_no_tests_is_empty():
    assert holm([]).size == 0


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(BadData, match="p-values lie between 0 and 1, got"):
        holm([0.1, wrong])


def test_sign_flips_agree_with_scipy_where_every_group_is_one_item():
    differences = np.random.default_rng(2).normal(0.4, 1.0, size=10)
    expected = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )

    found = paired_sign_flip_p(differences, [str(index) for index in range(10)])

    assert found == pytest.approx(expected.pvalue)


def test_random_flips_agree_with_all_flips():
    differences = np.random.default_rng(3).normal(0.3, 1.0, size=48)

    every = paired_sign_flip_p(differences, GROUPS, draws=4096)
    some = paired_sign_flip_p(differences, GROUPS, draws=4000)

    assert some == pytest.approx(every, abs=0.03)


def test_random_flips_are_tried_in_blocks(monkeypatch):
    differences = np.random.default_rng(3).normal(0.2, 1, size=30)
    groups = [str(k) for k in range(30)]
    whole = paired_sign_flip_p(differences, groups)

    monkeypatch.setattr("seatrial.stats.controls.BLOCK", 1000)

    assert paired_sign_flip_p(differences, groups) == whole


def test_sign_flips_of_groups_are_calibrated_where_flips_of_items_are_not():
    rng = np.random.default_rng(4)
    each_alone = [str(index) for index in range(48)]
    by_group, by_item = [], []
    for _ in range(400):
        shared = np.repeat(rng.normal(size=12), 4)
        differences = np.sqrt(0.7) * shared + np.sqrt(0.3) * rng.normal(size=48)
        by_group.append(paired_sign_flip_p(differences, GROUPS, draws=500) <= 0.05)
        by_item.append(paired_sign_flip_p(differences, each_alone, draws=500) <= 0.05)

    assert 0.02 <= np.mean(by_group) <= 0.08
    assert np.mean(by_item) > 0.15


def test_a_planted_difference_is_significant():
    rng = np.random.default_rng(5)
    differences = 1.2 + np.repeat(rng.normal(size=12), 4) + rng.normal(size=48)

    assert paired_sign_flip_p(differences, GROUPS) < 0.01


def test_no_difference_at_all_is_never_significant():
    assert paired_sign_flip_p(np.zeros(48), GROUPS) == 1.0


@given(order=st.permutations(range(48)))
def test_the_order_of_items_changes_no_p_value(order):
    differences = np.random.default_rng(6).normal(0.3, 1.0, size=48)
    names = [GROUPS[index] for index in order]

    straight = paired_sign_flip_p(differences, GROUPS, draws=200)

    assert paired_sign_flip_p(differences[order], names, draws=200) == straight


def test_sign_flips_need_two_groups():
    with pytest.raises(BadData, match="an interval needs at least 2 groups, got 1"):
        paired_sign_flip_p([1.0, 2.0], ["a", "a"])


def test_sign_flips_need_one_number_per_item():
    with pytest.raises(BadData, match=r"one number per item, got shape \(2, 2\)"):
        paired_sign_flip_p(np.ones((2, 2)), ["a", "b"])


def test_a_handful_of_flips_is_refused():
    with pytest.raises(BadOption, match="draws must be at least 100, got 10"):
        paired_sign_flip_p([1.0, 2.0], ["a", "b"], draws=10)
