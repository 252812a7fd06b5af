"""What is chosen is a pure function of rows and damages on select items."""

from math import inf, nan

import numpy as np
import polars as pl
import pytest

from seatrial.studies.choose import Candidate, Offer, first_within, largest_within, rank
from seatrial.studies.plan import Rule

PLAIN = (0.3, -1.0, 2.0)
"""The metric of the unsteered model, item by item."""


def rows(cells, metric="open"):
    """Rows from lists of values by cell."""
    return pl.DataFrame(
        [
            {"cell": cell, "item": f"i{k}", "metric": metric, "value": float(value)}
            for cell, values in {"plain": PLAIN, **cells}.items()
            for k, value in enumerate(values)
        ]
    )


def moved(changes):
    """Rows of cells that differ from the unsteered model by so much on average."""
    spread = (-0.5, 0.0, 0.5)  # items differ, and their mean is what counts
    return rows(
        {
            cell: [x + change + e for x, e in zip(PLAIN, spread, strict=True)]
            for cell, change in changes.items()
        }
    )


def at_dose_1(*names):
    return [Candidate(name, 1.0, {0.0: "plain", 1.0: name}) for name in names]


def on_curves(*names, doses=(-1.0, 1.0)):
    return [
        Candidate(name, 1.0, {0.0: "plain"} | {dose: f"{name} {dose:g}" for dose in doses})
        for name in names
    ]


def order(ranked):
    return [each.candidate.settings for each in ranked]


@pytest.mark.parametrize(
    ("a", "b", "ranking"),
    [(1, 2, ["b", "a"]), (2, 1, ["a", "b"]), (-1, -2, ["a", "b"]), (1, 1, ["a", "b"])],
)
def test_the_largest_mean_change_wins_and_the_first_candidate_on_ties(a, b, ranking):
    ranked = rank(at_dose_1("a", "b"), moved({"a": a, "b": b}), Rule(), "open", 1)

    assert order(ranked) == ranking
    values = {each.candidate.settings: each.value for each in ranked}
    assert values == pytest.approx({"a": a, "b": b})


@pytest.mark.parametrize("by", ["change", "slope"])
def test_where_less_is_more_of_the_behaviour_the_largest_fall_wins(by):
    cells = {"a 1": -1.0, "a -1": 1.0, "b 1": 2.0, "b -1": -2.0}

    ranked = rank(on_curves("a", "b"), moved(cells), Rule(by), "open", -1)

    assert order(ranked) == ["a", "b"]
    assert [each.value for each in ranked] == pytest.approx([1.0, -2.0])


def test_a_slope_looks_at_both_sides_and_a_change_at_one():
    """What rises at either sign of the dose has a change and no slope."""
    cells = {"even 1": 3.0, "even -1": 3.0, "odd 1": 1.0, "odd -1": -1.0}
    candidates = on_curves("even", "odd")

    by_change = rank(candidates, moved(cells), Rule("change"), "open", 1)
    by_slope = rank(candidates, moved(cells), Rule("slope"), "open", 1)

    assert order(by_change) == ["even", "odd"]
    assert order(by_slope) == ["odd", "even"]
    assert [each.value for each in by_slope] == pytest.approx([1.0, 0.0])


def test_a_slope_is_that_of_least_squares_over_all_doses():
    doses = (-1.0, 0.5, 2.0)
    cells = {"a -1": -0.3, "a 0.5": 1.1, "a 2": 0.7}

    [only] = rank(on_curves("a", doses=doses), moved(cells), Rule("slope"), "open", 1)

    # All doses but 0 have the spread of ``moved`` alike, so it has no part in the mean.
    slope = np.polyfit([-1.0, 0.0, 0.5, 2.0], [-0.3, 0.0, 1.1, 0.7], 1)[0]
    assert only.value == pytest.approx(slope)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_metric_of_the_target_is_compared_as_it_is_and_more_is_better(sign):
    frame = pl.concat(
        [
            moved({"a": 5.0, "b": 1.0}),
            rows({"a": (0.2, 0.2, 0.2), "b": (0.4, 0.5, 0.6)}, "accuracy"),
        ]
    )

    ranked = rank(at_dose_1("a", "b"), frame, Rule("accuracy"), "open", sign)

    assert order(ranked) == ["b", "a"]
    assert [each.value for each in ranked] == pytest.approx([0.5, 0.2])


