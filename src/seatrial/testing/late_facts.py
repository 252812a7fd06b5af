"""A model that knows its facts late: until then it believes a popular mistake.

The stream of a subject word holds, from the embeddings on, the mistake about it. One block
before ``late`` the mistake grows; block ``late`` takes that back and writes the answer, a
little weaker than the mistake. So the model answers wrongly, the distribution after block
``late - 1`` is the one farthest from the final one, and taking it away turns every mistake
into the answer. Words of the other kind have a successor that is known from the embeddings
on and that no block touches.
"""

from dataclasses import dataclass
from typing import Any, final

import torch

from seatrial.model.model import Model
from seatrial.testing.quiet import D_MODEL, as_model, quiet_llama

N_FACTS = 8
_GAIN = 8.0
"""Logit of a direction of length 1; writes below are logits divided by it."""
_MISTAKE, _GROWTH, _ANSWER = 6.0, 3.0, 5.5
_UNKNOWN = 2.0
"""Logit of ``<unk>`` everywhere."""
_GATE = 4.0
"""What the constant part of the stream puts into every gate."""


@final
@dataclass(frozen=True)
class LateFacts:
    """The model and what is planted in it."""

    model: Model
    late: int
    """The block that writes the answers."""
    subjects: tuple[str, ...]
    mistakes: tuple[str, ...]
    answers: tuple[str, ...]
    easy: tuple[str, ...]
    """Words whose successor is known from the beginning."""
    successors: tuple[str, ...]


def late_facts_model(late: int = 6, *, n_layers: int = 8, seed: int = 0) -> LateFacts:
    """The model, with its facts in block ``late`` (at least 1, counted from 0)."""
    assert 1 <= late < n_layers
    kinds = ("subject", "mistake", "answer", "easy", "next")
    names = [tuple(f"{kind}{k}" for k in range(N_FACTS)) for kind in kinds]
    words = ("<unk>", "<pad>", "<eos>", *(word for kind in names for word in kind))
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q.T
    constant, subject, mistake, answer, easy = basis[: 1 + 4 * N_FACTS].split(
        [1, N_FACTS, N_FACTS, N_FACTS, N_FACTS]
    )
    network = quiet_llama(len(words), n_layers=n_layers, neurons=N_FACTS, seed=seed)
    with torch.no_grad():
        # A large constant part keeps the norms' scale the same for every token and block.
        embedding = D_MODEL**0.5 * constant.expand(len(words), -1).clone()
        reads = torch.zeros(len(words), D_MODEL)
        reads[0] = _UNKNOWN / D_MODEL**0.5 * constant[0]
        place = {word: k for k, word in enumerate(words)}
        for k in range(N_FACTS):
            embedding[place[f"subject{k}"]] += subject[k] + _MISTAKE / _GAIN * mistake[k]
            embedding[place[f"easy{k}"]] += _MISTAKE / _GAIN * easy[k]
            reads[place[f"mistake{k}"]] = _GAIN * mistake[k]
            reads[place[f"answer{k}"]] = _GAIN * answer[k]
            reads[place[f"next{k}"]] = _GAIN * easy[k]
        network.model.embed_tokens.weight.copy_(embedding)
        network.lm_head.weight.copy_(reads)
        for block, written in (
            (late - 1, _GROWTH * mistake),
            (late, _ANSWER * answer - _GROWTH * mistake),
        ):
            # Neuron k fires by as much as the stream holds of subject k, and writes.
            mlp: Any = network.model.layers[block].mlp
            mlp.gate_proj.weight.copy_(_GATE / D_MODEL**0.5 * constant.expand(N_FACTS, -1))
            mlp.up_proj.weight.copy_(subject)
            gate = torch.nn.functional.silu(torch.tensor(_GATE))
            mlp.down_proj.weight.copy_(written.T / _GAIN / gate)
    return LateFacts(as_model(network, words, f"late-facts-{late}-{seed}"), late, *names)
