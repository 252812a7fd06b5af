"""Each label goes where it is deserved; nothing works that does not beat its controls."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.analysis.verdict import LABELS, Damage, Price, Verdict, judge
from seatrial.stats import DoseResponse, beats
from seatrial.store.labels import Budget
from seatrial.types import Estimate

BUDGET = Budget(perplexity_ratio=1.1, anti_steerable=1 / 3)
BAND = Estimate(0.0, -0.2, 0.2, 8)
CHEAP = Estimate(1.02, 1.01, 1.03, 10)


def response(value, low, high, anti=0.1, monotone=True):
    """A dose-response with this mean slope and this share of items that move wrong."""
    slope = Estimate(value, low, high, 12)
    return DoseResponse(
        slope_by_range={},
        range_change=None,
        monotone=monotone,
        steerability=slope,
        median_slope=slope,
        lower_quartile=slope,
        upper_quartile=slope,
        anti_steerable=Estimate(anti, anti / 2, min(1.0, anti * 2), 12),
        r2=Estimate(0.9, 0.8, 1.0, 12),
        residual=Estimate(0.0, 0.0, 0.1, 12),
    )


def prices(up=CHEAP, down=CHEAP):
    kl = Estimate(0.01, 0.0, 0.02, 10)
    return [
        Price(-1.5, Estimate(9.0, 8.0, 10.0, 10), kl),
        Price(-1.0, down, kl),
        Price(1.0, up, kl),
    ]


def judged(found, paid=None, band=BAND, budget=BUDGET):
    verdict = judge(found, band, prices() if paid is None else paid, budget, "nats")
    return verdict.label, " | ".join(verdict.reasons)


def test_an_effect_beyond_every_control_within_the_budget_works():
    label, why = judged(response(0.5, 0.4, 0.6))

    assert label == "works"
    assert (
        f"mean slope 0.50 [0.40, 0.60] nats per dose, above the control band {BAND.ends}"
        in why
    )
    assert "10% [5%, 20%] of the items move the wrong way" in why
    assert f"perplexity x {CHEAP} at dose -1, within the budget of 1.1" in why


def test_damage_above_the_budget_is_a_price():
    label, why = judged(response(0.5, 0.4, 0.6), prices(up=Estimate(1.5, 1.4, 1.6, 10)))

    assert label == "works at a price"
    assert "perplexity x 1.50 [1.40, 1.60] at dose +1, above the budget of 1.1" in why


def test_the_worse_of_both_directions_is_the_price():
    label, why = judged(response(0.5, 0.4, 0.6), prices(down=Estimate(1.5, 1.4, 1.6, 10)))

    assert label == "works at a price"
    assert "at dose -1, above the budget" in why


def test_damage_that_may_be_above_the_budget_is_a_price():
    label, why = judged(response(0.5, 0.4, 0.6), prices(up=Estimate(1.05, 0.9, 1.2, 10)))

    assert label == "works at a price"
    assert (
        "perplexity x 1.05 [0.90, 1.20] at dose +1: not shown to be within the budget"
        in why
    )


@pytest.mark.parametrize("known", [[], [-1.5], [-1.0], [1.0]])
def test_an_unknown_price_is_a_price(known):
    paid = [price for price in prices() if price.dose in known]

    label, why = judged(response(0.5, 0.4, 0.6), paid)

    assert label == "works at a price"
    assert "its price is unknown" in why


@pytest.mark.parametrize(
    ("dose", "change", "band", "is_price"),
    [
        (1.0, (0.3, 0.2, 0.4), (0.0, -0.1, 0.1), True),
        (-1.0, (0.3, 0.2, 0.4), (0.0, -0.1, 0.1), True),
        (1.0, (0.3, 0.2, 0.4), (0.2, 0.1, 0.25), False),  # controls do as much
        (1.0, (0.3, -0.1, 0.7), (-0.5, -0.6, -0.4), False),  # may be nothing at all
        (1.0, (-0.3, -0.4, -0.2), (0.0, -0.1, 0.1), False),  # it got better
        (2.0, (0.3, 0.2, 0.4), (0.0, -0.1, 0.1), False),  # a dose that nobody claims
        (1.0, (0.3, 0.2, 0.4), None, False),  # nothing to compare with
    ],
)
def test_another_guard_is_a_price_only_beyond_nothing_and_beyond_controls(
    dose, change, band, is_price
):
    control = None if band is None else Estimate(*band, 8)
    damage = Damage(dose, Estimate(*change, 12), control)

    verdict = judge(
        response(0.5, 0.4, 0.6), BAND, prices(), BUDGET, "nats", {"facts (share)": [damage]}
    )

    assert verdict.label == ("works at a price" if is_price else "works")
    said = [why for why in verdict.reasons if why.startswith("facts (share) gets worse by")]
    assert len(said) == is_price
    assert any("within the budget" in why for why in verdict.reasons)


@pytest.mark.parametrize(
    ("dose", "band", "is_price"),
    [
        (2.0, (0.0, -0.1, 0.1), True),  # at the chosen dose
        (1.0, (0.0, -0.1, 0.1), True),  # controls meet guards at 1 and -1 alone
        (0.5, (0.0, -0.1, 0.1), False),
        (2.0, None, False),
    ],
)
def test_damage_counts_at_the_chosen_dose_or_where_controls_meet_guards(
    dose, band, is_price
):
    control = None if band is None else Estimate(*band, 8)
    damage = Damage(dose, Estimate(0.3, 0.2, 0.4, 12), control)
    paid = [replace(price, dose=2 * price.dose) for price in prices()]

    verdict = judge(
        response(0.5, 0.4, 0.6), BAND, paid, BUDGET, "nats", {"facts": [damage]},
        doses=(2.0, -2.0),
    )  # fmt: skip

    assert verdict.label == ("works at a price" if is_price else "works")


def test_the_price_that_counts_is_that_of_the_doses_that_are_claimed():
    dear = Price(2.0, Estimate(3.0, 2.0, 4.0, 10), Estimate(0.5, 0.4, 0.6, 10))
    strong = response(0.5, 0.4, 0.6)

    def label(doses):
        paid = [*prices(), dear]
        return judge(strong, BAND, paid, BUDGET, "nats", doses=doses).label

    assert label((1.0, -1.0)) == label((1.0,)) == "works"
    assert label((2.0,)) == "works at a price"
    unknown = judge(strong, BAND, prices(), BUDGET, "nats", doses=(2.0,)).reasons[-1]
    assert unknown == "neutral prose was not measured at dose +2: its price is unknown"


@pytest.mark.parametrize(
    ("band", "missing", "why"),
    [
        (None, "", "there are no controls that it would have to beat"),
        (BAND, "only 1 of at least 3 random draws were measured", "only 1 of at least 3"),
    ],
)
def test_nothing_works_that_has_too_few_controls(band, missing, why):
    verdict = judge(
        response(0.5, 0.4, 0.6), band, prices(), BUDGET, "nats", missing=missing
    )

    slope, reason, price = verdict.reasons
    assert verdict.label == "not judged"
    assert slope.startswith("mean slope 0.50 [0.40, 0.60] nats per dose")
    assert reason.startswith(why)
    assert price.startswith("perplexity x 1.02")


def test_a_price_that_is_no_number_is_no_success():
    nan = float("nan")
    for broken in (Estimate(nan, nan, nan, 10), Estimate(1.0, 0.9, float("inf"), 10)):
        assert judged(response(0.5, 0.4, 0.6), prices(up=broken))[0] == "works at a price"
        assert judged(response(0.5, 0.4, 0.6), prices(down=broken))[0] == "works at a price"


def test_too_many_items_that_move_wrong_are_unreliable():
    label, why = judged(response(0.5, 0.4, 0.6, anti=0.4))

    assert label == "unreliable"
    assert (
        "40% [20%, 80%] of the items move the wrong way or not at all, more than 33%" in why
    )


def test_an_effect_inside_the_band_is_no_better_than_a_control():
    label, why = judged(response(0.5, 0.1, 0.9))

    assert label == "no better than a control"
    assert "mean slope 0.50 [0.10, 0.90] nats per dose, not above the control band" in why


def test_an_interval_that_holds_zero_is_no_effect():
    label, why = judged(response(0.5, -0.1, 1.1))

    assert label == "no effect"
    assert "mean slope 0.50 [-0.10, 1.10] nats per dose: the interval holds 0" in why


def test_the_wrong_way_beyond_every_control_reverses():
    label, why = judged(response(-0.5, -0.6, -0.4))

    assert label == "reverses"
    assert "mean slope -0.50 [-0.60, -0.40] nats per dose, below the control band" in why


def test_the_wrong_way_inside_the_band_is_no_better_than_a_control():
    label, why = judged(response(-0.5, -0.6, -0.1))

    assert label == "no better than a control"
    assert f"inside the control band {BAND.ends}" in why


def test_a_curve_that_turns_back_is_mentioned():
    label, why = judged(response(0.5, 0.4, 0.6, monotone=False))

    assert label == "works"
    assert "the mean curve both rises and falls" in why


def test_the_limits_of_the_study_decide():
    strict = Budget(perplexity_ratio=1.01, anti_steerable=0.05)

    assert (
        judged(response(0.5, 0.4, 0.6, anti=0.01), budget=strict)[0] == "works at a price"
    )
    assert judged(response(0.5, 0.4, 0.6), budget=strict)[0] == "unreliable"


numbers = st.floats(-3, 3) | st.sampled_from([float("nan"), float("inf"), -float("inf")])


@st.composite
def estimates(draw):
    low, value, high = sorted(draw(st.tuples(*[st.floats(-3, 3)] * 3)))
    if draw(st.booleans()):
        return Estimate(value, low, high, 12)
    return Estimate(draw(numbers), draw(numbers), draw(numbers), 12)


@given(estimates(), estimates(), estimates(), estimates(), st.floats(0, 1), st.booleans())
def test_nothing_works_unless_it_beats_the_band_and_its_price_is_known(
    slope, band, up, down, anti, both
):
    found = response(slope.value, slope.low, slope.high, anti)
    paid = prices(up, down)[0 if both else 2 :]

    label, _ = judged(found, paid, band)

    assert label in LABELS
    if label in ("works", "works at a price", "unreliable"):
        assert beats(slope, band)
        assert slope.low > 0
    if label == "works":
        assert both
        assert anti <= BUDGET.anti_steerable
        assert max(up.high, down.high) <= BUDGET.perplexity_ratio


def test_a_verdict_is_shown_in_a_notebook_as_text():
    verdict = Verdict("no effect", ("<b>mean</b> slope", "x " * 3000))

    shown = verdict._repr_html_()

    assert shown.startswith("<b>no effect</b><ul><li>&lt;b&gt;mean&lt;/b&gt; slope</li>")
    assert len(shown) < 2000
