"""A gate fires on the right side of its threshold, and the best cut is the best."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from seatrial.errors import BadData, BadOption
from seatrial.steering.gate import Gate, best_cut, check_words, similarity
from seatrial.types import Site

SEEDS = st.integers(0, 2**16)
NUMBERS = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=7)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gate(**options):
    axis = torch.tensor([2.0, 0.0])
    return Gate(Site(1), options.pop("vector", axis), 0.5, **options)


@given(seed=SEEDS, scale=st.floats(0.01, 100))
def test_the_cosine_does_not_depend_on_the_scale_of_the_states(seed, scale):
    h, c = normal(seed, 4, 6).double(), normal(seed + 1, 6).double()

    found = similarity(scale * h, c, "cosine")

    cosines = [float(row @ c) / float(row.norm() * c.norm()) for row in h]
    assert found.tolist() == pytest.approx(cosines, abs=1e-6)


@given(seed=SEEDS, scale=st.floats(0.1, 10))
def test_the_published_similarity_is_its_formula(seed, scale):
    h, c = scale * normal(seed, 6).double(), normal(seed + 1, 6).double()

    found = similarity(h, c, "published")

    projection = torch.outer(c, c) / (c @ c)
    squashed = torch.tanh(projection @ h)
    expected = float(h @ squashed) / float(h.norm() * squashed.norm())
    assert float(found) == pytest.approx(expected, abs=1e-5)


@given(seed=SEEDS)
def test_only_the_cosine_tells_a_state_from_its_opposite(seed):
    h, c = normal(seed, 5, 6), normal(seed + 1, 6)

    cosine, published = (similarity(h, c, form) for form in ("cosine", "published"))

    torch.testing.assert_close(similarity(-h, c, "cosine"), -cosine)
    torch.testing.assert_close(similarity(-h, c, "published"), published)


@pytest.mark.parametrize("form", ["cosine", "published"])
def test_a_state_of_zeros_is_like_nothing(form):
    assert float(similarity(torch.zeros(6), normal(0, 6), form)) == 0.0


def test_above_fires_where_the_similarity_is_larger_and_below_where_it_is_smaller():
    """The published words mean the opposite (trap T24)."""
    states = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])

    above, below = (gate(fires=side).opens(states) for side in ("above", "below"))

    assert above.tolist() == [True, True, False, False]
    assert below.tolist() == [False, False, True, True]


@given(seed=SEEDS)
def test_a_decision_depends_on_that_state_only(seed):
    states = normal(seed, 5, 2)
    one = gate()

    alone = [bool(one.opens(state)) for state in states]

    assert one.opens(states).tolist() == alone
    assert one.opens(states.flip(0)).tolist() == alone[::-1]


@pytest.mark.parametrize(
    "options",
    [{"threshold": math.nan}, {"threshold": math.inf}, {"vector": torch.zeros(2)}],
)
def test_what_can_decide_nothing_is_refused(options):
    given = {"vector": torch.ones(2), "threshold": 0.5} | options

    with pytest.raises(
        BadOption, match="needs a finite threshold and a vector that is not"
    ):
        Gate(Site(1), **given)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("larger", "mean", "cosine"), "'larger' is no 'fires' .* choose above or below"),
        (("above", "first", "cosine"), "'first' is no 'read' .* choose mean or last"),
        (("above", "mean", "dot"), "'dot' is no 'similarity' .* cosine or published"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, message):
    with pytest.raises(BadOption, match=message):
        check_words(*words)


def f1_of(positive, negative, threshold, fires):
    """By counting, item by item."""
    sign = 1 if fires == "above" else -1
    right = sum(sign * x > sign * threshold for x in positive)
    wrong = sum(sign * x > sign * threshold for x in negative)
    return 2 * right / (2 * right + wrong + (len(positive) - right))


@given(positive=NUMBERS, negative=NUMBERS)
def test_no_other_threshold_has_a_larger_f1(positive, negative):
    assume(len({*positive, *negative}) > 1)

    cut = best_cut(torch.tensor(positive), torch.tensor(negative))

    assert cut.f1 == pytest.approx(f1_of(positive, negative, cut.threshold, cut.fires))
    lowest, highest = min(*positive, *negative), max(*positive, *negative)
    # Thresholds that pick everything or nothing tell nothing apart, and are not taken.
    grid = [lowest + 0.25 + 0.5 * k for k in range(int(2 * (highest - lowest)))]
    best = max(
        f1_of(positive, negative, t, side) for t in grid for side in ("above", "below")
    )
    assert cut.f1 == pytest.approx(best)
    assert 0 < cut.margin <= 1


def test_of_equally_good_thresholds_the_widest_gap_is_halved():
    cut = best_cut(torch.tensor([5.0, 6.0]), torch.tensor([0.0, 1.0, 2.0]))

    assert (cut.threshold, cut.fires, cut.f1) == (3.5, "above", 1.0)
    assert cut.margin == 0.5


def test_swapping_the_sets_turns_the_side_that_fires():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([4.0, 5.0])

    assert best_cut(low, high)._replace(fires="above") == best_cut(high, low)
    assert best_cut(low, high).fires == "below"


def test_numbers_that_are_all_equal_are_refused():
    with pytest.raises(BadData, match="are all alike at the place that is read"):
        best_cut(torch.ones(3), torch.ones(2))
