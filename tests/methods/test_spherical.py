"""Spherical steering: towards the mean direction, as far as the behaviour is lacking."""

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import CAA, Spherical
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import CHECKS, tiny_model
from seatrial.types import Request, Site

ALWAYS = Spherical(layer=1, kappa=2.0, beta=-1.0)
"""Spares no token, however the texts stand to the direction."""


def edit_of(fitted):
    [edit] = fitted.edits.values()
    return edit


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](ALWAYS, tiny("llama"), example)


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "falcon", "lfm2"])
def test_it_works_in_other_families(tiny, example, family):
    model = tiny(family)
    fitted = ALWAYS.fit(model, example, seed=0)

    asked = [Request("r", "r", "The sea", (" is calm", " is rough"))]
    unsteered, steered = model.log_probs(asked, [UNSTEERED, Steering(fitted)])

    assert list(fitted.edits) == [Site(1)]
    assert unsteered != steered


@pytest.mark.parametrize("layer", [0, 1])
def test_it_finds_the_planted_direction(planted, planted_data, layer):
    model, truth = planted

    method = Spherical(layer=layer, read="completion")
    pole = edit_of(method.fit(model, planted_data, seed=0)).pole

    assert float(torch.cosine_similarity(pole, truth, dim=0)) > 0.99


def test_its_pole_is_the_direction_of_the_difference_of_means(tiny, example):
    model = tiny("llama")

    pole = edit_of(Spherical(layer=2, read="mean").fit(model, example, seed=0)).pole

    v = edit_of(CAA(layer=2, read="mean").fit(model, example, seed=0)).vector
    torch.testing.assert_close(pole, v / v.norm())


def test_swapped_pairs_negate_the_pole(tiny, example, swap):
    one, other = (
        edit_of(ALWAYS.fit(tiny("llama"), data, seed=0))
        for data in (example, swap(example))
    )

    assert torch.equal(one.pole, -other.pole)


def test_it_moves_the_planted_behaviour_and_a_random_pole_does_not(planted, planted_data):
    model, truth = planted
    method = Spherical(layer=1, read="completion", beta=-1.0, alpha=0.2)
    fitted = method.fit(model, planted_data, seed=0)
    edit = edit_of(fitted)
    random = type(edit)(normal(7, len(truth)), edit.kappa, edit.alpha, edit.beta)
    noise = Intervention({Site(1): random}, fitted.tokens)
    asked = [Request("r", "r", "kab lod mig", (" bright lovely", " dull ugly"))]

    under = [Steering(fitted, dose) for dose in (-1, 0, 1)]
    answers = model.log_probs(asked, [*under, Steering(noise, 1)])

    down, plain, up, moved = (a.sums[0] - a.sums[1] for [a] in answers)
    assert down < plain - 0.5 < plain + 0.5 < up
    assert abs(moved - plain) < 0.4 * (up - plain)


def test_what_shows_the_behaviour_is_spared_and_what_lacks_it_is_moved(
    planted, planted_data
):
    """With the published beta, positive doses move negative words only, and conversely."""
    model, _ = planted
    edit = edit_of(Spherical(layer=1, read="completion").fit(model, planted_data, seed=0))
    good, bad = (
        model.engine.network.get_input_embeddings().weight[
            model.encoder.tokenizer.convert_tokens_to_ids(word)
        ]
        for word in ("bright", "dull")
    )

    assert torch.equal(edit(good, 1.0), good)
    assert torch.equal(edit(bad, -1.0), bad)
    assert float((edit(bad, 1.0) - bad) @ edit.pole) > 0.5
    assert float((edit(good, -1.0) - good) @ edit.pole) < -0.5


def test_its_options_reach_the_edit(tiny, example):
    fitted = Spherical(layer=0, kappa=3.0, alpha=0.4, beta=0.1, tokens="last").fit(
        tiny("llama"), example, seed=2
    )

    edit = edit_of(fitted)
    numbers = torch.stack([edit.kappa, edit.alpha, edit.beta])
    torch.testing.assert_close(numbers, torch.tensor([3.0, 0.4, 0.1]))
    assert (fitted.tokens, fitted.origin.method, fitted.origin.seed) == (
        "last", "spherical", 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Spherical(kappa=0.0), "kappa must be above 0, not 0.0"),
        (Spherical(alpha=-1.0), "alpha must be above 0, not -1.0; a negative dose"),
        (Spherical(beta=1.0), "beta must be at least -1 and below 1, not 1.0"),
        (Spherical(beta=-1.5), "beta must be at least -1 and below 1, not -1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(tiny, example, method, message):
    with pytest.raises(BadOption, match=message):
        method.fit(tiny("llama"), example, seed=0)


def test_texts_that_do_not_differ_where_they_are_read_are_refused(tiny, example):
    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        Spherical(layer=1, read="last_prompt").fit(tiny("llama"), example, seed=0)


def test_it_is_fitted_in_float32_on_a_bfloat16_model(example):
    model = tiny_model("llama", dtype=torch.bfloat16)

    pole = edit_of(ALWAYS.fit(model, example, seed=0)).pole

    assert pole.dtype == torch.float32
    assert float(pole.norm()) == pytest.approx(1.0)
