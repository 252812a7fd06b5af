"""Loads located weights into memory: a model, its tokenizer and its card."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from seatrial.errors import BadFile, BadOption, UnsupportedModel, sentence
from seatrial.model.load.convert import quiet, read_gguf
from seatrial.model.load.fingerprint import fingerprint_of_files
from seatrial.model.load.locate import weights_of
from seatrial.model.load.pull import Source

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ModelCard:
    """What a loaded model is; results carry its ``identity``."""

    name: str
    source: str
    """Where the weights come from, see ``Source``."""
    fingerprint: str
    """12 hex digits of the weights; the same for every dtype and device."""
    licence: str = ""

    @property
    def identity(self) -> str:
        """Name, origin and weights, in one string that is the same on every machine."""
        return f"{self.name} ({self.source}, {self.fingerprint})"


def load_weights(
    source: Source,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "auto",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, ModelCard]:
    """Read a model into memory, ready to be asked and never to be trained.

    Args:
        source: What ``locate`` or ``pull`` returned.
        dtype: float32, bfloat16, float16, or "auto": float32 on cpu, bfloat16 on cuda.
        device: A torch device, "auto": cuda where there is one, or "balanced": spread over
            all GPUs, for a model in a folder that does not fit into one.
        attention: The implementation, or "auto": sdpa where the family has it. Only "eager"
            can return attention weights.
    """
    is_spread = device == "balanced"
    place = device_of("auto" if is_spread else device)
    kind = dtype_of(dtype, place)
    if attention not in ("auto", "sdpa", "eager"):
        raise BadOption(f"attention {attention!r} is not one of auto, sdpa, eager.")

    files = weights_of(source.path)
    if source.path.is_file():
        if is_spread:
            raise BadOption("a GGUF file goes to one device; give device auto, cpu or cuda")
        model, tokenizer = read_gguf(source.path)
        if attention != "auto":
            model.set_attn_implementation(attention)
        nn.Module.to(model, kind)
    else:
        implementation = None if attention == "auto" else attention
        model = read_folder(
            source.path, kind, implementation, "balanced" if is_spread else None
        )
        tokenizer = read_tokenizer(source.path)
    if not is_spread:
        nn.Module.to(model, place)
    model.eval().requires_grad_(False)
    fingerprint = fingerprint_of_files(files)
    card = ModelCard(source.name, source.source, fingerprint, source.licence)
    return model, tokenizer, card


def device_of(device: str) -> torch.device:
    """The device that an option names, if this machine has it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadOption(
            f"device {device!r} cannot be used here ({sentence(error)}); try auto or cpu."
        ) from error


def dtype_of(dtype: str, device: torch.device) -> torch.dtype:
    """The number format that an option names on a device."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise BadOption(f"dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a folder, if it is a causal language model that we can build."""
    try:
        json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        file = folder / "config.json"
        raise BadFile(f"{file} is not JSON: {sentence(error)}.") from error
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # Each family's configuration checks itself in its own way.
        raise UnsupportedModel(
            f"transformers cannot use the config.json of {folder}: {sentence(error)}. Code "
            f"that comes with a model is never run."
        ) from error
    named = config.architectures or []
    # BERT and the like can be built as causal models too, though they never learned it.
    spoken = ("CausalLM", "LMHead", "ConditionalGeneration")
    is_other = bool(named) and not any(word in name for name in named for word in spoken)
    is_encoder_decoder = bool(getattr(config, "is_encoder_decoder", False))
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or is_encoder_decoder or is_other:
        raise UnsupportedModel(
            f"{folder} is a {', '.join(named) or config.model_type}, not a causal language "
            f"model; seatrial steers decoder-only models that predict the next token."
        )
    return config


def read_folder(
    folder: Path, dtype: torch.dtype, attention: str | None, device_map: str | None = None
) -> PreTrainedModel:
    """Build the model of a folder; every weight comes from its files or it is refused."""
    config = read_config(folder)
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation=attention,
                device_map=device_map,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except MemoryError:
        raise
    except Exception as error:  # A damaged file surfaces as half a dozen unrelated types.
        if isinstance(error, ImportError) or "attn_implementation" in str(error):
            raise UnsupportedModel(
                f"{folder} cannot be built: {sentence(error)}."
            ) from error
        raise BadFile(f"weights in {folder} cannot be read: {sentence(error)}.") from error
    model, report = loaded
    # Transformers fills what it does not find with random numbers and only warns.
    if report["missing_keys"]:
        lacking = sorted(report["missing_keys"])
        raise BadFile(
            f"the weights in {folder} lack {len(lacking)} of the model's tensors, among "
            f"them {lacking[0]}; they are incomplete or belong to another config.json."
        )
    return model


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder."""
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # Depends on the family and on the libraries at hand.
        raise BadFile(
            f"tokenizer in {folder} cannot be read: {sentence(error)}."
        ) from error
