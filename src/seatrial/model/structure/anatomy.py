"""The parts of a decoder that steering needs: its blocks, their sublayers and heads."""

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn
from transformers import PreTrainedModel


@final
@dataclass(frozen=True)
class Sublayer:
    """A module whose output, times ``scale``, is what a sublayer adds to the stream."""

    module: nn.Module
    scale: float
    """1 in most families; Granite multiplies every contribution by a constant."""
    is_flat: bool = False
    """Whether its rows and tokens are one axis (OPT's MLP)."""


@final
@dataclass(frozen=True)
class Heads:
    """The attention output projection; its input is all heads side by side."""

    projection: nn.Module
    n_heads: int
    d_head: int


@final
@dataclass(frozen=True)
class Block:
    """One decoder block."""

    module: nn.Module
    attn: Sublayer | None
    """``None`` where the block mixes tokens by something that is not attention."""
    mlp: Sublayer | None
    heads: Heads | None
    tuple_length: int = 0
    """How many values it returns in a tuple; 0 where it returns the bare tensor."""
    input_norm: nn.Module | None = None
    """What its input passes first; ``None`` where norms stand behind the sublayers only."""


@final
@dataclass(frozen=True)
class Anatomy:
    """What was found in a model."""

    blocks: tuple[Block, ...]
    final_norm: nn.Module | None
    unembedding: nn.Module
    d_model: int
    shares_prefix: bool
    """Whether every block keeps keys and values per position: a prefix can be reused."""
    counts_columns: bool = False
    """Whether a token's place in the call enters its attention, whatever its position."""


def embedding_of(model: PreTrainedModel) -> Tensor:
    """The weight of the token embedding; its device is where token ids belong."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight
