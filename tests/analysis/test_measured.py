"""Comparisons: paired on the items that both sides have, and honest where nothing moves."""

import re

import pytest
from rich.console import Console

from seatrial.analysis.measured import measured_rows
from seatrial.report import measured_table
from seatrial.stats import cluster_difference, cluster_mean, cluster_share
from seatrial.types import Score

GROUPS = [f"g{k // 2}" for k in range(12)]


def scores(metrics, groups=GROUPS):
    """Scores from lists of values by metric; None: the item lacks it."""
    return [
        Score(
            f"i{k}",
            groups[k],
            {name: values[k] for name, values in metrics.items() if values[k] is not None},
        )
        for k in range(len(groups))
    ]


PLAIN = [0.1 * k for k in range(12)]
STEERED = [0.1 * k + (1.0 if k % 3 else 0.5) for k in range(12)]


def test_a_metric_is_a_mean_and_its_difference_is_paired():
    [row] = measured_rows(scores({"m": PLAIN}), scores({"m": STEERED}), dose=2.0)

    assert (row.metric, row.dose, row.n_items, row.n_without) == ("m", 2.0, 12, 0)
    assert row.unsteered == cluster_mean(PLAIN, GROUPS)
    assert row.steered == cluster_mean(STEERED, GROUPS)
    assert row.difference == cluster_difference(STEERED, PLAIN, GROUPS)
    assert row.difference.high - row.difference.low < row.steered.high - row.steered.low


def test_without_steering_there_is_only_one_estimate():
    [row] = measured_rows(scores({"m": PLAIN}))

    assert (row.dose, row.steered, row.difference) == (None, None, None)
    assert row.unsteered == cluster_mean(PLAIN, GROUPS)


def test_items_that_lack_a_metric_on_one_side_are_left_out_on_both_and_counted():
    plain, steered = list(PLAIN), list(STEERED)
    plain[3] = steered[8] = None

    [row] = measured_rows(scores({"m": plain}), scores({"m": steered}), dose=1.0)

    kept = [k for k in range(12) if k not in (3, 8)]
    groups = [GROUPS[k] for k in kept]
    assert (row.n_items, row.n_without) == (10, 2)
    assert row.unsteered == cluster_mean([PLAIN[k] for k in kept], groups)
    assert row.difference == cluster_difference(
        [STEERED[k] for k in kept], [PLAIN[k] for k in kept], groups
    )


def test_the_main_metric_stands_first_and_the_others_as_they_come():
    rows = measured_rows(scores({"a": PLAIN, "b": PLAIN, "c": PLAIN}), first="b")

    assert [row.metric for row in rows] == ["b", "a", "c"]


def test_a_flag_is_a_share_with_an_interval_inside_0_and_1():
    flags = [float(k % 4 == 0) for k in range(12)]

    [row] = measured_rows(scores({"right": flags}))

    assert row.unsteered == cluster_share(flags, GROUPS)


@pytest.mark.parametrize("flag", [0.0, 1.0])
def test_a_flag_that_is_the_same_everywhere_is_not_certain(flag):
    [row] = measured_rows(
        scores({"right": [flag] * 12}), scores({"right": [flag] * 12}), dose=1.0
    )

    assert row.unsteered == row.steered == cluster_share([flag] * 12, GROUPS)
    assert row.unsteered.high - row.unsteered.low > 0.3
    assert row.difference.value == 0
    assert row.difference.low == -row.difference.high
    bound = cluster_share([0.0] * 12, GROUPS).high
    assert row.difference.high == pytest.approx(bound)


@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 0.0)])
def test_flags_that_all_turn_are_not_certain_to_go_on_turning(before, after):
    [row] = measured_rows(
        scores({"r": [before] * 12}), scores({"r": [after] * 12}), dose=1.0
    )

    sign = after - before
    assert row.difference.value == sign
    assert abs(row.difference.low) <= 1 and abs(row.difference.high) <= 1
    assert 0.3 < row.difference.high - row.difference.low < 1
    assert row.difference.excludes(0.0)


def test_flags_of_which_some_turn_have_the_interval_of_the_bootstrap():
    before, after = [0.0] * 12, [float(k % 3 == 0) for k in range(12)]

    [row] = measured_rows(scores({"r": before}), scores({"r": after}), dose=1.0)

    assert row.difference == cluster_difference(after, before, GROUPS)


