"""Intervals cover what they say, and the naive ones are shown not to."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.stats import (
    cluster_difference,
    cluster_mean,
    cluster_share,
    partition,
    resample,
)
from seatrial.types import Estimate

STUDIES = 400


def labels(groups: int, size: int = 4) -> list[str]:
    return [f"group-{index // size:03d}" for index in range(groups * size)]


def clustered(
    rng: np.random.Generator, groups: int, size: int = 4, correlation: float = 0.7
) -> np.ndarray:
    """Standard normal items whose group explains `correlation` of their variance."""
    shared = np.repeat(rng.normal(size=groups), size)
    own = rng.normal(size=groups * size)
    return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize("groups", [10, 15])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_cover_the_truth_with_clustered_items(groups, statistic):
    rng = np.random.default_rng(groups)

    hits = [
        covers(
            cluster_mean(
                clustered(rng, groups), labels(groups), statistic=statistic, draws=500
            ),
            0.0,
        )
        for _ in range(STUDIES)
    ]

    assert 0.90 <= np.mean(hits) <= 0.98


@pytest.mark.parametrize("groups", [10, 15])
def test_the_naive_interval_over_items_fails_the_same_check(groups):
    """If it passed, the coverage test above would prove nothing."""
    rng = np.random.default_rng(groups)

    hits = []
    for _ in range(STUDIES):
        items = clustered(rng, groups)
        half = 1.96 * items.std(ddof=1) / np.sqrt(len(items))
        hits.append(abs(items.mean()) <= half)

    assert np.mean(hits) < 0.85


def test_the_naive_bootstrap_over_items_fails_the_same_check():
    rng = np.random.default_rng(10)
    each_alone = labels(40, size=1)

    hits = [
        covers(cluster_mean(clustered(rng, 10), each_alone, draws=500), 0.0)
        for _ in range(STUDIES)
    ]

    assert np.mean(hits) < 0.85


@pytest.mark.parametrize("groups", [2, 3])
def test_intervals_cover_even_with_very_few_groups(groups):
    rng = np.random.default_rng(groups)

    hits = [
        covers(cluster_mean(clustered(rng, groups), labels(groups), draws=500), 0.0)
        for _ in range(STUDIES)
    ]

    assert np.mean(hits) >= 0.90


def test_intervals_cover_with_groups_of_unequal_size():
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(STUDIES):
        sizes = rng.integers(1, 9, size=12)
        group = np.repeat(np.arange(12), sizes)
        noise = rng.normal(size=len(group))
        items = np.sqrt(0.7) * rng.normal(size=12)[group] + np.sqrt(0.3) * noise
        hits.append(covers(cluster_mean(items, [str(g) for g in group], draws=500), 0.0))

    assert 0.90 <= np.mean(hits) <= 0.98


def test_paired_differences_cover_and_are_narrower_than_either_side():
    rng = np.random.default_rng(6)
    group = labels(12)
    hits, narrower = [], []
    for _ in range(STUDIES):
        before = clustered(rng, 12)
        after = before + 0.5 + 0.3 * clustered(rng, 12)
        paired = cluster_difference(after, before, group, draws=500)
        alone = cluster_mean(after, group, draws=500)
        hits.append(covers(paired, 0.5))
        narrower.append(paired.high - paired.low < alone.high - alone.low)

    assert 0.90 <= np.mean(hits) <= 0.98
    assert np.mean(narrower) > 0.95


def test_groups_of_one_item_agree_with_the_t_interval():
    items = np.random.default_rng(0).normal(3.0, 2.0, size=60)
    expected = scipy_stats.t.interval(
        0.95, 59, loc=items.mean(), scale=scipy_stats.sem(items)
    )

    found = cluster_mean(items, labels(60, size=1), draws=20_000)

    assert found.value == pytest.approx(items.mean())
    assert found.n == 60
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.03)


def test_groups_of_one_item_agree_with_the_bootstrap_of_scipy():
    items = np.random.default_rng(1).normal(size=200)
    expected = scipy_stats.bootstrap(
        (items,),
        np.mean,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval

    found = cluster_mean(items, labels(200, size=1), draws=4000)

    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


@pytest.mark.parametrize(
    ("statistic", "share"),
    [("lower-quartile", 0.25), ("median", 0.5), ("upper-quartile", 0.75)],
)
def test_weighted_quantiles_are_those_of_numpy(statistic, share):
    """The quick path must see the same resamples as the plain one."""
    rng = np.random.default_rng(2)
    items, group = clustered(rng, 9, size=5), labels(9, size=5)

    quick = cluster_mean(items, group, statistic=statistic, draws=300)
    plain = cluster_mean(
        items, group, statistic=lambda values: float(np.quantile(values, share)), draws=300
    )

    assert quick.value == pytest.approx(np.quantile(items, share))
    assert (quick.low, quick.high) == pytest.approx((plain.low, plain.high))


def test_the_mean_is_the_same_by_the_quick_and_the_plain_path():
    rng = np.random.default_rng(3)
    items, group = clustered(rng, 9), labels(9)

    quick = cluster_mean(items, group, draws=300)
    plain = cluster_mean(
        items, group, statistic=lambda values: float(values.mean()), draws=300
    )

    assert (quick.value, quick.low) == pytest.approx((plain.value, plain.low))


def test_large_item_sets_are_worked_through_in_blocks(monkeypatch):
    rng = np.random.default_rng(4)
    items, group = clustered(rng, 30), labels(30)
    whole = cluster_mean(items, group, statistic="median")

    monkeypatch.setattr("seatrial.stats.bootstrap.BLOCK", 1000)

    assert cluster_mean(items, group, statistic="median") == whole


@given(order=st.permutations(range(24)))
def test_the_order_of_items_changes_nothing(order):
    """Not even the last bit: sums of such unequal items depend on their order."""
    rng = np.random.default_rng(7)
    items, group = clustered(rng, 6) * 10.0 ** rng.integers(-6, 6, size=24), labels(6)
    shuffled, names = items[order], [group[index] for index in order]

    for statistic in ("mean", "median"):
        straight = cluster_mean(items, group, statistic=statistic, draws=100)
        assert cluster_mean(shuffled, names, statistic=statistic, draws=100) == straight
    assert cluster_share(shuffled > 0, names) == cluster_share(items > 0, group)


def test_the_global_random_state_is_neither_read_nor_moved():
    items, group = clustered(np.random.default_rng(8), 6), labels(6)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()

    first = cluster_mean(items, group)
    after = np.random.get_state()[1].copy()
    np.random.seed(2)

    assert (before == after).all()
    assert cluster_mean(items, group) == first


def test_another_seed_gives_almost_the_same_interval():
    items, group = clustered(np.random.default_rng(9), 20), labels(20)

    one, two = cluster_mean(items, group, seed=1), cluster_mean(items, group, seed=2)

    assert one != two
    assert one.high - one.low == pytest.approx(two.high - two.low, rel=0.1)


@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_intervals_move_and_stretch_with_the_unit_of_the_metric(shift, scale):
    items, group = clustered(np.random.default_rng(11), 8), labels(8)

    plain = cluster_mean(items, group, draws=100)
    moved = cluster_mean(items * scale + shift, group, draws=100)

    for end in ("value", "low", "high"):
        assert getattr(moved, end) == pytest.approx(
            getattr(plain, end) * scale + shift, abs=1e-9
        )


def test_every_item_weighs_the_same_whatever_its_group():
    estimate = cluster_mean([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"])

    assert estimate.value == 2.0
    assert estimate.n == 2


def test_a_resample_takes_as_many_groups_as_there_are():
    part = partition([1, 2, 3, 4, 5], ["a", "b", "b", "c", "a"])

    weights = resample(part, draws=500, seed=0)

    assert part.names == ("a", "b", "c")
    assert part.totals.tolist() == [6.0, 5.0, 4.0]
    assert (weights.sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)
    assert resample(part, draws=500, seed=0) is weights  # hundreds of estimates want it
    assert not weights.flags.writeable


@pytest.mark.parametrize("correlation", [0.0, 0.7, 0.99])
@pytest.mark.parametrize("truth", [0.02, 0.1, 0.5])
def test_shares_cover_the_truth_with_clustered_items(truth, correlation):
    """Near 0 exact 95 % cannot be had, the share being discrete: rather too wide."""
    rng = np.random.default_rng(12)
    threshold = NormalDist().inv_cdf(truth)

    hits = [
        covers(
            cluster_share(
                clustered(rng, 12, correlation=correlation) < threshold, labels(12)
            ),
            truth,
        )
        for _ in range(STUDIES)
    ]

    assert np.mean(hits) >= 0.90
    if truth == 0.5 and correlation == 0.7:
        assert np.mean(hits) <= 0.98


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.3), (0.5, 4.0), (2.0, 2.0)])
def test_means_of_shares_cover_the_truth_and_stay_inside(a, b):
    """Items of a group lie close together; all follow a beta distribution, some a U."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(STUDIES):
        centre = np.repeat(rng.beta(a, b, size=15), 4)
        items = np.clip(centre + 0.1 * (rng.random(60) - 0.5) * centre * (1 - centre), 0, 1)
        found = cluster_share(items, labels(15))
        hits.append(covers(found, a / (a + b)))
        assert 0 <= found.low <= found.value <= found.high <= 1

    assert 0.90 <= np.mean(hits) <= 0.99


