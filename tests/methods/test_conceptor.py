"""Conceptors: soft projections whose eigenvalues lie in [0, 1) and follow the aperture."""

import pytest
import torch

from seatrial.errors import BadOption
from seatrial.methods import Conceptor
from seatrial.methods.conceptor import conceptor
from seatrial.methods.fitting.contrast import contrast
from seatrial.testing import CHECKS
from seatrial.types import FitData, Site

D = 7


def fit(model, data, **options):
    [edit] = Conceptor(layer=1, **options).fit(model, data, seed=0).edits.values()
    return edit


@pytest.fixture(scope="module", params=[4, 60], ids=["few states", "many"])
def states(request):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=generator, dtype=torch.float64)
    noise = torch.randn(request.param, D, generator=generator, dtype=torch.float64)
    return noise @ mix + 1


@pytest.mark.parametrize("aperture", [0.1, 1.0, 10.0])
def test_it_is_r_times_the_inverse_of_r_plus_the_aperture(states, aperture):
    r = states.mT @ states / len(states)

    made = conceptor(states, aperture)

    wanted = r @ torch.linalg.inv(r + torch.eye(D).double() / aperture**2)
    torch.testing.assert_close(made, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("aperture", [0.01, 1.0, 100.0])
def test_its_eigenvalues_lie_in_0_to_1_and_its_eigenvectors_are_those_of_r(
    states, aperture
):
    r = states.mT @ states / len(states)

    made = conceptor(states, aperture)

    values = torch.linalg.eigvalsh(made)
    assert float(values.min()) > -1e-12 and float(values.max()) < 1
    torch.testing.assert_close(made, made.mT)
    torch.testing.assert_close(made @ r, r @ made)


def test_a_wide_aperture_projects_on_the_states_and_a_narrow_one_lets_nothing_through(
    states,
):
    span = torch.linalg.pinv(states) @ states

    torch.testing.assert_close(conceptor(states, 1e6), span, rtol=0, atol=1e-6)
    assert float(conceptor(states, 1e-6).abs().max()) < 1e-6


def test_changing_the_aperture_is_what_the_paper_says(states):
    """``C (C + g^2 (I - C))^-1`` with ``g`` the old aperture over the new one."""
    old, new = 0.5, 2.0
    c = conceptor(states, old)

    changed = c @ torch.linalg.inv(c + (old / new) ** 2 * (torch.eye(D).double() - c))

    torch.testing.assert_close(changed, conceptor(states, new), rtol=1e-8, atol=1e-8)


def test_the_paper_replaces_and_the_released_code_adds(tiny, many):
    model = tiny("gemma3")
    positive, _ = contrast(model, many.pairs, Site(1), "last")
    c = conceptor(positive, 0.7).float()
    h = torch.randn(9, 32, generator=torch.Generator().manual_seed(0))

    for form, wanted in (("paper", 0.6 * h @ c), ("released", h + 0.6 * h @ c)):
        edit = fit(model, many, aperture=0.7, beta=0.6, form=form)
        torch.testing.assert_close(edit(h, 1.0), wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(edit(h, 0.5), (h + wanted) / 2, rtol=1e-5, atol=1e-5)


def test_only_positive_texts_are_read(tiny, many, swap):
    model = tiny("gemma3")
    positive, negative = contrast(model, many.pairs, Site(1), "last")

    straight, swapped = fit(model, many), fit(model, swap(many))

    torch.testing.assert_close(straight.matrix, conceptor(positive, 0.1).float())
    torch.testing.assert_close(swapped.matrix, conceptor(negative, 0.1).float())
    assert not torch.allclose(straight.matrix, swapped.matrix, atol=1e-3)


@pytest.mark.parametrize("turned", [False, True], ids=["as they are", "swapped"])
def test_it_leads_neutral_states_along_the_planted_direction(
    planted, planted_data, swap, turned
):
    """Neutral states hold the constant only; the conceptor adds what came with it."""
    model, direction = planted
    data = swap(planted_data) if turned else planted_data
    states = torch.cat(contrast(model, data.pairs, Site(1), "completion"))
    neutral = states.mean(0) - (states.mean(0) @ direction) * direction

    after = fit(model, data, read="completion", aperture=1.0)(neutral, 1.0)

    u = neutral / neutral.norm()
    beside = after - (after @ u) * u
    cosine = float(torch.cosine_similarity(beside, direction, dim=0))
    assert (cosine < -0.9) if turned else (cosine > 0.9)


@pytest.mark.parametrize("aperture", [0.0, -1.0, float("nan")])
def test_an_aperture_that_is_no_opening_is_refused(tiny, many, aperture):
    with pytest.raises(BadOption, match="aperture must be larger than 0"):
        fit(tiny("gemma3"), FitData("calm", many.pairs[:2]), aperture=aperture)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](Conceptor(layer=1, form="released"), tiny("gemma3"), example)
