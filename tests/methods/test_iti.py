"""ITI shifts the heads that tell best, by standard deviations, in the heads' own basis."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from seatrial.errors import BadData, BadOption, UnsupportedModel
from seatrial.methods import ITI, iti
from seatrial.model import Model
from seatrial.steering.intervention import Intervention, Steering
from seatrial.testing import CHECKS, naive_logits, tiny_model
from seatrial.types import FitData, Request, Site, texts_of

REQUEST = Request("sea", "sea", "The sea is", (" calm and clear", " rough"))


def fit(model, data, seed=0, **options):
    return ITI(**options).fit(model, data, seed=seed)


def slices(fitted, d_head):
    """Every shifted head and its vector: ``{(layer, head): vector}``."""
    return {
        (site.layer, k): part
        for site, edit in fitted.edits.items()
        for k, part in enumerate(edit.vector.split(d_head))
        if bool(part.any())
    }


def states(model, data, layer, head, d_head, read="last"):
    """One head's states on the positive and on the negative texts."""
    site = Site(layer, "heads")
    texts = [*texts_of(data.pairs, "positive"), *texts_of(data.pairs, "negative")]
    both = model.activations(texts, [site], read)[site].double()
    both = both[:, head * d_head : (head + 1) * d_head]
    return both[: len(data.pairs)], both[len(data.pairs) :]


@pytest.fixture(scope="module")
def one_head(planted):
    """The planted model with the concept in head 2 of block 1 only, and its direction."""
    model, direction = planted
    network = copy.deepcopy(model.engine.network)
    with torch.no_grad():
        for layer, block in enumerate(network.model.layers):
            weight = block.self_attn.v_proj.weight
            # The norm before the attention has unit gain, so u stays u up to its scale.
            inside = weight @ direction
            for head in range(4):
                if (layer, head) != (1, 2):
                    rows = slice(16 * head, 16 * head + 16)
                    weight[rows] -= torch.outer(inside[rows], direction)
        value = network.model.layers[1].self_attn.v_proj.weight[32:48] @ direction
    return Model(network, model.encoder.tokenizer, model.card), value


@pytest.mark.parametrize("kind", ["mean", "probe"])
def test_it_finds_the_planted_head_and_the_direction_in_it(one_head, planted_data, kind):
    model, value = one_head

    shifted = slices(fit(model, planted_data, heads=1, direction=kind), 16)

    assert list(shifted) == [(1, 2)]
    assert float(torch.cosine_similarity(shifted[1, 2], value, dim=0)) > 0.9


