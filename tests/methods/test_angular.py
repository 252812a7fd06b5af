"""Angular steering: a plane that holds the behaviour, and the angle asked for."""

import math

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import Angular
from seatrial.methods.angular import plane
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.edits import Rotate, RotateTo
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import CHECKS, tiny_model
from seatrial.types import Request, Site

VARIANTS = {
    "to, all blocks": Angular(angle=20.0),
    "by, one block": Angular(layer=1, form="by", angle=40.0),
}


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def units(seed, *shape):
    return torch.nn.functional.normalize(normal(seed, *shape), dim=-1)


def edit_of(fitted):
    return next(iter(fitted.edits.values()))


def cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("method", VARIANTS)
def test_it_keeps_every_promise(tiny, example, method, check):
    CHECKS[check](VARIANTS[method], tiny("llama"), example)


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "falcon", "lfm2"])
def test_it_works_in_other_families(tiny, example, family):
    model = tiny(family)
    fitted = Angular().fit(model, example, seed=0)

    asked = [Request("r", "r", "The sea", (" is calm", " is rough"))]
    unsteered, steered = model.log_probs(asked, [UNSTEERED, Steering(fitted)])

    assert list(fitted.edits) == [Site(layer) for layer in range(3)]
    assert unsteered != steered


def test_the_plane_is_the_formula():
    candidates = units(0, 5, 12)

    basis = plane(candidates, normal(1, 4, 12))

    similarity = [sum(cosine(a, b) for b in candidates if b is not a) for a in candidates]
    first = candidates[similarity.index(max(similarity))]
    pc1 = torch.linalg.svd(candidates - candidates.mean(0)).Vh[0]
    second = pc1 - (pc1 @ first) * first
    second = (
        second / second.norm() * (second @ (candidates[-1] - candidates.mean(0))).sign()
    )
    torch.testing.assert_close(basis, torch.stack([first, second], 1))
    torch.testing.assert_close(basis.mT @ basis, torch.eye(2).double())


def test_opposite_candidates_turn_the_plane_by_half_a_turn():
    candidates, differences = units(0, 5, 12), normal(1, 4, 12)

    torch.testing.assert_close(
        plane(-candidates, -differences), -plane(candidates, differences)
    )


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_where_all_blocks_agree_the_pairs_give_the_second_direction(noise):
    first, differences = units(0, 1, 12), normal(1, 6, 12)
    candidates = torch.nn.functional.normalize(first + noise * normal(2, 3, 12), dim=-1)

    basis = plane(candidates, differences)

    pc1 = torch.linalg.svd(differences - differences.mean(0)).Vh[0]
    across = pc1 - (pc1 @ first[0]) * first[0]
    assert abs(cosine(basis[:, 1], across)) > 0.999
    assert cosine(basis[:, 0], first[0]) > 0.999


def test_texts_that_differ_in_one_direction_only_are_refused():
    first = units(0, 1, 12)

    with pytest.raises(BadData, match=r"differ in one direction only, .* such as caa"):
        plane(first.expand(3, 12), 2 * first)


