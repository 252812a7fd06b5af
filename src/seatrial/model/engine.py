"""Answers requests under many steerings, doing once what the steerings have in common.

A steering changes nothing before its first edited block and nothing before its first edited
position. So the unsteered model reads every request once, as a tree of tokens in which
answers share their common start; each steering then replays only the blocks after its first
edit, and only the tokens from its first edited one on. Steerings stand side by side in one
forward call, each token seeing the shared prompt's keys and values and its own branch;
steerings that begin at later blocks join the call there. The vocabulary is multiplied only
where a score is read.

Where a family's attention cannot be handed over (its own code, ALiBi, convolutions), every
answer has a padded row of its own and all its tokens are replayed, which is slower and as
exact; ``Engine.describe`` says which of the two a model gets, and a run records it. Tests
hold every shortcut to the slow obvious way (``seatrial.testing.naive_log_probs``).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from seatrial.errors import BadData, SteeringFault
from seatrial.intervention import PromptEdit, Steering, scope_span
from seatrial.model.blocks import Anatomy
from seatrial.model.budget import Budget, Meter
from seatrial.model.forward import Forward
from seatrial.model.linear import quick_linears
from seatrial.model.read_out import Reader
from seatrial.model.replay import (
    Early,
    Member,
    Unsteered,
    common_start,
    first_node,
    frontier_of,
    slices,
)
from seatrial.model.tokens import Encoded, Encoder
from seatrial.model.tree import Grove, Tree
from seatrial.model.unembed import find_unembedding
from seatrial.readouts import Readout
from seatrial.types import Answer, Request

WORTHWHILE = 8
"""How many tokens the prompts must share for a forward call of its own to pay."""

Variant = tuple[PromptEdit, float] | None
"""A change of the prompt, or none."""


@final
class Engine:
    """One loaded model and what is known about its structure."""

    def __init__(
        self,
        network: PreTrainedModel,
        anatomy: Anatomy,
        encoder: Encoder,
        budget: Budget,
        name: str,
    ) -> None:
        self.network = network
        self.anatomy = anatomy
        self.encoder = encoder
        self.budget = budget
        with quick_linears(network):
            self.forward = Forward(network, anatomy)
            probe = torch.arange(4)[None]
            with torch.inference_mode():
                logits = network(input_ids=probe.to(self.device), use_cache=False).logits
                states = self.forward.plain_states(probe)
            self.unembedding = find_unembedding(network, states, logits, name)
        self.reader = Reader(self.unembedding, anatomy.final_norm)
        self._memory: list[Unsteered] | None = None
        self.meter = Meter(budget.tokens_on(self.device))

    @property
    def device(self) -> torch.device:
        """Where token ids belong."""
        return self.forward.device

    def describe(self) -> str:
        """One line on which reuse this model's structure allows, for a run's header."""
        if self.forward.packs:
            return (
                "replays the blocks and the tokens after the first edit; packed, prompts "
                "and starts of answers shared"
            )
        why = (
            "its attention cannot be handed over"
            if self.anatomy.shares_prefix
            else "its state is not kept per position"
        )
        return f"replays the blocks after the first edit over all tokens; padded, for {why}"

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Let calls inside take over the unsteered passes of earlier ones, where they can.

        The model must not be changed meanwhile. ``Budget.cache_bytes`` bounds what is kept.
        """
        self._memory = []
        try:
            yield
        finally:
            self._memory = None

    @torch.inference_mode()
    def answer(
        self,
        requests: Sequence[Request],
        under: Sequence[Steering],
        *,
        kl: bool,
        progress: Callable[[float], None] | None = None,
    ) -> list[list[Answer]]:
        """Score every answer of every request under every steering.

        A steering with dose 0, or without any edit, gets the unsteered answer itself, bit
        for bit.
        """
        plain = [
            self.encoder.encode(request.prompt, request.answers) for request in requests
        ]
        self.check_context(max(len(text.ids) for answers in plain for text in answers))
        self._check_reach(requests, plain, under)
        table = _Table(plain, len(under), kl=kl)
        groups: dict[Variant, list[int]] = defaultdict(list)
        for s, (intervention, dose) in enumerate(under):
            if dose != 0 and not intervention.is_empty:
                groups[(intervention.prompt, dose) if intervention.prompt else None].append(
                    s
                )
        active = {s for members in groups.values() for s in members}
        rest = [s for s in range(len(under)) if s not in active]
        report = _Progress(progress, len(requests))
        with quick_linears(self.network):
            # Over all requests, so that it does not depend on what they are asked under.
            stem = self._stem(plain)
            for chunk in self._chunks(plain, groups, under, stem, kl=kl):
                report.begin(len(chunk))
                self._answer_chunk(
                    chunk, requests, plain, under, groups, rest, table, report, stem
                )
                report.end()
        return table.answers()

    def check_context(self, tokens: int) -> None:
        """Refuse a sequence that is longer than the model can read.

        Raises:
            BadData: if it is.
        """
        config = self.network.config.get_text_config(decoder=True)
        limit = getattr(config, "max_position_embeddings", None)
        if limit is not None and tokens > limit:
            raise BadData(
                f"a text needs {tokens} tokens, but this model reads {limit} at most; give "
                "shorter prompts, shorter answers or fewer tokens to generate"
            )

    def _check_reach(
        self,
        requests: Sequence[Request],
        encoded: Sequence[tuple[Encoded, ...]],
        under: Sequence[Steering],
    ) -> None:
        """Refuse edits that cannot reach a scored token (trap T3)."""
        end = len(self.anatomy.blocks) - 1
        # After the last attention nothing carries an edit on to later positions.
        asked = dict.fromkeys(
            (i.tokens, all(site.layer == end for site in i.edits))
            for i, dose in under
            if dose != 0 and i.edits
        )
        for scope, is_local in asked:
            for request, answers in zip(requests, encoded, strict=True):
                for answer, text in zip(request.answers, answers, strict=True):
                    start, stop = scope_span(scope, text.n_prompt, len(text.ids))
                    if is_local:
                        start = max(start, text.n_prompt - 1)
                    if not start < min(stop, len(text.ids) - 1):
                        raise SteeringFault(
                            f"scope {scope!r} edits nothing that a score of answer "
                            f"{answer!r} of request {request.id!r} depends on, so it "
                            "cannot differ from the unsteered one; use scope "
                            "'from_last_prompt', longer answers or, if only the last "
                            "layer is edited, an earlier layer"
                        )

    def _chunks(
        self,
        encoded: Sequence[tuple[Encoded, ...]],
        groups: dict[Variant, list[int]],
        under: Sequence[Steering],
        stem: int,
        *,
        kl: bool,
    ) -> Iterator[list[int]]:
        """Requests of similar length whose kept keys, values and states fit the budget.

        A chunk ends only where a forward call of the unsteered pass does, whatever the
        steerings: so the unsteered answers keep their last bits beside any steering.
        """
        order = sorted(range(len(encoded)), key=lambda k: (encoded[k][0].n_prompt, k))
        lines = [
            [len(t.ids) - stem for t in self._trees(encoded[k], [0] * len(encoded[k]))]
            for k in order
        ]
        calls = slices(
            [n for line in lines for n in line], self.meter.tokens, packs=self.forward.packs
        )
        ends = set(accumulate(map(len, calls)))
        limit = self.budget.cache_bytes // self._bytes_per_node(groups, under, kl=kl)
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
                chunk, size = [], 0
        yield chunk

    def _bytes_per_node(
        self, groups: dict[Variant, list[int]], under: Sequence[Steering], *, kl: bool
    ) -> int:
        """What is kept of the unsteered model for one token."""
        blocks = len(self.anatomy.blocks)
        config = self.network.config.get_text_config(decoder=True)
        n_heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
        d_head = getattr(config, "head_dim", None) or self.anatomy.d_model // n_heads
        frontiers = {
            frontier_of(under[s], blocks) for members in groups.values() for s in members
        }
        width = self.anatomy.d_model * (1 + len(frontiers) + kl)
        width += 2 * kv_heads * d_head * (blocks - min(frontiers, default=blocks))
        return width * self.network.dtype.itemsize

    def _answer_chunk(
        self,
        chunk: list[int],
        requests: Sequence[Request],
        plain: Sequence[tuple[Encoded, ...]],
        under: Sequence[Steering],
        groups: dict[Variant, list[int]],
        rest: Sequence[int],
        table: "_Table",
        report: "_Progress",
        stem: int,
    ) -> None:
        blocks = len(self.anatomy.blocks)
        deliver = partial(self._deliver, under, table)
        base: _Base | None = None
        variants: list[Variant] = [v for v in groups if v is not None]
        if rest or None in groups or table.kl is not None:
            variants.insert(0, None)
        report.expect(len(variants) + sum(map(len, groups.values())))
        for variant in variants:
            texts = plain
            if variant is not None:
                texts = self._edited(variant, chunk, requests, plain, kl=bool(base))
            trees = [
                tree
                for index in chunk
                for tree in self._trees(texts[index], table.firsts[index])
            ]
            asked = groups.get(variant, [])
            members = [
                Member(s, under[s], frontier_of(under[s], blocks))
                for s in asked
                if under[s].intervention.edits
            ]
            layers = {
                layer
                for s in asked
                if (readout := under[s].intervention.readout)
                for layer in readout.layers
            }
            if variant is not None:
                stem = self._stem([texts[index] for index in chunk])
            pass_ = Unsteered(self.forward, trees, members, tuple(layers), stem)
            if self._memory is not None and variant is None:
                if not any(pass_.adopt(other) for other in self._memory):
                    self._memory.append(pass_)
                while sum(old.size for old in self._memory[:-1]) > self.budget.cache_bytes:
                    del self._memory[0]
            same = [s for s in asked if not under[s].intervention.edits]
            same += rest if variant is None else []
            # Scopes that begin after the prompt leave its last distribution alone.
            same += [m.number for m in members if self._is_partial(m, trees)]
            if variant is None and table.kl is not None:
                base = _Base(table.slots)

            def first(
                grove: Grove,
                _: Sequence[int],
                h: Tensor,
                early: Early,
                same: list[int] = same,
                variant: Variant = variant,
                base: _Base | None = base,
                trees: list[Tree] = trees,
            ) -> None:
                if base is not None and variant is None:
                    base.fill(grove, h[0])
                if same:
                    deliver(grove, same, h, early, base, is_unsteered=variant is None)
                report.advance(len(grove.trees) / len(trees))

            def later(
                grove: Grove,
                numbers: Sequence[int],
                h: Tensor,
                early: Early,
                base: _Base | None = base,
                trees: list[Tree] = trees,
            ) -> None:
                deliver(grove, numbers, h, early, base)
                report.advance(len(numbers) * len(grove.trees) / len(trees))

            pass_.run(self.meter, first)
            pass_.replay(self.meter, later)

    def _is_partial(self, member: Member, trees: Sequence[Tree]) -> bool:
        scope = member.steering.intervention.tokens
        return any(
            first_node(scope, tree, packs=self.forward.packs) >= tree.n_prompt
            for tree in trees
        )

    def _edited(
        self,
        variant: tuple[PromptEdit, float],
        chunk: Sequence[int],
        requests: Sequence[Request],
        plain: Sequence[tuple[Encoded, ...]],
        *,
        kl: bool,
    ) -> dict[int, tuple[Encoded, ...]]:
        """The requests of a chunk after a change of the prompt."""
        edit, dose = variant
        texts = {
            index: self.encoder.encode(
                edit(requests[index].prompt, dose), requests[index].answers
            )
            for index in chunk
        }
        self.check_context(max(len(t.ids) for line in texts.values() for t in line))
        for index, answers in texts.items() if kl else ():
            for number, (before, after) in enumerate(
                zip(plain[index], answers, strict=True)
            ):
                if before.scored != after.scored:
                    raise BadData(
                        f"answer {requests[index].answers[number]!r} of request "
                        f"{requests[index].id!r} has other tokens after the edited prompt "
                        "than after the plain one, so no KL between them exists; end the "
                        "prompt at a word boundary"
                    )
        return texts

    def _stem(self, encoded: Sequence[tuple[Encoded, ...]]) -> int:
        """How many first tokens of all prompts are the same (an instruction, a template).

        At least the last token of every prompt is left to itself; a start too short to be
        worth a call of its own does not count.
        """
        if not self.forward.packs or len(encoded) < 2:
            return 0
        shared = common_start([texts[0].ids[: texts[0].n_prompt - 1] for texts in encoded])
        return shared if shared >= WORTHWHILE else 0

    def _trees(self, answers: Sequence[Encoded], firsts: Sequence[int]) -> list[Tree]:
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

    def _deliver(
        self,
        under: Sequence[Steering],
        table: "_Table",
        grove: Grove,
        numbers: Sequence[int],
        h: Float[Tensor, "steering row d_model"],
        early: Early,
        base: "_Base | None",
        *,
        is_unsteered: bool = False,
    ) -> None:
        """Read scores off final states and put them where they belong."""
        rows, tokens, slots = grove.targets
        reference = None if base is None else base.states(grove)
        readouts = [
            under[s].intervention.readout if under[s].dose else None for s in numbers
        ]
        plain = [k for k, readout in enumerate(readouts) if readout is None]
        states = h.expand(len(numbers), -1, -1)

        def put(places: Sequence[int], scores: Tensor, kl: Tensor | None) -> None:
            if not bool(scores.isfinite().all()):
                raise overflow(h.dtype)
            where = np.ix_(np.asarray([numbers[k] for k in places]), slots.numpy())
            table.log_probs[where] = scores.expand(len(places), -1).numpy()
            if table.kl is not None:
                drift = torch.zeros(1, len(rows)) if kl is None else kl[:, rows]
                table.kl[where] = drift.expand(len(places), -1).numpy()

        if plain:
            # Without steering all rows are one, and scored once.
            one = h if len(h) == 1 else states[plain]
            # The unsteered model's distance from itself is 0, not its rounding.
            other = None if is_unsteered else reference
            put(plain, *self.unembedding.score(one, rows, tokens, other))
        for places, group in self._by_states(h, readouts):
            asked = [(readout, float(under[numbers[k]].dose)) for k, readout in group]
            part = {layer: states_[places] for layer, states_ in early.items()}
            found = self.reader.score(h[places], part, asked, rows, tokens, reference)
            put([k for k, _ in group], *found)

    def _by_states(
        self, h: Tensor, readouts: Sequence[Readout | None]
    ) -> list[tuple[int, list[tuple[int, Readout]]]]:
        """Readouts by the states that they look at: all share those of one pass."""
        mine = [(k, readout) for k, readout in enumerate(readouts) if readout is not None]
        if len(h) == 1:
            return [(0, mine)] if mine else []
        return [(k, [(k, readout)]) for k, readout in mine]


@final
class _Table:
    """Scores of all steerings and scored tokens as they come in."""

    def __init__(
        self, encoded: Sequence[tuple[Encoded, ...]], steerings: int, *, kl: bool
    ) -> None:
        self.lengths = [[len(text.scored) for text in answers] for answers in encoded]
        self.firsts: list[list[int]] = []
        total = 0
        for line in self.lengths:
            self.firsts.append([])
            for n in line:
                self.firsts[-1].append(total)
                total += n
        self.slots = total
        self.log_probs = np.full((steerings, total), math.nan)
        self.kl = np.full((steerings, total), math.nan) if kl else None

    def answers(self) -> list[list[Answer]]:
        """All answers, complete."""
        assert not np.isnan(self.log_probs).any()
        return [
            [
                Answer(
                    self._cut(self.log_probs[s], request),
                    None if self.kl is None else self._cut(self.kl[s], request),
                )
                for request in range(len(self.lengths))
            ]
            for s in range(len(self.log_probs))
        ]

    def _cut(self, line: np.ndarray, request: int) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(line[first : first + n].tolist())
            for first, n in zip(self.firsts[request], self.lengths[request], strict=True)
        )


@final
class _Progress:
    """Which share of the work is done, in units of one steering of one request."""

    def __init__(self, tell: Callable[[float], None] | None, requests: int) -> None:
        self._tell = tell
        self._requests = requests
        self._before = self._share = self._inside = 0.0
        self._expected = 1

    def begin(self, requests: int) -> None:
        """A chunk begins."""
        self._share, self._inside = requests / self._requests, 0.0

    def expect(self, passes: int) -> None:
        """How many passes over the chunk there will be."""
        self._expected = passes

    def advance(self, passes: float) -> None:
        """Some passes, or a part of one, are done."""
        self._inside += passes / self._expected
        self._say(self._before + self._share * min(1.0, self._inside))

    def end(self) -> None:
        """A chunk is done."""
        self._before += self._share
        self._say(self._before)

    def _say(self, share: float) -> None:
        if self._tell is not None:
            self._tell(min(1.0, share))


@final
class _Base:
    """Unsteered final states by scored token, to which steered ones are compared."""

    def __init__(self, slots: int) -> None:
        self._row = torch.full((slots,), -1)
        self._states: list[Tensor] = []
        self._count = 0

    def fill(self, grove: Grove, h: Float[Tensor, "row d_model"]) -> None:
        """Keep the unsteered states of a grove's target rows."""
        rows, _, slots = grove.targets
        self._row[slots] = rows + self._count
        self._states.append(h)
        self._count += len(h)

    def states(self, grove: Grove) -> Float[Tensor, "row d_model"]:
        """The unsteered states that belong to a grove's target rows."""
        if len(self._states) > 1:
            self._states = [torch.cat(self._states)]
        rows, _, slots = grove.targets
        wanted = torch.zeros(len(grove.target_rows), dtype=torch.long)
        wanted[rows] = self._row[slots]
        return self._states[0][wanted.to(self._states[0].device)]


def overflow(dtype: torch.dtype) -> SteeringFault:
    """The one sentence for activations that an edit drove out of range."""
    return SteeringFault(
        f"a score is not finite: the edited activations overflowed {dtype}; use a smaller "
        "dose or load the model in float32"
    )
