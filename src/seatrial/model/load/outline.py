"""The outline of a model that is not on this machine: enough to count what a plan asks."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from huggingface_hub import hf_hub_download, try_to_load_from_cache

from seatrial.files import cache_folder
from seatrial.model.load.locate import HUB_ID
from seatrial.model.load.small_models import MODELS, TINY
from seatrial.model.tokens import Encoded
from seatrial.types import Prompt, Request

SHAPES: dict[str, tuple[int, int]] = {
    "smollm2-135m": (30, 9),
    "gemma3-270m": (18, 4),
    "EleutherAI/gpt-j-6b": (28, 16),
    "huggyllama/llama-7b": (32, 32),
    "meta-llama/Llama-2-7b-hf": (32, 32),
}
"""Blocks, and attention heads in each, of the models that built-in studies name."""

LETTERS = 4
"""Letters that a token has, about; for counting alone."""


@final
@dataclass(frozen=True)
class Outline:
    """A model as far as a plan can be counted without its weights and its tokenizer."""

    name: str
    n_layers: int
    heads_in_block: int
    origin: str
    """Where these numbers are from, in words."""

    @property
    def n_heads(self) -> int:
        """Attention heads in all blocks together."""
        return self.n_layers * self.heads_in_block

    @property
    def fingerprints(self) -> tuple[str, str, str]:
        """Of what is not here nothing can be told but the name."""
        return self.name, "", ""

    def tokens(self, text: Prompt) -> tuple[int, ...]:
        """About as many ids as a tokenizer would give; they mean nothing."""
        return (0,) * max(1, len(_letters(text)) // LETTERS)

    def answer_tokens(self, request: Request) -> Sequence[Encoded]:
        """Such ids of a request's prompt with each answer."""
        prompt = self.tokens(request.prompt)
        return [
            Encoded((*prompt, *self.tokens(answer)), len(prompt))
            for answer in request.answers
        ]


def _letters(text: Prompt) -> str:
    return text if isinstance(text, str) else "\n".join(each.content for each in text)


def is_here(name: str, revision: str | None = None) -> bool:
    """Whether a model's weights are on this machine, so that nothing need be fetched."""
    if name == TINY or Path(name).expanduser().exists():
        return True
    if name in MODELS:
        places = (cache_folder("models") / f"{name}-{kind}" for kind in ("hub", "registry"))
        return any((place / "seatrial.json").is_file() for place in places)
    if not HUB_ID.fullmatch(name):
        return False
    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return isinstance(config, str) and any(Path(config).parent.glob("*.safetensors"))


def is_fetched(name: str) -> bool:
    """Whether loading a model that is not here would fetch it."""
    return name in MODELS or bool(HUB_ID.fullmatch(name))


def outline_of(name: str, revision: str | None = None) -> Outline | None:
    """A model's outline by its config, else by our table; ``None`` where both lack it."""
    if name not in MODELS and HUB_ID.fullmatch(name):
        with suppress(Exception):  # the client's errors are many, and any means: not there
            config = hf_hub_download(name, "config.json", revision=revision)
            shape = _shape(json.loads(Path(config).read_text("utf-8")))
            if shape is not None:
                return Outline(name, *shape, "its config on the hub")
    if name in SHAPES:
        return Outline(name, *SHAPES[name], "the table of seatrial")
    return None


def _shape(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Blocks and heads as the families spell them."""
    for part in (config, config.get("text_config") or {}):
        blocks = [part[k] for k in ("num_hidden_layers", "n_layer") if k in part]
        heads = [part[k] for k in ("num_attention_heads", "n_head") if k in part]
        if blocks and heads:
            return int(blocks[0]), int(heads[0])
    return None
