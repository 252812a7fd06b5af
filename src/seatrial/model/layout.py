"""How a chunk of requests is laid out for replaying: rows, columns, cached prefixes.

A row is one sequence from its first replayed token on: columns to the right of its prompt's
cached prefix, padded on the far right; the prefix itself is padded on the far left. So the
real tokens of a row always stand together, as sliding windows and position biases need.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from seatrial.intervention import scope_span
from seatrial.model.tokens import Encoded

WASTE = 1.25
"""Rows share a bucket while the longest is at most this much longer than the shortest."""


class Target(NamedTuple):
    """One scored token: where its distribution stands and which token it is."""

    column: int
    token: int
    request: int
    answer: int


class Row(NamedTuple):
    """One sequence of a chunk, from its first replayed position on."""

    request: int
    """Position of its request in the chunk."""
    ids: tuple[int, ...]
    skipped: int
    """How many of its real tokens come before and stay in the cache."""
    n_prompt: int
    n_total: int
    targets: tuple[Target, ...]
    """The scored tokens that are read from it."""


@final
@dataclass
class Bucket:
    """Rows of similar length, which are padded to one width."""

    rows: list[Row]
    hidden: dict[int, Tensor] = field(default_factory=dict)
    """What enters block ``f`` in the unsteered model, by ``f``: row x token x d_model."""

    @property
    def width(self) -> int:
        """Columns of the bucket."""
        return len(self.rows[-1].ids)

    @property
    def first_column(self) -> int:
        """The first column whose logits are ever needed."""
        return min(target.column for row in self.rows for target in row.targets)


@final
@dataclass(frozen=True)
class Layout:
    """A chunk of requests, ready to be replayed."""

    buckets: tuple[Bucket, ...]
    prefix: list[tuple[Tensor, Tensor]]
    """Keys and values of the prompts before the replayed tokens, by block; or empty."""
    prefix_mask: Tensor
    """Which columns of the prefix are real, by request of the chunk."""


def in_buckets(
    texts: dict[int, tuple[Encoded, ...]], *, shared: bool
) -> tuple[Bucket, ...]:
    """The distinct sequences of a chunk by length; answers with the same pass share a row.

    Args:
        texts: encoded answers by request.
        shared: whether all prompt tokens but the last stay in the cache.
    """
    found: dict[tuple[int, tuple[int, ...]], Row] = {}
    targets: dict[tuple[int, tuple[int, ...]], list[Target]] = defaultdict(list)
    for place, (request, answers) in enumerate(texts.items()):
        for number, text in enumerate(answers):
            skipped = text.n_prompt - 1 if shared else 0
            # The last token of an answer is only ever predicted, never read.
            ids = text.ids[skipped:-1]
            found.setdefault(
                (place, ids), Row(place, ids, skipped, text.n_prompt, len(text.ids), ())
            )
            targets[place, ids] += [
                Target(position - 1 - skipped, text.ids[position], request, number)
                for position in range(text.n_prompt, len(text.ids))
            ]
    rows = [row._replace(targets=tuple(targets[key])) for key, row in found.items()]
    buckets: list[Bucket] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if buckets and len(row.ids) <= max(2, WASTE * len(buckets[-1].rows[0].ids)):
            buckets[-1].rows.append(row)
        else:
            buckets.append(Bucket([row]))
    return tuple(buckets)


def edited_columns(
    rows: Sequence[Row], width: int, scope: str
) -> Bool[Tensor, "row column"]:
    """Which tokens of some rows a scope edits."""
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for k, row in enumerate(rows):
        start, stop = scope_span(scope, row.n_prompt, row.n_total)
        mask[
            k,
            max(0, start - row.skipped) : max(0, min(stop, row.n_total - 1) - row.skipped),
        ] = True
    return mask


def gather(
    prefix: list[tuple[Tensor, Tensor]], requests: Tensor, frontier: int
) -> DynamicCache:
    """A cache for some rows; blocks before the frontier never read it and get its shape."""
    cache = DynamicCache()
    for block, (keys, values) in enumerate(prefix):
        layer = DynamicLayer()
        if block < frontier:
            keys = keys[:1, :, :, :1].expand(len(requests), -1, -1, -1)
            values = values[:1, :, :, :1].expand(len(requests), -1, -1, -1)
        else:
            keys, values = (
                x.index_select(0, requests.to(x.device)) for x in (keys, values)
            )
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache
