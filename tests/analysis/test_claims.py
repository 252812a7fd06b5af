"""Claims are judged trial by trial, corrected for their number, and never by default."""

import pytest

from seatrial.analysis.claims import judge_claims
from seatrial.stats import holm


@pytest.fixture
def claimed(summary_of, by_hand):
    """The claims of a summary: ``claimed({...}, dose=2.0)``."""

    def make(*claims, runs=None, **changes):
        runs = runs or (by_hand.Run(**changes),)
        runs[0].claims = claims
        return summary_of(*runs).claims

    return make


def test_unsaid_every_trial_with_deciding_controls_is_claimed_to_work(claimed, by_hand):
    judged, bare = by_hand.Run(), by_hand.Run(behaviour="d", controls={}, deciding=())

    [claim] = claimed(runs=(judged, bare))

    assert claim.text == "caa for c on open (m) works"
    assert not claim.holds
    assert claim.reason == "the verdict is: works at a price"


def test_reliable_is_more_than_no_damage_and_less_than_works(claimed):
    works, reliable = claimed({"that": "works"}, {"that": "reliable"})

    assert works.reason == "the verdict is: works at a price"
    # Four groups cannot show anything beyond chance: 2 / 2**4 is above .05.
    assert reliable.reason == f"{works.reason}; not beyond chance among 2 claims"
    assert not works.holds
    assert not reliable.holds


def test_what_holds_must_be_beyond_chance_among_all_claims(claimed):
    _, reliable = claimed({"that": "works"}, {"that": "reliable"})

    assert reliable.p == 0.125
    assert reliable.adjusted_p == 0.25


def test_p_values_are_corrected_by_holm_over_all_claims(claimed):
    claims = claimed({"that": "works"}, {"that": "better", "than": "instruction"})

    raw = [claim.p for claim in claims]
    assert [claim.adjusted_p for claim in claims] == pytest.approx(holm(raw).tolist())


def test_a_trial_that_is_not_judged_holds_no_claim(claimed):
    [claim] = claimed({"that": "works"}, controls={}, deciding=())

    assert (claim.holds, claim.p, claim.adjusted_p) == (False, None, None)
    assert claim.reason.startswith("not judged: no random or shuffled control applies")


def test_better_is_told_on_the_same_items(claimed, by_hand):
    [claim] = claimed({"that": "better", "than": "instruction"}, dose=2.0)

    own = [by_hand.curve(k, 2.0) - 1.5 for k in range(8)]
    assert claim.text == "caa for c on open (m) is better than instruction"
    assert claim.difference.value == pytest.approx(sum(own) / 8)
    assert "difference at the chosen doses" in claim.reason
    assert claim.difference.n == 4


def test_better_than_a_method_under_test(claimed, by_hand):
    run = by_hand.Run(labels=("caa", "other"))

    [claim] = claimed({"that": "better", "than": "other"}, runs=(run,))

    assert claim.difference.value == 0
    assert not claim.holds


@pytest.mark.parametrize(("matters", "known"), [(0.5, True), (None, False)])
def test_not_worse_needs_a_size_that_matters(matters, known, claimed, by_hand):
    run = by_hand.Run(labels=("caa", "other"), matters=matters)

    claim = claimed({"that": "not worse", "than": "other"}, runs=(run,))[0]

    assert (claim.p is not None) == known
    if known:
        assert "above -0.5" in claim.reason
    else:
        assert not claim.holds
        assert "does not say what size matters" in claim.reason


@pytest.mark.parametrize(("that", "is_so"), [("falls", True), ("rises", False)])
def test_falls_along_an_option_of_a_grid(that, is_so, claimed, by_hand):
    def weaker(share):
        return lambda item, dose: by_hand.curve(item, share * dose)

    points = ("words=0", "words=60", "words=240")
    elsewhere = {
        (p, "base"): weaker(s) for p, s in zip(points[1:], (0.5, 0.1), strict=True)
    }

    [claim] = claimed({"that": that, "along": "words"}, points=points, elsewhere=elsewhere)

    assert claim.text == f"the effect of caa for c on open (m) {that} along words"
    assert (claim.difference.high < 0) is True
    assert "from words=0 to words=240" in claim.reason
    assert claim.p == 0.125
    assert not claim.holds  # with four groups


def test_other_options_are_averaged_along_one(claimed, by_hand):
    points = ("a=1 b=x", "a=1 b=y", "a=2 b=x", "a=2 b=y")
    shares = dict(zip(points, (1.0, 0.6, 0.4, 0.2), strict=True))
    elsewhere = {
        (p, "base"): (lambda item, dose, s=share: s * by_hand.curve(item, dose))
        for p, share in shares.items()
        if p != points[0]
    }

    [claim] = claimed({"that": "falls", "along": "a"}, points=points, elsewhere=elsewhere)

    whole = sum(by_hand.curve(k, 1.0) - by_hand.curve(k, 0.0) for k in range(8)) / 8
    assert claim.difference.value == pytest.approx(whole * (0.3 - 0.8))


def test_a_point_that_was_not_measured_is_said(claimed, by_hand):
    points = ("words=0", "words=60")

    [claim] = claimed({"that": "falls", "along": "words"}, points=points)

    assert (claim.p, claim.holds) == (None, False)
    assert claim.reason == "it was not measured at every point"


def test_suffers_is_damage_at_the_chosen_dose(claimed):
    first, second = claimed({"that": "suffers"}, guards=("prose", "facts"), error=1.0)

    assert first.text == "prose suffers under caa for c on open (m)"
    assert first.difference.value == pytest.approx(0.2)
    assert second.difference.value == 1.0
    assert second.holds  # eight groups of which all got worse
    assert second.adjusted_p == pytest.approx(2 * 2 / 2**8)


def test_on_names_a_guard_too(claimed):
    [claim] = claimed({"that": "suffers", "on": ["facts"]}, guards=("prose", "facts"))

    assert claim.text.startswith("facts suffers under")
    assert not claim.holds


@pytest.mark.parametrize("on", ["c", "family", "open"])
def test_on_names_behaviours_families_and_targets(on, claimed, by_hand):
    runs = (by_hand.Run(family="family"), by_hand.Run(behaviour="d", family="d"))

    texts = [claim.text for claim in claimed({"on": [on]}, runs=runs)]

    expected = ["caa for c on open (m) works"]
    if on == "open":
        expected.append("caa for d on open (m) works")
    assert texts == expected


def test_a_label_means_all_points_of_its_grid(claimed, by_hand):
    run = by_hand.Run(labels=("fv write=a", "fv write=b", "caa"))

    texts = [claim.text for claim in claimed({"method": ["fv"]}, runs=(run,))]
    one = [claim.text for claim in claimed({"method": "fv write=b"}, runs=(run,))]

    assert [text.split(" for ")[0] for text in texts] == ["fv write=a", "fv write=b"]
    assert [text.split(" for ")[0] for text in one] == ["fv write=b"]


def test_a_claim_about_what_was_not_measured_does_not_hold(claimed):
    [claim] = claimed({"model": ["gpt"], "on": ["open"], "method": ["caa"]})

    assert claim.text == "caa works on open with gpt"
    assert (claim.holds, claim.reason) == (False, "nothing that it names was measured")


def test_what_cannot_be_judged_yet_is_said(claimed):
    [claim] = claimed({"that": "specific"})

    assert (claim.holds, claim.p) == (False, None)
    assert claim.reason == "'specific' cannot be judged by this version"


def test_no_trial_has_no_claim():
    assert judge_claims((), []) == ()
