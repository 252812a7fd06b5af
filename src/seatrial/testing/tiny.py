"""Tiny random models of many families, with a tokenizer: the ground for exactness tests.

Numbered traps are those of docs/hazards.md.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from seatrial.errors import unknown
from seatrial.model.load.fingerprint import fingerprint_of_parameters
from seatrial.model.load.load import ModelCard
from seatrial.model.load.tiny import VOCABULARY, tiny_tokenizer
from seatrial.model.model import Model

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
# Heads that do not add up to the width: 4 x 12 = 48, while d_model is 32 (trap T9).
_WIDE = {**_GROUPED, "head_dim": 12}
_GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_FALCON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _GROUPED),
    "mistral": ("mistral", {**_GROUPED, "sliding_window": 5}),
    "mixtral": ("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", _GROUPED),
    "qwen3": ("qwen3", _WIDE),
    "gemma": ("gemma", _WIDE),
    "gemma2": ("gemma2", {**_WIDE, "sliding_window": 5, "query_pre_attn_scalar": 12}),
    "gemma3": (
        "gemma3_text",
        {
            **_WIDE,
            "sliding_window": 5,
            "query_pre_attn_scalar": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "phi3": ("phi3", _GROUPED),
    "olmo": ("olmo", _GROUPED),
    "olmo2": ("olmo2", _GROUPED),
    "gpt2": ("gpt2", _GPT),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", _COMMON),
    "opt": (
        "opt",
        {
            **{k: v for k, v in _COMMON.items() if k != "intermediate_size"},
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
        },
    ),
    "falcon": ("falcon", _FALCON),
    "falcon-new": (
        "falcon",
        {**_FALCON, "num_kv_heads": 2, "new_decoder_architecture": True},
    ),
    "falcon-alibi": (
        "falcon",
        {**_FALCON, "alibi": True, "parallel_attn": False, "multi_query": False},
    ),
    "bloom": ("bloom", {**_FALCON, "n_layer": 3, "n_head": 4}),
    "stablelm": ("stablelm", _GROUPED),
    "cohere": ("cohere", _GROUPED),
    "granite": (
        "granite",
        {
            **_GROUPED,
            "residual_multiplier": 0.22,
            "logits_scaling": 2.0,
            "embedding_multiplier": 3.0,
        },
    ),
    # Keys and values come out of 16 shared numbers; values are narrower than keys.
    "deepseek_v3": (
        "deepseek_v3",
        {
            **_COMMON,
            "num_key_value_heads": 4,
            "q_lora_rank": 12,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 10,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 24,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    # Every head has a sink that takes a share of the attention and gives nothing.
    "gpt_oss": (
        "gpt_oss",
        {
            **_WIDE,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
    # Tokens see their own chunk only, and the third block has no rotary positions.
    "llama4": (
        "llama4_text",
        {
            **_WIDE,
            "attention_chunk_size": 6,
            "layer_types": ["chunked_attention", "chunked_attention", "full_attention"],
            "no_rope_layers": [1, 1, 0],
            "attn_temperature_tuning": False,
            "intermediate_size_mlp": 48,
            "interleave_moe_layer_step": 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
        },
    ),
    "lfm2": (
        "lfm2",
        {**_GROUPED, "layer_types": ["conv", "full_attention", "conv"], "conv_L_cache": 3},
    ),
    "qwen3_next": (
        "qwen3_next",
        {
            **_WIDE,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
    # A state space and attention side by side in every block, which are not told apart.
    "falcon_h1": (
        "falcon_h1",
        {
            **_GROUPED,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_chunk_size": 4,
        },
    ),
}
"""Family -> (model type of transformers, configuration)."""


def tiny_model(
    family: str = "llama",
    *,
    seed: int = 0,
    bos: bool = True,
    chat: bool = False,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Model:
    """A random model of 3 blocks, 32 wide, whose outputs depend on every weight.

    Args:
        family: one of ``FAMILIES``.
        seed: of the weights.
        bos: whether its tokenizer puts a beginning-of-sequence token.
        chat: whether it has a chat template.
        dtype: of the weights.
        options: further keyword arguments of ``Model``.

    Raises:
        UnknownName: for a family that is not in the table.
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    kind, configuration = FAMILIES[family]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **configuration)
        )
    with torch.no_grad():
        for parameter in network.parameters():
            # Default initialisation is so small that a wrong mask or position would hide.
            scale = 0.15 if parameter.ndim > 1 else 0.3
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    network = network.eval().requires_grad_(False).to(dtype)
    name = f"tiny-{family}-{seed}"
    card = ModelCard(name, "made in memory", fingerprint_of_parameters(network))
    return Model(network, tiny_tokenizer(bos=bos, chat=chat), card, **options)
