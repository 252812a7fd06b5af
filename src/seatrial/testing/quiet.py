"""A Llama whose sublayers write next to nothing: the ground on which truths are planted."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from seatrial.model.load.fingerprint import fingerprint_of_parameters
from seatrial.model.load.load import ModelCard
from seatrial.model.model import Model

D_MODEL = 64
"""Width of every model with something planted in it."""


def quiet_llama(
    vocabulary: int,
    *,
    n_layers: int = 2,
    neurons: int,
    written: float = 1e-3,
    seed: int = 0,
    **options: Any,
) -> LlamaForCausalLM:
    """A random Llama of four heads of width 16 that hardly writes to its stream.

    Args:
        vocabulary: how many tokens it has.
        n_layers: how many blocks.
        neurons: width of its MLPs.
        written: factor of what sublayers write: tiny, not zero, so that they can be told
            apart by their arithmetic.
        seed: of its weights.
        **options: of ``LlamaConfig``, besides these.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=D_MODEL,
                intermediate_size=neurons,
                num_hidden_layers=n_layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                tie_word_embeddings=False,
                pad_token_id=1,
                bos_token_id=None,
                eos_token_id=2,
                **options,
            )
        )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(written)
    return network


def as_model(network: LlamaForCausalLM, words: tuple[str, ...], name: str) -> Model:
    """The finished network as a model that reads one token a word.

    Args:
        network: with what is planted in it.
        words: its vocabulary; the first three are <unk>, <pad> and <eos>.
        name: what the model calls itself.
    """
    network = network.eval().requires_grad_(False)
    card = ModelCard(name, "made in memory", fingerprint_of_parameters(network))
    return Model(network, _tokenizer(words), card)


def _tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    vocabulary = {word: k for k, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>"
    )
