"""Turns the name of a model into weights in memory."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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

from seatrial.errors import (
    BadFile,
    BadOption,
    UnknownName,
    UnsupportedModel,
    sentence,
    unknown,
)
from seatrial.model.convert import quiet, read_gguf
from seatrial.model.pull import (
    MODELS,
    SmallModel,
    Source,
    pull,
    pulled,
    snapshot,
)

__all__ = [
    "MODELS",
    "ModelCard",
    "SmallModel",
    "Source",
    "fingerprint_of_files",
    "fingerprint_of_parameters",
    "load",
    "locate",
    "pull",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

CHUNK, CHUNKS, HEAD = 4096, 1024, 65536
"""Bytes of a sample, samples of a file, bytes of its beginning (names and shapes)."""


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


def locate(name: str, *, revision: str | None = None, cache: Path | None = None) -> Source:
    """Find the weights that a name means, and fetch them if they are not on this disk.

    Args:
        name: A key of ``MODELS``, a folder with config.json and safetensors, a .gguf file,
            or a hub id ("owner/name").
        revision: Commit, tag or branch; for hub ids only.
        cache: The folder of pulled models, if not the default one.
    """
    path = Path(name).expanduser()
    is_here = name in MODELS or path.exists()
    if revision is not None and (is_here or not HUB_ID.fullmatch(name)):
        raise BadOption(
            f"revision {revision!r} means nothing for {name!r}; only a hub id such as "
            f"'HuggingFaceTB/SmolLM2-135M' has revisions."
        )
    if name in MODELS:
        return pull(name, cache=cache)
    if path.is_dir():
        return in_folder(path)
    if path.is_file():
        if path.suffix != ".gguf":
            raise BadFile(
                f"{path} is no model; give a folder with config.json or a .gguf file."
            )
        return Source(path.stem, path.resolve(), "gguf")
    if HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        folder, commit = snapshot(name, revision)
        weights_of(folder)
        return Source(name, folder, f"hub:{name}@{commit}")
    if os.sep in name or name.startswith(("~", ".")) or path.suffix == ".gguf":
        raise UnknownName(
            f"{name!r} does not exist; give an existing folder or .gguf file, a hub id "
            f"like 'owner/name', or a registered model: {', '.join(sorted(MODELS))}."
        )
    hint = "A folder, a .gguf file or a hub id such as 'owner/name' will do as well."
    raise UnknownName(f"{unknown('model', name, MODELS)} {hint}")


def in_folder(folder: Path) -> Source:
    """The source that a local folder is; one that ``pull`` has made keeps its name."""
    weights_of(folder)
    if (folder / "seatrial.json").is_file():
        return pulled(folder.resolve())
    return Source(folder.resolve().name, folder.resolve(), "folder")


def weights_of(path: Path) -> list[Path]:
    """The weight files of a .gguf file or of a folder that can be loaded safely."""
    if path.is_file():
        return [path]
    if not (path / "config.json").is_file():
        raise BadFile(
            f"{path} holds no config.json, so transformers cannot read it as a model."
        )
    weights = sorted(path.glob("*.safetensors"))
    if weights:
        return weights
    pickles = [
        f.name for f in path.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt")
    ]
    if pickles:
        raise BadFile(
            f"{path} holds pickled weights only ({min(pickles)}), and loading a pickle "
            f"runs any code that is in it; convert them to safetensors where that is safe."
        )
    raise BadFile(f"{path} holds a config.json but no *.safetensors weights.")


def load(
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
        wanted = None if attention == "auto" else attention
        model = read_folder(source.path, kind, wanted, "balanced" if is_spread else None)
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


def fingerprint_of_files(files: Iterable[Path]) -> str:
    """12 hex digits of weight files, from samples of them: fast at any size.

    Names, sizes, the first 64 KiB and 1024 evenly spaced chunks of 4 KiB: close enough that
    an edit of a single matrix is seen, while an edit of a few numbers can be missed.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb", buffering=0) as stream:
            if size <= HEAD + CHUNK * CHUNKS:
                digest.update(stream.read())
                continue
            digest.update(stream.read(HEAD))
            for index in range(CHUNKS):
                stream.seek(index * (size - CHUNK) // (CHUNKS - 1))
                digest.update(stream.read(CHUNK))
    return digest.hexdigest()[:12]


@torch.no_grad()
def fingerprint_of_parameters(model: nn.Module) -> str:
    """12 hex digits of a model in memory: names, shapes, up to 256 values a tensor."""
    digest = hashlib.sha256()
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().reshape(-1)
        if flat.numel() == 0:
            continue
        steps = np.linspace(0, flat.numel() - 1, min(256, flat.numel())).astype(np.int64)
        sample = flat[torch.from_numpy(steps).to(flat.device)]
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:12]
