"""How the nodes of a grove stand in the tensors of one forward call.

Packed, all of them stand in one row and attention is ours (``packing``). Padded, every tree
is a path with a row of its own, and attention is the family's.
"""

from typing import final

import torch
from torch import Tensor

from seatrial.model.engine.tree import Grove


@final
class Layout:
    """``steerings x nodes`` to and from ``row x token``."""

    def __init__(self, grove: Grove, steerings: int, *, packed: bool) -> None:
        self.grove = grove
        self.steerings = steerings
        self.packed = packed
        longest = max(grove.lengths)
        n = len(grove.trees)
        self.rows = 1 if packed else steerings * n
        self.tokens = steerings * grove.width if packed else longest
        # In a padded layout: the node at each place (pads repeat the first), and back.
        pad = torch.zeros(n, longest, dtype=torch.long)
        real = torch.zeros(n, longest, dtype=torch.long)
        for r, (offset, length) in enumerate(
            zip(grove.offsets, grove.lengths, strict=True)
        ):
            pad[r, :length] = torch.arange(offset, offset + length)
            real[r, :length] = 1
        self._pad = pad.flatten()
        self._unpad = real.flatten().nonzero()[:, 0]
        self._real = real

    def spread(self, nodes: Tensor) -> Tensor:
        """``steering x node x ...`` as ``row x token x ...``."""
        if not self.packed:
            nodes = nodes.index_select(1, self._pad.to(nodes.device))
        return nodes.reshape(self.rows, self.tokens, *nodes.shape[2:])

    def collect(self, h: Tensor) -> Tensor:
        """``row x token x ...`` as ``steering x node x ...``, a copy."""
        if self.packed:
            return h.reshape(-1, self.grove.width, *h.shape[2:]).clone()
        flat = h.reshape(self.steerings, -1, *h.shape[2:])
        return flat.index_select(1, self._unpad.to(h.device))

    def replace(self, h: Tensor, nodes: Tensor) -> Tensor:
        """``h`` with other values at its nodes; pads keep theirs."""
        if self.packed:
            return nodes.reshape(h.shape)
        new = h.clone().reshape(self.steerings, -1, *h.shape[2:])
        new[:, self._unpad.to(h.device)] = nodes
        return new.reshape(h.shape)

    def places(self, nodes: Tensor) -> Tensor:
        """Where some nodes of every steering stand among all tokens, row after row."""
        per_steering = self.grove.width if self.packed else len(self._pad)
        if not self.packed:
            nodes = self._unpad[nodes]
        return (
            torch.arange(self.steerings)[:, None] * per_steering + nodes[None]
        ).flatten()

    @property
    def mask(self) -> Tensor:
        """Which tokens are real."""
        if self.packed:
            return torch.ones(1, self.tokens, dtype=torch.long)
        return self._real.repeat(self.steerings, 1)
