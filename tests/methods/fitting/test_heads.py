"""What each head adds to the stream: all shares and the biases are the whole, exactly."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from seatrial.errors import BadOption, UnsupportedModel
from seatrial.methods.fitting.heads import (
    attending,
    check_heads,
    contributions,
    mean_contribution,
    projection,
)
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.model import Model
from seatrial.model.structure.hooks import scale_at
from seatrial.testing import FAMILIES
from seatrial.types import Site

PROMPTS = [
    "Q: sea\nA: calm\n\nQ: day\nA:",
    "Q: a\nA:",
    "Q: walk\nA: walked\n\nQ: go by\nA:",
]
WITH_HEADS = sorted(set(FAMILIES) - {"falcon_h1"})
POST_NORM = ("gemma2", "gemma3", "olmo2")


def states_of(model):
    sites = [Site(k, point) for k in attending(model) for point in ("heads", "attn")]
    return last_states(model, PROMPTS, sites)


def written_at(model, layer, heads=None):
    states = states_of(model)
    here, added = states[Site(layer, "heads")], states[Site(layer, "attn")]
    return contributions(model, layer, here, added, heads), added.double()


def changed(model, change):
    """The same model after some change of each block's attention."""
    network = copy.deepcopy(model.engine.network)
    for block in network.model.layers:
        change(block)
    return Model(network, model.encoder.tokenizer, model.card)


@pytest.mark.parametrize("family", WITH_HEADS)
def test_all_shares_and_the_biases_are_what_attention_adds(tiny, family):
    model = tiny(family)

    for layer, heads in attending(model).items():
        parts, added = written_at(model, layer)

        assert parts.by_head.shape == (len(PROMPTS), heads.n_heads, model.d_model)
        whole = parts.by_head.sum(1) + parts.rest
        torch.testing.assert_close(whole, added, rtol=1e-5, atol=1e-5)
        # The check on the check: no head's share is next to nothing.
        assert float(parts.by_head.norm(dim=-1).min()) > 0.01


@pytest.mark.parametrize("family", ["llama", "gpt2", *POST_NORM])
def test_they_are_in_half_precision_up_to_its_rounding(tiny, family):
    model = tiny(family, dtype=torch.bfloat16)

    parts, added = written_at(model, 1)

    whole = parts.by_head.sum(1) + parts.rest
    torch.testing.assert_close(whole, added, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "gpt_oss", "qwen2"])
def test_biases_belong_to_no_head(tiny, family):
    model = tiny(family)
    _, bias = projection(model, 1)

    parts, _ = written_at(model, 1)

    torch.testing.assert_close(parts.rest, bias.expand_as(parts.rest))
    assert bool(bias.any()) == (family != "qwen2")


@pytest.mark.parametrize("family", ["falcon-new", "gpt2", "gptj", "phi3", "qwen3"])
def test_a_share_is_what_the_projection_makes_of_that_head_alone(tiny, family):
    """Grouped queries, widths other than d_model / n_heads, weights in columns (T9)."""
    model = tiny(family)
    states = states_of(model)[Site(1, "heads")]
    heads = model.structure.blocks[1].heads

    parts, _ = written_at(model, 1)

    with torch.inference_mode():
        nothing = heads.projection(torch.zeros_like(states)[None])[0]
        for head in range(heads.n_heads):
            alone = torch.zeros_like(states)
            place = slice(head * heads.d_head, (head + 1) * heads.d_head)
            alone[:, place] = states[:, place]
            wanted = heads.projection(alone[None])[0] - nothing
            torch.testing.assert_close(
                parts.by_head[:, head], wanted.double(), rtol=1e-4, atol=1e-5
            )


def test_some_heads_are_those_of_all(tiny):
    model = tiny("gemma3")

    every, _ = written_at(model, 2)
    some, _ = written_at(model, 2, [3, 1])

    torch.testing.assert_close(some.by_head, every.by_head[:, [3, 1]])


@pytest.mark.parametrize("family", POST_NORM)
def test_behind_a_norm_a_share_is_scaled_by_gain_and_by_the_size_of_the_whole(tiny, family):
    """c_j = g * (W_O[:, j] a_j) / rms(o), with the gain read off the family's own norm."""
    model = tiny(family)
    states = states_of(model)[Site(1, "heads")].double()
    norm = model.engine.network.model.layers[1].post_attention_layernorm
    gain = norm.weight.double() + (family != "olmo2")
    matrix, _ = projection(model, 1)
    o = states @ matrix.mT
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    rms = (o.square().mean(-1, keepdim=True) + eps).sqrt()

    parts, _ = written_at(model, 1)

    d_head = model.structure.blocks[1].heads.d_head
    for head, (a, w) in enumerate(
        zip(states.split(d_head, 1), matrix.split(d_head, 1), strict=True)
    ):
        torch.testing.assert_close(parts.by_head[:, head], gain * (a @ w.mT) / rms)


