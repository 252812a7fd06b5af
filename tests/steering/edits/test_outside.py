"""A kind of edit from outside: a class and a line of the table, and nothing else."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.methods import Method, Random
from seatrial.steering import EDITS, Edit, Intervention, Steering, load, save
from seatrial.steering.edits import along
from seatrial.testing import naive_log_probs
from seatrial.types import FitData, Message, Pair, Request, Site, Text

REQUESTS = [
    Request("sea", "sea", "What does the sea look like?", (" It is calm.", " No.")),
    Request("talk", "talk", (Message("user", "Is it far?"),), ("No, it is not.", "Yes.")),
]


@dataclass(frozen=True, eq=False)
class Damp(Edit):
    """Shrink what lies along a direction: ``h - dose * rate * (h . u) u``."""

    direction: Float[Tensor, " d_model"]
    rate: Float[Tensor, ""]

    def __call__(self, h, dose):
        u = self.direction.to(h)
        return along(h, -self.rate.to(h) * (h @ u)[..., None] * u, dose)

    def turned(self, draw):
        draw.only(self, "even", "beside")
        return replace(self, direction=draw.vector(self.direction))

    @property
    def width(self):
        return self.direction.shape[0]


@dataclass(frozen=True)
class Damping(Method):
    """Fits an edit of the new kind."""

    name: ClassVar[str] = "damping"
    summary: ClassVar[str] = "for tests"

    def fit(self, model, data, *, seed):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(model.d_model, generator=generator)
        return Intervention({Site(1): Damp(direction, torch.tensor(0.3))}, "prompt")


@pytest.fixture(scope="module")
def example():
    """Two pairs to fit on."""
    texts = ("the sea is calm", "the sea is rough"), ("a clear day", "a grey day")
    return FitData(
        "weather",
        tuple(
            Pair(str(k), str(k), Text(good, ""), Text(bad, ""))
            for k, (good, bad) in enumerate(texts)
        ),
    )


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    monkeypatch.setitem(EDITS, "damp", Damp)


def test_it_is_saved_and_loaded_exactly(tiny, example, tmp_path):
    fitted = Damping().fit(tiny("llama"), example, seed=0)

    save(fitted, tmp_path / "damp.safetensors")

    [edit] = fitted.edits.values()
    [loaded] = load(tmp_path / "damp.safetensors").edits.values()
    assert type(loaded) is Damp
    assert torch.equal(loaded.direction, edit.direction)
    assert torch.equal(loaded.rate, edit.rate)


def test_answers_under_it_equal_the_slow_obvious_way(tiny, example):
    model = tiny("llama")
    under = [
        Steering(Damping().fit(model, example, seed=0), dose) for dose in (0.0, -1.0, 2.0)
    ]

    lines = model.log_probs(REQUESTS, under)

    slow = naive_log_probs(model, REQUESTS, under)
    for line, expected in zip(lines, slow, strict=True):
        for answer, goal in zip(line, expected, strict=True):
            for scores, exact in zip(answer.log_probs, goal, strict=True):
                torch.testing.assert_close(torch.tensor(scores), exact, atol=1e-4, rtol=0)
    assert lines[2] != lines[0]


def test_it_gets_a_random_control(tiny, example):
    model = tiny("llama")
    [edit] = Damping().fit(model, example, seed=4).edits.values()

    control = Random(Damping()).fit(model, example, seed=4)

    [turned] = control.edits.values()
    assert (type(turned), control.tokens) == (Damp, "prompt")
    assert torch.equal(turned.rate, edit.rate)
    torch.testing.assert_close(turned.direction.norm(), edit.direction.norm())
    cosine = torch.cosine_similarity(turned.direction, edit.direction, dim=0)
    assert abs(float(cosine)) < 0.6
