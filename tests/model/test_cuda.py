"""A model on a GPU answers as on the processor; skipped where there is none."""

import copy

import pytest
import torch

from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED
from seatrial.testing import tiny_model
from seatrial.types import Request, Site, Text

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device on this machine"
)
REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes")),
    Request("b", "b", "The answer is", (" yes, and no", " calm")),
]


@pytest.fixture(params=["llama", "gemma3", "gpt2", "lfm2"])
def pair(request):
    """The same tiny model on the processor and on the GPU."""
    here = tiny_model(request.param)
    there = copy.deepcopy(here.engine.network).to("cuda")
    return here, Model(there, here.encoder.tokenizer, here.card)


def test_a_gpu_gives_the_same_answers(pair, push):
    here, _ = pair
    under = [
        UNSTEERED,
        *(push(here, layer, tokens=t) for layer in (0, 2) for t in ("all", "last")),
    ]

    lines = [model.log_probs(REQUESTS, under, kl=True) for model in pair]

    for one, other in zip(*lines, strict=True):
        for a, b in zip(one, other, strict=True):
            for x, y in zip((*a.log_probs, *a.kl), (*b.log_probs, *b.kl), strict=True):
                assert x == pytest.approx(y, abs=1e-4)


def test_a_gpu_writes_and_reads_the_same(pair, push):
    texts = [Text("The sea is", " calm"), Text("I would rather walk", " to the station")]

    written = [m.generate(["The sea"], [push(m, 1)], max_tokens=8) for m in pair]
    states = [m.activations(texts, [Site(1)], "last")[Site(1)].cpu() for m in pair]

    assert written[0][0][0].token_ids == written[1][0][0].token_ids
    torch.testing.assert_close(states[0], states[1], atol=1e-4, rtol=0)
