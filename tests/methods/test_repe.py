"""RepE finds the direction of the differences, centred or not, and its sign."""

from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import RepE
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.repe import principal
from seatrial.testing import CHECKS
from seatrial.types import FitData, Pair, Site, Text

CENTRES = ("none", "half-turned")


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


def fit(model, data, seed=0, **options):
    return RepE(**{"layer": 1, "read": "completion"} | options).fit(model, data, seed=seed)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("centre", CENTRES)
def test_it_finds_the_planted_direction(planted, planted_data, centre, layer):
    model, direction = planted

    vector = vector_of(fit(model, planted_data, layer=layer, centre=centre))

    assert cosine(vector, direction) > 0.98


def test_centring_differences_as_they_are_would_delete_it(planted, planted_data):
    """Trap T12, the reason for everything else in this method."""
    model, direction = planted
    positive, negative = contrast(model, planted_data.pairs, Site(1), "completion")
    deltas = positive - negative

    broken = principal(deltas - deltas.mean(0), Site(1))

    assert abs(cosine(broken, direction)) < 0.5


@pytest.mark.parametrize("centre", CENTRES)
def test_swapped_pairs_flip_the_sign(planted, planted_data, swap, centre):
    model, _ = planted

    one, other = (
        vector_of(fit(model, data, centre=centre))
        for data in (planted_data, swap(planted_data))
    )

    torch.testing.assert_close(one, -other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("seed", range(3))
def test_the_sign_is_right_on_pairs_that_were_held_out(planted, planted_data, centre, seed):
    """A random sign would be wrong for half of the seeds (trap T13)."""
    model, _ = planted
    half = replace(planted_data, pairs=planted_data.pairs[::2])

    vector = vector_of(fit(model, half, seed, centre=centre))

    positive, negative = contrast(model, planted_data.pairs[1::2], Site(1), "completion")
    right = ((positive - negative) @ vector > 0).float().mean()
    assert float(right) > 0.95


@pytest.mark.parametrize("centre", CENTRES)
def test_dose_one_moves_the_negative_projection_onto_the_positive(
    planted, planted_data, centre
):
    model, _ = planted
    vector = vector_of(fit(model, planted_data, centre=centre))
    positive, negative = contrast(model, planted_data.pairs, Site(1), "completion")

    u = vector / vector.norm()

    moved, wanted = (negative + vector) @ u, positive @ u
    torch.testing.assert_close(moved.mean(), wanted.mean(), rtol=1e-5, atol=1e-5)


def test_the_order_of_the_pairs_does_not_matter(planted, planted_data):
    model, _ = planted
    backwards = replace(planted_data, pairs=planted_data.pairs[::-1])

    one, other = (vector_of(fit(model, data)) for data in (planted_data, backwards))

    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_it_is_the_principal_component_of_both_orders_of_every_pair(planted, planted_data):
    """PCA of all points after each pair is centred is the same thing."""
    model, _ = planted
    positive, negative = contrast(model, planted_data.pairs, Site(1), "completion")
    middle = (positive + negative) / 2
    both = torch.cat([positive - middle, negative - middle]).double()
    _, vectors = torch.linalg.eigh(both.mT @ both)

    vector = vector_of(fit(model, planted_data))

    assert abs(cosine(vector, vectors[:, -1])) == pytest.approx(1, abs=1e-6)


def test_the_seed_decides_which_half_is_turned_and_nothing_else(planted, planted_data):
    model, _ = planted
    turned = [
        vector_of(fit(model, planted_data, s, centre="half-turned")) for s in (0, 0, 1)
    ]
    plain = [vector_of(fit(model, planted_data, s)) for s in (0, 1)]

    assert torch.equal(turned[0], turned[1]) and torch.equal(*plain)
    assert not torch.equal(turned[0], turned[2])


def test_each_block_of_a_range_gets_its_own_direction(planted, planted_data):
    model, _ = planted

    joint = fit(model, planted_data, layer=0, blocks=2)

    assert list(joint.edits) == [Site(0), Site(1)]
    for site, edit in joint.edits.items():
        alone = vector_of(fit(model, planted_data, layer=site.layer))
        assert torch.equal(edit.vector, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": 0}, "blocks must be at least 1, not 0"),
        ({"blocks": 2}, "layer 2 does not exist"),
    ],
)
def test_a_range_that_does_not_exist_is_refused(planted, planted_data, options, message):
    with pytest.raises(BadOption, match=message):
        fit(planted[0], planted_data, layer=1, **options)


def test_a_form_that_does_not_exist_is_refused(planted, planted_data):
    method = RepE(layer=1)
    object.__setattr__(method, "form", "linaer")  # types are checked here, not by users

    with pytest.raises(UnknownName, match=r"unknown form 'linaer'; .* mean 'linear'"):
        method.fit(planted[0], planted_data, seed=0)


def test_pairs_without_any_difference_are_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        fit(tiny("llama"), FitData("calm", (pair,)), read="last_prompt")


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](RepE(layer=1), tiny("gemma3"), example)


def test_the_piecewise_form_pushes_each_state_to_its_own_side(planted, planted_data, swap):
    model, direction = planted
    linear = vector_of(fit(model, planted_data))
    states = torch.cat(contrast(model, planted_data.pairs, Site(1), "completion"))

    for data in (planted_data, swap(planted_data)):
        [edit] = fit(model, data, form="piecewise").edits.values()
        steps = edit(states, 1.0) - states
        wanted = (states @ linear).sign()[:, None] * linear
        torch.testing.assert_close(steps, wanted, rtol=0, atol=1e-4)
    assert cosine(edit.vector, -direction) > 0.98


@pytest.mark.parametrize("check", CHECKS)
def test_its_piecewise_form_keeps_every_promise(tiny, example, check):
    CHECKS[check](RepE(layer=1, form="piecewise"), tiny("llama"), example)


@pytest.mark.parametrize("check", CHECKS)
def test_its_variant_keeps_every_promise(tiny, example, check):
    CHECKS[check](RepE(layer=0, blocks=3, centre="half-turned"), tiny("llama"), example)
