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

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from seatrial.errors import BadData
from seatrial.model.engine.budget import MemoryBudget, Meter
from seatrial.model.engine.chunks import Cutter
from seatrial.model.engine.context import check_reach, context_limit
from seatrial.model.engine.delivery import Delivery
from seatrial.model.engine.depths import Reader
from seatrial.model.engine.forward import Forward
from seatrial.model.engine.frontiers import Member, first_node, frontier_of
from seatrial.model.engine.onednn import quick_linears
from seatrial.model.engine.replay import Early, Unsteered
from seatrial.model.engine.scores import Base, Progress, Table
from seatrial.model.engine.tree import Grove, Tree
from seatrial.model.engine.unembed import find_unembedding
from seatrial.model.structure.anatomy import Anatomy
from seatrial.model.tokens import Encoded, Encoder
from seatrial.steering.intervention import PromptEdit, Steering
from seatrial.types import Answer, Request

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
        budget: MemoryBudget,
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
        input_norms = [block.input_norm for block in anatomy.blocks]
        self.reader = Reader(self.unembedding, anatomy.final_norm, input_norms)
        self._sessions = _Sessions()
        self.meter = Meter(budget.tokens_on(self.device))
        self.cutter = Cutter(self.forward, budget, self.meter)

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
        if not self.forward.replays:
            return "replays all blocks over all tokens; padded, for blocks share keys"
        if self.anatomy.counts_columns:
            why = "its attention counts the tokens of a call"
        elif self.anatomy.shares_prefix:
            why = "its attention cannot be handed over"
        else:
            why = "its state is not kept per position"
        return f"replays the blocks after the first edit over all tokens; padded, for {why}"

    @contextmanager
    def remembering(self, passes: bool = True) -> Iterator[None]:
        """Let calls inside take over the unsteered passes of earlier ones, where they can.

        The model must not be changed meanwhile. ``MemoryBudget.cache_bytes`` bounds what is
        kept. Calls of other threads take no part.

        Args:
            passes: ``False`` has every pass made anew, inside another such context too.
        """
        earlier = self._sessions.passes
        self._sessions.passes = [] if passes else None
        try:
            yield
        finally:
            self._sessions.passes = earlier

    @torch.inference_mode()
    def answer(
        self,
        requests: Sequence[Request],
        under: Sequence[Steering],
        *,
        kl: bool,
        top: bool = False,
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
        check_reach(requests, plain, under, len(self.anatomy.blocks))
        table = Table(plain, len(under), kl=kl, top=top)
        groups: dict[Variant, list[int]] = defaultdict(list)
        for s, (intervention, dose) in enumerate(under):
            if dose != 0 and not intervention.is_empty:
                groups[
                    (intervention.prompt_edit, dose) if intervention.prompt_edit else None
                ].append(s)
        active = {s for members in groups.values() for s in members}
        rest = [s for s in range(len(under)) if s not in active]
        report = Progress(progress, len(requests))
        deliver = Delivery(under, table, self.reader)
        call = _Call(requests, plain, under, groups, rest, table, report, deliver)
        with quick_linears(self.network):
            # Over all requests, so that it does not depend on what they are asked under.
            stem = self.cutter.stem(plain)
            frontiers = {self._frontier(under[s]) for s in active}
            for chunk in self.cutter.chunks(plain, frontiers, stem, kl=kl):
                report.begin(len(chunk))
                self._answer_chunk(call, chunk, stem)
                report.end()
        return table.answers()

    def check_context(self, tokens: int) -> None:
        """Refuse a sequence that is longer than the model can read.

        Raises:
            BadData: if it is.
        """
        limit, why = context_limit(self.network.config.get_text_config(decoder=True))
        if limit is not None and tokens > limit:
            raise BadData(
                f"a text needs {tokens} tokens, but {why}; give shorter prompts, shorter "
                "answers or fewer tokens to generate"
            )

    def _answer_chunk(self, call: "_Call", chunk: list[int], stem: int) -> None:
        base: Base | None = None
        variants: list[Variant] = [v for v in call.groups if v is not None]
        if call.rest or None in call.groups or call.table.kl is not None:
            variants.insert(0, None)
        call.report.expect(len(variants) + sum(map(len, call.groups.values())))
        for variant in variants:
            texts = call.plain
            if variant is None:
                base = Base(call.table.slots) if call.table.kl is not None else None
            else:
                texts = self._edited(variant, chunk, call, kl=base is not None)
                stem = self.cutter.stem([texts[index] for index in chunk])
            trees = [
                tree
                for index in chunk
                for tree in self.cutter.trees(texts[index], call.table.firsts[index])
            ]
            self._answer_variant(call, variant, trees, stem, base)

    def _answer_variant(
        self,
        call: "_Call",
        variant: Variant,
        trees: list[Tree],
        stem: int,
        base: Base | None,
    ) -> None:
        """Pass over some trees, and replay from there under all steerings of one prompt."""
        chosen, under = call.groups.get(variant, []), call.under
        members = [
            Member(s, under[s], self._frontier(under[s]))
            for s in chosen
            if under[s].intervention.parts
        ]
        layers = {
            layer
            for s in chosen
            if (readout := under[s].intervention.readout)
            for layer in readout.layers
        }
        pass_ = Unsteered(self.forward, trees, members, tuple(layers), stem)
        if variant is None:
            self._remember(pass_)
        same = [s for s in chosen if not under[s].intervention.parts]
        step = 1 + len(same)
        same += call.rest if variant is None else []
        # Scopes that begin after the prompt leave its last distribution alone.
        same += [m.number for m in members if self._is_partial(m, trees)]

        def first(grove: Grove, _: Sequence[int], h: Tensor, early: Early) -> None:
            if base is not None and variant is None:
                base.fill(grove, h[0])
            if same:
                is_plain = variant is None
                call.deliver(grove, same, h, early, base, is_unsteered=is_plain)
            call.report.advance(step * len(grove.trees) / len(trees))

        def later(grove: Grove, numbers: Sequence[int], h: Tensor, early: Early) -> None:
            call.deliver(grove, numbers, h, early, base)
            call.report.advance(len(numbers) * len(grove.trees) / len(trees))

        pass_.run(self.meter, first)
        pass_.replay(self.meter, later)

    def _remember(self, pass_: Unsteered) -> None:
        """Take over an earlier pass over the same trees, or keep this one for later."""
        passes = self._sessions.passes
        if passes is None:
            return
        same = next((other for other in passes if pass_.adopt(other)), None)
        if same is None:
            passes.append(pass_)
        else:  # what was used last stays longest
            passes.remove(same)
            passes.append(same)
        while sum(old.size for old in passes[:-1]) > self.budget.cache_bytes:
            del passes[0]

    def _frontier(self, steering: Steering) -> int:
        """The first block that runs again."""
        first = frontier_of(steering, len(self.anatomy.blocks))
        return first if self.forward.replays else 0

    def _is_partial(self, member: Member, trees: Sequence[Tree]) -> bool:
        packs = self.forward.packs
        return any(first_node(member, tree, packs=packs) >= tree.n_prompt for tree in trees)

    def _edited(
        self,
        variant: tuple[PromptEdit, float],
        chunk: Sequence[int],
        call: "_Call",
        *,
        kl: bool,
    ) -> dict[int, tuple[Encoded, ...]]:
        """The requests of a chunk after a change of the prompt."""
        edit, dose = variant
        requests, plain = call.requests, call.plain
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


class _Sessions(threading.local):
    """What each thread remembers."""

    passes: list[Unsteered] | None = None
    """Earlier passes, the latest last; ``None`` where none are taken over."""


@final
@dataclass(frozen=True)
class _Call:
    """What one call of ``Engine.answer`` is about."""

    requests: Sequence[Request]
    plain: Sequence[tuple[Encoded, ...]]
    """The answers of each request, with its prompt as it was given."""
    under: Sequence[Steering]
    groups: dict[Variant, list[int]]
    """The steerings that change something, by what they do to the prompt."""
    rest: list[int]
    """Those that change nothing."""
    table: Table
    report: Progress
    deliver: Delivery
