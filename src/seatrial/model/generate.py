"""Decoding under steering, with a cache, batched over prompts and steerings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from transformers import DynamicCache

from seatrial.errors import BadOption
from seatrial.intervention import UNSTEERED, Steering, scope_span
from seatrial.model.engine import Engine, overflow
from seatrial.model.hooks import Segment, steering
from seatrial.types import Completion, Prompt


@final
@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_tokens: int = 64
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    seed: int = 0
    """Each prompt draws from its own generator, made from this seed and the prompt's
    tokens, so that its text does not depend on what else is in the batch; all steerings of
    a prompt share it."""
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise BadOption(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not self.temperature >= 0 or not 0 < self.top_p <= 1:
            raise BadOption(
                "temperature must be at least 0 and top_p in (0, 1], not "
                f"{self.temperature} and {self.top_p}"
            )
        if "" in self.stop:
            raise BadOption(
                "an empty stop string would end every text at once; leave it out"
            )


@dataclass
class _Sequence:
    """One prompt under one steering, while it grows."""

    steering: Steering
    group: int
    """Number of the steering, in the order of asking."""
    prompt: tuple[int, ...]
    generator: torch.Generator
    new: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: str = ""
    text: str = ""


@torch.inference_mode()
def generate(
    engine: Engine, prompts: Sequence[Prompt], under: Sequence[Steering], sampling: Sampling
) -> list[list[Completion]]:
    """Continue every prompt under every steering; the result is steering x prompt."""
    distinct: dict[tuple, _Sequence] = {}
    groups: dict[tuple[int, float] | None, int] = {}
    grid: list[list[_Sequence]] = []
    for asked in under:
        line = []
        for prompt in prompts:
            intervention, dose = asked
            if intervention.prompt is not None:
                prompt = intervention.prompt(prompt, dose)
            ids = engine.encoder.prompt_ids(prompt)
            engine.check_context(len(ids) + sampling.max_tokens)
            steered = dose != 0 and bool(intervention.edits)
            # Dose 0 is the unsteered model itself, so it shares the unsteered sequence.
            kind = (id(intervention), dose) if steered else None
            group = groups.setdefault(kind, len(groups))
            if (ids, kind) not in distinct:
                used = asked if steered else UNSTEERED
                generator = _generator(sampling.seed, ids)
                distinct[ids, kind] = _Sequence(used, group, ids, generator)
            line.append(distinct[ids, kind])
        grid.append(line)
    for batch in _batches(engine, list(distinct.values()), sampling.max_tokens):
        _decode(engine, batch, sampling)
    return [
        [
            Completion(s.text, tuple(s.new), tuple(s.log_probs), s.finish)  # pyright: ignore
            for s in line
        ]
        for line in grid
    ]


def _generator(seed: int, ids: tuple[int, ...]) -> torch.Generator:
    digest = hashlib.sha256(repr((seed, ids)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _batches(
    engine: Engine, rows: list[_Sequence], max_tokens: int
) -> list[list[_Sequence]]:
    """Rows that decode together, equally long where padding would enter the state."""
    rows = sorted(rows, key=lambda row: len(row.prompt))
    batches: list[list[_Sequence]] = []
    for row in rows:
        last = batches[-1] if batches else []
        fits = (len(last) + 1) * (len(row.prompt) + max_tokens) <= 8 * engine.meter.tokens
        alike = (
            engine.anatomy.shares_prefix
            or not last
            or len(last[0].prompt) == len(row.prompt)
        )
        if last and fits and alike:
            last.append(row)
        else:
            batches.append([row])
    return batches


def _decode(engine: Engine, batch: list[_Sequence], sampling: Sampling) -> None:
    # Rows of one steering stand together, so that each steering is one segment. The order
    # must be the same in every run: where a row stands in its batch decides its last bits.
    batch.sort(key=lambda row: row.group)
    width = max(len(row.prompt) for row in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for k, row in enumerate(batch):
        ids[k, width - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[k, width - len(row.prompt) :] = 1
    cache = DynamicCache(config=engine.network.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    ends = _end_ids(engine)
    for step in range(sampling.max_tokens):
        edited = torch.zeros_like(ids, dtype=torch.bool)
        for k, row in enumerate(batch):
            # In the first step the columns are the prompt, afterwards the one newest token.
            n_prompt = len(row.prompt)
            first = n_prompt - width if step == 0 else n_prompt + step - 1
            total = first + ids.shape[1]
            start, stop = scope_span(row.steering.intervention.tokens, n_prompt, total)
            edited[k, max(0, start - first) : max(0, stop - first)] = row.steering.dose != 0
        with steering(engine.anatomy, _segments(batch, edited)):
            logits = engine.forward.logits(ids, mask, positions, cache)
        chosen = _choose(engine, batch, logits.float().cpu(), sampling, ends)
        if all(row.finish for row in batch):
            return
        ids = chosen[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _segments(batch: list[_Sequence], edited: Tensor) -> list[Segment]:
    segments: list[Segment] = []
    start = 0
    for k in range(1, len(batch) + 1):
        if k == len(batch) or batch[k].group != batch[start].group:
            intervention, dose = batch[start].steering
            if intervention.edits:
                segments.append(
                    Segment(
                        start,
                        k,
                        intervention.edits,
                        torch.full((k - start,), float(dose)),
                        edited[start:k],
                    )
                )
            start = k
    return segments


def _end_ids(engine: Engine) -> set[int]:
    config = engine.network.generation_config
    ends = getattr(config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [ends]
    ids = [engine.encoder.tokenizer.eos_token_id, *ends]
    return {token for token in ids if isinstance(token, int)}


def _choose(
    engine: Engine,
    batch: list[_Sequence],
    logits: Tensor,
    sampling: Sampling,
    ends: set[int],
) -> Tensor:
    """Append one token to every unfinished row; finished rows get a filler, not kept."""
    log_probs = logits.log_softmax(-1)
    chosen = torch.zeros(len(batch), dtype=torch.long)
    for k, row in enumerate(batch):
        if row.finish:
            continue
        if log_probs[k].isnan().any():
            raise overflow(engine.network.dtype)
        token = _pick(logits[k], row.generator, sampling)
        chosen[k] = token
        row.new.append(token)
        row.log_probs.append(float(log_probs[k, token]))
        kept = row.new[:-1] if token in ends else row.new
        row.text = engine.encoder.decode_after(row.prompt, kept)
        if token in ends:
            row.finish = "end"
        elif cut := [row.text.find(s) for s in sampling.stop if s in row.text]:
            row.text, row.finish = row.text[: min(cut)], "stop"
        elif len(row.new) == sampling.max_tokens:
            row.finish = "length"
    return chosen


def _pick(logits: Tensor, generator: torch.Generator, sampling: Sampling) -> int:
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, index = probabilities.sort(descending=True)
        # A token stays while the mass before it is below top_p, so the first always stays.
        ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, index, ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))
