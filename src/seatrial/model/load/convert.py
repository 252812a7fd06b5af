"""Reads GGUF files, and writes them as folders that every transformers reads alike."""

import contextlib
import io
import json
import mmap
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers.pre_tokenizers import Digits, Sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from seatrial.errors import BadFile, UnsupportedModel, sentence

DIGITS_APART = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"}
"""GGUF pre-tokenizers that split off each digit first (llama.cpp, ``llama-vocab.cpp``).

Transformers ignores the name and splits as GPT-2 does, which tokenizes two spaces before a
digit otherwise than the original model does.
"""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the progress bars, log lines and warnings of transformers, for now."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # The bars are tqdm's and go to stderr; no switch of transformers reaches them all.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def read_gguf(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a GGUF file by transformers, de-quantised to float32, with its tokenizer."""
    where: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, dtype=torch.float32, trust_remote_code=False, **where
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    except Exception as error:  # Readers of damaged binary files raise anything.
        if "not supported" in str(error):
            raise UnsupportedModel(f"{gguf}: {sentence(error)}.") from error
        raise BadFile(f"{gguf} cannot be read as GGUF: {sentence(error)}.") from error
    if pre_tokenizer_of(gguf) in DIGITS_APART:
        backend = tokenizer.backend_tokenizer
        digits = Digits(individual_digits=True)
        backend.pre_tokenizer = Sequence([digits, backend.pre_tokenizer])
    return model, tokenizer


def pre_tokenizer_of(gguf: Path) -> str:
    """The value of ``tokenizer.ggml.pre``; by its key, as a full parse takes seconds."""
    key = b"tokenizer.ggml.pre\x08\x00\x00\x00"  # 8 is the type code of a string
    with (
        gguf.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        at = data.find(key) + len(key)
        if at < len(key):
            return ""
        size = int.from_bytes(data[at : at + 8], "little")
        return data[at + 8 : at + 8 + size].decode("utf-8", "replace")


def convert(gguf: Path, into: Path) -> None:
    """Write a GGUF model as a folder that every transformers reads as the same model."""
    model, tokenizer = read_gguf(gguf)
    with quiet():
        junk = ("quantization_config", "_name_or_path", "_model_name_or_path")
        settings = {k: v for k, v in model.config.to_dict().items() if k not in junk}
        # On the meta device nothing is initialised, so nobody's random numbers are used up.
        with torch.device("meta"):
            clean = type(model)(type(model.config).from_dict(settings))
        clean.load_state_dict(model.state_dict(), assign=True)
        clean.generation_config = model.generation_config
        clean.tie_weights()
        clean.save_pretrained(into)
        tokenizer.save_pretrained(into)
        spell_for_older_readers(into)
        for weights in into.glob("*.safetensors"):  # Only these come out as 0600.
            shutil.copymode(into / "config.json", weights)

        again = AutoModelForCausalLM.from_pretrained(
            into, dtype=torch.float32, local_files_only=True
        )
        words = AutoTokenizer.from_pretrained(into, local_files_only=True)
    probe = torch.tensor([[1, 5, 23, 7, 42, 11, 30, 2]])
    with torch.inference_mode():
        same = torch.equal(model.eval()(probe).logits, again.eval()(probe).logits)
    text = "It's  7 of 12\n\n\tcafés, <b>OK</b>?  "
    same_words = words(text)["input_ids"] == tokenizer(text)["input_ids"]
    if not (same and same_words and words.chat_template == tokenizer.chat_template):
        part = "tokenizer" if same else "model"
        raise BadFile(
            f"the converted {part} differs from {gguf.name}: transformers "
            f"{transformers.__version__} cannot convert it. Use the hub, or another "
            "version."
        )


def spell_for_older_readers(folder: Path) -> None:
    """Write what transformers 4 reads beside what transformers 5 writes.

    Version 4 takes the rotary base from other keys and falls back to 10,000 without a word.
    It does not know version 5's generic tokenizer class, and its own one would add
    ``token_type_ids``, which ``generate`` refuses.
    """
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    if "full_attention" in rope:
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
    if "sliding_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    for argument in ("is_local", "local_files_only"):  # Of our own call; not settings.
        config.pop(argument, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_input_names"] = ["input_ids", "attention_mask"]
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
