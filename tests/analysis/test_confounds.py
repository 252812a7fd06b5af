"""What is told of the spread: of the unsteered values, and of the changes by steering."""

import numpy as np
import pytest

from seatrial.analysis.confounds import confound_shares, spread_sentences
from seatrial.errors import BadData
from seatrial.stats import explained
from seatrial.types import Score

N = 80
GROUPS = [f"g{k // 4}" for k in range(N)]
ITEMS = [f"i{k}" for k in range(N)]
FLAGS = {"(A)": [k % 2 == 0 for k in range(N)]}
LETTERS = {"(A)": dict(zip(ITEMS, FLAGS["(A)"], strict=True))}
ALL_YES = {"yes": dict.fromkeys(ITEMS, True)}
VIEWS = np.random.default_rng(0).normal(size=N)


def scores(values, **more):
    columns = {"m": values, **more}
    return [
        Score(ITEMS[k], GROUPS[k], {name: float(v[k]) for name, v in columns.items()})
        for k in range(N)
    ]


def test_a_vector_for_a_letter_is_seen_in_the_changes_and_not_before():
    pushed = VIEWS + np.where(FLAGS["(A)"], -2.0, 2.0) + 0.5 * np.roll(VIEWS, 7)

    before, after = spread_sentences(
        scores(VIEWS), {"dose 1": scores(pushed)}, "m", LETTERS
    )

    plain = explained(VIEWS, FLAGS, GROUPS)[0].share
    change = explained(pushed - VIEWS, FLAGS, GROUPS)[0].share
    assert before == (
        f"Share of the variance of m (unsteered): {plain} by whether (A) matches"
    )
    assert after == (
        f"Share of the variance of m (change at dose 1): {change} by whether (A) matches, "
        "lower where it does"
    )
    assert change.low > 0.8


def test_a_steering_that_changes_nothing_has_nothing_to_be_divided():
    told = spread_sentences(scores(VIEWS), {"dose 0": scores(VIEWS)}, "m", LETTERS)

    assert len(told) == 1


def test_a_factor_that_is_the_same_for_all_is_left_out():
    assert spread_sentences(scores(VIEWS), {}, "m", ALL_YES) == []
    assert "yes" not in spread_sentences(scores(VIEWS), {}, "m", {**LETTERS, **ALL_YES})[0]


def test_one_group_has_no_interval_and_is_not_told_of():
    alone = [Score(s.item, "g", s.metrics) for s in scores(VIEWS)]

    assert spread_sentences(alone, {}, "m", LETTERS) == []


def test_items_that_differ_by_their_order_only_have_the_order_to_be_told_of():
    alike, orders = np.ones(N), np.where(FLAGS["(A)"], 1.0, 2.0)

    [found] = confound_shares(alike, orders, FLAGS, GROUPS)

    assert found.by.startswith("which answer is named first")
    assert found.share.value == 1
    assert confound_shares(alike, None, FLAGS, GROUPS) == ()
    assert confound_shares(alike, 0 * orders, FLAGS, GROUPS) == ()


def test_a_value_that_is_no_number_is_not_passed_over():
    with pytest.raises(BadData, match="finite"):
        confound_shares(np.where(np.arange(N) == 3, np.nan, VIEWS), None, FLAGS, GROUPS)


def test_the_order_of_changes_is_that_of_the_changes():
    """A steering that moves an item by 1 whichever comes first, and by 3 the first one."""
    orders = np.full(N, 0.0)
    plain, steered = scores(VIEWS, order=orders), scores(VIEWS * 2, order=orders + 3)

    told = spread_sentences(plain, {"dose 1": steered}, "m", {})

    share = 9 / (9 + VIEWS.var())
    number = float(told[1].split("): ")[1].split()[0])
    assert abs(number - share) < 0.006
    assert ": 0.00 [0.00, 0.00] by which answer is named first" in told[0]
