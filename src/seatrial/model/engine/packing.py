"""Attention over many token trees in one row, without padding and without copied prefixes.

All tokens of a forward call stand in one row: ``steerings x nodes`` of a ``Grove``. A node
sees its ancestors in the tree under the same steering, and the keys and values of the
unsteered prompt before them, which all steerings share and which are never copied. Which
distances a layer can see at all (sliding windows, chunks) is asked of the family itself: of
the mask function that it hands to the attention interface of transformers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from seatrial.errors import UnsupportedModel
from seatrial.model.engine.prefix import Prefix
from seatrial.model.engine.tree import Grove

NAME = "seatrial"
"""Name of the attention implementation that families are asked to use for one call."""

SHORT = 4
"""A prefix up to this many times as long as what follows is copied for every steering."""

Rule = Callable[[int, int, Tensor, Tensor], Tensor]
"""A family's mask function: (batch, head, position of the query, of the key) -> sees."""


class _Visible:
    """What stands where a mask would: the rule that the mask would be made by."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule


@final
class Packing:
    """One forward call: its grove, how many steerings of it, and what they all share."""

    def __init__(
        self,
        grove: Grove,
        prefix: Prefix | None,
        device: torch.device,
        keep: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> None:
        self.width = grove.width
        self.prefix = prefix
        self.keep = keep
        self.block = 0
        """The block that runs now."""
        self.is_even = len(set(grove.lengths)) == 1
        longest = max(grove.lengths)
        n = len(grove.trees)
        self.shape = (n, longest)
        # Padded places read node 0 and are seen by nobody but themselves.
        pad = torch.zeros(n, longest, dtype=torch.long)
        positions = torch.zeros(n, longest, dtype=torch.long)
        ancestors = torch.eye(longest, dtype=torch.bool).repeat(n, 1, 1)
        unpad = []
        for r, (tree, start) in enumerate(zip(grove.trees, grove.starts, strict=True)):
            length = grove.lengths[r]
            span = slice(grove.offsets[r], grove.offsets[r] + length)
            pad[r, :length] = torch.arange(span.start, span.stop)
            positions[r, :length] = grove.positions[span]
            ancestors[r, :length, :length] = tree.ancestors[start:, start:]
            unpad += [r * longest + k for k in range(length)]
        self.pad = pad.flatten().to(device)
        self.unpad = torch.tensor(unpad, device=device)
        self.positions = positions.to(device)
        self.ancestors = ancestors.to(device)
        self._masks: dict[tuple[_Visible, torch.device], tuple[Tensor, Tensor | None]] = {}

    def masks(
        self, visible: _Visible, device: torch.device
    ) -> tuple[
        Bool[Tensor, "request node node"], Bool[Tensor, "request node before"] | None
    ]:
        """Which nodes each node sees, and which of the prompt's positions before them."""
        key = (visible, device)
        if key not in self._masks:
            here = self.positions[:, :, None]
            own = self.ancestors & _ask(visible.rule, here, self.positions[:, None, :])
            before = None
            if self.prefix is not None:
                lengths = self.prefix.lengths.to(self.positions.device)
                places = torch.arange(int(lengths.max()), device=self.positions.device)
                before = _ask(visible.rule, here, places) & (
                    places < lengths[:, None, None]
                )
                before = None if bool(before.all()) else before.to(device)
            self._masks[key] = (own.to(device), before)
        return self._masks[key]

    def attend(
        self,
        query: Float[Tensor, "1 head token width"],
        key: Float[Tensor, "1 kv_head token width"],
        value: Float[Tensor, "1 kv_head token value_width"],
        visible: _Visible,
        scaling: float,
        softcap: float | None,
        sinks: Tensor | None,
    ) -> Float[Tensor, "1 token head value_width"]:
        """Every token's mix of the values that it sees."""
        if self.keep is not None:
            self.keep(self.block, key, value)
        own, before = self.masks(visible, query.device)
        q, k, v = (self._apart(x[0]) for x in (query, key, value))
        groups = q.shape[0] // k.shape[0]
        q = q.unflatten(0, (k.shape[0], groups))  # kv head, group, steering, request, node
        if softcap is None and sinks is None and self._is_short(q.shape[4]):
            k, v, own = self._with_prefix(k, v, own, before)
            out = _plain(q, k, v, own, scaling)
        else:
            out = self._joint(q, k, v, own, before, scaling, softcap, sinks)
        # From kv head x group x steering x request x node to one row of tokens.
        heads = out.shape[0] * out.shape[1]
        out = out.flatten(0, 1).permute(1, 2, 3, 0, 4).flatten(1, 2)
        if not self.is_even:
            out = out.index_select(1, self.unpad.to(out.device))
        return out.reshape(1, -1, heads, out.shape[-1])

    def _is_short(self, nodes: int) -> bool:
        """Whether the prefix is so short that copying it is cheaper than keeping apart."""
        return self.prefix is None or int(self.prefix.lengths.max()) <= SHORT * (nodes - 1)

    def _with_prefix(
        self, k: Tensor, v: Tensor, own: Tensor, before: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and mask of the own nodes, after those of the prefix if any."""
        if self.prefix is None:
            return k, v, own
        stores = self.prefix.keys[self.block], self.prefix.values[self.block]
        k, v = (
            torch.cat(
                [store.transpose(0, 1)[:, None].expand(-1, x.shape[1], -1, -1, -1), x], 3
            )
            for store, x in zip(stores, (k, v), strict=True)
        )
        if before is None:
            before = own.new_ones(*own.shape[:2], k.shape[3] - own.shape[2])
        return k, v, torch.cat([before, own], 2)

    def _apart(
        self, x: Float[Tensor, "head token width"]
    ) -> Float[Tensor, "head steering request node width"]:
        x = x.unflatten(1, (-1, self.width))
        if not self.is_even:
            x = x.index_select(2, self.pad.to(x.device))
        return x.unflatten(2, self.shape)

    def _joint(
        self,
        q: Float[Tensor, "kv group steering request node width"],
        k: Float[Tensor, "kv steering request node width"],
        v: Float[Tensor, "kv steering request node value_width"],
        own: Bool[Tensor, "request node node"],
        before: Bool[Tensor, "request node before"] | None,
        scaling: float,
        softcap: float | None,
        sinks: Tensor | None,
    ) -> Float[Tensor, "kv group steering request node value_width"]:
        """One softmax over the shared prompt and the own nodes, which stay apart."""
        kv, groups, steerings, _, nodes, _ = q.shape
        # request, kv head, steering, group x node: products over the prompt are then large.
        q = q.permute(3, 0, 2, 1, 4, 5).flatten(3, 4) * scaling
        k, v = (x.permute(2, 0, 1, 3, 4) for x in (k, v))
        inner = ((q * k).sum(-1, keepdim=True) if nodes == 1 else q @ k.mT).float()
        parts = [_capped(inner, softcap).unflatten(3, (groups, nodes))]
        if nodes > 1:
            parts[0].masked_fill_(~own[:, None, None, None], -torch.inf)
        if self.prefix is not None:
            keys = self.prefix.keys[self.block]
            outer = (q.flatten(2, 3) @ keys.mT).float()
            outer = _capped(outer, softcap).unflatten(2, (steerings, groups, nodes))
            if before is not None:
                outer.masked_fill_(~before[:, None, None, None], -torch.inf)
            parts.append(outer)
        top = torch.stack([part.amax(-1, keepdim=True) for part in parts]).amax(0)
        sink = None if sinks is None else sinks.float().view(1, kv, 1, groups, 1, 1)
        if sink is not None:
            top = torch.maximum(top, sink)
        weights = [part.sub_(top).exp_() for part in parts]
        total = torch.stack([part.sum(-1, keepdim=True) for part in weights]).sum(0)
        if sink is not None:
            total += (sink - top).exp()
        inner = weights[0].flatten(3, 4).to(v.dtype)
        out = inner * v if nodes == 1 else inner @ v
        if self.prefix is not None:
            values = self.prefix.values[self.block]
            outer = weights[1].flatten(2, 4).to(v.dtype)
            out = out + (outer @ values).unflatten(2, out.shape[2:4])
        out = out.unflatten(3, (groups, nodes)) / total.to(v.dtype)
        return out.permute(1, 3, 2, 0, 4, 5)


def _plain(
    q: Float[Tensor, "kv group steering request node width"],
    k: Float[Tensor, "kv steering request key width"],
    v: Float[Tensor, "kv steering request key value_width"],
    sees: Bool[Tensor, "request node key"],
    scaling: float,
) -> Float[Tensor, "kv group steering request node value_width"]:
    """Ordinary attention in batches of steerings and requests."""
    _, groups, steerings, requests, nodes, _ = q.shape
    # The heads that share keys stand one after the other as queries of one head.
    q = q.permute(2, 3, 0, 1, 4, 5).flatten(0, 1).flatten(2, 3)
    k, v = (x.permute(1, 2, 0, 3, 4).flatten(0, 1) for x in (k, v))
    mask = sees.repeat(steerings, groups, 1)[:, None]
    out = nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=scaling)
    out = out.unflatten(0, (steerings, requests)).unflatten(3, (groups, nodes))
    return out.permute(2, 3, 0, 1, 4, 5)


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else (scores / softcap).tanh_() * softcap


def _ask(rule: Rule, query: Tensor, key: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(query.shape, key.shape)
    return torch.as_tensor(rule(0, 0, query, key), device=query.device).expand(shape)


_now: ContextVar[Packing | None] = ContextVar("packing", default=None)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    packing = _now.get()
    if packing is None or not isinstance(attention_mask, _Visible):
        raise UnsupportedModel("attention was not given a rule of what tokens see")
    if sliding_window:
        far = torch.tensor([sliding_window]), torch.tensor([0])
        if bool(_ask(attention_mask.rule, *far)):
            raise UnsupportedModel("a window is kept where the mask does not show it")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = packing.attend(query, key, value, attention_mask, scale, softcap, s_aux)
    return out, None


def _mask(*_: Any, mask_function: Rule, **__: Any) -> _Visible:
    return _Visible(mask_function)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)


@contextmanager
def packed(network: nn.Module, packing: Packing) -> Iterator[None]:
    """Let a network's attention layers see what a packing says, for one forward call."""
    configs = {
        id(config): config
        for module in network.modules()
        if (config := getattr(module, "config", None)) is not None
        and hasattr(config, "_attn_implementation")
    }
    before = {key: config._attn_implementation for key, config in configs.items()}
    token = _now.set(packing)
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
        _now.reset(token)
