"""Decoding under steering, with a cache, batched over prompts and steerings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor
from transformers import DynamicCache

from seatrial.model.engine.cache import roomy_cache
from seatrial.model.engine.engine import Engine
from seatrial.model.engine.frontiers import LATE
from seatrial.model.engine.gates import Acting
from seatrial.model.engine.onednn import quick_linears
from seatrial.model.engine.sampling import Sampling, sample_token, token_generator
from seatrial.model.engine.scores import overflow
from seatrial.model.engine.segments import Segment, steering
from seatrial.model.structure.hooks import final_states, reading
from seatrial.steering.intervention import UNSTEERED, Steering, scope_span
from seatrial.types import Completion, Prompt, Site


@dataclass(eq=False)
class _Sequence:
    """One prompt under one steering, while it grows."""

    steering: Steering
    group: int
    """Number of the steering, in the order of asking."""
    prompt: tuple[int, ...]
    generator: torch.Generator = field(default_factory=torch.Generator)
    new: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: str = ""
    text: str = ""

    def restart(self, seed: int) -> None:
        """Begin anew, as after running out of memory half-way."""
        self.generator = token_generator(seed, self.prompt)
        self.new, self.log_probs, self.finish, self.text = [], [], "", ""


@torch.inference_mode()
def generate(
    engine: Engine,
    prompts: Sequence[Prompt],
    under: Sequence[Steering],
    sampling: Sampling,
    acting: Acting,
) -> list[list[Completion]]:
    """Continue every prompt under every steering; the result is steering x prompt.

    A steering that does not act on a prompt, as ``acting`` says, leaves it to the unsteered
    model.
    """
    grid = _sequences(engine, prompts, under, sampling, acting)
    sequences = list(dict.fromkeys(sequence for line in grid for sequence in line))
    with quick_linears(engine.network):
        for batch in _batches(engine, sequences, sampling.max_tokens):
            engine.meter.attempt(
                lambda picked, _, batch=batch: _decode(
                    engine, [batch[k] for k in picked], sampling
                ),
                range(len(batch)),
                [0],
                sum(len(row.prompt) + sampling.max_tokens for row in batch) // 8,
            )
    return [
        [
            Completion(s.text, tuple(s.new), tuple(s.log_probs), s.finish)  # pyright: ignore
            for s in line
        ]
        for line in grid
    ]


def _sequences(
    engine: Engine,
    prompts: Sequence[Prompt],
    under: Sequence[Steering],
    sampling: Sampling,
    acting: Acting,
) -> list[list[_Sequence]]:
    """What is to be generated, steering x prompt; what is asked twice is one sequence."""
    distinct: dict[tuple, _Sequence] = {}
    groups: dict[tuple[int, float] | None, int] = {}
    grid: list[list[_Sequence]] = []
    for given, gate in zip(under, acting, strict=True):
        line = []
        for prompt, acts in zip(prompts, gate, strict=True):
            own = given if acts else UNSTEERED
            intervention, dose = own
            if intervention.prompt_edit is not None:
                prompt = intervention.prompt_edit(prompt, dose)
            ids = engine.encoder.prompt_ids(prompt)
            engine.check_context(len(ids) + sampling.max_tokens)
            steered = dose != 0 and bool(intervention.parts or intervention.readout)
            for part in intervention.parts if steered else ():
                # Here, so that a prompt that lacks the token is refused before any work.
                scope_span(part.tokens, len(ids), len(ids))
            # Dose 0 is the unsteered model itself, so it shares the unsteered sequence.
            kind = (id(intervention), dose) if steered else None
            group = groups.setdefault(kind, len(groups))
            if (ids, kind) not in distinct:
                used = own if steered else UNSTEERED
                distinct[ids, kind] = _Sequence(used, group, ids)
            line.append(distinct[ids, kind])
        grid.append(line)
    return grid


def _batches(
    engine: Engine, rows: list[_Sequence], max_tokens: int
) -> list[list[_Sequence]]:
    """Rows that decode together: of one way to read the prompt, and of similar length.

    Their order must be the same in every run: where a row stands in its batch decides its
    last bits. Rows of one steering stand together, so that each is one segment.
    """
    rows = sorted(rows, key=lambda row: (not _is_late(engine, row), len(row.prompt)))
    batches: list[list[_Sequence]] = []
    for row in rows:
        last = batches[-1] if batches else []
        fits = (len(last) + 1) * (len(row.prompt) + max_tokens) <= 8 * engine.meter.tokens
        alike = not last or (
            _is_late(engine, last[0]) == _is_late(engine, row)
            # Padding would enter the state of models that keep one.
            and (_pads(engine) or len(last[0].prompt) == len(row.prompt))
        )
        if last and fits and alike:
            last.append(row)
        else:
            batches.append([row])
    return [sorted(batch, key=lambda row: row.group) for batch in batches]


def _pads(engine: Engine) -> bool:
    """Whether prompts of several lengths may stand in one batch."""
    return engine.anatomy.shares_prefix and not engine.anatomy.counts_columns


def _is_late(engine: Engine, row: _Sequence) -> bool:
    """Whether its steering leaves all prompt tokens but the last alone."""
    intervention, dose = row.steering
    late = dose == 0 or all(part.tokens in LATE for part in intervention.parts)
    return _pads(engine) and late


def _decode(engine: Engine, batch: list[_Sequence], sampling: Sampling) -> None:
    for row in batch:
        row.restart(sampling.seed)
    width = max(len(row.prompt) for row in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for k, row in enumerate(batch):
        ids[k, width - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[k, width - len(row.prompt) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = roomy_cache(engine.network.config, width + sampling.max_tokens)
    if width > 1 and _is_late(engine, batch[0]):
        _read_prompts(engine, batch, ids[:, :-1], mask[:, :-1], positions[:, :-1], cache)
        ids, positions = ids[:, -1:], positions[:, -1:]
    ends = _end_ids(engine)
    for _ in range(sampling.max_tokens):
        logits = _step(engine, batch, ids, mask, positions, cache)
        chosen = _choose(engine, batch, logits.float().cpu(), sampling, ends)
        if all(row.finish for row in batch):
            break
        ids = chosen[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


def _read_prompts(
    engine: Engine,
    batch: list[_Sequence],
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: DynamicCache,
) -> None:
    """Read every distinct prompt once, unsteered, for all steerings of it."""
    rows: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    for k, row in enumerate(batch):
        if row.prompt not in rows:
            rows[row.prompt] = len(first)
            first.append(k)
    engine.forward.logits(ids[first], mask[first], positions[first], cache)
    if len(first) < len(batch):
        index = torch.tensor([rows[row.prompt] for row in batch], device=engine.device)
        cache.batch_select_indices(index)


def _step(
    engine: Engine,
    batch: list[_Sequence],
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: DynamicCache,
) -> Tensor:
    """Logits (or a readout's log-probabilities) of the next token of every row."""
    readouts = [
        row.steering.intervention.readout if row.steering.dose else None for row in batch
    ]
    layers = sorted({layer for readout in readouts if readout for layer in readout.layers})
    early: dict[int, Tensor] = {}

    def keep(site: Site, h: Tensor) -> None:
        early[site.layer] = h[:, -1]

    with (
        steering(engine.anatomy, _segments(batch, ids, mask)),
        reading(engine.anatomy, [Site(layer) for layer in layers], keep),
        final_states(engine.anatomy.unembedding) as states,
    ):
        engine.forward.logits(ids, mask, positions, cache)
    h = states[0][:, -1]
    logits = engine.unembedding(h)
    for k, readout in enumerate(readouts):
        if readout is not None:
            row = {layer: early[layer][k : k + 1] for layer in readout.layers}
            depths = engine.reader.depths(h[k : k + 1], row, readout.norm)
            logits[k] = readout(depths, batch[k].steering.dose)[0]
    return logits


def _segments(batch: list[_Sequence], ids: Tensor, mask: Tensor) -> list[Segment]:
    """What is edited in a step: rows of one steering and the parts of it."""
    segments: list[Segment] = []
    for _, same in groupby(range(len(batch)), lambda k: batch[k].group):
        rows = list(same)
        intervention, dose = batch[rows[0]].steering
        for part in intervention.parts if dose else ():
            edited = torch.zeros(len(rows), ids.shape[1], dtype=torch.bool)
            for k, row in enumerate(rows):
                total = int(mask[row].sum())
                first = total - ids.shape[1]
                start, stop = scope_span(part.tokens, len(batch[row].prompt), total)
                edited[k, max(0, start - first) : max(0, stop - first)] = True
            doses = torch.full((len(rows),), float(dose))
            segments.append(Segment(rows[0], rows[-1] + 1, part.edits, doses, edited))
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
    if logits.isnan().any():
        raise overflow(engine.network.dtype)
    # A few rows at a time, because the intermediate copy would not fit the caches.
    lse = torch.cat([part.logsumexp(-1) for part in logits.split(8)])
    best = logits.argmax(-1)
    for k, row in enumerate(batch):
        if row.finish:
            continue
        if sampling.temperature:
            best[k] = sample_token(logits[k], row.generator, sampling)
        token = int(best[k])
        row.new.append(token)
        row.log_probs.append(float(logits[k, token] - lse[k]))
        is_full = len(row.new) == sampling.max_tokens
        if not (sampling.stop or token in ends or is_full):
            continue
        kept = row.new[:-1] if token in ends else row.new
        row.text = engine.encoder.decode_after(row.prompt, kept)
        if token in ends:
            row.finish = "end"
        elif cut := [row.text.find(s) for s in sampling.stop if s in row.text]:
            row.text, row.finish = row.text[: min(cut)], "stop"
        elif is_full:
            row.finish = "length"
    return best