def near_the_ends(low, high):
    """Values of which a bootstrap would give an interval beyond the upper end."""
    return [low if k in (3, 7) else high - 1e-3 * (k % 2) for k in range(12)]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 10.0)])
def test_an_interval_of_a_bounded_metric_stays_between_its_ends(low, high):
    values = near_the_ends(low, high)
    around = cluster_mean(values, GROUPS)
    assert around.high > high  # else this would show nothing

    [row] = measured_rows(
        scores({"m": values}), bounds={"m": (low, high), "other": (0.0, 1.0)}
    )

    inside = [(value - low) / (high - low) for value in values]
    share = cluster_share(inside, GROUPS)
    assert row.unsteered.value == pytest.approx(around.value)
    assert row.unsteered.low == pytest.approx(low + (high - low) * share.low)
    assert row.unsteered.high == pytest.approx(low + (high - low) * share.high)
    assert low < row.unsteered.low < row.unsteered.high <= high


def test_a_change_of_a_bounded_metric_is_no_larger_than_its_range():
    before = [0.001 * (k % 3) for k in range(12)]
    after = [0.4 if k in (2, 3) else 1 - 0.001 * k for k in range(12)]
    assert cluster_difference(after, before, GROUPS).high > 1

    [row] = measured_rows(
        scores({"m": before}), scores({"m": after}), dose=1.0, bounds={"m": (0.0, 1.0)}
    )

    found = cluster_difference(after, before, GROUPS)
    assert (row.difference.value, row.difference.low) == (found.value, found.low)
    assert row.difference.high == 1


def test_a_bounded_metric_that_nothing_changes_is_known_not_to_have_changed():
    values = near_the_ends(0.0, 1.0)

    [row] = measured_rows(
        scores({"m": values}), scores({"m": values}), dose=0.0, bounds={"m": (0.0, 1.0)}
    )

    assert (row.difference.low, row.difference.high) == (0, 0)


@pytest.mark.parametrize(("beyond", "is_bounded"), [(1 + 1e-9, True), (1.2, False)])
def test_rounding_passes_an_end_and_what_is_beyond_it_is_a_mean(beyond, is_bounded):
    values = [*near_the_ends(0.0, 1.0)[:-1], beyond]

    [row] = measured_rows(scores({"m": values}), bounds={"m": (0.0, 1.0)})

    assert (row.unsteered.high <= 1) == is_bounded
    assert (row.unsteered == cluster_mean(values, GROUPS)) != is_bounded


@pytest.mark.parametrize("name", ["kl", "tokens", "words"])
def test_a_divergence_or_a_count_of_0_is_exactly_that(name):
    [row] = measured_rows(scores({name: [0.0] * 12}))

    assert (row.unsteered.low, row.unsteered.high) == (0, 0)


def test_one_group_gives_no_interval_and_therefore_no_number():
    one = ["g"] * 12
    [row] = measured_rows(scores({"m": PLAIN}, one), scores({"m": STEERED}, one), dose=1.0)

    assert (row.unsteered, row.steered, row.difference) == (None, None, None)
    assert printed([row]).count("one group only") == 3


def test_a_metric_that_no_item_has_on_both_sides_says_so():
    [row] = measured_rows(
        scores({"m": [*PLAIN[:6], *[None] * 6]}), scores({"m": [None] * 12})
    )

    assert (row.n_items, row.n_without) == (0, 12)
    assert "no item" in printed([row])


def printed(rows, unit=""):
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(measured_table(rows, unit))
    return capture.get()


def test_the_table_prints_every_number_with_its_interval_and_the_unit_of_the_first():
    rows = [
        row
        for dose in (1.0, -0.5)
        for row in measured_rows(
            scores({"m": PLAIN, "n": PLAIN}), scores({"m": STEERED, "n": PLAIN}), dose=dose
        )
    ]

    text = printed(rows, "nats")

    number = r"-?\d+\.\d+"
    assert len(re.findall(rf"{number} \[{number}, {number}\]", text)) == 12
    assert text.count("nats") == 2  # once a dose
    assert re.search(r"m +-0.5 ", text)
    for title in ("metric", "dose", "unsteered", "steered", "difference", "items"):
        assert title in text.splitlines()[0] + text.splitlines()[1]
