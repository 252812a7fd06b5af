"""What is kept of the unsteered model, and the replays that start from it."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.model.engine.budget import Meter
from seatrial.model.engine.forward import Forward, Start
from seatrial.model.engine.frontiers import (
    Member,
    by_frontier,
    even_slices,
    first_node,
    same_edits,
    segments_of,
    slices,
)
from seatrial.model.engine.prefix import Prefix
from seatrial.model.engine.tree import Grove, Tree
from seatrial.types import Site

SIDE_BY_SIDE = 16
"""How many steerings stand in one forward call, where there are as many."""

Early = dict[int, Float[Tensor, "steering row d_model"]]
"""Outputs of some blocks at a grove's target rows; of block -1, the embeddings."""

Deliver = Callable[
    [Grove, Sequence[int], Float[Tensor, "steering row d_model"], Early], None
]
"""Takes the final and early states of a grove's target rows under some steerings."""


@final
class Unsteered:
    """One pass over some trees, and what replays under given steerings need of it."""

    def __init__(
        self,
        forward: Forward,
        trees: Sequence[Tree],
        members: Sequence[Member],
        layers: Sequence[int] = (),
        stem: int = 0,
    ) -> None:
        """Plan a pass.

        Args:
            forward: calls the network.
            trees: what is read.
            members: the steerings that will replay from it.
            layers: blocks whose outputs readouts look at.
            stem: how many first nodes all trees have in common; read only once.
        """
        self.forward = forward
        self.trees = tuple(trees)
        self.members = members
        self.read = tuple(sorted(set(layers)))
        self.stem = stem
        # One grove for each place where scopes begin.
        self.groups: list[tuple[tuple[int, ...], list[Member]]] = []
        starts = [
            (tuple(self._start(member, tree) for tree in trees), member)
            for member in members
        ]
        for beginning, same in groupby(
            sorted(starts, key=lambda pair: pair[0]), key=lambda pair: pair[0]
        ):
            self.groups.append((beginning, by_frontier([member for _, member in same])))
        late = [
            member.frontier
            for beginning, same in self.groups
            if any(beginning)
            for member in same
        ]
        self._late = min(late, default=len(forward.anatomy.blocks))
        prompts = [tree.n_prompt for tree in self.trees]
        self.prefix = Prefix(torch.tensor(prompts)) if late else None
        self.states: dict[int, Tensor] = {}
        """What enters block ``f`` in the unsteered model, by ``f``: node x d_model."""
        self._finals: list[tuple[Grove, Tensor, Tensor]] = []

    @property
    def _entering(self) -> set[int]:
        """The blocks whose inputs are needed."""
        frontiers = {member.frontier for member in self.members}
        return frontiers | {layer + 1 for layer in self.read}

    @property
    def size(self) -> int:
        """Bytes of what it keeps."""
        kept = [*self.states.values(), *(h for _, _, h in self._finals)]
        if self.prefix is not None:
            kept += [*self.prefix.keys.values(), *self.prefix.values.values()]
        return sum(tensor.nbytes for tensor in kept)

    def adopt(self, other: "Unsteered") -> bool:
        """Take over another pass over the same trees, if it kept what is needed here."""
        knows = self._entering <= set(other.states) and self._late >= other._late
        same = self.stem == other.stem and self.trees == other.trees
        if not (other._finals and knows and same):
            return False
        self.states, self.prefix, self._finals = other.states, other.prefix, other._finals
        return True

    def _start(self, member: Member, tree: Tree) -> int:
        return first_node(member, tree, packs=self.forward.packs)

    def run(self, meter: Meter, deliver: Deliver) -> None:
        """Read all trees, keeping what is needed, unless another pass did so."""
        if not self._finals:
            self._read(meter)
        for grove, nodes, h in self._finals:
            rows = nodes[grove.target_rows].to(h.device)
            deliver(grove, (), h, {b: self.states[b + 1][rows][None] for b in self.read})

    def _read(self, meter: Meter) -> None:
        n = len(self.trees)
        sites = [Site(f - 1) for f in sorted(self._entering)]
        total = sum(len(tree.ids) for tree in self.trees)
        stem, stem_states = self._read_stem(sites, meter) if self.stem else (None, {})
        everything = Grove(self.trees, (self.stem,) * n)
        kept = self._kept(everything)
        finals: list[tuple[Grove, Tensor, Tensor]] = []

        def work(picked: Sequence[int], _: Sequence[int]) -> None:
            first = picked[0]
            grove = everything.part(first, picked[-1] + 1)
            offset = everything.offsets[first]
            nodes = kept[offset : offset + grove.width]

            def keep(site: Site, h: Tensor) -> None:
                # The embeddings are what enters block 0, under the name of block -1.
                if site.layer + 1 not in self.states:
                    store = h.new_zeros(total, h.shape[-1])
                    for offset in Grove(self.trees, (0,) * n).offsets if self.stem else ():
                        store[offset : offset + self.stem] = stem_states[site.layer]
                    self.states[site.layer + 1] = store
                self.states[site.layer + 1][nodes.to(h.device)] = h[0]

            def keep_prefix(block: int, key: Tensor, value: Tensor) -> None:
                if self.prefix is not None and block >= self._late:
                    self.prefix.keep(block, key, value, grove, first, stem)

            start = None
            if stem is not None:
                start = Start(None, (0,), stem.repeated(len(picked)))
            h = self.forward.run(
                grove,
                start,
                targets=grove.target_rows,
                sites=sites,
                keep=keep,
                keep_prefix=keep_prefix,
            )
            finals.append((grove, nodes, h))

        packs = self.forward.packs
        for picked in slices(everything.lengths, meter.tokens, packs=packs):
            size = sum(everything.lengths[k] for k in picked)
            meter.attempt(work, picked, [0], size)
        self._finals = finals

    def _read_stem(
        self, sites: Sequence[Site], meter: Meter
    ) -> tuple[Prefix, dict[int, Tensor]]:
        """What all trees begin with: its keys and values, and its states by block."""
        stem = Prefix(torch.tensor([self.stem]))
        states: dict[int, Tensor] = {}
        grove = Grove((Tree.of_text(self.trees[0].ids[: self.stem]),), (0,))

        def work(*_: Sequence[int]) -> None:
            self.forward.run(
                grove,
                targets=torch.zeros(1, dtype=torch.long),
                sites=sites,
                keep=lambda site, h: states.update({site.layer: h[0]}),
                keep_prefix=lambda block, k, v: stem.keep(block, k, v, grove, 0),
            )

        meter.attempt(work, [0], [0], self.stem)
        return stem, states

    def replay(self, meter: Meter, deliver: Deliver) -> None:
        """Answer under every steering, stacked over steerings and trees."""
        for starts, members in self.groups:
            grove = Grove(self.trees, starts)
            kept = self._kept(grove)

            def work(
                picked: Sequence[int],
                chosen: Sequence[int],
                grove: Grove = grove,
                kept: Tensor = kept,
                members: list[Member] = members,
            ) -> None:
                self._replay(grove, kept, picked, [members[k] for k in chosen], deliver)

            # Few trees under many steerings rather than many under few: what belongs to a
            # tree (its prefix, its unsteered logits for KL) is then fetched less often.
            share = min(len(members), SIDE_BY_SIDE)
            limit = max(1, meter.tokens // share)
            for picked in slices(grove.lengths, limit, packs=self.forward.packs):
                width = sum(grove.lengths[k] for k in picked)
                for chosen in self._stacks(members, width, meter):
                    meter.attempt(work, picked, chosen, width * len(chosen))

    def _kept(self, grove: Grove) -> Tensor:
        """Which of all nodes are laid out in a grove."""
        offset, nodes = 0, []
        for tree, start in zip(grove.trees, grove.starts, strict=True):
            nodes += range(offset + start, offset + len(tree.ids))
            offset += len(tree.ids)
        return torch.tensor(nodes)

    def _stacks(
        self, members: Sequence[Member], width: int, meter: Meter
    ) -> list[list[int]]:
        """Steerings that replay together; unless packed, they start at the same block."""
        if self.forward.packs:
            together = [list(range(len(members)))]
        else:
            together = [
                list(same)
                for _, same in groupby(range(len(members)), lambda k: members[k].frontier)
            ]
        stacks = []
        for same in together:
            step = max(1, meter.tokens // width)
            stacks += even_slices(same, step)
        return stacks

    def _replay(
        self,
        grove: Grove,
        kept: Tensor,
        picked: Sequence[int],
        members: Sequence[Member],
        deliver: Deliver,
    ) -> None:
        first, last = picked[0], picked[-1] + 1
        offset = grove.offsets[first]
        grove = grove.part(first, last)
        nodes = kept[offset : offset + grove.width]
        hidden = torch.stack(
            [
                self.states[m.frontier][nodes.to(self.states[m.frontier].device)]
                for m in members
            ]
        )
        prefix = None
        if any(grove.starts):
            assert self.prefix is not None
            prefix = self.prefix.part(first, last, torch.tensor(grove.starts))
        start = Start(hidden, tuple(m.frontier for m in members), prefix)
        segments = [
            segment
            for span in same_edits(members)
            for segment in segments_of(grove, members, span)
        ]
        seen: dict[int, Tensor] = {}
        h = self.forward.run(
            grove,
            start,
            segments,
            targets=grove.target_rows,
            sites=[Site(b) for b in self.read if b >= 0],
            keep=lambda site, states: seen.update({site.layer: states}),
        )
        rows = grove.target_rows
        early = {b: self._early(b, seen, nodes, rows, members) for b in self.read}
        deliver(grove, [m.number for m in members], h, early)

    def _early(
        self,
        block: int,
        seen: dict[int, Tensor],
        nodes: Tensor,
        rows: Tensor,
        members: Sequence[Member],
    ) -> Float[Tensor, "steering row d_model"]:
        """Outputs of a block: the replay's own from where each steering began."""
        known = self.states[block + 1]
        plain = known[nodes[rows].to(known.device)]
        return torch.stack(
            [
                seen[block][k][rows.to(known.device)] if block >= m.frontier - 1 else plain
                for k, m in enumerate(members)
            ]
        )
