"""What is found in a model is what its arithmetic says; the rest is refused."""

from contextlib import ExitStack

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from seatrial.errors import UnsupportedModel
from seatrial.model.structure.blocks import dissect
from seatrial.model.structure.hooks import hook_site, module_at, reading
from seatrial.testing import FAMILIES
from seatrial.types import Site, Text

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
NO_ATTENTION = {("lfm2", 0), ("lfm2", 2), ("qwen3_next", 0), ("qwen3_next", 2)}
STREAM_ONLY = {"falcon_h1"}
"""Three things are added to the stream at once, so that no two sublayers are found."""
WIDE_HEADS = ("qwen3", "gemma", "gemma2", "gemma3", "gpt_oss", "llama4", "qwen3_next")
D_HEAD = {"deepseek_v3": 10, **dict.fromkeys(WIDE_HEADS, 12)}
TUPLES = {"gptj", "falcon", "falcon-new", "falcon-alibi", "bloom", "falcon_h1"}
TEXT = Text("I would rather walk to", " the station")
IDS = torch.tensor([[0, 40, 41, 70, 9, 200, 33]])

SIZES = {"vocab_size": 64, "num_hidden_layers": 3, "hidden_size": 32}
ATTENTION = {
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
XLNET = {"vocab_size": 64, "n_layer": 3, "d_model": 32, "n_head": 4, "d_inner": 48}
T5 = {
    "vocab_size": 64,
    "num_layers": 3,
    "d_model": 32,
    "num_heads": 4,
    "d_kv": 8,
    "d_ff": 48,
}
GPT2 = {"vocab_size": 64, "n_layer": 3, "n_embd": 32, "n_head": 4, "n_positions": 64}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 1}
BART = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}


def has_point(family, layer, point):
    is_split = family not in STREAM_ONLY
    return is_split and (point == "mlp" or (family, layer) not in NO_ATTENTION)


def read(model, *sites):
    """The states at some sites, token by token."""
    found = {}
    with torch.inference_mode(), reading(model.structure, sites, found.__setitem__):
        model.engine.network(input_ids=IDS, use_cache=False)
    return [found[site][0] for site in sites]


def logits(model, site=None, transform=None):
    with torch.inference_mode(), ExitStack() as stack:
        if site is not None:
            hook_site(model.structure, site, transform, stack)
        return model.engine.network(input_ids=IDS, use_cache=False).logits[0]


def build(auto, kind, **config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return auto.from_config(AutoConfig.for_model(kind, **config)).eval()


@EVERY_FAMILY
def test_blocks_and_sites_are_found(tiny, family):
    model = tiny(family)

    anatomy = model.structure
    assert (model.n_layers, model.d_model) == (3, 32)
    assert anatomy.unembedding is model.engine.network.get_output_embeddings()
    for layer, block in enumerate(anatomy.blocks):
        found = [point for point in ("attn", "mlp", "heads") if getattr(block, point)]
        assert found == [p for p in ("attn", "mlp", "heads") if has_point(family, layer, p)]


@EVERY_FAMILY
def test_heads_are_as_wide_as_the_configuration_says(tiny, family):
    model = tiny(family)
    config = model.engine.network.config
    d_head = D_HEAD.get(family, 8)

    for layer in range(3):
        if has_point(family, layer, "heads"):
            heads = model.structure.blocks[layer].heads
            assert (heads.n_heads, heads.d_head) == (config.num_attention_heads, d_head)
            assert model.width(Site(layer, "heads")) == 4 * d_head


@EVERY_FAMILY
def test_attention_and_mlp_add_up_to_what_the_block_adds(tiny, family):
    model = tiny(family)

    for layer in (1, 2):
        if has_point(family, layer, "attn"):
            before, attn, mlp, after = read(
                model, Site(layer - 1), Site(layer, "attn"), Site(layer, "mlp"), Site(layer)
            )
            torch.testing.assert_close(attn + mlp, after - before, atol=1e-4, rtol=1e-4)
            assert attn.abs().max() > 1e-3 < mlp.abs().max()


@pytest.mark.parametrize("family", [f for f in FAMILIES if has_point(f, 1, "heads")])
def test_without_heads_attention_adds_the_same_everywhere_and_the_mlp_does_not(
    tiny, family
):
    model = tiny(family)

    with ExitStack() as stack:
        hook_site(model.structure, Site(1, "heads"), torch.zeros_like, stack)
        attn, mlp = read(model, Site(1, "attn"), Site(1, "mlp"))

    assert torch.equal(attn, attn[:1].expand_as(attn))
    assert not torch.allclose(mlp, mlp[:1].expand_as(mlp), atol=1e-3)


@pytest.mark.parametrize(
    "family", ["llama", "qwen3", "gpt2", "gpt_neox", "gptj", "bloom", "falcon"]
)
def test_all_heads_and_one_bias_are_what_attention_adds(tiny, family):
    model = tiny(family)
    heads = model.structure.blocks[1].heads
    weight = heads.projection.weight
    weight = weight if family == "gpt2" else weight.T  # GPT-2's Conv1D is transposed

    joined, attn = read(model, Site(1, "heads"), Site(1, "attn"))

    by_head = joined.unflatten(-1, (heads.n_heads, heads.d_head))
    weights = weight.unflatten(0, (heads.n_heads, heads.d_head))
    contributions = torch.einsum("thd,hdm->htm", by_head, weights)
    bias = getattr(heads.projection, "bias", None)
    assert (bias is not None) == (family in ("gpt2", "gpt_neox", "bloom"))
    total = contributions.sum(0) + (0 if bias is None else bias)
    torch.testing.assert_close(total, attn, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "olmo2"])
