"""Answers requests under many steerings, doing once what the steerings have in common.

A steering changes nothing before its first edited block and nothing before its first edited
position. So the unsteered model runs once over every prompt and answer; each steering then
replays only the blocks after its first edit, and only the tokens from the last prompt token
on where its scope begins there, reading the keys and values of earlier tokens from the
unsteered cache. Families whose blocks keep anything but keys and values per position
(LFM2's convolutions) replay all tokens.

Tests hold every shortcut to the slow obvious way (``seatrial.testing.naive_log_probs``).
"""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from seatrial.errors import BadData, SteeringFault
from seatrial.intervention import Intervention, PromptEdit, Steering, scope_span
from seatrial.model.blocks import Anatomy, embedding_of
from seatrial.model.hooks import Segment, reading, starting_at, steering
from seatrial.model.layout import (
    Bucket,
    Layout,
    Row,
    edited_columns,
    gather,
    in_buckets,
)
from seatrial.model.scores import Results, answer_of, check_alike, merge, read_scores
from seatrial.model.tokens import Encoded, Encoder
from seatrial.types import Answer, Request, Site


@final
@dataclass(frozen=True)
class Budget:
    """Upper limits of what is held at once; they bound memory and never change results."""

    tokens: int = 4096
    """Tokens in one forward call, and in one chunk of prompts."""
    logits: int = 2**25
    """Numbers in one block of logits (position x vocabulary)."""
    cache_bytes: int = 2**29
    """Bytes of keys and values gathered for one replay."""