class Scaled(nn.Module):
    """A gain for each coordinate, without a norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2, 32), requires_grad=False)

    def forward(self, h):
        return h * self.weight


def layer_norm():
    norm = nn.LayerNorm(32).requires_grad_(False)
    norm.weight.copy_(torch.linspace(0.5, 2, 32))
    norm.bias.copy_(torch.linspace(-1, 1, 32))
    return norm


@pytest.mark.parametrize("make", [layer_norm, Scaled])
def test_other_norms_are_found_by_what_they_do(tiny, make):
    def change(block):
        block.post_attention_layernorm = make()

    parts, added = written_at(changed(tiny("gemma2"), change), 1)

    whole = parts.by_head.sum(1) + parts.rest
    torch.testing.assert_close(whole, added, rtol=1e-5, atol=1e-5)
    assert bool(parts.rest.any()) == (make is layer_norm)


class Squashed(nn.Module):
    """No norm: what one head adds depends on the others in no simple way."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32), requires_grad=False)

    def forward(self, h):
        return (self.weight * h).tanh()


def test_what_is_no_norm_is_refused_unless_it_is_left_out(tiny):
    def change(block):
        block.post_attention_layernorm = Squashed()

    model = changed(tiny("gemma2"), change)
    states = states_of(model)

    with pytest.raises(
        UnsupportedModel, match="between the attention output projection and"
    ):
        mean_contribution(model, states, [(1, 2)], "residual")
    assert mean_contribution(model, states, [(1, 2)], "textbook").any()


class Adapted(nn.Linear):
    """A projection whose weight is not all that it does."""

    def forward(self, h):
        return super().forward(h) + h.mean(-1, keepdim=True)


def test_a_projection_that_does_more_than_multiply_is_refused(tiny):
    def change(block):
        projection = Adapted(32, 32, bias=False).requires_grad_(False)
        projection.weight.copy_(block.self_attn.o_proj.weight)
        block.self_attn.o_proj = projection

    with pytest.raises(UnsupportedModel, match="does more than multiply by its weight"):
        projection(changed(tiny("llama"), change), 1)


@pytest.mark.parametrize("family", ["llama", "granite", "gpt2", "gemma3"])
def test_textbook_is_the_share_before_norm_and_factor(tiny, family):
    model = tiny(family)
    states = states_of(model)
    heads = [(1, 0), (2, 3)]

    residual = mean_contribution(model, states, heads, "residual")
    textbook = mean_contribution(model, states, heads, "textbook")

    factor = scale_at(model.structure, Site(1, "attn"))
    alike = float(torch.cosine_similarity(residual, textbook, dim=0))
    if family == "gemma3":
        assert alike < 0.99
    else:
        torch.testing.assert_close(residual, factor * textbook)
        assert factor == pytest.approx(0.22 if family == "granite" else 1.0)


def test_a_sum_over_heads_is_the_mean_of_their_shares_and_each_counts_once(tiny):
    model = tiny("gemma2")

    found = mean_contribution(model, states_of(model), [(2, 1), (0, 3), (2, 1)], "residual")

    wanted = sum(
        written_at(model, layer)[0].by_head[:, head].mean(0)
        for layer, head in [(0, 3), (2, 1)]
    )
    torch.testing.assert_close(found, wanted.float())


@pytest.mark.parametrize("head", [(1, 4), (3, 0), (-1, 0), (0, -1)])
def test_heads_that_do_not_exist_are_named(tiny, head):
    with pytest.raises(
        BadOption, match=rf"head {head[1]} of layer {head[0]} does not exist"
    ):
        check_heads(tiny("llama"), [(0, 0), head])


def test_blocks_without_attention_have_no_heads(tiny):
    assert list(attending(tiny("lfm2"))) == [1]
    with pytest.raises(BadOption, match="4 heads in each of the layers 1"):
        check_heads(tiny("lfm2"), [(0, 0)])


def test_a_model_without_heads_is_refused(tiny):
    model = copy.copy(tiny("llama"))
    blocks = tuple(replace(block, heads=None) for block in model.structure.blocks)
    model.structure = replace(model.structure, blocks=blocks)

    with pytest.raises(UnsupportedModel, match="no attention heads were found in"):
        attending(model)