def test_attention_is_read_after_its_norm(tiny, family):
    """The textbook vector, heads times weight, is not what these families add (T10)."""
    model = tiny(family)
    block = model.structure.blocks[1]

    joined, attn = read(model, Site(1, "heads"), Site(1, "attn"))

    projected = block.heads.projection(joined)
    assert not torch.allclose(projected, attn, atol=1e-2)
    torch.testing.assert_close(block.attn.module(projected), attn, atol=1e-5, rtol=1e-4)


def test_granite_contributions_are_scaled(tiny):
    model = tiny("granite")
    block = model.structure.blocks[1]

    joined, attn = read(model, Site(1, "heads"), Site(1, "attn"))

    assert block.attn.scale == block.mlp.scale == 0.22
    torch.testing.assert_close(0.22 * block.heads.projection(joined), attn)


@EVERY_FAMILY
def test_residual_stream_is_what_transformers_calls_the_next_hidden_state(tiny, family):
    model = tiny(family)

    first, second, last = read(model, Site(0), Site(1), Site(2))

    with torch.inference_mode():
        states = model.engine.network(
            input_ids=IDS, output_hidden_states=True
        ).hidden_states
    assert torch.equal(first, states[1][0])
    assert torch.equal(second, states[2][0])
    assert torch.equal(model.structure.final_norm(last), states[3][0])


