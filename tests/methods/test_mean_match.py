"""Mean matching: one mean becomes the other, and the covariance stays."""

from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods import CAA, MeanMatch
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance
from seatrial.testing import CHECKS
from seatrial.types import FitData, Pair, Site, Text


def edit_of(fitted):
    [edit] = fitted.edits.values()
    return edit


def fit(model, data, **options):
    return edit_of(MeanMatch(layer=1, **options).fit(model, data, seed=0))


@pytest.fixture
def sides(tiny, many):
    return contrast(tiny("gemma3"), many.pairs, Site(1), "last")


def test_the_negative_mean_becomes_the_positive_one_and_the_covariance_stays(
    tiny, many, sides
):
    positive, negative = sides

    after = fit(tiny("gemma3"), many)(negative, 1.0)

    torch.testing.assert_close(after.mean(0), positive.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        covariance(after), covariance(negative), rtol=1e-4, atol=1e-5
    )


def test_it_is_the_vector_of_caa_whatever_the_pairing(tiny, many):
    model = tiny("gemma3")
    turned = many.pairs[1:] + many.pairs[:1]
    unpaired = replace(
        many,
        pairs=tuple(
            replace(pair, negative=other.negative)
            for pair, other in zip(many.pairs, turned, strict=True)
        ),
    )

    caa = edit_of(CAA(layer=1).fit(model, many, seed=0))

    assert torch.equal(fit(model, many).vector, caa.vector)
    torch.testing.assert_close(fit(model, unpaired).vector, caa.vector)


def test_after_erasing_both_classes_have_the_positive_mean(tiny, many, sides):
    edit = fit(tiny("gemma3"), many, erase=True)

    for side in sides:
        torch.testing.assert_close(
            edit(side, 1.0).mean(0), sides[0].mean(0), rtol=1e-4, atol=1e-4
        )


def test_erasing_flattens_one_direction_and_no_more(tiny, many, sides):
    edit = fit(tiny("gemma3"), many, erase=True)

    values = torch.linalg.svdvals(torch.eye(32) - edit.matrix)

    assert float(values[0]) >= 1 - 1e-5
    assert float(values[1]) < 1e-5


@pytest.mark.parametrize("erase", [False, True])
def test_it_finds_the_planted_direction(planted, planted_data, erase):
    model, direction = planted
    _, negative = contrast(model, planted_data.pairs, Site(1), "completion")

    edit = fit(model, planted_data, read="completion", erase=erase)

    moved = (edit(negative, 1.0) - negative).mean(0)
    assert float(torch.cosine_similarity(moved, direction, dim=0)) > 0.99


@pytest.mark.parametrize("erase", [False, True])
def test_swapped_pairs_move_the_other_way(planted, planted_data, swap, erase):
    model, direction = planted
    positive, _ = contrast(model, planted_data.pairs, Site(1), "completion")

    edit = fit(model, swap(planted_data), read="completion", erase=erase)

    moved = (edit(positive, 1.0) - positive).mean(0)
    assert float(torch.cosine_similarity(moved, direction, dim=0)) < -0.99


def test_erasing_what_does_not_differ_is_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        fit(tiny("llama"), FitData("calm", (pair,)), read="last_prompt", erase=True)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](MeanMatch(layer=1, erase=True), tiny("gemma3"), example)
