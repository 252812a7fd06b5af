"""A request as a tree of tokens: the prompt, then the answers, each shared start once.

A node is one token that the model must read; its position is its distance from the root. An
answer's last token is only ever predicted, so it is no node unless another answer goes on
after it. What a score needs is the distribution at a node: a ``Target``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from seatrial.model.tokens import Encoded
from seatrial.steering.intervention import scope_span


class Target(NamedTuple):
    """One scored token: the node whose distribution predicts it, and where it is kept."""

    node: int
    token: int
    slot: int
    """Its number among all scored tokens of all requests."""


@final
@dataclass(frozen=True)
class Tree:
    """The tokens of one request."""

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    """The node before each node; -1 for the root."""
    positions: tuple[int, ...]
    n_prompt: int
    """The first ``n_prompt`` nodes are the prompt, one after the other."""
    targets: tuple[Target, ...]

    @cached_property
    def target_nodes(self) -> tuple[int, ...]:
        """The nodes whose distributions are read, in order."""
        return tuple(sorted({target.node for target in self.targets}))

    @cached_property
    def ancestors(self) -> Bool[Tensor, "node node"]:
        """Which nodes each node sees: itself and those before it on its own path."""
        seen = torch.eye(len(self.ids), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def edited(self, scope: str) -> list[bool]:
        """Which nodes a token scope edits."""
        start, stop = scope_span(scope, self.n_prompt, max(self.positions) + 1)
        return [start <= position < stop for position in self.positions]

    @staticmethod
    def of_answers(answers: Sequence[Encoded], first_slots: Sequence[int]) -> "Tree":
        """The tree of a prompt with its answers; each answer's slots are consecutive."""
        n_prompt = answers[0].n_prompt
        ids = list(answers[0].ids[:n_prompt])
        parents = list(range(-1, n_prompt - 1))
        positions = list(range(n_prompt))
        children: dict[tuple[int, int], int] = {}
        targets = []
        for answer, first in zip(answers, first_slots, strict=True):
            node = n_prompt - 1
            for place, token in enumerate(answer.scored):
                targets.append(Target(node, token, first + place))
                if place == len(answer.scored) - 1:
                    break
                if (node, token) not in children:
                    children[node, token] = len(ids)
                    ids.append(token)
                    parents.append(node)
                    positions.append(positions[node] + 1)
                node = children[node, token]
        return Tree(tuple(ids), tuple(parents), tuple(positions), n_prompt, tuple(targets))

    @staticmethod
    def of_text(ids: Sequence[int]) -> "Tree":
        """The tree of a text that is only read: a path without targets."""
        return Tree.of_texts([ids])[0]

    @staticmethod
    def of_texts(texts: Sequence[Sequence[int]]) -> tuple["Tree", list[list[int]]]:
        """The tree of texts that are only read, and the nodes on the path of each.

        Tokens count as prompt as far as all texts have them in common.
        """
        ids: list[int] = []
        parents: list[int] = []
        positions: list[int] = []
        children: dict[tuple[int, int], int] = {}
        paths = []
        for text in texts:
            node, path = -1, []
            for place, token in enumerate(text):
                if (node, token) not in children:
                    children[node, token] = len(ids)
                    ids.append(token)
                    parents.append(node)
                    positions.append(place)
                node = children[node, token]
                path.append(node)
            paths.append(path)
        shared = min(len(path) for path in paths)
        while shared and len({path[shared - 1] for path in paths}) > 1:
            shared -= 1
        return Tree(tuple(ids), tuple(parents), tuple(positions), shared, ()), paths


@final
@dataclass(frozen=True)
class Grove:
    """The trees of some requests from a position on, laid out one after the other.

    ``starts[r]`` is the first node of tree ``r`` that is laid out; the nodes before it are
    the path that leads there, and their keys and values are known already.
    """

    trees: tuple[Tree, ...]
    starts: tuple[int, ...]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """How many nodes of each tree are laid out."""
        return tuple(
            len(tree.ids) - start
            for tree, start in zip(self.trees, self.starts, strict=True)
        )

    @cached_property
    def width(self) -> int:
        """How many nodes are laid out in all."""
        return sum(self.lengths)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each tree begins."""
        offsets, total = [], 0
        for length in self.lengths:
            offsets.append(total)
            total += length
        return tuple(offsets)

    def per_node(self, values: Sequence[Sequence[int]]) -> Int[Tensor, " node"]:
        """Numbers of all laid out nodes, from those of all nodes of each tree."""
        return torch.tensor(
            [
                number
                for line, start in zip(values, self.starts, strict=True)
                for number in line[start:]
            ],
            dtype=torch.long,
        )

    @cached_property
    def ids(self) -> Int[Tensor, " node"]:
        """Token ids."""
        return self.per_node([tree.ids for tree in self.trees])

    @cached_property
    def positions(self) -> Int[Tensor, " node"]:
        """Real positions."""
        return self.per_node([tree.positions for tree in self.trees])

    def edited(self, scope: str) -> Bool[Tensor, " node"]:
        """Which laid out nodes a scope edits."""
        return self.per_node([tree.edited(scope) for tree in self.trees]).bool()

    @cached_property
    def target_rows(self) -> Int[Tensor, " row"]:
        """The laid out nodes whose distributions are read."""
        return torch.tensor(
            [
                offset + node - start
                for tree, offset, start in self._placed()
                for node in tree.target_nodes
                if node >= start
            ],
            dtype=torch.long,
        )

    @cached_property
    def targets(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row (among ``target_rows``), token and slot of every target laid out."""
        rows: list[int] = []
        tokens: list[int] = []
        slots: list[int] = []
        first = 0
        for tree, _, start in self._placed():
            nodes = [node for node in tree.target_nodes if node >= start]
            row = {node: first + k for k, node in enumerate(nodes)}
            for target in tree.targets:
                if target.node in row:
                    rows.append(row[target.node])
                    tokens.append(target.token)
                    slots.append(target.slot)
            first += len(nodes)
        return torch.tensor(rows), torch.tensor(tokens), torch.tensor(slots)

    def part(self, first: int, last: int) -> "Grove":
        """Some of the requests."""
        return Grove(self.trees[first:last], self.starts[first:last])

    def _placed(self) -> list[tuple[Tree, int, int]]:
        return list(zip(self.trees, self.offsets, self.starts, strict=True))
