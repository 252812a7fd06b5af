"""K-steering: a classifier that finds the truth, and steps of a known length up it."""

import pytest
import torch
from torch.nn.functional import normalize

from seatrial.errors import BadData, BadOption
from seatrial.methods import KSteering
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.intervention import Intervention, Steering
from seatrial.testing import CHECKS, tiny_model
from seatrial.types import Request, Site


def edit_of(fitted):
    [edit] = fitted.edits.values()
    return edit


def score(edit, h):
    """Wanted minus unwanted logit, up to a constant."""
    hidden = (h @ edit.first.mT + edit.first_bias).relu()
    return (hidden @ edit.second.mT + edit.second_bias).relu() @ edit.goal


@pytest.fixture(scope="module")
def states(planted, planted_data):
    """Positive and negative activations of the planted model."""
    return contrast(planted[0], planted_data.pairs, Site(1), "completion")


@pytest.fixture(scope="module")
def fitted(planted, planted_data):
    return KSteering(layer=1, read="completion").fit(planted[0], planted_data, seed=0)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](KSteering(layer=1, steps=2, epochs=20), tiny("llama"), example)


def test_its_gradient_finds_the_planted_direction_at_every_text(planted, fitted, states):
    gradients = edit_of(fitted).gradient(torch.cat(states))

    assert float((normalize(gradients, dim=-1) @ planted[1]).min()) > 0.99


def test_without_weight_decay_the_gradient_is_far_from_the_truth(
    planted, planted_data, states
):
    """Adam makes all coordinates about equally large, which is why there is decay."""
    method = KSteering(layer=1, read="completion", weight_decay=0.0)

    gradients = edit_of(method.fit(planted[0], planted_data, seed=0)).gradient(states[0])

    assert float((normalize(gradients, dim=-1) @ planted[1]).mean()) < 0.9


def test_the_classifier_tells_positive_from_negative(fitted, states):
    edit = edit_of(fitted)
    wanted = score(edit, states[0])[:, None] - score(edit, states[1])

    assert float((wanted > 0).float().mean()) > 0.99


def test_dose_one_climbs_as_far_as_the_class_means_are_apart(fitted, states):
    edit, both = edit_of(fitted), torch.cat(states)

    moved = edit(both, 1.0) - both

    apart = (states[0] - states[1]).mean(0).norm()
    torch.testing.assert_close(moved.norm(dim=-1).mean(), apart, rtol=1e-4, atol=0)
    assert bool((score(edit, both + moved) > score(edit, both)).all())


def test_it_moves_the_planted_behaviour_and_a_random_climb_does_not(
    planted, planted_data, fitted
):
    model, _ = planted
    generator = torch.Generator().manual_seed(4)
    edit = edit_of(fitted)
    # The same network behind a rotation of what it reads: as strong, without the meaning.
    turn = torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q
    rest = [getattr(edit, k) for k in list(vars(edit))[1:]]
    noise = Intervention({Site(1): type(edit)(edit.first @ turn, *rest)})
    asked = [Request("r", "r", "kab lod mig", (" bright lovely", " dull ugly"))]

    under = [Steering(fitted, dose) for dose in (-1, 0, 1)]
    answers = model.log_probs(asked, [*under, Steering(noise, 1)])

    down, plain, up, moved = (a.sums[0] - a.sums[1] for [a] in answers)
    assert down < plain - 0.1 < plain + 0.1 < up
    assert abs(moved - plain) < 0.5 * (up - plain)


@pytest.mark.parametrize(("steps", "decay"), [(1, 1.0), (4, 1.0), (3, 0.5)])
def test_steps_share_the_length_of_one(planted, planted_data, fitted, steps, decay):
    method = KSteering(layer=1, read="completion", steps=steps, decay=decay)

    found = edit_of(method.fit(planted[0], planted_data, seed=0)).steps

    one = edit_of(fitted).steps
    torch.testing.assert_close(found.sum(), one.sum())
    torch.testing.assert_close(found[1:], decay * found[:-1])
    assert len(found) == steps


def test_swapped_pairs_climb_the_other_way(planted, planted_data, fitted, states, swap):
    model, both = planted[0], torch.cat(states)
    mirrored = KSteering(layer=1, read="completion").fit(model, swap(planted_data), seed=0)

    one, other = edit_of(fitted)(both, 1.0), edit_of(mirrored)(both, -1.0)

    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_another_seed_trains_another_network_that_climbs_alike(
    planted, planted_data, fitted, states
):
    method = KSteering(layer=1, read="completion")

    other = edit_of(method.fit(planted[0], planted_data, seed=1))

    edit = edit_of(fitted)
    assert not torch.allclose(other.first, edit.first, atol=1e-2)
    cosines = torch.cosine_similarity(
        other.gradient(states[0]), edit.gradient(states[0]), dim=-1
    )
    assert float(cosines.min()) > 0.98


def test_every_training_option_has_an_effect(tiny, example):
    model = tiny("llama")
    base = {"layer": 1, "epochs": 5}
    changes = [
        {}, {"epochs": 6}, {"rate": 2e-3}, {"weight_decay": 0.1}, {"batch": 2},
        {"hidden": 16}, {"read": "mean"}, {"layer": 2},
    ]  # fmt: skip

    probe = torch.linspace(-1, 1, model.d_model)
    gradients = [
        edit_of(KSteering(**{**base, **change}).fit(model, example, seed=0)).gradient(probe)
        for change in changes
    ]

    for k, one in enumerate(gradients):
        assert not any(torch.allclose(one, other) for other in gradients[k + 1 :])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (KSteering(steps=0), "steps must be above 0, not 0"),
        (KSteering(epochs=0), "epochs must be above 0, not 0"),
        (KSteering(decay=-0.5), "decay must be above 0, not -0.5"),
        (KSteering(batch=1), "batch must be at least 2, one text a side, not 1"),
        (KSteering(weight_decay=-1.0), "weight_decay must not be negative: -1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(tiny, example, method, message):
    with pytest.raises(BadOption, match=message):
        method.fit(tiny("llama"), example, seed=0)


def test_a_classifier_that_learnt_nothing_is_refused(tiny, example):
    method = KSteering(layer=1, rate=1e200)

    with pytest.raises(BadData, match=r"classifier at site 1\.resid has learnt nothing"):
        method.fit(tiny("llama"), example, seed=0)


def test_texts_that_do_not_differ_where_they_are_read_are_refused(tiny, example):
    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        KSteering(layer=1, read="last_prompt").fit(tiny("llama"), example, seed=0)


def test_it_can_be_fitted_where_gradients_are_off(tiny, example):
    model = tiny("llama")

    with torch.inference_mode():
        inside = edit_of(KSteering(layer=1, epochs=3).fit(model, example, seed=0))

    outside = edit_of(KSteering(layer=1, epochs=3).fit(model, example, seed=0))
    assert torch.equal(inside.first, outside.first)


def test_its_tensors_are_float32_on_a_bfloat16_model(example):
    model = tiny_model("llama", dtype=torch.bfloat16)

    edit = edit_of(KSteering(epochs=3).fit(model, example, seed=0))

    for value in vars(edit).values():
        assert value.dtype == torch.float32
        assert bool(value.isfinite().all())
        assert not value.requires_grad
