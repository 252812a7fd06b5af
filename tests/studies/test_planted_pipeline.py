"""Where the answer is known, the pipeline must find it, and nothing where nothing is."""

import copy
import json

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from seatrial.analysis.summary import summarise
from seatrial.store import Store
from seatrial.studies.fitting import from_bytes
from seatrial.studies.outcome import outcome
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.testing import planted_concept, planted_model
from seatrial.testing.planted import NEGATIVE, POSITIVE
from seatrial.types import Site


def reader(model, planted, strength):
    """The planted network with words that look along the direction so much, not 0.5."""
    network = copy.deepcopy(model.engine.network)
    tokenizer = model.encoder.tokenizer
    with torch.no_grad():
        for words, sign in ((POSITIVE, 1), (NEGATIVE, -1)):
            for word in words:
                row = network.lm_head.weight[tokenizer.convert_tokens_to_ids(word)]
                row += sign * (strength - 0.5) * planted
    return network


def saved(network, tokenizer, folder):
    """A network as a study can name it: a folder."""
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def put_to_trial(network, tokenizer, folder, **changes):
    """The summary and the store of a study of one method, with all its controls."""
    plan = {
        "models": {"planted": {"name": saved(network, tokenizer, folder / "model")}},
        "behaviours": {
            "planted": {
                "source": str(planted_concept(folder / "planted.jsonl")),
                "targets": {"open": "open"},
            }
        },
        "methods": {"caa": {"read": "completion", "choose": {"layer": [0, 1]}}},
        "controls": {"random": 5, "shuffled": 3},
        "guards": {"prose": {"limit": {"select": 8, "test": 4}}},
        **changes,
    }
    study, store = read_study(plan), Store(folder / "run")
    run(study, store)
    assert str(outcome(study, store)).endswith("whole")
    return summarise(store), store


def fitted(trial, store):
    """What was fitted of a method as it was chosen."""
    [folder] = store.units()
    settings = json.dumps(dict(trial.settings))
    own = folder.names().filter(kind="method", label="caa", settings=settings)
    [identity] = set(own["fit"])
    return from_bytes(folder.fits()[identity])


@pytest.fixture(scope="module")
def planted():
    return planted_model()


@pytest.fixture(scope="module")
def tried(planted, tmp_path_factory):
    model, folder = planted[0], tmp_path_factory.mktemp("planted")
    summary, store = put_to_trial(model.engine.network, model.encoder.tokenizer, folder)
    [trial] = summary.trials
    return trial, store


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
    [edit] = fitted(trial, store).edits.values()

    # The final norm divides by the root mean square; the constant part makes it 8/sqrt(d).
    push = float(edit.vector @ direction) / (8 / model.d_model**0.5)
    by_construction = 0.5 * push - -0.5 * push

    # Half of the words of a continuation carry sentiment.
    assert trial.response.steerability.value == pytest.approx(by_construction / 2, rel=0.1)


def test_the_effect_at_the_chosen_dose_is_that_of_the_slope(tried):
    trial, store = tried
    [choice] = store.units()[0].choices[:1]

    assert trial.dose == choice["dose"] > 0
    assert trial.effect.value == pytest.approx(
        trial.dose * trial.response.steerability.value, rel=0.1
    )


def test_the_dose_is_the_largest_whose_measured_price_is_within_the_budget(tried):
    """The prices were measured on select passages, and hold on test ones."""
    trial, store = tried
    [choice] = [c for c in store.units()[0].choices if c["label"] == "caa"]

    within = [float(d) for d, upper in choice["upper"].items() if upper["prose"] <= 1.1]
    assert choice["is_within"]
    assert {float(dose) for dose in choice["upper"]} == {0.5, 1.0, 1.5}
    assert trial.dose == max(within)
    assert trial.price.perplexity_ratio.high <= 1.1


def test_most_items_move_the_right_way_on_both_sides(tried):
    trial, _ = tried

    assert trial.response.anti_steerable.value == 0
    assert trial.parts["matching"].low > 0 > trial.parts["other"].high