@pytest.mark.parametrize(
    ("family", "point"),
    [
        (family, point)
        for family in FAMILIES
        for point in ("resid", "attn", "mlp", "heads")
        if point == "resid" or has_point(family, 1, point)
    ],
)
def test_writing_back_what_was_read_is_the_identity(tiny, family, point):
    model = tiny(family)

    plain = logits(model)

    same = logits(model, Site(1, point), torch.clone)
    # A ramp, because norms forgive a common factor or a common term.
    other = logits(model, Site(1, point), lambda h: h + torch.linspace(-1, 1, h.shape[-1]))
    torch.testing.assert_close(same, plain, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(other, plain, atol=1e-4)


@EVERY_FAMILY
def test_adding_at_attention_or_mlp_adds_as_much_to_the_stream(tiny, family):
    model = tiny(family)
    v = torch.linspace(-1, 1, 32)

    for point in ("attn", "mlp"):
        if has_point(family, 1, point):
            plain = read(model, Site(1))[0]
            with ExitStack() as stack:
                hook_site(model.structure, Site(1, point), lambda h: h + v, stack)
                pushed = read(model, Site(1))[0]
            shift = pushed - plain
            # The MLP after an attention edit answers to it; after an MLP edit nothing does.
            if point == "mlp":
                torch.testing.assert_close(shift, v.expand_as(shift), atol=1e-5, rtol=1e-4)
            else:
                assert shift.abs().max() > 0.1


def test_families_of_both_return_types_are_tested(tiny):
    for family in FAMILIES:
        block = tiny(family).structure.blocks[0]
        assert (block.tuple_length > 0) == (family in TUPLES)


@pytest.mark.parametrize("point", ["attn", "heads"])
def test_convolution_block_has_no_attention_to_edit(tiny, point):
    with pytest.raises(
        UnsupportedModel,
        match=rf"block 0 of 'tiny-lfm2-0' has no '{point}' site .* are: resid, mlp",
    ):
        tiny("lfm2").site(0, point)


def test_block_whose_sums_do_not_fit_offers_the_stream_only():
    from seatrial.testing import tiny_model

    network = tiny_model("llama").engine.network
    block = network.model.layers[1]
    original = block.forward
    block.forward = lambda *args, **kwargs: 1.5 * original(*args, **kwargs)

    found = dissect(network, "stretched").blocks

    assert [part.mlp is None for part in found] == [False, True, False]
    assert found[1].attn is None and found[1].heads is None


def test_flattened_tokens_are_given_back_their_rows(tiny):
    """OPT's MLP sees rows and tokens as one axis; batches must not mix them up."""
    model, site = tiny("opt"), Site(1, "mlp")
    texts = [TEXT, Text("The sea", " is calm, clear and blue")]

    together = model.activations(texts, [site], "last")[site]
    alone = [model.activations([text], [site], "last")[site][0] for text in texts]

    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_prefixes_are_shared_where_every_block_keeps_keys_and_values(tiny):
    shares = {family: tiny(family).structure.shares_prefix for family in FAMILIES}

    stateful = ["lfm2", "qwen3_next", "falcon_h1"]
    assert [family for family, can in shares.items() if not can] == stateful


@pytest.mark.parametrize(
    ("auto", "kind", "config", "message"),
    [
        (
            AutoModelForCausalLM,
            "bert",
            SIZES | ATTENTION,
            "lets tokens see later ones .*layer.0",
        ),
        (AutoModelForMaskedLM, "bert", SIZES | ATTENTION, "lets tokens see later ones"),
        (AutoModelForSeq2SeqLM, "bart", BART, "lets tokens see later ones .*encoder"),
        (AutoModelForSeq2SeqLM, "t5", T5, "cannot be run as a decoder with a cache"),
        (AutoModelForCausalLM, "xlnet", XLNET, "looked for a list of 3 decoder blocks"),
        (AutoModel, "llama", SIZES | ATTENTION, "has no unembedding"),
        (AutoModelForSequenceClassification, "gpt2", GPT2, "has no unembedding"),
        (
            AutoModelForCausalLM,
            "mamba",
            SIZES | {"state_size": 4},
            "does not continue from the cache it was given",
        ),
        (
            AutoModelForCausalLM,
            "mamba2",
            SIZES | {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1},
            "does not continue from the cache it was given",
        ),
    ],
    ids=[
        "bert",
        "bert-mlm",
        "bart",
        "t5",
        "xlnet",
        "headless",
        "classifier",
        "mamba",
        "mamba2",
    ],
)
def test_what_is_no_causal_decoder_is_refused(auto, kind, config, message):
    network = build(auto, kind, **config)

    with pytest.raises(UnsupportedModel, match=rf"^'the model' \(\w+\) .*{message}"):
        dissect(network, "the model")


def test_blocks_that_are_not_a_chain_are_refused():
    network = build(AutoModelForCausalLM, "llama", **SIZES, **ATTENTION)
    network.model.layers = nn.ModuleList(
        [*network.model.layers, network.model.layers[0]]  # more blocks than the model runs
    )
    network.config.num_hidden_layers = 3

    with pytest.raises(UnsupportedModel, match="found none among 1 module lists"):
        dissect(network, "odd")


def test_dissection_leaves_no_hook_behind(tiny):
    network = build(AutoModelForCausalLM, "llama", **SIZES, **ATTENTION)

    dissect(network, "again")

    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_block_of_one_model_is_found_in_half_precision(tiny):
    for family in ("llama", "gemma3", "gpt2", "granite"):
        full, half = tiny(family), tiny(family, dtype=torch.bfloat16)

        assert [
            (b.attn is not None, b.mlp is not None, b.heads is not None)
            for b in half.structure.blocks
        ] == [(True, True, True)] * 3
        names = {
            model: {m: name for name, m in model.engine.network.named_modules()}
            for model in (full, half)
        }
        for point in ("attn", "mlp", "heads", "resid"):
            found = [names[m][module_at(m.structure, Site(1, point))] for m in (full, half)]
            assert found[0] == found[1]
