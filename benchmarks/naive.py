"""The naive ways, written plainly: padded full forward calls with hooks and full logits.

They are kind to themselves: tokenised and padded once, sorted by length, no cache is built,
answers that end in different tokens only share a row, and the softmax is taken at the
scored positions only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from seatrial.model import Model
from seatrial.steering.edits import Edit
from seatrial.steering.intervention import Steering, scope_span
from seatrial.types import Answer, Request

Put = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Batch:
    """Padded sequences of one forward call, and the tokens to be scored in them."""

    ids: Tensor
    mask: Tensor
    spans: tuple[tuple[int, int], ...]
    """For every row, how many tokens its prompt and the whole of it have."""
    rows: Tensor
    columns: Tensor
    """Where the tokens are predicted."""
    tokens: Tensor
    slots: Tensor
    """Their numbers among all scored tokens: request by request, answer by answer."""

    def edited(self, scope: str) -> Tensor:
        """Which positions a token scope edits: row x token."""
        edited = torch.zeros(self.ids.shape, dtype=torch.bool)
        for row, (n_prompt, n_total) in enumerate(self.spans):
            start, stop = scope_span(scope, n_prompt, n_total)
            edited[row, start:stop] = True
        return edited


def batches(model: Model, requests: Sequence[Request]) -> list[Batch]:
    """All answers of all requests, in batches as large as those of the engine."""
    rows: dict[tuple[int, tuple[int, ...]], list[tuple[int, int, int]]] = {}
    prompts: dict[tuple[int, tuple[int, ...]], int] = {}
    slot = 0
    for number, request in enumerate(requests):
        for text in model.encoder.encode(request.prompt, request.answers):
            key = number, text.ids[:-1]
            prompts[key] = text.n_prompt
            for place in range(text.n_prompt, len(text.ids)):
                rows.setdefault(key, []).append((place - 1, text.ids[place], slot))
                slot += 1
    found: list[Batch] = []
    picked: list = []
    for key in sorted(rows, key=lambda key: len(key[1])):
        if (len(picked) + 1) * len(key[1]) > model.engine.meter.tokens and picked:
            found.append(_batch(picked))
            picked = []
        picked.append((key[1], prompts[key], rows[key]))
    return [*found, _batch(picked)]


def _batch(picked: list) -> Batch:
    ids, mask = padded([row[0] for row in picked])
    # A scope may reach the answer's last token, which is not read but ends the sequence.
    spans = tuple((n_prompt, len(row) + 1) for row, n_prompt, _ in picked)
    scored = [
        (k, *target) for k, (_, _, targets) in enumerate(picked) for target in targets
    ]
    return Batch(ids, mask, spans, *torch.tensor(scored).T)


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids in one tensor, padded with zeros, and their attention mask."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for k, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[k, span] = torch.tensor(row)
        mask[k, span] = 1
    return ids, mask


@contextmanager
def hooked(model: Model, steering: Steering, edited: Tensor) -> Iterator[None]:
    """One hook for each edit, on block outputs or on what enters attention's projection."""
    handles = []
    for site, edit in steering.intervention.edits.items():
        block = model.structure.blocks[site.layer]

        def put(h: Tensor, edit: Edit = edit) -> Tensor:
            return torch.where(edited[..., None], edit(h, steering.dose), h)

        def on_output(_: nn.Module, __: tuple, h: Tensor, put: Put = put) -> Tensor:
            return put(h)

        def on_input(_: nn.Module, args: tuple, put: Put = put) -> tuple:
            return (put(args[0]), *args[1:])

        if site.point == "heads":
            assert block.heads is not None
            projection = block.heads.projection
            handles.append(projection.register_forward_pre_hook(on_input))
        else:
            assert site.point == "resid"
            handles.append(block.module.register_forward_hook(on_output))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def log_probs(model: Model, found: Sequence[Batch], steering: Steering) -> Tensor:
    """Log-probability of every scored token under one steering."""
    scores = torch.zeros(sum(len(batch.slots) for batch in found))
    for batch in found:
        edited = batch.edited(steering.intervention.tokens)
        with hooked(model, steering, edited):
            logits = model.engine.network(
                input_ids=batch.ids, attention_mask=batch.mask, use_cache=False
            ).logits
        at = logits[batch.rows, batch.columns].log_softmax(-1)
        scores[batch.slots] = at[torch.arange(len(at)), batch.tokens]
    return scores


def flat(answers: Sequence[Answer]) -> Tensor:
    """The engine's scores in the order of the slots."""
    return torch.tensor(
        [value for answer in answers for tokens in answer.log_probs for value in tokens]
    )