@final
class Engine:
    """One loaded model and what is known about its structure."""

    def __init__(
        self, network: PreTrainedModel, anatomy: Anatomy, encoder: Encoder, budget: Budget
    ) -> None:
        self.network = network
        self.anatomy = anatomy
        self.encoder = encoder
        self.budget = budget
        self.device = embedding_of(network).device
        self.vocabulary = int(anatomy.unembedding.weight.shape[0])  # pyright: ignore
        accepted = inspect.signature(type(network).forward).parameters
        self._accepts_positions = "position_ids" in accepted
        self._accepts_keep = "logits_to_keep" in accepted

    def describe(self) -> str:
        """One line on which reuse this model's structure allows, for a run's header."""
        if self.anatomy.shares_prefix:
            tokens = "the tokens from the last prompt token on"
        else:
            tokens = "all tokens (state is not kept per position)"
        return f"replays the blocks after the first edit, {tokens}"

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
        results = [Results() for _ in under]
        done = 0.0

        def advance(steerings: float) -> None:
            nonlocal done
            done += steerings * len(chunk) / (len(requests) * len(under))
            if progress is not None:
                progress(min(done, 1.0))

        for chunk in self._chunks(plain):
            self._answer_chunk(chunk, requests, plain, under, results, kl, advance)
        return [
            [
                answer_of(result, index, len(request.answers), kl)
                for index, request in enumerate(requests)
            ]
            for result in results
        ]

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
                            f"{answer!r} of "
                            f"request {request.id!r} depends on, so it cannot differ from "
                            "the "
                            "unsteered one; use scope 'from_last_prompt', longer answers "
                            "or, if only the last layer is edited, an earlier layer"
                        )

    def _chunks(self, encoded: Sequence[tuple[Encoded, ...]]) -> Iterator[list[int]]:
        """Requests of similar length, few enough for the budget."""
        limit = self.budget.tokens
        if self.anatomy.shares_prefix:
            config = self.network.config.get_text_config(decoder=True)
            n_heads = config.num_attention_heads
            kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
            d_head = getattr(config, "head_dim", None) or self.anatomy.d_model // n_heads
            per_token = 2 * len(self.anatomy.blocks) * kv_heads * d_head
            per_token *= self.network.dtype.itemsize
            limit = min(limit, max(1, 2 * self.budget.cache_bytes // per_token))
        order = sorted(range(len(encoded)), key=lambda k: (encoded[k][0].n_prompt, k))
        chunk: list[int] = []
        for index in order:
            longest = max(len(text.ids) for text in encoded[index])
            if chunk and longest * (len(chunk) + 1) > limit:
                yield chunk
                chunk = []
            chunk.append(index)
        if chunk:
            yield chunk

    def _answer_chunk(
        self,
        chunk: list[int],
        requests: Sequence[Request],
        plain: Sequence[tuple[Encoded, ...]],
        under: Sequence[Steering],
        results: list[Results],
        kl: bool,
        advance: Callable[[float], None],
    ) -> None:
        groups = self._groups(under)
        canonical = (None, self.anatomy.shares_prefix)
        ordered = [key for key in groups if key != canonical]
        if kl or canonical in groups or not all(map(_is_active, under)):
            ordered.insert(0, canonical)
        unsteered = Results()
        base: dict[tuple[int, int], Tensor] = {}
        for key in ordered:
            variant, shared = key
            members = groups.get(key, [])
            texts = {index: plain[index] for index in chunk}
            if variant is not None:
                edit, dose = variant
                texts = {
                    index: self.encoder.encode(
                        edit(requests[index].prompt, dose), requests[index].answers
                    )
                    for index in chunk
                }
                self.check_context(max(len(t.ids) for line in texts.values() for t in line))
                if kl:
                    check_alike(requests, plain, texts)
            frontiers = {self._frontier(under[s].intervention) for s in members}
            layout, own = self._unsteered(texts, shared, frontiers, base if kl else None)
            if key == canonical:
                unsteered = own
            for frontier in sorted(frontiers):
                same = [
                    s for s in members if self._frontier(under[s].intervention) == frontier
                ]
                edited = [s for s in same if under[s].intervention.edits]
                for s in same:
                    if not under[s].intervention.edits:
                        merge(results[s], own)
                self._replay(
                    layout, frontier, edited, under, results, base if kl else None, advance
                )
                advance(float(len(same) - len(edited)))
        for s, asked in enumerate(under):
            if not _is_active(asked):
                merge(results[s], unsteered)

    def _groups(
        self, under: Sequence[Steering]
    ) -> dict[tuple[tuple[PromptEdit, float] | None, bool], list[int]]:
        """Steerings by the prompts they answer to and by whether a prefix is unedited."""
        groups: dict[tuple[tuple[PromptEdit, float] | None, bool], list[int]] = defaultdict(
            list
        )
        for s, (intervention, dose) in enumerate(under):
            if not _is_active(under[s]):
                continue
            variant = (intervention.prompt, dose) if intervention.prompt else None
            late = intervention.tokens in ("last", "from_last_prompt", "generated")
            groups[
                variant, self.anatomy.shares_prefix and (late or not intervention.edits)
            ].append(s)
        return groups

    def _frontier(self, intervention: Intervention) -> int:
        """The first block that must run again; the number of blocks if none must."""
        return min(
            (site.layer + (site.point == "resid") for site in intervention.edits),
            default=len(self.anatomy.blocks),
        )

    def _unsteered(
        self,
        texts: dict[int, tuple[Encoded, ...]],
        shared: bool,
        frontiers: set[int],
        base: dict[tuple[int, int], Tensor] | None,
    ) -> tuple[Layout, Results]:
        """Run the model as it is, and keep what replays will need.

        ``base`` collects the unsteered log-distributions; where it already holds them
        (from the canonical pass), it is what this pass is compared with.
        """
        layout = Layout(in_buckets(texts, shared=shared), *self._prefix(texts, shared))
        wanted = sorted(f for f in frontiers if f > 0)
        sites = [Site(f - 1) for f in wanted]
        own = Results()
        for bucket in layout.buckets:
            parts: dict[int, list[Tensor]] = {f: [] for f in wanted}
            for start, stop in self._slices(layout, bucket, len(bucket.rows), frontier=0):
                rows = bucket.rows[start:stop]

                def keep(site: Site, h: Tensor, parts: dict = parts) -> None:
                    parts[site.layer + 1].append(h)

                with reading(self.anatomy, sites, keep):
                    logits = self._forward(layout, bucket, rows, 0, None, [])
                read_scores(bucket, rows, logits, [own] * len(rows), base, fill=True)
            bucket.hidden.update({f: torch.cat(parts[f]) for f in wanted})
        return layout, own

    def _prefix(
        self, texts: dict[int, tuple[Encoded, ...]], shared: bool
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Keys and values of all prompt tokens but the last, left-padded."""
        prompts = [
            answers[0].ids[: answers[0].n_prompt - 1] if shared else ()
            for answers in texts.values()
        ]
        width = max(map(len, prompts))
        mask = torch.zeros(len(prompts), width, dtype=torch.long, device=self.device)
        if width == 0:
            return [], mask
        ids = torch.zeros_like(mask)
        for row, prompt in enumerate(prompts):
            if prompt:
                ids[row, width - len(prompt) :] = torch.tensor(prompt)
                mask[row, width - len(prompt) :] = 1
        cache = DynamicCache()
        self.call(
            ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache, torch.tensor([width - 1])
        )
        return [(layer.keys, layer.values) for layer in cache.layers], mask  # pyright: ignore

    def _slices(
        self, layout: Layout, bucket: Bucket, total: int, *, frontier: int
    ) -> Iterator[tuple[int, int]]:
        """Ranges of rows that fit the budget."""
        limits = [
            self.budget.tokens // bucket.width,
            self.budget.logits // (self.vocabulary * (bucket.width - bucket.first_column)),
        ]
        if layout.prefix:
            keys, values = layout.prefix[0]
            blocks = len(self.anatomy.blocks) - frontier
            per_row = (keys[0].numel() + values[0].numel()) * keys.itemsize * blocks
            limits.append(self.budget.cache_bytes // max(1, per_row))
        step = max(1, min(limits))
        # Equal slices rather than full ones and a crumb: the shapes decide the speed.
        step = math.ceil(total / math.ceil(total / step)) if total else 1
        for start in range(0, total, step):
            yield start, min(start + step, total)

    def _replay(
        self,
        layout: Layout,
        frontier: int,
        members: Sequence[int],
        under: Sequence[Steering],
        results: list[Results],
        base: dict[tuple[int, int], Tensor] | None,
        advance: Callable[[float], None],
    ) -> None:
        """Answer under steerings that share a frontier, stacked over steerings and rows."""
        whole = sum(len(bucket.rows) for bucket in layout.buckets)
        for bucket in layout.buckets:
            n = len(bucket.rows)
            for start, stop in self._slices(
                layout, bucket, len(members) * n, frontier=frontier
            ):
                picked: list[int] = []
                segments: list[Segment] = []
                owners: list[Results] = []
                for s in range(start // n, (stop - 1) // n + 1):
                    mine = range(max(start, s * n) - s * n, min(stop, (s + 1) * n) - s * n)
                    intervention, dose = under[members[s]]
                    rows = [bucket.rows[k] for k in mine]
                    mask = edited_columns(rows, bucket.width, intervention.tokens)
                    first = len(picked)
                    segments.append(
                        Segment(first, first + len(mine), intervention.edits, dose, mask)
                    )
                    picked += mine
                    owners += [results[members[s]]] * len(mine)
                rows = [bucket.rows[k] for k in picked]
                hidden = bucket.hidden[frontier][picked] if frontier else None
                logits = self._forward(layout, bucket, rows, frontier, hidden, segments)
                read_scores(bucket, rows, logits, owners, base, fill=False)
                advance((stop - start) / whole)

    def _forward(
        self,
        layout: Layout,
        bucket: Bucket,
        rows: Sequence[Row],
        frontier: int,
        hidden: Tensor | None,
        segments: Sequence[Segment],
    ) -> Float[Tensor, "row column vocabulary"]:
        """Run some rows of a bucket from a block on; logits from the first column asked."""
        ids = torch.zeros(len(rows), bucket.width, dtype=torch.long)
        own_mask = torch.zeros_like(ids)
        for k, row in enumerate(rows):
            ids[k, : len(row.ids)] = torch.tensor(row.ids)
            own_mask[k, : len(row.ids)] = 1
        skipped = torch.tensor([row.skipped for row in rows])
        positions = (skipped[:, None] + own_mask.cumsum(1) - 1).to(self.device)
        requests = torch.tensor([row.request for row in rows], device=self.device)
        mask = torch.cat([layout.prefix_mask[requests], own_mask.to(self.device)], dim=1)
        cache = gather(layout.prefix, requests, frontier) if layout.prefix else None
        keep = torch.arange(bucket.first_column, bucket.width)
        with steering(self.anatomy, segments), starting_at(self.anatomy, frontier, hidden):
            return self.call(ids.to(self.device), mask, positions, cache, keep)

    def call(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: DynamicCache | None,
        keep: Tensor,
    ) -> Tensor:
        """One forward call of the network; logits of the columns in ``keep``."""
        arguments = {
            "input_ids": ids,
            "attention_mask": mask,
            "use_cache": cache is not None,
        }
        if cache is not None:
            arguments["past_key_values"] = cache
        if self._accepts_positions:
            arguments["position_ids"] = positions
        if self._accepts_keep:
            arguments["logits_to_keep"] = keep.to(self.device)
        logits = self.network(**arguments).logits
        return logits if self._accepts_keep else logits[:, keep.to(logits.device)]


def _is_active(asked: Steering) -> bool:
    return asked.dose != 0 and bool(asked.intervention.edits or asked.intervention.prompt)
