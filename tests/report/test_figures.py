"""What the figures must show: dose 0, the wrong side, and units on every axis."""

from dataclasses import replace

import pytest


@pytest.fixture
def trial(summary):
    return summary.trials[1]


def drawings(trial):
    from seatrial.report import figures
    from seatrial.report.distribution import distribution

    return {
        "dose-response": figures.dose_response(trial),
        "distribution": distribution(trial),
        "perplexity": figures.perplexity(trial, 1.1),
        "drift": figures.drift(trial),
        "candidates": figures.candidates(trial),
    }


def test_every_axis_says_what_it_counts_in(trial):
    for name, figure in drawings(trial).items():
        assert figure.layout.xaxis.title.text, name
        assert figure.layout.yaxis.title.text, name
    assert "nats" in drawings(trial)["dose-response"].layout.yaxis.title.text


def test_the_unsteered_model_is_a_point_of_the_curve(trial):
    curve = drawings(trial)["dose-response"].data[-1]

    assert (curve.x[3], curve.y[3]) == (0.0, 0.0)
    assert len(curve.x) == len(trial.curve) + 1


def test_an_item_that_does_not_move_is_counted_on_the_wrong_side(trial):
    from seatrial.report.distribution import distribution
    from seatrial.report.figures import WRONG

    still = replace(trial.effects[0], slope=0.0)
    moved = replace(trial.effects[0], slope=1.0)

    bars, dots = distribution(replace(trial, effects=(moved, still))).data

    assert [n for n, c in zip(bars.y, bars.marker.color, strict=True) if c == WRONG] == [1]
    assert list(dots.marker.color).count(WRONG) == 1


def test_bars_count_every_item_once(summary):
    from seatrial.report.distribution import distribution
    from seatrial.report.figures import WRONG

    for trial in summary.trials:
        bars = distribution(trial).data[0]
        wrong = sum(n for n, c in zip(bars.y, bars.marker.color, strict=True) if c == WRONG)

        assert sum(bars.y) == len(trial.effects)
        assert wrong == sum(effect.slope <= 0 for effect in trial.effects)


def test_items_that_all_stand_still_can_be_drawn(trial):
    from seatrial.report.distribution import distribution

    effects = tuple(replace(effect, slope=0.0) for effect in trial.effects)

    assert sum(distribution(replace(trial, effects=effects)).data[0].y) == len(effects)


def test_a_price_without_guard_can_be_drawn(trial):
    bare = replace(trial, prices=(), control_prices={})

    assert drawings(bare)["perplexity"].data
    assert drawings(bare)["drift"].data


def test_a_ruinous_price_is_drawn_on_a_logarithmic_scale(trial):
    from seatrial.report.figures import perplexity

    ruin = [replace(p.perplexity_ratio, value=40.0, high=60.0) for p in trial.prices]
    prices = tuple(
        replace(price, perplexity_ratio=ratio)
        for price, ratio in zip(trial.prices, ruin, strict=True)
    )

    assert perplexity(trial, 1.1).layout.yaxis.type == "linear"
    assert perplexity(replace(trial, prices=prices), 1.1).layout.yaxis.type == "log"


def test_the_overview_has_one_panel_for_each_task_and_one_row_for_each_trial(summary):
    from seatrial.report.overview import overview

    figure = overview(summary.trials)

    rows = [list(figure.layout[axis].ticktext) for axis in ("yaxis", "yaxis2")]
    assert rows == [list(dict.fromkeys(t.behaviour for t in summary.trials))] * 2
    assert len(figure.data) == 2 * len(summary.trials)


def test_rows_of_the_overview_name_what_differs(summary):
    from seatrial.report.overview import overview

    first = summary.trials[0]
    others = (replace(first, model="/models/n"), replace(first, label="rotation"))

    figure = overview((first, *others))

    assert list(figure.layout.yaxis.ticktext) == [
        "positive-sentiment, caa, smollm2-135m",
        "positive-sentiment, caa, n",
        "positive-sentiment, rotation, smollm2-135m",
    ]


def test_a_trial_without_controls_can_be_drawn(trial):
    from seatrial.report.overview import overview

    points = tuple(replace(point, band=None) for point in trial.curve)
    bare = replace(trial, band=None, controls=(), curve=points)

    assert len(overview([bare]).data) == 1
    assert "controls not measured" in drawings(bare)["dose-response"].data[-1].hovertext[0]


def test_candidates_are_names_and_the_chosen_one_is_filled(trial):
    from seatrial.report.figures import candidates

    [points] = candidates(trial).data

    assert list(points.x) == [f"layer {layer}" for layer in (9, 12, 15, 18, 21)]
    assert list(points.marker.symbol).count("circle") == 1
    assert points.marker.symbol[2] == "circle"


def test_every_verdict_has_its_own_mark():
    from seatrial.analysis.verdict import LABELS
    from seatrial.report.overview import MARKS

    assert list(MARKS) == list(LABELS)
    assert len(set(MARKS.values())) == len(MARKS)
