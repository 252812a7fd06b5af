"""What one layer has read of a draw serves all layers: nothing is read twice."""

import pytest

from seatrial.methods import FunctionVector, Shuffled
from seatrial.model import MemoryBudget
from seatrial.testing import tiny_model
from seatrial.types import Example, FitData

WORDS = ("sea", "day", "road", "house", "walk", "calm", "blue", "grey")
DATA = FitData(
    "upper", (), fingerprint="u", examples=tuple(Example(x, x.upper()) for x in WORDS)
)
DRAWS, LAYERS = range(3), range(2)


@pytest.fixture
def surveyed(monkeypatch):
    """A model that keeps one survey at most, and a list that grows with every one."""
    model = tiny_model("llama", budget=MemoryBudget(reading_bytes=1))
    log_probs, surveys = model.log_probs, []

    def counted(*args, **options):
        surveys.append(1)
        return log_probs(*args, **options)

    monkeypatch.setattr(model, "log_probs", counted)
    return model, surveys


def fit(model, layer, seed):
    method = FunctionVector(layer=layer, heads=2, shots=2, mean_prompts=3, effect_prompts=2)
    return Shuffled(method, rescale=False).fit(model, DATA, seed=seed)


def test_draw_by_draw_every_draw_is_surveyed_once(surveyed):
    model, surveys = surveyed

    for seed in DRAWS:
        for layer in LAYERS:
            fit(model, layer, seed)

    assert len(surveys) == len(DRAWS)


def test_layer_by_layer_a_small_memory_surveys_every_draw_at_every_layer(surveyed):
    """Why the loop goes draw by draw."""
    model, surveys = surveyed

    for layer in LAYERS:
        for seed in DRAWS:
            fit(model, layer, seed)

    assert len(surveys) == len(DRAWS) * len(LAYERS)