def test_the_saved_vector_is_the_planted_direction(planted, tried):
    trial, store = tried

    [(site, edit)] = fitted(trial, store).edits.items()

    assert site == Site(trial.settings["layer"])
    assert float(torch.cosine_similarity(edit.vector, planted[1], dim=0)) > 0.99


def test_the_prompt_does_not_move_a_model_that_sees_one_token_only(tried):
    trial, _ = tried

    assert abs(trial.baselines["instruction"].value) < 0.01


def test_the_trial_passes_its_own_audit(tried):
    _, store = tried

    checks = summarise(store).audit

    assert {check["id"] for check in checks} >= {"H1", "H3", "H4", "H5", "H6", "H7", "H8"}
    assert {check["status"] for check in checks} == {"passed"}


def test_where_nothing_is_planted_nothing_works(planted, tmp_path):
    network = reader(*planted, strength=0.0)

    summary, store = put_to_trial(
        network, planted[0].encoder.tokenizer, tmp_path, doses=[-1, 1], limit={"test": 24}
    )

    # The direction is still there to be read; it does not do anything.
    [trial] = summary.trials
    [edit] = fitted(trial, store).edits.values()
    assert float(torch.cosine_similarity(edit.vector, planted[1], dim=0)) > 0.99
    assert trial.verdict.label in ("no effect", "no better than a control"), trial.verdict
    assert abs(trial.response.steerability.value) < 0.02


def test_where_the_opposite_is_planted_it_reverses(planted, tmp_path):
    network = reader(*planted, strength=-0.5)

    summary, _ = put_to_trial(
        network, planted[0].encoder.tokenizer, tmp_path, doses=[-1, 1], limit={"test": 24}
    )

    [trial] = summary.trials
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

    summary, _ = put_to_trial(
        network, planted[0].encoder.tokenizer, tmp_path, doses=[-1, 1], limit={"test": 24}
    )

    [trial] = summary.trials
    assert trial.verdict.label != "works", trial.verdict
    assert np.isfinite(trial.response.steerability.value)


def test_the_order_of_methods_and_behaviours_changes_no_trial(planted, tmp_path):
    """A report is a function of rows, and rows are named by their content (T42)."""
    model = planted[0]
    for name, seed in (("one", 0), ("two", 1)):
        planted_concept(tmp_path / f"{name}.jsonl", groups=12, seed=seed)
    behaviours = {
        name: {"source": str(tmp_path / f"{name}.jsonl"), "targets": {"open": "open"}}
        for name in ("one", "two")
    }
    methods = {
        "caa": {"read": "completion", "layer": 1},
        "mean-match": {"read": "completion", "layer": 1, "on": ["two"]},
    }
    common = {
        "doses": [-1, 1],
        "limit": {"test": 8},
        "controls": {"random": 2, "shuffled": 1},
        "baselines": [],
        "guards": {},
    }
    found = []

    for name, turn in (("there", 1), ("back", -1)):
        (tmp_path / name).mkdir()
        summary, store = put_to_trial(
            model.engine.network, model.encoder.tokenizer, tmp_path / name,
            behaviours=dict([*behaviours.items()][::turn]),
            methods=dict([*methods.items()][::turn]), **common,
        )  # fmt: skip
        rows = store.scan().drop("run").collect().sort(pl.all())
        found.append(({(t.behaviour, t.label): t for t in summary.trials}, rows))

    (there, rows), (back, others) = found
    assert_frame_equal(rows, others, abs_tol=1e-6, rel_tol=0)
    assert len(there) == 3
    assert set(there) == set(back)
    for key, trial in there.items():
        other = back[key]
        assert (trial.settings, trial.dose) == (other.settings, other.dose)
        assert trial.response.steerability.value == pytest.approx(
            other.response.steerability.value, abs=1e-6
        )
        assert trial.band.high == pytest.approx(other.band.high, abs=1e-6)
        assert trial.effects[0].item == other.effects[0].item
