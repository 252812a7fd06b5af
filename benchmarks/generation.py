"""Benchmark 7: 32 tokens after 16 prompts (and 4), greedy, steered at the middle layer."""

from collections.abc import Iterator, Sequence

import torch

from benchmarks.naive import hooked, padded
from benchmarks.prompts import mean_tokens, openings
from benchmarks.rows import Row, steadily
from benchmarks.sweep import grid
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.types import Completion, Request

TOKENS = 32
DOSES = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)


def run(model: Model, *, tiny: bool = False) -> Iterator[Row]:
    """Against transformers at equal batch and tokens, and one call against eight."""
    prompts = openings(2 if tiny else 16)
    tokens = 4 if tiny else TOKENS
    asked = [Request(prompt, prompt, prompt, ("",)) for prompt in prompts]
    cells = grid(model, asked, "generated", [model.n_layers // 2], DOSES)
    length = mean_tokens(model, prompts)
    sizes = f"{len(prompts)} prompts of {length:.0f} tokens, {tokens} new ones"

    def ours(under: Sequence[Steering]) -> list[list[Completion]]:
        return model.generate(prompts, under, max_tokens=tokens)

    ids = [model.encoder.prompt_ids(prompt) for prompt in prompts]
    by_transformers(model, ids, 2)
    model.generate(prompts, cells[-1:], max_tokens=2)
    other, theirs = steadily(lambda: by_transformers(model, ids, tokens))
    for cell, name in ((UNSTEERED, "unsteered"), (cells[5], "steered")):
        seconds, [texts] = steadily(lambda cell=cell: ours([cell]))
        # A text that ended early has fewer tokens; what counts is tokens a second.
        short = len(prompts) * tokens / sum(len(text.token_ids) for text in texts)
        gap = recomputed_gap(model, ids, texts, cell)
        same = sum(text.token_ids == row for text, row in zip(texts, theirs, strict=True))
        also = f"; {same} of {len(texts)} texts the same" if cell is UNSTEERED else ""
        yield Row(
            f"7 generation, {name}",
            model.card.name,
            "transformers generate, unsteered",
            sizes + also,
            other,
            "all",
            other,
            seconds * short,
            gap,
            goal=0.95,
        )
    # A call of few prompts leaves more of the machine idle.
    for few in sorted({min(4, len(prompts)), len(prompts)}):
        yield all_doses(model, prompts[:few], cells, tokens)


def all_doses(
    model: Model, prompts: Sequence[str], cells: Sequence[Steering], tokens: int
) -> Row:
    """One call for all doses against a call for each."""

    def ours(under: Sequence[Steering]) -> list[list[Completion]]:
        return model.generate(prompts, under, max_tokens=tokens)

    apart, eight = steadily(lambda: [ours([cell])[0] for cell in cells])
    together, one = steadily(lambda: ours(cells))
    length = mean_tokens(model, prompts)
    return Row(
        "7 generation at 8 doses",
        model.card.name,
        "seatrial, one call a dose",
        f"{len(prompts)} prompts of {length:.0f} tokens, {tokens} new ones",
        apart,
        "all",
        apart,
        together,
        max(
            abs(a - b)
            for line, other_line in zip(one, eight, strict=True)
            for text, other_text in zip(line, other_line, strict=True)
            for a, b in zip(text.log_probs, other_text.log_probs, strict=True)
            if text.token_ids == other_text.token_ids
        ),
        goal=3.0,
    )


@torch.inference_mode()
def by_transformers(
    model: Model, prompts: Sequence[tuple[int, ...]], tokens: int
) -> list[tuple[int, ...]]:
    """Its own ``generate``, padded on the left, and never ended early."""
    ids, mask = padded(prompts, left=True)
    found = model.engine.network.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
    )
    return [tuple(row) for row in found[:, ids.shape[1] :].tolist()]


@torch.inference_mode()
def recomputed_gap(
    model: Model,
    prompts: Sequence[tuple[int, ...]],
    texts: Sequence[Completion],
    steering: Steering,
) -> float:
    """Largest difference of the tokens' log-probs from a hooked forward of the whole."""
    worst = 0.0
    for prompt, text in zip(prompts, texts, strict=True):
        ids = torch.tensor([[*prompt, *text.token_ids]])
        edited = torch.arange(ids.shape[1])[None] >= len(prompt)
        with hooked(model, steering, edited):
            logits = model.engine.network(input_ids=ids, use_cache=False).logits[0]
        at = logits[len(prompt) - 1 : -1].log_softmax(-1)
        again = at[torch.arange(len(at)), torch.tensor(text.token_ids)]
        worst = max(worst, float((again - torch.tensor(text.log_probs)).abs().max()))
    return worst
