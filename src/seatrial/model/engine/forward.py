"""One forward call of the network over a grove under some steerings."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from seatrial.errors import SeatrialError
from seatrial.model.engine.layout import Layout
from seatrial.model.engine.packing import Packing, packed
from seatrial.model.engine.prefix import Prefix
from seatrial.model.engine.segments import Segment, steering
from seatrial.model.engine.tree import Grove, Tree
from seatrial.model.structure.anatomy import Anatomy, embedding_of
from seatrial.model.structure.hooks import final_states, reading, replaying
from seatrial.types import Site


@final
@dataclass(frozen=True)
class Start:
    """Where replayed tokens join: the states that the unsteered model has there."""

    hidden: Float[Tensor, "steering node d_model"] | None
    """``None`` for the embeddings, which only a start at block 0 can have."""
    frontiers: tuple[int, ...]
    """The first block that runs, by steering; sorted."""
    prefix: Prefix | None


_FAILURES = (
    SeatrialError,
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
)
"""What a family's own code may raise when it is called in a way that it does not know."""


@final
class Forward:
    """Calls the network in the way that its structure allows."""

    def __init__(self, network: PreTrainedModel, anatomy: Anatomy) -> None:
        self.network = network
        self.anatomy = anatomy
        self.device = embedding_of(network).device
        accepted = inspect.signature(type(network).forward).parameters
        self._accepts_positions = "position_ids" in accepted
        self._accepts_keep = "logits_to_keep" in accepted
        self.kept_widths: dict[int, int] = {}
        """Numbers in one token's key and value, by block, where prefixes are kept."""
        self.packs = (
            anatomy.shares_prefix
            and not anatomy.counts_columns
            and self._accepts_positions
            and self._packs()
        )
        self.replays = self.packs or self._replays()
        """Whether blocks can run without those before them; some share keys and values."""

    @torch.inference_mode()
    def _packs(self) -> bool:
        """Whether attention can be ours: tried on two short trees, whole and replayed."""
        vocabulary = embedding_of(self.network).shape[0]
        texts = [[(3 + 7 * k + 5 * n) % vocabulary for k in range(6 - n)] for n in range(2)]
        grove = Grove(tuple(map(Tree.of_text, texts)), (0, 0))
        middle = len(self.anatomy.blocks) // 2
        prefix = Prefix(torch.tensor([4, 4]))
        states: list[Tensor] = []

        def keep(_: Site, h: Tensor) -> None:
            states.append(h[0])

        def keep_prefix(block: int, key: Tensor, value: Tensor) -> None:
            self.kept_widths[block] = (key.numel() + value.numel()) // grove.width
            prefix.keep(block, key, value, grove, 0)

        try:
            whole = self.run(
                grove,
                targets=torch.arange(grove.width),
                sites=[Site(middle)],
                keep=keep,
                keep_prefix=keep_prefix,
                is_packed=True,
            )[0]
            late = Grove(grove.trees, (4, 4))
            rows = torch.tensor([4, 5, 10])
            start = Start(states[0][rows][None], (middle + 1,), prefix)
            again = self.run(late, start, targets=torch.arange(3), is_packed=True)[0]
        except _FAILURES:
            return False
        first = 0
        for text in texts:
            plain = self.plain_states(torch.tensor([text]))[0]
            if not _alike(whole[first : first + len(text)], plain):
                return False
            first += len(text)
        return _alike(again, whole[rows])

    @torch.inference_mode()
    def _replays(self) -> bool:
        """Whether the last block can run alone: tried on one short text."""
        vocabulary = embedding_of(self.network).shape[0]
        text = [(3 + 7 * k) % vocabulary for k in range(6)]
        grove = Grove((Tree.of_text(text),), (0,))
        last = len(self.anatomy.blocks) - 1
        states: list[Tensor] = []

        def keep(_: Site, h: Tensor) -> None:
            states.append(h)

        rows = torch.arange(grove.width)
        try:
            whole = self.run(grove, targets=rows, sites=[Site(last - 1)], keep=keep)
            again = self.run(grove, Start(states[0], (last,), None), targets=rows)
        except _FAILURES:
            return False
        return _alike(again, whole)

    def plain_states(self, ids: Tensor) -> Float[Tensor, "row token d_model"]:
        """Final states of some sequences of one length, by an ordinary forward call."""
        with final_states(self.anatomy.unembedding) as states:
            self.network(input_ids=ids.to(self.device), use_cache=False)
        return states[0]

    def run(
        self,
        grove: Grove,
        start: Start | None = None,
        segments: Sequence[Segment] = (),
        *,
        targets: Tensor,
        sites: Sequence[Site] = (),
        keep: Callable[[Site, Tensor], None] | None = None,
        keep_prefix: Callable[[int, Tensor, Tensor], None] | None = None,
        last_block: int | None = None,
        is_packed: bool | None = None,
    ) -> Float[Tensor, "steering target d_model"]:
        """Final states of some nodes of a grove, under every steering.

        Args:
            grove: the tokens.
            start: where each steering joins; by default one run from the embeddings on.
            segments: edits; their rows are the steerings.
            targets: the nodes whose final states are wanted.
            sites: quantities to hand to ``keep``, as ``steering x node x width``.
            keep: sees them.
            keep_prefix: sees the keys and values of every block.
            last_block: the last block that matters.
            is_packed: whether all tokens stand in one row; by default where that works.
        """
        is_packed = self.packs if is_packed is None else is_packed
        steerings = len(start.frontiers) if start else 1
        layout = Layout(grove, steerings, packed=is_packed)
        blocks = range(len(self.anatomy.blocks))
        frontiers = start.frontiers if start else (0,)
        per_steering = grove.width if is_packed else layout.tokens
        active = [
            per_steering * sum(f <= b for f in frontiers)
            if is_packed
            else per_steering * (frontiers[0] <= b)
            for b in blocks
        ]
        if last_block is not None:
            active[last_block + 1 :] = [0] * (len(active) - last_block - 1)
        with ExitStack() as stack:
            packing = None
            if is_packed:
                prefix = start.prefix if start else None
                packing = Packing(grove, prefix, self.device, keep_prefix)
                stack.enter_context(packed(self.network, packing))

            def enter(block: int) -> None:
                if packing is not None:
                    packing.block = block

            known = start.hidden if start else None
            hidden = None if known is None else layout.spread(known)
            stack.enter_context(replaying(self.anatomy, hidden, active, enter))
            stack.enter_context(steering(self.anatomy, segments, layout))
            if keep is not None:

                def look(site: Site, h: Tensor) -> None:
                    keep(site, layout.collect(h))

                stack.enter_context(reading(self.anatomy, sites, look))
            states = stack.enter_context(final_states(self.anatomy.unembedding))
            places = layout.places(targets)
            self._call(layout, places if is_packed else torch.arange(layout.tokens))
        h = states[0]
        if not (is_packed and self._accepts_keep):
            h = h.reshape(-1, h.shape[-1])[places.to(h.device)]
        return h.reshape(steerings, len(targets), h.shape[-1])

    def _call(self, layout: Layout, columns: Tensor) -> None:
        grove, n = layout.grove, layout.steerings
        ids = layout.spread(grove.ids.expand(n, -1)).to(self.device)
        arguments = {
            "input_ids": ids,
            "attention_mask": layout.mask.to(self.device),
            "use_cache": False,
        }
        if self._accepts_positions:
            positions = layout.spread(grove.positions.expand(n, -1))
            arguments["position_ids"] = positions.to(self.device)
        if self._accepts_keep:
            arguments["logits_to_keep"] = columns.to(self.device)
        self.network(**arguments)

    def logits(
        self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache
    ) -> Float[Tensor, "row vocabulary"]:
        """Logits after the last column, reading on from a cache, which grows."""
        arguments = {
            "input_ids": ids.to(self.device),
            "attention_mask": mask.to(self.device),
            "past_key_values": cache,
            "use_cache": True,
        }
        if self._accepts_positions:
            arguments["position_ids"] = positions.to(self.device)
        if self._accepts_keep:
            arguments["logits_to_keep"] = 1
        return self.network(**arguments).logits[:, -1]


def _alike(one: Tensor, other: Tensor) -> bool:
    other = other.to(one.device)
    slack = max(1e-4, 32 * torch.finfo(one.dtype).eps) * float(other.abs().max())
    return torch.allclose(one.float(), other.float(), rtol=0, atol=slack)
