"""Which requests are answered together, and as which trees of tokens."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import final

from seatrial.model.engine.allocator import give_back_freed
from seatrial.model.engine.budget import MemoryBudget, Meter
from seatrial.model.engine.forward import Forward
from seatrial.model.engine.frontiers import common_start, slices
from seatrial.model.engine.tree import Tree
from seatrial.model.tokens import Encoded

WORTHWHILE = 8
"""How many tokens the prompts must share for a forward call of its own to pay."""


@final
class Cutter:
    """Cuts requests into chunks whose kept keys, values and states fit the budget."""

    def __init__(self, forward: Forward, budget: MemoryBudget, meter: Meter) -> None:
        self.forward = forward
        self.budget = budget
        self.meter = meter

    def chunks(
        self,
        encoded: Sequence[tuple[Encoded, ...]],
        frontiers: Collection[int],
        stem: int,
        *,
        kl: bool,
    ) -> Iterator[list[int]]:
        """Requests of similar length whose kept keys, values and states fit the budget.

        What one leaves free is given back before the next. A chunk ends only where a
        forward call of the unsteered pass does, whatever the steerings: so the unsteered
        answers keep their last bits beside any steering.

        Args:
            encoded: the answers of each request.
            frontiers: the blocks at which replays begin.
            stem: how many first tokens all prompts share.
            kl: whether final states are kept as well.
        """
        order = sorted(range(len(encoded)), key=lambda k: (encoded[k][0].n_prompt, k))
        lines = [
            [len(t.ids) - stem for t in self.trees(encoded[k], [0] * len(encoded[k]))]
            for k in order
        ]
        calls = slices(
            [n for line in lines for n in line], self.meter.tokens, packs=self.forward.packs
        )
        ends = set(accumulate(map(len, calls)))
        limit = self.budget.cache_bytes // self._bytes_per_node(frontiers, kl=kl)
        chunk: list[int] = []
        trees = size = 0
        for place, index in enumerate(order):
            chunk.append(index)
            trees += len(lines[place])
            size += sum(lines[place]) + stem
            if trees not in ends or place + 1 == len(order):
                continue
            shortest = encoded[chunk[0]][0].n_prompt
            coming = encoded[order[place + 1]][0].n_prompt
            # Prompts are kept padded to the longest of the chunk.
            if size + self.meter.tokens > limit or coming > 1.5 * shortest + 32:
                yield chunk
                give_back_freed()
                chunk, size = [], 0
        yield chunk

    def _bytes_per_node(self, frontiers: Collection[int], *, kl: bool) -> int:
        """What is kept of the unsteered model for one token."""
        first = min(frontiers, default=len(self.forward.anatomy.blocks))
        width = self.forward.anatomy.d_model * (1 + len(frontiers) + kl)
        width += sum(w for b, w in self.forward.kept_widths.items() if b >= first)
        return width * self.forward.network.dtype.itemsize

    def stem(self, encoded: Sequence[tuple[Encoded, ...]]) -> int:
        """How many first tokens of all prompts are the same (an instruction, a template).

        At least the last token of every prompt is left to itself; a start too short to be
        worth a call of its own does not count.
        """
        if not self.forward.packs or len(encoded) < 2:
            return 0
        shared = common_start([texts[0].ids[: texts[0].n_prompt - 1] for texts in encoded])
        return shared if shared >= WORTHWHILE else 0

    def trees(self, answers: Sequence[Encoded], firsts: Sequence[int]) -> list[Tree]:
        """One tree of all answers if they can be packed, else a path for each pass."""
        if self.forward.packs:
            return [Tree.of_answers(answers, firsts)]
        passes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, text in enumerate(answers):
            passes[text.ids[:-1]].append(number)
        return [
            Tree.of_answers([answers[k] for k in same], [firsts[k] for k in same])
            for same in passes.values()
        ]
