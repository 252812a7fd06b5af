"""Attention heads: what each of them adds to the residual stream.

The ``heads`` site holds the states of all heads side by side, before the output projection.
Behind it some families (Gemma 2 and 3, OLMo 2) put a norm, so a head's product with the
projection is not yet what it adds to the stream (trap T10).

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption, UnsupportedModel
from seatrial.model import Model
from seatrial.model.structure.anatomy import Heads
from seatrial.model.structure.hooks import scale_at
from seatrial.types import Site

Head = tuple[int, int]
"""Layer and head, both counted from 0."""

_LOUD = 64.0
"""Size of the states by which a norm is probed; its epsilon is nothing beside them."""


class Contributions(NamedTuple):
    """What attention of one block adds to the residual stream, taken apart; float64."""

    by_head: Float[Tensor, "text head d_model"]
    """The share of each head."""
    rest: Float[Tensor, "text d_model"]
    """The share of biases: together with that of all heads it is the whole."""


def attending(model: Model) -> dict[int, Heads]:
    """The heads of every block that has any.

    Raises:
        UnsupportedModel: if no block has.
    """
    blocks = enumerate(model.structure.blocks)
    heads = {layer: block.heads for layer, block in blocks if block.heads is not None}
    if not heads:
        raise UnsupportedModel(
            f"no attention heads were found in {model.card.name!r}; use a method that "
            "edits the residual stream, such as layer-mean"
        )
    return heads


def check_heads(model: Model, heads: Sequence[Head]) -> None:
    """Refuse heads that the model does not have.

    Raises:
        BadOption: naming the first.
        UnsupportedModel: if no heads were found at all.
    """
    known = attending(model)
    for layer, head in heads:
        if layer not in known or not 0 <= head < known[layer].n_heads:
            raise BadOption(
                f"head {head} of layer {layer} does not exist in {model.card.name!r}; it "
                f"has {max(h.n_heads for h in known.values())} heads in each of the layers "
                f"{', '.join(map(str, known))}"
            )


def projection(
    model: Model, layer: int
) -> tuple[Float[Tensor, "d_model width"], Float[Tensor, " d_model"]]:
    """Weight and bias of a block's attention output projection, in float64.

    Raises:
        UnsupportedModel: if the module there is not this affine map.
    """
    site = model.site(layer, "heads")
    heads = model.structure.blocks[layer].heads
    assert heads is not None
    weight, bias = heads.projection.weight, getattr(heads.projection, "bias", None)
    assert isinstance(weight, Tensor)
    # Anything without a pattern: neither of mean 0 nor the same backwards.
    probe = (0.618034 * torch.arange(1, model.width(site) + 1)).frac().to(weight)
    with torch.inference_mode(), model.lock:
        output = heads.projection(probe[None, None])[0, 0].cpu().double()
    probe, added = probe.cpu().double(), torch.zeros_like(output)
    if isinstance(bias, Tensor):
        added = bias.detach().cpu().double()
    plain = weight.detach().cpu().double()
    # A linear layer keeps outputs in rows, GPT-2's in columns; square ones do not tell.
    for matrix in (plain, plain.mT):
        if matrix.shape == (len(output), len(probe)) and _alike(
            matrix @ probe + added, output, weight.dtype
        ):
            return matrix, added
    raise UnsupportedModel(
        f"the attention output projection of block {layer} of {model.card.name!r} "
        f"({type(heads.projection).__name__}) does more than multiply by its weight, so "
        "heads cannot be told apart behind it; load the model without quantisation or "
        "adapters"
    )


def contributions(
    model: Model,
    layer: int,
    states: Float[Tensor, "text width"],
    added: Float[Tensor, "text d_model"],
    heads: Sequence[int] | None = None,
) -> Contributions:
    """Take apart what attention of a block adds, head by head, behind any norm.

        c_j = scale * g * (W_O[:, j] a_j) / r        r: that of the whole, text by text

    ``g`` is the norm's gain and ``r`` the root mean square of what enters it; both are 1
    where nothing stands between projection and stream.

    Args:
        model: the model.
        layer: the block.
        states: what was read at its ``heads`` site.
        added: what was read at its ``attn`` site at the same tokens.
        heads: which heads are wanted; all by default.

    Raises:
        UnsupportedModel: if what stands in between is neither nothing nor a norm, by its
            arithmetic on these very states.
    """
    layout = attending(model)[layer]
    matrix, bias = projection(model, layer)
    scale = scale_at(model.structure, Site(layer, "attn"))
    norm = _norm(model, layer, states.double() @ matrix.mT + bias, added.double() / scale)
    chosen = list(range(layout.n_heads) if heads is None else heads)
    parts = _products(matrix, states, layout, chosen)
    rest = norm.share(bias.expand(len(states), 1, -1))[:, 0] + norm.shift
    return Contributions(scale * norm.share(parts), scale * rest)


def mean_contribution(
    model: Model,
    states: Mapping[Site, Float[Tensor, "text width"]],
    heads: Sequence[Head],
    write: Literal["residual", "textbook"],
) -> Float[Tensor, " d_model"]:
    """The sum of what some heads add to the stream, averaged over texts.

    Args:
        model: the model.
        states: what was read at the ``heads`` and ``attn`` sites of their blocks.
        heads: which heads; one that is named twice counts once.
        write: ``residual`` is ``contributions``; ``textbook`` leaves out what stands behind
            the projection, ``W_O[:, j] mean(a_j)``.

    Raises:
        UnsupportedModel: as ``contributions`` and ``projection``.
    """
    total = torch.zeros(model.d_model, dtype=torch.float64)
    for layer in sorted({layer for layer, _ in heads}):
        chosen = sorted({head for of, head in heads if of == layer})
        here = states[Site(layer, "heads")]
        if write == "residual":
            parts = contributions(
                model, layer, here, states[Site(layer, "attn")], chosen
            ).by_head
        else:
            matrix, _ = projection(model, layer)
            parts = _products(matrix, here, attending(model)[layer], chosen)
        total += parts.mean(0).sum(0)
    return total.float()


def _products(
    matrix: Float[Tensor, "d_model width"],
    states: Float[Tensor, "text width"],
    of: Heads,
    heads: Sequence[int],
) -> Float[Tensor, "text head d_model"]:
    """``W_O[:, j] a_j`` of some heads."""
    split = states.double().unflatten(1, (of.n_heads, of.d_head))[:, heads]
    slices = matrix.unflatten(1, (of.n_heads, of.d_head))[:, heads]
    return torch.einsum("the,dhe->thd", split, slices)


@final
@dataclass(frozen=True, eq=False)
class _Norm:
    """``gain * (x - mean(x)) / divisor + shift``, the mean only where it is centred."""

    gain: Float[Tensor, " d_model"]
    shift: Float[Tensor, " d_model"]
    is_centred: bool
    divisor: Float[Tensor, " text"]

    def share(self, part: Float[Tensor, "text part d_model"]) -> Tensor:
        """What a summand of ``x`` becomes: linear, for the divisor is that of the whole."""
        if self.is_centred:
            part = part - part.mean(-1, keepdim=True)
        return self.gain * part / self.divisor[:, None, None]


def _norm(
    model: Model,
    layer: int,
    o: Float[Tensor, "text d_model"],
    y: Float[Tensor, "text d_model"],
) -> _Norm:
    """The map from what leaves the projection to what the stream receives, verified."""
    dtype = getattr(torch, model.dtype)
    one, zero = torch.ones_like(o[0]), torch.zeros_like(o[0])
    if _alike(o, y, dtype):
        return _Norm(one, zero, False, torch.ones_like(o[:, 0]))
    candidates = _probe(model, layer)
    for is_centred, (gain, shift) in product((False, True), candidates):
        x = gain * (o - o.mean(-1, keepdim=True) if is_centred else o)
        # The divisor that fits best, which includes the epsilon as the model has it.
        divisor = (x * x).sum(-1) / (x * (y - shift)).sum(-1)
        if _alike(x / divisor[:, None] + shift, y, dtype):
            return _Norm(gain, shift, is_centred, divisor)
    raise UnsupportedModel(
        f"block {layer} of {model.card.name!r} does something between the attention output "
        "projection and the residual stream that is no norm, so what one head adds is not "
        "defined; use write='textbook', or layer-mean"
    )


def _probe(model: Model, layer: int) -> list[tuple[Tensor, Tensor]]:
    """Gain and shift of what attention's share leaves last, if that could be a norm."""
    attn = model.structure.blocks[layer].attn
    assert attn is not None
    like = next(attn.module.parameters(), None)
    if like is None:
        return []
    # Of mean 0 and mean square 1, and nowhere 0.
    wave = 1.0 - 2.0 * (torch.arange(model.d_model) % 2)
    wave = wave - wave.mean()
    wave = wave / wave.square().mean().sqrt()
    try:
        with torch.inference_mode(), model.lock:
            loud = _LOUD * torch.stack([wave, -wave])[None].to(like)
            up, down = attn.module(loud)[0].cpu().double()
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return []
    return [((up - down) / 2 / wave.double(), (up + down) / 2)]


def _alike(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether two float64 tensors differ by the rounding of a dtype only."""
    slack = max(1e-4, 4 * torch.finfo(dtype).eps) * float(other.abs().max())
    return bool(torch.isfinite(one).all()) and float((one - other).abs().max()) <= slack
