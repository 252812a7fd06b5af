"""In-context vectors: the formula, one direction through all blocks, the length kept."""

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import ICV, Random
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.icv import joint_direction
from seatrial.steering.edits import AddKeepingNorm
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import CHECKS, tiny_model
from seatrial.types import Request, Site


def normal(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def vectors(fitted):
    return [edit.vector for edit in fitted.edits.values()]


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](ICV(), tiny("llama"), example)


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "gpt_neox", "opt", "olmo2"])
def test_it_works_at_the_mlps_of_other_families(tiny, example, family):
    model = tiny(family)
    fitted = ICV().fit(model, example, seed=0)

    asked = [Request("r", "r", "The sea", (" is calm", " is rough"))]
    unsteered, steered = model.log_probs(asked, [UNSTEERED, Steering(fitted)])

    assert list(fitted.edits) == [Site(layer, "mlp") for layer in range(3)]
    assert unsteered != steered


def test_its_vectors_are_the_formula(tiny, example):
    """w = PC1 of the centred differences of all blocks + their mean, cut into blocks."""
    model = tiny("llama")

    fitted = ICV(strength=0.3).fit(model, example, seed=0)

    sides = [contrast(model, example.pairs, Site(layer), "last") for layer in range(3)]
    deltas = torch.cat([positive - negative for positive, negative in sides], 1).double()
    mean = deltas.mean(0)
    first = torch.linalg.svd(deltas - mean).Vh[0]
    w = mean + first * (1 if first @ mean > 0 else -1)
    for found, expected in zip(vectors(fitted), w.reshape(3, -1), strict=True):
        torch.testing.assert_close(found.double(), 0.3 * expected / expected.norm())


def test_the_mixture_depends_on_scale_as_the_formula_says():
    """PC1 has length 1 and the mean has not: twice the differences, twice the mean only."""
    deltas = normal(0, 6, 12) + 2

    once, twice = (
        joint_direction(deltas, "mean+pca"),
        joint_direction(2 * deltas, "mean+pca"),
    )

    torch.testing.assert_close(twice - once, deltas.mean(0))
    assert float((once - deltas.mean(0)).norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["mean+pca", "mean", "pca"])
def test_the_order_of_the_pairs_cannot_be_seen(kind):
    deltas = normal(0, 6, 12) + 2

    one, other = joint_direction(deltas, kind), joint_direction(deltas.flip(0), kind)

    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["mean+pca", "mean", "pca"])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_negated_differences_negate_it(kind, n):
    """For two pairs both entries of the singular vector are the largest (trap T13)."""
    deltas = normal(n, n, 12) + 0.3

    torch.testing.assert_close(
        joint_direction(-deltas, kind), -joint_direction(deltas, kind)
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_equal_differences_have_no_principal_component_beside_their_mean(rows):
    deltas = normal(0, 1, 12).expand(rows, 12)

    torch.testing.assert_close(joint_direction(deltas, "mean+pca"), deltas[0])


@pytest.mark.parametrize("direction", ["mean", "pca"])
def test_it_finds_the_planted_direction(planted, planted_data, direction):
    model, truth = planted
    method = ICV(direction=direction, read="completion", point="resid")

    for vector in vectors(method.fit(model, planted_data, seed=0)):
        assert float(torch.cosine_similarity(vector, truth, dim=0)) > 0.99


def test_the_published_mixture_keeps_most_of_the_planted_direction(planted, planted_data):
    """Differences of about length 1 are mixed with a principal component of length 1."""
    model, truth = planted
    method = ICV(read="completion", point="resid")

    for vector in vectors(method.fit(model, planted_data, seed=0)):
        assert 0.6 < float(torch.cosine_similarity(vector, truth, dim=0)) < 0.95


def test_it_moves_the_planted_behaviour_and_a_random_direction_does_not(
    planted, planted_data
):
    model, truth = planted
    method = ICV(direction="mean", read="completion", point="resid", strength=0.3)
    fitted = method.fit(model, planted_data, seed=0)
    drawn = normal(5, len(truth)).float()
    noise = Intervention(
        {site: AddKeepingNorm(0.3 * drawn / drawn.norm()) for site in fitted.edits}, "all"
    )
    asked = [Request("r", "r", "kab lod mig", (" bright lovely", " dull ugly"))]

    under = [Steering(fitted, dose) for dose in (-1, 0, 1)]
    answers = model.log_probs(asked, [*under, Steering(noise, 1)])

    down, plain, up, noise = (a.sums[0] - a.sums[1] for [a] in answers)
    assert down < plain - 1 < plain + 1 < up
    assert abs(noise - plain) < 0.3 * (up - plain)


@pytest.mark.parametrize("layer", ["all", "first", 1, "last"])
def test_one_block_gets_what_it_gets_among_all(tiny, example, layer):
    model = tiny("llama")

    fitted, whole = (ICV(layer=x).fit(model, example, seed=0) for x in (layer, "all"))

    for site, edit in fitted.edits.items():
        assert torch.equal(edit.vector, whole.edits[site].vector)
    assert len(fitted.edits) == (3 if layer == "all" else 1)


def test_its_vectors_are_as_long_as_the_strength(tiny, example):
    for vector in vectors(ICV(strength=0.25).fit(tiny("llama"), example, seed=0)):
        assert float(vector.norm()) == pytest.approx(0.25)


def test_the_activation_keeps_its_length_in_the_model(tiny, example):
    model = tiny("llama", dtype=torch.float32)
    fitted = ICV(layer="last", point="resid").fit(model, example, seed=0)
    [edit] = fitted.edits.values()
    texts = [pair.positive for pair in example.pairs]
    h = model.activations(texts, list(fitted.edits), "last")[Site(2)]

    torch.testing.assert_close(edit(h, 5.0).norm(dim=-1), h.norm(dim=-1))


@pytest.mark.parametrize("strength", [0.0, -0.1])
def test_a_strength_that_does_nothing_or_the_opposite_is_refused(tiny, example, strength):
    with pytest.raises(BadOption, match=f"strength must be above 0, not {strength}; a neg"):
        ICV(strength=strength).fit(tiny("llama"), example, seed=0)


def test_texts_that_do_not_differ_where_they_are_read_are_refused(tiny, example):
    with pytest.raises(BadData, match=r"do not differ at site 0\.mlp, so there is no"):
        ICV(read="last_prompt").fit(tiny("llama"), example, seed=0)


def test_it_remembers_where_it_was_fitted(tiny, example):
    origin = ICV(layer=1).fit(tiny("llama"), example, seed=5).origin

    assert (origin.method, origin.data, origin.seed) == ("icv", "made by hand", 5)
    assert origin.options == {
        "layer": 1, "strength": 0.1, "direction": "mean+pca", "point": "mlp",
        "read": "last", "tokens": "all",
    }  # fmt: skip


def test_its_vectors_are_float32_on_a_bfloat16_model(example):
    model = tiny_model("llama", dtype=torch.bfloat16)

    for vector in vectors(ICV().fit(model, example, seed=0)):
        assert vector.dtype == torch.float32
        assert bool(vector.isfinite().all())


def test_random_controls_it_with_vectors_of_the_same_length(tiny, example):
    fitted, drawn = (
        method.fit(tiny("llama"), example, seed=0) for method in (ICV(), Random(ICV()))
    )

    assert list(drawn.edits) == list(fitted.edits)
    for one, other in zip(vectors(fitted), vectors(drawn), strict=True):
        torch.testing.assert_close(other.norm(), one.norm())
        assert abs(float(torch.cosine_similarity(one, other, dim=0))) < 0.7


def test_swapped_pairs_negate_its_vectors(tiny, example, swap):
    one, other = (ICV().fit(tiny("llama"), d, seed=0) for d in (example, swap(example)))

    for a, b in zip(vectors(one), vectors(other), strict=True):
        torch.testing.assert_close(a, -b)
