"""Families whose structure is hard to share: exact all the same, or refused at load."""

import pytest
import torch

from seatrial.errors import BadData, UnsupportedModel
from seatrial.steering.intervention import UNSTEERED
from seatrial.testing import (
    FAMILIES,
    naive_greedy,
    naive_log_probs,
    tiny_model,
)
from seatrial.types import Request


def assert_equals_naive(model, requests, under):
    fast, slow = model.log_probs(requests, under), naive_log_probs(model, requests, under)
    for line, expected in zip(fast, slow, strict=True):
        found = torch.tensor([x for a in line for tokens in a.log_probs for x in tokens])
        wanted = torch.cat([t for answers in expected for t in answers])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
STATE_SPACE = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_chunk_size": 4,
}
GEMMA_4 = {
    "head_dim": 12,
    "sliding_window": 5,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 320,
    "global_head_dim": 16,
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
}
LLAMA_4 = {
    **FAMILIES["llama4"][1],
    "attn_temperature_tuning": True,
    "attn_scale": 0.1,
    "floor_scale": 32,
}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 16,
}
HYPER = {
    "head_dim": 12,
    "sliding_window": 5,
    "q_lora_rank": 12,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "index_topk": 4,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "qk_rope_head_dim": 4,
}
BART = {
    "vocab_size": 320,
    "d_model": 32,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 256,
}
HARD = {
    # The third block attends to keys and values that the first one made.
    "shared keys and values": (
        "gemma4_text",
        {**SIZES, **GEMMA_4, "num_kv_shared_layers": 1},
    ),
    "heads of two widths": ("gemma4_text", {**SIZES, **GEMMA_4, "num_kv_shared_layers": 0}),
    # From 32 tokens on, queries are scaled by their column in the call.
    "scale by column": ("llama4_text", LLAMA_4),
    # The residual stream has four strands.
    "stream in strands": ("deepseek_v4", {**SIZES, **HYPER}),
    # Positions are counted by column, so that padding on the left shifts them.
    "position by column": ("bart", BART),
    # One long convolution of keys in every block.
    "state space": ("granitemoehybrid", {**SIZES, **STATE_SPACE, "num_local_experts": 0}),
}
MIXED = [
    Request("s", "s", "The answer is", (" yes, and no", " yes, and calm")),
    Request(
        "l", "l", "Question: what does the sea look like? Answer: it is", (" calm", " blue")
    ),
]


@pytest.mark.parametrize("kind", HARD)
def test_a_family_is_exact_or_refused_in_one_sentence(monkeypatch, push, kind):
    monkeypatch.setitem(FAMILIES, kind, HARD[kind])
    try:
        model = tiny_model(kind)
    except UnsupportedModel as refusal:
        assert str(refusal).startswith(f"'tiny-{kind}-0' (")
        assert "\n" not in str(refusal)
        return
    scopes = ("all", "prompt", "last", "from_last_prompt", "generated", "first_3")
    under = [UNSTEERED, *(push(model, 1, tokens=scope) for scope in scopes), push(model, 0)]

    assert_equals_naive(model, MIXED[:1], under)
    assert_equals_naive(model, MIXED[1:], [UNSTEERED, push(model, 1), push(model, 0)])
    assert_equals_naive(model, MIXED * 2, [UNSTEERED, push(model, 1), push(model, 0)])
    prompts = [request.prompt for request in MIXED]
    for steering, line in zip(
        under[:3], model.generate(prompts, under[:3], max_tokens=5), strict=True
    ):
        for prompt, completion in zip(prompts, line, strict=True):
            ids = model.encoder.prompt_ids(prompt)
            expected = naive_greedy(model, ids, steering, len(completion.token_ids))
            assert list(completion.token_ids) == expected


def test_texts_that_change_the_rotary_frequencies_of_others_are_refused(monkeypatch, push):
    config = {"rope_parameters": LONG_ROPE, "pad_token_id": 2, "eos_token_id": 1}
    config["original_max_position_embeddings"] = 16
    monkeypatch.setitem(FAMILIES, "phi3-long", ("phi3", {**SIZES, **config}))
    model = tiny_model("phi3-long")

    assert_equals_naive(model, MIXED[:1], [UNSTEERED, push(model, 1), push(model, 0)])
    with pytest.raises(BadData, match="beyond 16 this model changes how it turns all"):
        model.log_probs(MIXED)
    with pytest.raises(BadData, match="beyond 16 this model changes how it turns all"):
        model.generate([MIXED[0].prompt], max_tokens=20)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (
            "gemma3n_text",
            GEMMA_4 | {"num_kv_shared_layers": 0},
            "is not supported: looked for",
        ),
        (
            "bamba",
            {**STATE_SPACE, "attn_layer_indices": [1]},
            "does not continue from the cache it was given, so its generated text",
        ),
        (
            "recurrent_gemma",
            {"lru_width": 32, "block_types": ["recurrent", "recurrent", "attention"]},
            "does something to its logits that seatrial does not know",
        ),
        (
            "minimax",
            {"head_dim": 12, "num_local_experts": 4, "block_size": 4},
            "cannot be run as a decoder with a cache",
        ),
    ],
)
def test_a_family_that_cannot_be_exact_is_refused(monkeypatch, kind, config, message):
    config = {name: value for name, value in config.items() if value is not None}
    monkeypatch.setitem(FAMILIES, kind, (kind, {**SIZES, **config}))

    with pytest.raises(UnsupportedModel, match=rf"^'tiny-{kind}-0' \(\w+\) {message}"):
        tiny_model(kind)
