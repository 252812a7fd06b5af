"""Which steerings and trees replay together, and from where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from seatrial.model.engine.segments import Segment
from seatrial.model.engine.tree import Grove, Tree
from seatrial.steering.intervention import Steering

LATE = {"last": -1, "from_last_prompt": -1, "generated": 0}
"""Scopes that leave a prefix alone: where they begin, from the end of the prompt on."""


def frontier_of(steering: Steering, n_blocks: int) -> int:
    """The first block that must run again; the number of blocks if none must."""
    return min(
        (
            site.layer + (site.point == "resid")
            for part in steering.intervention.parts
            for site in part.edits
        ),
        default=n_blocks,
    )


@final
@dataclass(frozen=True)
class Member:
    """One steering that takes part in a replay."""

    number: int
    """Its place among all steerings asked for."""
    steering: Steering
    frontier: int


def first_node(member: Member, tree: Tree, *, packs: bool) -> int:
    """The first node of a tree that a steering can change; all before it are shared."""
    scopes = {part.tokens for part in member.steering.intervention.parts}
    if not packs or not scopes <= set(LATE):
        return 0
    return tree.n_prompt + min(LATE[scope] for scope in scopes)


def common_start(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens some sequences have in common."""
    first, last = min(sequences), max(sequences)
    for k, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return k
    return min(len(first), len(last))


def by_frontier(members: Sequence[Member]) -> list[Member]:
    """Sorted by where they begin; doses of one intervention stand together."""
    first: dict[int, int] = {}
    for member in members:
        first.setdefault(id(member.steering.intervention), member.number)
    return sorted(
        members,
        key=lambda m: (m.frontier, first[id(m.steering.intervention)], m.number),
    )


def slices(lengths: Sequence[int], limit: int, *, packs: bool) -> list[list[int]]:
    """Consecutive trees of few enough tokens; padded ones are of similar length."""
    groups: list[list[int]] = []
    size = 0
    for k, length in enumerate(lengths):
        alike = packs or not groups or length <= max(2, 1.25 * lengths[groups[-1][0]])
        if groups and size + length <= limit and alike:
            groups[-1].append(k)
            size += length
        else:
            groups.append([k])
            size = length
    return groups


def even_slices(items: Sequence[int], step: int) -> list[list[int]]:
    """Slices of at most ``step``, of equal length rather than full ones and a crumb."""
    if not items:
        return []
    count = -(-len(items) // step)
    step = -(-len(items) // count)
    return [list(items[k : k + step]) for k in range(0, len(items), step)]


def same_edits(members: Sequence[Member]) -> list[range]:
    """Runs of steerings that differ in their dose only."""
    spans, first = [], 0
    for k in range(1, len(members) + 1):
        if k == len(members) or (
            members[k].steering.intervention is not members[first].steering.intervention
        ):
            spans.append(range(first, k))
            first = k
    return spans


def segments_of(grove: Grove, members: Sequence[Member], span: range) -> list[Segment]:
    """One for each part, in the order in which they edit."""
    doses = torch.tensor([float(members[k].steering.dose) for k in span])
    return [
        Segment(
            span.start,
            span.stop,
            part.edits,
            doses,
            grove.edited(part.tokens).expand(len(span), -1),
        )
        for part in members[span.start].steering.intervention.parts
    ]