def test_the_mean_of_shares_that_hardly_differ_is_known_well():
    """Taken for flags, they would have the interval of a coin."""
    found = cluster_share([0.40, 0.41] * 50, labels(100, size=1))

    assert found.high - found.low < 0.003
    same = cluster_share([0.4] * 100, labels(100, size=1))
    assert same.low == same.high == pytest.approx(0.4)


def test_the_naive_interval_of_a_share_fails_the_same_check():
    rng = np.random.default_rng(12)
    each_alone = labels(48, size=1)

    hits = [
        covers(cluster_share(clustered(rng, 12) < 0, each_alone), 0.5)
        for _ in range(STUDIES)
    ]

    assert np.mean(hits) < 0.85


def test_a_share_of_none_or_all_still_has_a_width():
    none = cluster_share([False] * 40, labels(10))
    every = cluster_share([True] * 40, labels(10))

    assert (none.value, none.low) == (0.0, 0.0)
    assert 0.2 < none.high < 0.35  # 0 of 10 independent groups, not 0 of 40 items
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - none.high)


def test_no_flag_among_many_groups_says_more_than_among_few():
    few, many = cluster_share([0] * 12, labels(3)), cluster_share([0] * 400, labels(100))

    assert many.high < 0.04 < 0.5 < few.high


