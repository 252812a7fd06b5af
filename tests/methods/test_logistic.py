"""The logistic direction is the optimum of its loss, and tends to the LDA direction."""

from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import CAA, Logistic
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.logistic import probe
from seatrial.testing import CHECKS
from seatrial.types import FitData, Pair, Site, Text

D = 8


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.fixture(scope="module")
def gauss():
    """Half differences of Gaussian pairs, their mean and their covariance."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=generator, dtype=torch.float64)
    mean = torch.randn(D, generator=generator, dtype=torch.float64)
    noise = torch.randn(20_000, D, generator=generator, dtype=torch.float64)
    return noise @ mix + mean, mean, mix.mT @ mix


def test_on_gaussian_classes_it_is_the_lda_direction(gauss):
    halves, mean, covariance = gauss

    weights = probe(halves, 1.0)

    lda = torch.linalg.solve(covariance, mean)
    assert cosine(weights, lda) > 0.99
    assert cosine(mean, lda) < 0.9


def test_on_shuffled_labels_hardly_any_weight_is_left(gauss):
    halves, _, _ = gauss
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (len(halves), 1), generator=generator) * 2 - 1

    shuffled = probe(signs * halves, 1.0)

    # What is left of 20,000 coin tosses, measured in the length of the honest weights.
    assert float(shuffled.norm()) < 0.05 * float(probe(halves, 1.0).norm())


@pytest.mark.parametrize("n", [3, 5, 200])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_it_is_the_optimum_of_its_loss_whether_pairs_are_few_or_many(gauss, n, C):
    points = gauss[0][:n]

    weights = probe(points, C).requires_grad_()

    both = torch.cat([points, -points])
    labels = torch.tensor([1.0] * n + [-1.0] * n, dtype=torch.float64)
    loss = torch.nn.functional.softplus(-labels * (both @ weights)).sum()
    (weights.square().sum() / 2 + C * loss).backward()
    assert float(weights.grad.norm()) < 1e-5 * max(1, C)
    assert float(weights.detach().norm()) > 0


def test_with_a_small_c_it_tends_to_the_difference_of_means(gauss):
    halves, _, _ = gauss

    assert cosine(probe(halves, 1e-9), halves.mean(0)) > 0.9999
    assert cosine(probe(halves, 1.0), halves.mean(0)) < 0.95


@pytest.mark.parametrize("layer", [0, 1])
def test_it_finds_the_planted_direction(planted, planted_data, layer):
    model, direction = planted

    fitted = Logistic(layer=layer, read="completion").fit(model, planted_data, seed=0)

    assert cosine(vector_of(fitted), direction) > 0.98


def test_swapped_pairs_flip_the_sign(planted, planted_data, swap):
    model, _ = planted
    method = Logistic(layer=1, read="completion")

    one, other = (
        vector_of(method.fit(model, data, seed=0))
        for data in (planted_data, swap(planted_data))
    )

    torch.testing.assert_close(one, -other, rtol=0, atol=1e-6)


def test_dose_one_moves_the_negative_projection_onto_the_positive(planted, planted_data):
    model, _ = planted
    method = Logistic(layer=1, read="completion")
    vector = vector_of(method.fit(model, planted_data, seed=0))
    positive, negative = contrast(model, planted_data.pairs, Site(1), "completion")

    u = vector / vector.norm()

    moved, wanted = (negative + vector) @ u, positive @ u
    torch.testing.assert_close(moved.mean(), wanted.mean(), rtol=1e-5, atol=1e-5)


def test_the_order_of_the_pairs_does_not_matter(planted, planted_data):
    model, _ = planted
    backwards = replace(planted_data, pairs=planted_data.pairs[::-1])

    one, other = (
        vector_of(Logistic(layer=1).fit(model, data, seed=0))
        for data in (planted_data, backwards)
    )

    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_c_leads_from_the_difference_of_means_elsewhere(tiny, many):
    model = tiny("llama")
    caa = vector_of(CAA(layer=1).fit(model, many, seed=0))

    near, far = (
        cosine(vector_of(Logistic(layer=1, C=C).fit(model, many, seed=0)), caa)
        for C in (1e-6, 1.0)
    )

    assert near > 0.999 > 0.99 > far


@pytest.mark.parametrize("C", [0.0, -1.0, float("nan")])
def test_a_c_that_weighs_nothing_is_refused(tiny, example, C):
    with pytest.raises(BadOption, match="C must be larger than 0"):
        Logistic(layer=1, C=C).fit(tiny("llama"), example, seed=0)


def test_pairs_without_any_difference_are_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        Logistic(layer=1, read="last_prompt").fit(
            tiny("llama"), FitData("calm", (pair,)), seed=0
        )


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](Logistic(layer=1), tiny("gemma3"), example)
