"""A model whose behaviour direction is known, and a concept that lives on it.

Residual stream = embedding of the current token: attention and MLP write nothing. A
sentiment word carries +u or -u, other words carry noise orthogonal to u, and the
unembedding of a sentiment word looks along u. So the next word's sentiment follows the
component of the stream along u, a difference of means must find u, and a random direction
must not move the behaviour beyond its cosine to u.
"""

import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from seatrial.model.load import ModelCard, fingerprint_of_parameters
from seatrial.model.model import Model

POSITIVE = ("bright", "lovely", "sweet", "grand", "fresh", "merry", "warm", "fine")
NEGATIVE = ("dull", "ugly", "sour", "poor", "stale", "gloomy", "cold", "bad")
NUISANCE = tuple(
    f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "ro", "sa") for b in "bdfgklmnprst"
)
WORDS_OF_EACH = 3
D_MODEL = 64


def planted_model(*, seed: int = 0) -> tuple[Model, Float[Tensor, " d_model"]]:
    """The model, and the unit direction planted at the output of both its blocks."""
    words = ("<unk>", "<pad>", "<eos>", *POSITIVE, *NEGATIVE, *NUISANCE)
    vocabulary = {word: k for k, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q
    planted, constant, rest = basis[:, 0], basis[:, 1], basis[:, 2:]
    valence = torch.tensor(
        [(word in POSITIVE) - (word in NEGATIVE) for word in words]
    ).float()
    noise = torch.randn(len(words), D_MODEL - 2, generator=generator) @ rest.T
    # What sentiment words have beside u is in every pair and would not average out.
    noise *= torch.where(valence == 0, 0.15, 0.02)[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(words),
                hidden_size=D_MODEL,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                tie_word_embeddings=False,
                pad_token_id=1,
                bos_token_id=None,
                eos_token_id=2,
            )
        )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            # Tiny, not zero, so that the sublayers can be told apart by their arithmetic.
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(1e-4)
        # A large constant part keeps the final norm's scale the same for every token and
        # dose.
        network.model.embed_tokens.weight.copy_(
            8.0 * constant + valence[:, None] * planted + noise
        )
        likes = torch.tensor([2.0 if word == "<unk>" else 0.0 for word in words])
        network.lm_head.weight.copy_(
            0.5 * valence[:, None] * planted + likes[:, None] * constant / 8 + noise / 3
        )
    network = network.eval().requires_grad_(False)
    card = ModelCard(
        f"planted-{seed}", "made in memory", fingerprint_of_parameters(network)
    )
    return Model(network, wrapped, card), planted


def planted_concept(path: Path, *, groups: int = 24, seed: int = 0) -> Path:
    """Write the concept's items, four a group, as a file that a study can name."""
    random = np.random.default_rng(seed)

    def text(words: tuple[str, ...]) -> str:
        mixed = [
            *random.choice(words, WORDS_OF_EACH),
            *random.choice(NUISANCE, WORDS_OF_EACH),
        ]
        return " ".join(random.permutation(mixed).tolist())

    lines = [
        {
            "concept": {
                "about": "goes on with good words",
                "encourage": "Be glad.",
                "discourage": "Be sad.",
            }
        }
    ]
    for group in range(groups):
        for k in range(4):
            said = text(POSITIVE if k % 2 else NEGATIVE)
            lines.append(
                {
                    "id": f"planted-{group:02d}-{k}",
                    "group": f"group-{group:02d}",
                    "statement": f"I say {said} in place {group} {k}.",
                    "matching": "yes" if k % 2 else "no",
                    "prompt": " ".join(random.choice(NUISANCE, 4).tolist()),
                    "matching_text": text(POSITIVE),
                    "other_text": text(NEGATIVE),
                }  # pyright: ignore[reportArgumentType]
            )
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return path
