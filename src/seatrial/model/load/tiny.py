"""A small random Llama, made where it is needed: to try a plan or a method in seconds.

It has learned nothing, so that it shows whether a study runs and never what steering does.
"""

from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from seatrial.model.load.fingerprint import fingerprint_of_parameters
from seatrial.model.load.load import ModelCard, device_of, dtype_of
from seatrial.model.load.small_models import TINY

VOCABULARY = 320

_CORPUS = (
    "Is the following statement something you would say? Yes or no. I would rather walk to "
    "the station than wait for the next train. The answer is yes, and the answer is no. "
    "Question: what "
    "does the sea look like today? Answer: it is calm, clear and blue (A) or (B) rough and "
    "grey."
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def tiny_tokenizer(*, bos: bool = True, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with 320 tokens; it can write any text."""
    specials = ["<bos>", "<eos>", "<pad>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_CORPUS] * 4, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>" if bos else None,
        eos_token="<eos>",
        pad_token="<pad>",
    )
    if chat:
        wrapped.chat_template = ("<bos>" if bos else "") + CHAT_TEMPLATE
    return wrapped


def load_tiny(
    *, dtype: str = "auto", device: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, ModelCard]:
    """Make the model: 6 blocks, 64 wide, 4,096 positions, a chat template.

    Its weights are the same on every machine: they are drawn as whole numbers, for which
    processors round alike.

    Args:
        dtype: as in ``load``.
        device: as in ``load``.

    Raises:
        BadOption: as ``load``.
    """
    place = device_of(device)
    kind = dtype_of(dtype, place)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=()):  # what it begins with is written over below
        network = LlamaForCausalLM(config)
    draws = np.random.Generator(np.random.PCG64(0))
    with torch.no_grad():
        for _, parameter in sorted(network.named_parameters()):
            whole = draws.integers(-(2**15), 2**15, parameter.shape, dtype=np.int32)
            drawn = torch.from_numpy(whole).float() / 2**15
            # Norms stay near 1; matrices are as long as they must be to pass states on.
            matrix = parameter.ndim > 1
            parameter.copy_(drawn * 0.25 if matrix else 1.0 + drawn * 0.25)
    network = network.eval().requires_grad_(False)
    card = ModelCard(TINY, "made in memory", fingerprint_of_parameters(network))
    network = network.to(device=place, dtype=kind)  # pyright: ignore[reportCallIssue]
    return network, tiny_tokenizer(chat=True), card
