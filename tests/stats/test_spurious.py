"""Planted shares of variance are found, covered by their intervals, and told apart."""

import numpy as np
import pytest

from seatrial.errors import BadData
from seatrial.stats import explained, order_share
from seatrial.stats.bootstrap import critical

PER_GROUP = 4


def planted(seed, *, groups=25, letter=0.0, word=0.0, apart=0.0, topic=0.7, noise=1.0):
    """Items of a balanced 2x2 design, four to a group; ``apart``: letters by group."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"g{k:02d}" for k in range(groups)], PER_GROUP)
    is_a = np.tile([True, True, False, False], groups)
    is_yes = np.tile([True, False, True, False], groups)
    own = letter + apart * np.repeat(rng.normal(size=groups), PER_GROUP)
    values = (
        own * np.where(is_a, 0.5, -0.5)
        + word * np.where(is_yes, 0.5, -0.5)
        + topic * np.repeat(rng.normal(size=groups), PER_GROUP)
        + noise * rng.normal(size=groups * PER_GROUP)
    )
    return values, {"(A)": is_a.tolist(), "yes": is_yes.tolist()}, names.tolist()


def share(values, factors, groups):
    """Of the letter, with few resamples, since simulations ask for many."""
    return explained(values, factors, groups, draws=300)[0].share


def tan(values, factors):
    """The variances of Tan et al., by least squares, divided by the whole."""
    values = np.asarray(values)
    left, found = [values.var()], []
    for k in range(1, len(factors) + 1):
        design = np.column_stack([np.ones(len(values)), *list(factors.values())[:k]])
        fit, *_ = np.linalg.lstsq(design.astype(float), values, rcond=None)
        left.append((values - design @ fit).var())
        found.append((left[-2] - left[-1]) / left[0])
    return found


@pytest.mark.parametrize("is_balanced", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_shares_are_those_of_least_squares_factor_by_factor(seed, is_balanced):
    values, factors, groups = planted(seed, letter=1.0, word=-0.6)
    if not is_balanced:  # letters and words that go together: the first takes what it can
        chance = np.random.default_rng(seed)
        yes = [a if chance.random() < 0.8 else not a for a in factors["(A)"]]
        factors = {**factors, "yes": yes}

    found = explained(values, factors, groups)

    assert [f.share.value for f in found] == pytest.approx(tan(values, factors), abs=1e-9)
    assert found[0].correlation.value == pytest.approx(
        np.corrcoef(values, factors["(A)"])[0, 1]
    )


def test_a_taste_has_the_sign_of_what_gains_by_it():
    for sign in (1, -1):
        letter, word = explained(*planted(0, letter=4.0 * sign, word=-2.0 * sign))

        assert letter.correlation.excludes(0.0) and letter.correlation.value * sign > 0
        assert word.correlation.excludes(0.0) and word.correlation.value * sign < 0


def test_a_planted_letter_is_attributed_to_the_letter_and_a_word_to_the_word():
    letter, word = explained(*planted(1, letter=3.0))
    assert letter.share.low > 0.4 and word.share.high < 0.1

    letter, word = explained(*planted(1, word=3.0))
    assert word.share.low > 0.4 and letter.share.high < 0.1


def test_content_alone_is_attributed_to_nothing():
    letter, word = explained(*planted(2))

    assert letter.share.low == word.share.low == 0
    assert max(letter.share.high, word.share.high) < 0.15


@pytest.mark.parametrize(
    "truth",
    [
        {"letter": 0.0},
        {"letter": 0.8},
        {"letter": 2.0, "word": 1.0},
        {"letter": 1.2, "apart": 1.5, "topic": 0.2},
        {"letter": 4.0, "groups": 12},
    ],
    ids=str,
)
def test_intervals_cover_the_planted_share(truth):
    full = {"letter": 0.0, "word": 0.0, "apart": 0.0, "topic": 0.7, "noise": 1.0, **truth}
    quarter = (full["letter"] ** 2, full["word"] ** 2, full["apart"] ** 2)
    wanted = full["letter"] ** 2 / 4
    total = sum(quarter) / 4 + full["topic"] ** 2 + full["noise"] ** 2
    covered = [
        found.low <= wanted / total <= found.high
        for seed in range(300)
        for found in [share(*planted(seed, **truth))]
    ]

    assert 0.90 <= np.mean(covered) <= (1.0 if wanted == 0 else 0.985)


def test_an_interval_over_items_would_be_too_narrow_where_tastes_differ_by_topic():
    """The check on the check: groups count, not items."""
    truth = {"letter": 1.2, "apart": 2.0, "topic": 0.2, "noise": 0.5}
    wanted = 0.36 / (0.36 + 1.0 + 0.04 + 0.25)
    covered = []
    for seed in range(200):
        values, factors, groups = planted(seed, **truth)
        items = [f"{group}-{k}" for k, group in enumerate(groups)]
        found = share(values, factors, items)
        covered.append(found.low <= wanted <= found.high)

    assert np.mean(covered) < 0.85


def test_the_interval_is_that_of_a_bootstrap_that_builds_every_resample():
    values, factors, groups = planted(3, letter=1.0)
    rng = np.random.default_rng(0)
    by_group = np.split(np.arange(len(values)), 25)
    drawn = []
    for picks in rng.integers(25, size=(2000, 25)):
        rows = np.concatenate([by_group[k] for k in picks])
        drawn.append(np.corrcoef(values[rows], np.array(factors["(A)"])[rows])[0, 1])
    half = critical(0.95, 25) * np.arctanh(drawn).std()
    middle = np.arctanh(np.corrcoef(values, factors["(A)"])[0, 1])

    letter = explained(values, factors, groups)[0].correlation

    assert letter.low == pytest.approx(np.tanh(middle - half), abs=1e-9)
    assert letter.high == pytest.approx(np.tanh(middle + half), abs=1e-9)


def test_nothing_depends_on_the_order_of_items_or_the_unit_of_values():
    values, factors, groups = planted(4, letter=1.0)
    order = np.random.default_rng(0).permutation(len(values))
    shuffled = {name: np.array(flags)[order].tolist() for name, flags in factors.items()}

    found = explained(values, factors, groups)
    other = explained(5e6 + 1e3 * values[order], shuffled, np.array(groups)[order])

    for one, two in zip(found, other, strict=True):
        numbers = (one.correlation.value, one.correlation.low, one.correlation.high)
        assert numbers == pytest.approx(
            (two.correlation.value, two.correlation.low, two.correlation.high), abs=1e-6
        )


def test_a_letter_that_decides_everything_explains_everything():
    _, factors, groups = planted(5)
    values = np.where(factors["(A)"], 2.0, -1.0)

    letter, word = explained(values, factors, groups)

    assert letter.share.value == pytest.approx(1, abs=1e-6)
    assert letter.share.low == pytest.approx(1, abs=1e-6)
    assert word.share.value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "flags", "match"),
    [
        ([1.0] * 4, [True, False] * 2, "all items have the same value"),
        ([0.1 + 0.2, 0.3, 0.3, 0.3], [True, False] * 2, "all items have the same value"),
        ([1.0, 2.0, 3.0, 4.0], [True] * 4, r"'\(A\)' is the same for all items"),
        ([1.0, 2.0, np.inf, 4.0], [True, False] * 2, "not finite"),
    ],
)
def test_what_cannot_be_divided_is_refused(values, flags, match):
    with pytest.raises(BadData, match=match):
        explained(values, {"(A)": flags}, list("abcd"))


# Every item in both orders.


def swapped(seed, *, groups=30, common=0.0, own=0.5, content=1.0, topic=0.0):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"g{k:02d}" for k in range(groups)], PER_GROUP)
    n = groups * PER_GROUP
    means = content * rng.normal(size=n) + topic * np.repeat(
        rng.normal(size=groups), PER_GROUP
    )
    return means, common + own * rng.normal(size=n), names.tolist()


def test_the_share_is_that_of_the_variance_over_items_and_orders():
    means, orders, groups = swapped(0, common=0.7)
    both = np.concatenate([means + orders, means - orders])

    found = order_share(means, orders, groups)

    assert found.value == pytest.approx((orders**2).mean() / both.var())
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    "truth",
    [
        {},
        {"common": 1.5},
        {"own": 0.1},
        {"own": 2.0, "content": 0.5},
        {"topic": 1.0},
        {"groups": 12, "common": 0.5},
    ],
    ids=str,
)
def test_intervals_cover_the_planted_share_of_the_order(truth):
    full = {"common": 0.0, "own": 0.5, "content": 1.0, "topic": 0.0, **truth}
    order = full["common"] ** 2 + full["own"] ** 2
    wanted = order / (order + full["content"] ** 2 + full["topic"] ** 2)
    covered = [
        found.low <= wanted <= found.high
        for seed in range(300)
        for found in [order_share(*swapped(seed, **truth), draws=300)]
    ]

    assert 0.90 <= np.mean(covered) <= 0.98


def test_no_order_and_no_content_are_exactly_that():
    means, _, groups = swapped(0)
    none = np.zeros(len(means))

    for share, truth in (
        (order_share(means, none, groups), 0),
        (order_share(none, means, groups), 1),
    ):
        assert (share.value, share.low, share.high) == (truth, truth, truth)
    with pytest.raises(BadData, match="all items have the same value"):
        order_share(none, none, groups)
