"""ACE sets one component and nothing else: h - u (u . h) + u (u . mean(h+))."""

import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods import ACE
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.intervention import Steering
from seatrial.testing import CHECKS
from seatrial.types import FitData, Pair, Request, Site, Text


def edit_of(fitted):
    [edit] = fitted.edits.values()
    return edit


@pytest.fixture
def states(tiny, many):
    """Model, data, both class means and the unit direction, in float64."""
    model = tiny("gemma3")
    positive, negative = contrast(model, many.pairs, Site(1), "last")
    plus, minus = positive.double().mean(0), negative.double().mean(0)
    return model, many, plus, minus, (plus - minus) / (plus - minus).norm()


@pytest.fixture
def h(tiny):
    return 5 * torch.randn(20, 32, generator=torch.Generator().manual_seed(0))


def test_at_dose_one_every_state_has_the_positive_component(states, h):
    model, data, plus, _, u = states

    after = edit_of(ACE(layer=1).fit(model, data, seed=0))(h, 1.0).double()

    torch.testing.assert_close(after @ u, (plus @ u).expand(len(h)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dose", [1.0, 0.3, -1.0, 2.0])
def test_the_orthogonal_complement_is_left_alone(states, h, dose):
    model, data, _, _, u = states

    moved = edit_of(ACE(layer=1).fit(model, data, seed=0))(h, dose).double() - h.double()

    beside = moved - torch.outer(moved @ u, u)
    assert float(beside.abs().max()) < 1e-5 < float(moved.abs().max())


def test_the_dose_is_the_share_of_the_way(states, h):
    model, data, plus, _, u = states
    edit = edit_of(ACE(layer=1).fit(model, data, seed=0))

    half = edit(h, 0.5).double() @ u

    wanted = (h.double() @ u + plus @ u) / 2
    torch.testing.assert_close(half, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(edit(h, 0.0), h)


@pytest.mark.parametrize("anchor", ["negative", "pooled"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, -1.0])
def test_strength_counts_differences_of_means_from_the_anchor(states, h, anchor, strength):
    """Strength 0 is the published dose 0, and not the unsteered model."""
    model, data, plus, minus, u = states
    method = ACE(layer=1, strength=strength, anchor=anchor)

    after = edit_of(method.fit(model, data, seed=0))(h, 1.0).double() @ u

    start = minus if anchor == "negative" else (plus + minus) / 2
    wanted = (start + strength * (plus - minus)) @ u
    torch.testing.assert_close(after, wanted.expand(len(h)), rtol=1e-5, atol=1e-5)


def test_swapped_pairs_land_on_the_other_class(states, h, swap):
    model, data, _, minus, u = states

    after = edit_of(ACE(layer=1).fit(model, swap(data), seed=0))(h, 1.0).double() @ u

    torch.testing.assert_close(after, (minus @ u).expand(len(h)), rtol=1e-5, atol=1e-5)


def test_it_finds_the_planted_direction(planted, planted_data):
    model, direction = planted

    edit = edit_of(ACE(layer=1, read="completion").fit(model, planted_data, seed=0))

    only = torch.eye(len(direction)) - edit.matrix
    assert float(direction @ only @ direction) > 0.98
    assert float(only.trace()) == pytest.approx(1, abs=1e-4)


def test_good_and_bad_words_are_followed_alike_once_both_are_good(planted, planted_data):
    model, _ = planted
    fitted = ACE(layer=1, read="completion", tokens="all").fit(model, planted_data, seed=0)
    said = [Request(word, word, word, (" lovely", " ugly")) for word in ("bright", "dull")]

    plain, steered = (
        [a.sums[0] - a.sums[1] for a in model.log_probs(said, [Steering(fitted, dose)])[0]]
        for dose in (0.0, 1.0)
    )

    assert plain[0] > 0.5 and plain[1] < -0.5
    assert min(steered) > 0.1
    assert abs(steered[0] - steered[1]) < 0.05 * (plain[0] - plain[1])


def test_pairs_without_any_difference_are_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        ACE(layer=1, read="last_prompt").fit(
            tiny("llama"), FitData("calm", (pair,)), seed=0
        )


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](ACE(layer=1), tiny("gemma3"), example)
