"""Promotion and suppression after Pres et al., against known steerings."""

import numpy as np
import pytest

from seatrial.errors import BadData, BadOption
from seatrial.stats import SHARES, on_one_scale, promotion
from seatrial.types import Score

N = 20


def make(matching, other):
    return [
        Score(
            f"item-{k:02d}", f"group-{k // 2}", {"matching": a, "other": b, "open": a - b}
        )
        for k, (a, b) in enumerate(zip(matching, other, strict=True))
    ]


def levels(seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(-4, -2, N), random.uniform(-5, -3, N)


MATCHING, OTHER = levels()
BASE = make(MATCHING, OTHER)

STEERINGS = {
    "perfect": (0.5, -0.5, True, True),
    "useless": (0.0, 0.0, False, False),
    "inverted": (-0.5, 0.5, False, False),
    "louder": (0.5, 0.5, True, False),
    "quieter": (-0.5, -0.5, False, True),
}


@pytest.mark.parametrize("name", STEERINGS)
def test_known_steerings_promote_and_suppress_as_they_do(name):
    up, down, promotes, suppresses = STEERINGS[name]

    found = promotion(BASE, make(MATCHING + up, OTHER + down))

    assert (found.promotes, found.suppresses) == (promotes, suppresses)
    for cut in found.cuts:
        wanted = up if cut.side == "matching" else down
        assert cut.change.value == pytest.approx(wanted)


def test_the_cuts_are_those_of_the_paper_and_ours():
    found = {(cut.side, cut.end, cut.share) for cut in promotion(BASE, BASE).cuts}

    assert found == {
        ("matching", "all", 1.0),
        ("other", "all", 1.0),
        *((side, "lowest", share) for side in ("matching", "other") for share in SHARES),
        *(("other", "highest", share) for share in SHARES),
    }


def test_cuts_take_the_least_and_the_most_likely_of_the_unsteered_model():
    """Steering that lifts what was unlikely, by as much as it was unlikely."""
    found = promotion(BASE, make(MATCHING * 0.5, OTHER * 0.5))

    for share in SHARES:
        k = round(share * N)
        low, high = np.sort(OTHER)[:k], np.sort(OTHER)[-k:]
        changes = {
            ("matching", "lowest"): -0.5 * np.sort(MATCHING)[:k].mean(),
            ("other", "lowest"): -0.5 * low.mean(),
            ("other", "highest"): -0.5 * high.mean(),
        }
        for (side, end), wanted in changes.items():
            assert found.change(side, end, share).value == pytest.approx(wanted)
    assert found.change("matching", "lowest", 0.25).value > found.change("matching").value


def test_shares_are_rounded_up_to_whole_items():
    scores = make([-1.0, -2.0, -3.0, -4.0, -5.0], [-1.0] * 5)
    steered = make([-1.0, -2.0, -3.0, -4.0, 0.0], [-1.0] * 5)
    groups = [Score(s.item, s.item, s.metrics) for s in scores]
    moved = [Score(s.item, s.item, s.metrics) for s in steered]

    found = promotion(groups, moved, shares=(0.3, 0.4))

    assert found.change("matching", "lowest", 0.3).value == 2.5
    assert found.change("matching", "lowest", 0.4).value == 2.5


def test_the_order_of_items_does_not_matter_even_where_values_tie():
    scores = make([-1.0] * N, [-2.0] * N)
    steered = make(MATCHING, OTHER)
    order = np.random.default_rng(3).permutation(N)

    straight = promotion(scores, steered)
    mixed = promotion([scores[k] for k in order], [steered[k] for k in order])

    assert mixed == straight


def test_the_reference_level_lies_between_the_kinds_and_cancels_in_changes():
    steered = make(MATCHING + 0.3, OTHER - 0.1)

    found = promotion(BASE, steered)

    assert found.reference == pytest.approx((OTHER.max() + MATCHING.min()) / 2)
    assert found.unsteered["matching"].value == pytest.approx(
        MATCHING.mean() - found.reference
    )
    for side in ("matching", "other"):
        assert found.steered[side].value - found.unsteered[side].value == pytest.approx(
            found.change(side).value
        )


def test_a_model_that_finds_all_texts_less_likely_has_the_same_behaviour():
    """So behaviours of texts that are hard or easy to predict compare."""
    hard = promotion(make(MATCHING - 3, OTHER - 3), make(MATCHING - 2.5, OTHER - 3.5))
    easy = promotion(BASE, make(MATCHING + 0.5, OTHER - 0.5))

    assert hard.reference == pytest.approx(easy.reference - 3)
    for side in ("matching", "other"):
        assert hard.unsteered[side].value == pytest.approx(easy.unsteered[side].value)
        assert hard.steered[side].value == pytest.approx(easy.steered[side].value)


def test_behaviours_stand_on_one_scale_the_most_steered_first():
    cells = {
        "stuck": (BASE, BASE),
        "moved": (BASE, make(MATCHING + 1, OTHER - 1)),
        "turned": (BASE, make(MATCHING - 1, OTHER + 1)),
        "shifted": (BASE, make(MATCHING + 2, OTHER + 1.5)),
    }

    found = on_one_scale(cells)

    assert list(found) == ["moved", "shifted", "stuck", "turned"]
    assert found["moved"] == promotion(*cells["moved"])


@pytest.mark.parametrize(
    ("base", "steered", "match"),
    [
        (BASE, BASE[::-1], "the same items in the same order"),
        (BASE, BASE[:-1], "the same items in the same order"),
        ([], [], "there are no items"),
        ([Score("a", "g", {"open": 1.0})], [Score("a", "g", {"open": 1.0})],
         "item a has no metric matching, other"),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_compared_are_refused(base, steered, match):
    with pytest.raises(BadData, match=match):
        promotion(base, steered)


def test_a_behaviour_that_cannot_be_compared_is_named():
    with pytest.raises(BadData, match="humour: there are no items"):
        on_one_scale({"humour": ([], [])})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 25.0])
def test_a_share_of_nothing_or_everything_is_refused(share):
    with pytest.raises(BadOption, match="must lie between 0 and 1"):
        promotion(BASE, BASE, shares=(share,))


def test_a_cut_that_was_not_made_is_said():
    with pytest.raises(BadOption, match=r"no cut matching highest 0\.25; there are: match"):
        promotion(BASE, BASE).change("matching", "highest", 0.25)