def test_swapped_pairs_flip_the_shift(one_head, planted_data, swap):
    model, _ = one_head

    one, other = (
        slices(fit(model, data, heads=3), 16) for data in (planted_data, swap(planted_data))
    )

    assert one.keys() == other.keys()
    for head, vector in one.items():
        torch.testing.assert_close(vector, -other[head], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("alpha", [15.0, 2.0])
def test_each_head_moves_alpha_standard_deviations_along_its_unit_direction(
    tiny, many, alpha
):
    model = tiny("gemma3")

    shifted = slices(fit(model, many, heads=5, alpha=alpha), 12)

    assert len(shifted) == 5
    for (layer, head), vector in shifted.items():
        positive, negative = states(model, many, layer, head, 12)
        theta = positive.mean(0) - negative.mean(0)
        theta = theta / theta.norm()
        sigma = float(torch.cat([positive, negative]).matmul(theta).std(correction=0))
        torch.testing.assert_close(
            vector.double(), alpha * sigma * theta, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("heads", "found"), [(1, 1), (4, 4), (12, 12), (48, 12)])
def test_it_shifts_as_many_heads_as_asked_and_there_are(tiny, many, heads, found):
    assert len(slices(fit(tiny("gemma3"), many, heads=heads), 12)) == found


def test_more_heads_keep_the_better_ones_as_they_are(tiny, many):
    model = tiny("llama")

    few, more = (slices(fit(model, many, heads=heads), 8) for heads in (2, 6))

    assert few.keys() < more.keys()
    assert all(torch.equal(few[head], more[head]) for head in few)


def test_one_block_or_all(tiny, many):
    model = tiny("llama")

    alone, middle = fit(model, many, layer=2), fit(model, many, layer="middle")

    assert list(alone.edits) == [Site(2, "heads")]
    assert list(middle.edits) == [Site(1, "heads")]
    assert len(fit(model, many).edits) == 3


def biased(model, fitted):
    """The same model with ``W_O s`` as bias of every output projection."""
    network = copy.deepcopy(model.engine.network)
    for site, edit in fitted.edits.items():
        projection = network.model.layers[site.layer].self_attn.o_proj
        projection.bias = nn.Parameter(projection.weight @ edit.vector, requires_grad=False)
    return Model(network, model.encoder.tokenizer, model.card)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_at_all_tokens_it_equals_a_bias_of_the_projection(tiny, many, family):
    """In the basis behind W_O, not in that of the heads (trap T7)."""
    model = tiny(family)
    fitted = fit(model, many, heads=4, alpha=3.0, tokens="all")

    [[steered]] = model.log_probs([REQUEST], [Steering(fitted)])

    baked, plain = biased(model, fitted), Steering(Intervention(), 0.0)
    for scores, text in zip(
        steered.log_probs,
        model.encoder.encode(REQUEST.prompt, REQUEST.answers),
        strict=True,
    ):
        logs = naive_logits(baked, text.ids, text.n_prompt, plain).log_softmax(-1)
        scored = range(text.n_prompt, len(text.ids))
        wanted = [float(logs[t - 1, text.ids[t]]) for t in scored]
        assert list(scores) == pytest.approx(wanted, abs=1e-4)


def test_accuracy_is_that_on_groups_the_probe_was_not_trained_on():
    """Copies of one pair in both halves would make noise look like knowledge (T59)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20, 64, generator=generator)
    positive, negative = noise.repeat_interleave(2, dim=1)
    by_group = [[2 * k, 2 * k + 1] for k in range(20)]
    by_pair = [list(range(0, 40, 2)), list(range(1, 40, 2))]

    honest, leaking = (
        iti.quality(positive, negative, parts)[0] for parts in (by_group, by_pair)
    )

    assert leaking == 1
    assert honest < 0.8


def test_groups_are_held_out_whole_and_each_pair_once(tiny, many, monkeypatch):
    seen = []

    def watch(positive, negative, parts):
        seen.append(parts)
        return 0.5, 0.0

    monkeypatch.setattr(iti, "quality", watch)

    for seed, folds in ((0, 5), (1, 5), (0, 100)):
        fit(tiny("llama"), many, seed, layer=1, heads=1, folds=folds)

    first, second, single = (seen[k] for k in (0, 4, 8))
    assert first != second and (len(first), len(single)) == (5, 30)
    for parts in (first, second, single):
        assert sorted(index for part in parts for index in part) == list(range(60))
        groups = [{many.pairs[index].group for index in part} for part in parts]
        assert sum(map(len, groups)) == 30


def test_of_equally_accurate_heads_the_surer_one_comes_first():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20, 3, generator=generator)
    shift = torch.tensor([6.0, 0, 0])
    parts = [list(range(10)), list(range(10, 20))]

    near, far = (
        iti.quality(noise[0] + size * shift, noise[1] - size * shift, parts)
        for size in (1, 2)
    )

    assert near[0] == far[0] == 1
    assert near[1] < far[1] < 0


def test_other_read_tokens_and_directions_give_other_shifts(tiny, many):
    model = tiny("llama")

    made = [
        fit(model, many, layer=1, heads=4, **options).edits[Site(1, "heads")].vector
        for options in ({}, {"read": "mean"}, {"direction": "probe"})
    ]

    for k, one in enumerate(made):
        assert not any(torch.allclose(one, other, rtol=1e-2) for other in made[k + 1 :])


@pytest.mark.parametrize("options", [{"heads": 0}, {"folds": 1}])
def test_options_without_heads_or_folds_are_refused(tiny, many, options):
    with pytest.raises(BadOption, match="iti needs at least 1 head and 2 folds, not"):
        fit(tiny("llama"), many, **options)


def test_a_single_group_cannot_be_held_out(tiny, many):
    alike = tuple(replace(pair, group="one") for pair in many.pairs[:4])

    with pytest.raises(BadData, match="needs pairs of at least 2 groups, not 1"):
        fit(tiny("llama"), FitData("calm", alike))


def test_a_model_without_heads_is_refused(many):
    model = tiny_model("llama")
    blocks = tuple(replace(block, heads=None) for block in model.structure.blocks)
    model.structure = replace(model.structure, blocks=blocks)

    with pytest.raises(UnsupportedModel, match="no attention heads were found in"):
        fit(model, many)


def test_blocks_without_attention_are_passed_over(tiny, many):
    fitted = fit(tiny("lfm2"), many)

    assert list(fitted.edits) == [Site(1, "heads")]
    with pytest.raises(UnsupportedModel, match="has no 'heads' site"):
        fit(tiny("lfm2"), many, layer=0)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](ITI(heads=5, direction="probe"), tiny("gemma3"), example)