def test_shares_of_single_items_are_those_of_wilson():
    expected = scipy_stats.binomtest(30, 200).proportion_ci(method="wilson")

    found = cluster_share([True] * 30 + [False] * 170, labels(200, size=1))

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2e-3)


@given(flags=st.lists(st.booleans(), min_size=2, max_size=40), size=st.integers(1, 4))
def test_intervals_of_shares_hold_the_share_and_stay_between_0_and_1(flags, size):
    group = [str(index // size) for index in range(len(flags))]
    if len(set(group)) < 2:
        group[0] = "another"

    estimate = cluster_share(flags, group)

    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


def test_one_group_is_refused():
    sentence = (
        r"^an interval needs at least 2 groups, got 1\. Give items distinct `group` "
        r"values, or report the value as a case study\.$"
    )

    with pytest.raises(BadData, match=sentence):
        cluster_mean([1.0, 2.0], ["a", "a"])
    with pytest.raises(BadData, match=sentence):
        cluster_share([True, False], ["a", "a"])


def test_no_items_are_refused():
    with pytest.raises(BadData, match="needs at least one item, got none"):
        cluster_mean([], [])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_items_that_are_not_finite_are_counted_and_located(bad):
    with pytest.raises(
        BadData, match="1 of 3 items are not finite, the first at position 1"
    ):
        cluster_mean([1.0, bad, 2.0], ["a", "b", "c"])


def test_infinities_that_would_cancel_are_refused():
    with pytest.raises(BadData, match="1 of 2 items are not finite"):
        cluster_difference([np.inf, 1.0], [np.inf, 1.0], ["a", "b"])


def test_a_group_name_is_needed_for_every_item():
    with pytest.raises(BadData, match="got 3 values and 2 group names"):
        cluster_mean([1.0, 2.0, 3.0], ["a", "b"])


def test_rows_of_numbers_have_no_single_mean():
    with pytest.raises(BadData, match=r"one number per item, got shape \(4, 2\)"):
        cluster_mean(np.ones((4, 2)), ["a", "b", "c", "d"])


def test_both_sides_of_a_difference_need_the_same_items():
    with pytest.raises(BadData, match="same items on both sides, got 3 and 2"):
        cluster_difference([1.0, 2.0, 3.0], [1.0, 2.0], ["a", "b", "c"])


@pytest.mark.parametrize("wrong", [1.3, -0.2])
def test_shares_lie_between_0_and_1(wrong):
    with pytest.raises(BadData, match=f"numbers between 0 and 1.* got {wrong}"):
        cluster_share([wrong, 1.0], ["a", "b"])


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level):
    with pytest.raises(BadOption, match="level must lie between 0 and 1"):
        cluster_mean([1.0, 2.0], ["a", "b"], level=level)
    with pytest.raises(BadOption, match="level must lie between 0 and 1"):
        cluster_share([True, False], ["a", "b"], level=level)


def test_a_handful_of_draws_is_refused():
    with pytest.raises(BadOption, match="draws must be at least 100, got 5"):
        cluster_mean([1.0, 2.0], ["a", "b"], draws=5)


def test_an_unknown_statistic_says_which_exist():
    with pytest.raises(
        UnknownName, match=r"unknown statistic 'medain'.*Did you mean 'median'"
    ):
        cluster_mean([1.0, 2.0], ["a", "b"], statistic="medain")


def test_a_statistic_without_a_value_is_refused():
    with pytest.raises(BadData, match="something else than one finite number"):
        cluster_mean([1.0, 2.0], ["a", "b"], statistic=lambda values: float("nan"))


def test_an_estimate_is_shown_in_a_notebook_with_its_interval_and_what_it_rests_on():
    shown = Estimate(0.5, 0.4, 0.6, 12)._repr_html_()

    assert shown == "0.50 <small>[0.40, 0.60], 12 groups</small>"
    assert len(repr(Estimate(1 / 3, -1 / 3, 2 / 3, 12))) < 200
