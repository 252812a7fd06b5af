"""Where the answer is known, the pipeline must find it, and nothing where nothing is."""

import copy
import json

import numpy as np
import pytest
import torch

from seatrial.analysis.summary import summarise
from seatrial.model import Model, ModelCard
from seatrial.steering import load
from seatrial.store import Store
from seatrial.studies.run import run
from seatrial.studies.study import make_study
from seatrial.testing import planted_concept, planted_model
from seatrial.testing.planted import NEGATIVE, POSITIVE
from seatrial.types import Site


def reader(model, planted, strength):
    """The planted model with words that look along the direction so much (planted: .5)."""
    network = copy.deepcopy(model.engine.network)
    tokenizer = model.encoder.tokenizer
    with torch.no_grad():
        for words, sign in ((POSITIVE, 1), (NEGATIVE, -1)):
            for word in words:
                row = network.lm_head.weight[tokenizer.convert_tokens_to_ids(word)]
                row += sign * (strength - 0.5) * planted
    return Model(
        network, tokenizer, ModelCard(f"reads {strength}", "made in memory", "0" * 12)
    )


def put_to_trial(model, folder):
    concept = str(planted_concept(folder / "planted.jsonl"))
    plan = {
        "name": "planted-truth",
        "model": "planted",
        "concepts": [concept],
        "targets": ["open"],
        "methods": [{"name": "caa", "read": "completion"}],
        "layers": [0, 1],
        "limits": {"prose": 4},
    }
    store = Store(folder / "results")
    run(make_study(plan), store, model=model)
    [trial] = summarise(store).trials
    return trial, store


@pytest.fixture(scope="module")
def planted():
    return planted_model()


@pytest.fixture(scope="module")
def tried(planted, tmp_path_factory):
    return put_to_trial(planted[0], tmp_path_factory.mktemp("planted"))


def test_the_planted_effect_works(tried):
    trial, _ = tried

    assert trial.verdict.label == "works", trial.verdict.reasons


def test_both_kinds_of_control_have_no_effect(tried):
    trial, _ = tried

    assert set(trial.control_verdicts) == {"random", "shuffled"}
    assert all(words.startswith("no effect: ") for words in trial.control_verdicts.values())


def test_every_control_lies_within_the_band_and_the_method_far_above(tried):
    trial, _ = tried

    assert [control.method for control in trial.controls] == ["random"] * 5 + [
        "shuffled"
    ] * 3
    for control in trial.controls:
        assert trial.band.low <= control.slope.low <= control.slope.high <= trial.band.high
    assert trial.response.steerability.low > 3 * trial.band.high


def test_the_slope_is_what_the_construction_says(planted, tried):
    """Dose 1 moves the stream by |v| along u; a word's logit follows by half of it."""
    trial, store = tried
    model, direction = planted
    [path] = (store.root / "vectors").glob("*.safetensors")
    [edit] = load(path).edits.values()

    # The final norm divides by the root mean square; the constant part makes it 8/sqrt(d).
    push = float(edit.vector @ direction) / (8 / model.d_model**0.5)
    by_construction = 0.5 * push - -0.5 * push

    # Half of the words of a continuation carry sentiment.
    assert trial.response.steerability.value == pytest.approx(by_construction / 2, rel=0.1)


def test_most_items_move_the_right_way_on_both_sides(tried):
    trial, _ = tried

    assert trial.response.anti_steerable.value == 0
    assert trial.parts["matching"].low > 0 > trial.parts["other"].high


def test_the_saved_vector_is_the_planted_direction(planted, tried):
    trial, store = tried
    [path] = (store.root / "vectors").glob("*.safetensors")

    fitted = load(path)

    [(site, edit)] = fitted.edits.items()
    assert site == Site(trial.layer)
    assert float(torch.cosine_similarity(edit.vector, planted[1], dim=0)) > 0.99


def test_the_prompt_does_not_move_a_model_that_sees_one_token_only(tried):
    trial, _ = tried

    assert abs(trial.instruction.value) < 0.01


def test_the_trial_passes_its_own_audit(tried):
    _, store = tried

    checks = json.loads((store.root / "audit.json").read_text())

    assert {check["status"] for check in checks} == {"passed"}


def test_where_nothing_is_planted_nothing_works(planted, tmp_path):
    model = reader(*planted, strength=0.0)

    trial, store = put_to_trial(model, tmp_path)

    # The direction is still there to be read; it does not do anything.
    [path] = (store.root / "vectors").glob("*.safetensors")
    [edit] = load(path).edits.values()
    assert float(torch.cosine_similarity(edit.vector, planted[1], dim=0)) > 0.99
    assert trial.verdict.label in ("no effect", "no better than a control"), trial.verdict
    assert abs(trial.response.steerability.value) < 0.02


def test_where_the_opposite_is_planted_it_reverses(planted, tmp_path):
    trial, _ = put_to_trial(reader(*planted, strength=-0.5), tmp_path)

    assert trial.verdict.label == "reverses", trial.verdict


def test_a_random_model_is_not_said_to_work(planted, tmp_path):
    """Same tokenizer and data, but weights that know nothing of sentiment."""
    network = copy.deepcopy(planted[0].engine.network)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(
                noise * (parameter.std() if parameter.ndim > 1 else 0)
                + (parameter.ndim == 1)
            )
    card = ModelCard("random", "made in memory", "1" * 12)

    trial, _ = put_to_trial(Model(network, planted[0].encoder.tokenizer, card), tmp_path)

    assert trial.verdict.label != "works", trial.verdict
    assert np.isfinite(trial.response.steerability.value)