def test_a_metric_that_the_target_lacks_means_the_change_of_its_own():
    frame = moved({"a": 1.0, "b": 2.0})

    ranked = rank(at_dose_1("a", "b"), frame, Rule("accuracy"), "open", 1)

    assert ranked == rank(at_dose_1("a", "b"), frame, Rule("change"), "open", 1)


@pytest.mark.parametrize(
    ("accuracy", "then", "first"),
    [
        ((1, 1), "change", "b"),
        ((1, 1), "", "a"),
        ((2, 1), "change", "a"),
        ((1, 1), "accuracy", "a"),
    ],
    ids=["a tie is broken", "by nothing", "no tie", "by what ties too"],
)
def test_a_second_rule_breaks_ties_and_nothing_else(accuracy, then, first):
    frame = pl.concat(
        [
            moved({"a": 1.0, "b": 2.0}),
            rows({"a": [accuracy[0]] * 3, "b": [accuracy[1]] * 3}, "accuracy"),
        ]
    )

    ranked = rank(at_dose_1("a", "b"), frame, Rule("accuracy", then), "open", 1)

    assert order(ranked)[0] == first


def test_other_cells_other_metrics_and_the_order_of_rows_do_not_count():
    frame = moved({"a": 1.0, "b": 2.0, "elsewhere": 9.0})
    others = rows({"a": (9.0, 9.0, 9.0)}, "matching")
    shuffled = pl.concat([others, frame]).sample(fraction=1.0, shuffle=True, seed=3)

    found = rank(at_dose_1("a", "b"), shuffled, Rule(), "open", 1)

    assert found == rank(at_dose_1("a", "b"), frame, Rule(), "open", 1)
    assert order(found) == ["b", "a"]


def offers(*upper, guard="prose"):
    """Offers from doses with the upper end of their damage, in this order."""
    return [Offer(dose, {guard: damage}) for dose, damage in upper]


MOST = {"prose": 1.1}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (offers((0.5, 1.0), (1.0, 1.05), (1.5, 1.2)), (1.0, True)),
        (offers((1.5, 1.2), (0.5, 1.0), (1.0, 1.05)), (1.0, True)),
        (offers((0.5, 1.2), (1.0, 1.0)), (1.0, True)),
        (offers((0.5, 1.0), (1.0, 1.1)), (1.0, True)),
        (offers((1.0, 1.3), (0.5, 1.2)), (0.5, False)),
        (offers((1.0, nan), (0.5, nan)), (0.5, False)),
        (offers((0.5, 1.0), (1.0, nan), (1.5, inf)), (0.5, True)),
    ],
    ids=["the largest", "in any order", "a smaller one does more harm", "at the budget",
         "none is within", "no number is within none", "no number is passed over"],
)  # fmt: skip
def test_the_largest_dose_within_the_budget_is_taken(offered, chosen):
    assert largest_within(offered, MOST) == chosen


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (offers((1.5, 1.2), (0.5, 1.0), (1.0, 1.0)), (0.5, True)),
        (offers((1.5, 1.0), (0.5, 1.0)), (1.5, True)),
        (offers((1.5, 1.3), (0.5, 1.2)), (1.5, False)),
        (offers((1.5, nan), (0.5, 1.0)), (0.5, True)),
        (offers((1.5, nan), (0.5, nan)), (1.5, False)),
    ],
    ids=["the first within", "the very first", "none is within", "no number is passed over",
         "no number is within none"],
)  # fmt: skip
def test_of_doses_in_the_order_of_a_rule_the_first_within_the_budget_is_taken(
    offered, chosen
):
    assert first_within(offered, MOST) == chosen


@pytest.mark.parametrize("take", [largest_within, first_within])
def test_the_budget_of_every_guard_must_hold(take):
    offered = [
        Offer(1.0, {"prose": 1.0, "facts": 0.3}),
        Offer(0.5, {"prose": 1.0, "facts": 0.0}),
    ]

    assert take(offered, {"prose": 1.1, "facts": 0.02}) == (0.5, True)
    assert take(offered, {"prose": 1.1}) == (1.0, True)
    assert take([Offer(1.0, {}), Offer(0.5, {})], {}) == (1.0, True)
