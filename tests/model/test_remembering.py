"""Unsteered passes are read once and remembered; sweeps share what they can."""

import dataclasses

import pytest
import torch

from seatrial.model import MemoryBudget
from seatrial.steering.intervention import UNSTEERED, Intervention, PromptEdit, Steering
from seatrial.testing import tiny_model
from seatrial.types import Request

# One of each kind: plain, sliding windows and norms, ALiBi and tuples, convolutions.
KINDS = pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes", " no")),
    Request(
        "b", "b", "Question: what does the sea look like? Answer:", (" calm", " rough and")
    ),
    Request("c", "c", "The answer is", (" yes", " yes, and the answer is no")),
]


def numbers(answers):
    return torch.tensor([x for a in answers for tokens in a.log_probs for x in tokens])


def divergences(answers):
    return torch.tensor([x for a in answers for tokens in a.kl for x in tokens])


def forward_calls(model, monkeypatch):
    """Groves of the unsteered passes and numbers of steerings of the replays, as made."""
    calls = []
    run = model.engine.forward.run

    def count(grove, start=None, *args, **options):
        replays = start is not None and start.hidden is not None
        calls.append(len(start.frontiers) if replays else "unsteered")
        return run(grove, start, *args, **options)

    monkeypatch.setattr(model.engine.forward, "run", count)
    return calls


@KINDS
def test_remembered_passes_give_the_same_answers(tiny, push, family):
    model = tiny(family)
    batches = [
        [UNSTEERED, push(model, 0), push(model, 1, tokens="last")],
        [push(model, 1), push(model, 1, tokens="last", seed=2)],
        [push(model, 2, "mlp"), UNSTEERED, push(model, 1, tokens="generated", dose=0.0)],
        [Steering(Intervention(prompt_edit=SEA)), push(model, 0, tokens="first_2")],
    ]
    expected = [model.log_probs(REQUESTS, under, kl=True) for under in batches]

    with model.session():
        found = [model.log_probs(REQUESTS, under, kl=True) for under in batches]
        other = model.log_probs(REQUESTS[:2], batches[0])
        fewer = [
            dataclasses.replace(request, answers=request.answers[:1])
            for request in REQUESTS
        ]
        shorter = model.log_probs(fewer, batches[0])

    for lines, wanted in zip(found, expected, strict=True):
        for line, want in zip(lines, wanted, strict=True):
            torch.testing.assert_close(numbers(line), numbers(want), atol=1e-5, rtol=0)
            torch.testing.assert_close(
                divergences(line), divergences(want), atol=1e-5, rtol=0
            )
    for line, want in zip(other, expected[0], strict=True):
        torch.testing.assert_close(numbers(line), numbers(want[:2]), atol=1e-5, rtol=0)
    for line, want in zip(shorter, expected[0], strict=True):
        firsts = [x for answer in want for x in answer.log_probs[0]]
        torch.testing.assert_close(numbers(line), torch.tensor(firsts), atol=1e-5, rtol=0)


def test_what_is_remembered_is_not_read_again(tiny, push, monkeypatch):
    model = tiny("llama")
    under = [push(model, 0), push(model, 1, tokens="last")]
    calls = forward_calls(model, monkeypatch)

    with model.session():
        first = model.log_probs(REQUESTS, under)
        before = calls.count("unsteered")
        second = model.log_probs(REQUESTS, under)
        assert calls.count("unsteered") == before > 0
    model.log_probs(REQUESTS, under)

    assert first == second
    assert calls.count("unsteered") == 2 * before


def test_what_is_remembered_stays_within_the_budget(push):
    model = tiny_model("llama", budget=MemoryBudget(cache_bytes=2**16))
    sizes = []

    with model.session():
        for count in range(1, 30):
            requests = [
                Request(str(k), str(k), f"The answer {count} is", (" yes",)) for k in (0, 1)
            ]
            model.log_probs(requests, [push(model, 0), push(model, 1)])
            memory = model.engine._sessions.passes
            sizes.append((len(memory), sum(old.size for old in memory[:-1])))

    assert max(size for _, size in sizes) <= 2**16
    assert max(count for count, _ in sizes) > 1
    assert model.engine._sessions.passes is None


def test_a_sweep_reads_each_prompt_once(tiny, push, monkeypatch):
    """Steerings of one scope share replays whatever their layer, dose and site."""
    model = tiny("llama")
    calls = forward_calls(model, monkeypatch)
    under = [
        push(model, layer, point, tokens="last", dose=dose)
        for layer in (0, 1)
        for point in ("resid", "mlp", "heads")
        for dose in (-1.0, 1.0, 2.0)
    ]

    model.log_probs(REQUESTS, under)

    assert calls == ["unsteered", 18]


def test_engine_says_what_it_reuses(tiny):
    assert "packed, prompts and starts of answers" in tiny("llama").engine.describe()
    assert "padded, for its attention" in tiny("bloom").engine.describe()
    assert "padded, for its state is not kept" in tiny("lfm2").engine.describe()
