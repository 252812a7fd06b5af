"""Keys and values of prompts that later forward calls go on from."""

from dataclasses import dataclass, field
from typing import final

from jaxtyping import Int
from torch import Tensor

from seatrial.model.engine.tree import Grove


@final
@dataclass
class Prefix:
    """Keys and values of prompts, by block: ``request x head x position x d_head``."""

    lengths: Int[Tensor, " request"]
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def part(self, first: int, last: int, lengths: Tensor) -> "Prefix":
        """Some of the requests, as views, up to given lengths."""
        width = int(lengths.max())
        return Prefix(
            lengths,
            {b: keys[first:last, :, :width] for b, keys in self.keys.items()},
            {b: values[first:last, :, :width] for b, values in self.values.items()},
        )

    def repeated(self, requests: int) -> "Prefix":
        """The prefix of one request as that of many, without copies."""
        return Prefix(
            self.lengths.expand(requests),
            {b: keys.expand(requests, -1, -1, -1) for b, keys in self.keys.items()},
            {b: values.expand(requests, -1, -1, -1) for b, values in self.values.items()},
        )

    def keep(
        self,
        block: int,
        key: Tensor,
        value: Tensor,
        grove: Grove,
        first: int,
        stem: "Prefix | None" = None,
    ) -> None:
        """Take the keys and values of the prompts of requests from ``first`` on.

        Args:
            block: where they were made.
            key: of a grove's nodes, in one row.
            value: of the same nodes.
            grove: the trees of the requests; may begin after a stem.
            first: number of the first request.
            stem: what the prompts have in common before the grove's nodes.
        """
        known = (None, None) if stem is None else (stem.keys[block], stem.values[block])
        stores = (self.keys, self.values)
        for store, new, common in zip(stores, (key, value), known, strict=True):
            if block not in store:
                shape = (len(self.lengths), new.shape[1], int(self.lengths.max()))
                store[block] = new.new_zeros(*shape, new.shape[-1])
                if common is not None:
                    store[block][:, :, : common.shape[2]] = common
            for r, offset in enumerate(grove.offsets):
                start, n = grove.starts[r], int(self.lengths[first + r])
                part = new[0, :, offset : offset + n - start]
                store[block][first + r, :, start:n] = part