def test_all_blocks_are_read_at_the_token_asked_for(tiny, example):
    model = tiny("llama")

    basis = edit_of(Angular(read="mean").fit(model, example, seed=0)).basis

    rows = []
    for layer in range(3):
        positive, negative = contrast(model, example.pairs, Site(layer), "mean")
        rows.append((positive - negative).double().mean(0))
    candidates = torch.nn.functional.normalize(torch.stack(rows), dim=-1)
    expected = plane(candidates, (positive - negative).double())
    torch.testing.assert_close(basis.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", ["all", 0, "last"])
def test_it_finds_the_planted_direction(planted, planted_data, layer):
    model, truth = planted

    fitted = Angular(layer=layer, read="completion").fit(model, planted_data, seed=0)

    for edit in fitted.edits.values():
        assert cosine(edit.basis[:, 0], truth) > 0.99


def test_towards_and_away_from_the_behaviour_move_it_both_ways(planted, planted_data):
    """Words of both kinds are rotated; a plane without the behaviour does less."""
    model, truth = planted
    under = [UNSTEERED]
    for angle in (0.0, 180.0):
        method = Angular(layer=1, read="completion", angle=angle)
        under.append(Steering(method.fit(model, planted_data, seed=0)))
    basis = torch.linalg.qr(normal(3, len(truth), 2).float()).Q
    noise = RotateTo(basis, torch.tensor(0.0), torch.tensor(-math.inf))
    under.append(Steering(Intervention({Site(1): noise})))
    asked = [
        Request(prompt, prompt, prompt, (" lovely", " ugly"))
        for prompt in ("sweet", "sour")
    ]

    answers = model.log_probs(asked, under)

    sweet, sour = torch.tensor([[a.sums[0] - a.sums[1] for a in x] for x in answers]).T
    assert sweet[0] > sour[0] + 0.5  # as they are
    torch.testing.assert_close(sour[1], sweet[0], atol=0.1, rtol=0)  # both towards
    torch.testing.assert_close(sweet[2], sour[0], atol=0.1, rtol=0)  # both away
    assert float(abs(sour[3] - sour[0])) < 0.5 * float(abs(sour[1] - sour[0]))


def test_swapped_pairs_turn_the_angle_by_half_a_turn(tiny, example, swap):
    model = tiny("llama")
    straight = Angular(angle=30.0).fit(model, example, seed=0)
    mirrored = Angular(angle=210.0).fit(model, swap(example), seed=0)
    h = normal(1, 5, model.d_model).float()

    one, other = (edit_of(fitted)(h, 1.0) for fitted in (straight, mirrored))

    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    assert not torch.allclose(one, h, atol=1e-2)


def test_angles_are_given_in_degrees_from_the_behaviour(tiny, example):
    model = tiny("llama")
    edit = edit_of(Angular(angle=90.0).fit(model, example, seed=0))
    h = normal(1, 5, model.d_model).float()

    inside = edit(h, 1.0) @ edit.basis

    assert isinstance(edit, RotateTo)
    torch.testing.assert_close(inside[:, 0], torch.zeros(5), atol=1e-5, rtol=0)
    assert bool((inside[:, 1] > 0).all())


def test_by_an_angle_keeps_the_angles_between_tokens(tiny, example):
    model = tiny("llama")
    edit = edit_of(Angular(form="by", angle=90.0).fit(model, example, seed=0))
    h = normal(1, 5, model.d_model).float()

    edited = edit(h, 1.0)

    assert isinstance(edit, Rotate)
    torch.testing.assert_close(edited @ edited.mT, h @ h.mT, atol=1e-4, rtol=1e-4)
    x, y = (h @ edit.basis).unbind(-1)
    torch.testing.assert_close(edited @ edit.basis, torch.stack([-y, x], 1))


def test_adaptive_spares_tokens_that_lack_the_behaviour(tiny, example):
    model = tiny("llama")
    edit = edit_of(Angular(angle=180.0, adaptive=True).fit(model, example, seed=0))
    h = normal(1, 20, model.d_model).float()

    changed = (edit(h, 1.0) != h).any(-1)

    assert changed.tolist() == (h @ edit.basis[:, 0] > 0).tolist()
    assert edit.is_gated


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Angular(form="by"), r"an angle that is no whole turn \(not 0\)"),
        (Angular(form="by", angle=360.0), r"no whole turn \(not 360\)"),
        (Angular(form="by", angle=10.0, adaptive=True), "adaptive belongs to form 'to'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tiny, example, method, message):
    with pytest.raises(BadOption, match=message):
        method.fit(tiny("llama"), example, seed=0)


def test_texts_that_do_not_differ_where_they_are_read_are_refused(tiny, example):
    with pytest.raises(BadData, match=r"do not differ at site 0\.resid"):
        Angular(read="last_prompt").fit(tiny("llama"), example, seed=0)


def test_it_is_fitted_in_float32_on_a_bfloat16_model(example):
    model = tiny_model("llama", dtype=torch.bfloat16)

    basis = edit_of(Angular().fit(model, example, seed=0)).basis

    assert basis.dtype == torch.float32
    torch.testing.assert_close(basis.mT @ basis, torch.eye(2))
