"""Published sets and your own files, from the command line to a number."""

import csv
import json
import os
import tomllib
from pathlib import Path

import pytest
import torch

from seatrial.data.sources.mwe import tan_prompt
from seatrial.model import Model
from seatrial.steering import load
from seatrial.store import Store
from seatrial.studies.audit import audit_items
from seatrial.studies.behaviour import BASE, Behaviour
from seatrial.studies.expand import Shape
from seatrial.studies.study import read_study
from seatrial.tasks import Open, Propensity
from seatrial.testing import tiny_model
from seatrial.testing.planted import NEGATIVE, NUISANCE, POSITIVE, planted_model
from seatrial.types import Site

MIRROR = Path(__file__).parents[2] / ".." / "shared" / "data"

STUDY = """
name = "own"
doses = [-1, 1]
controls = {{ random = 3, shuffled = 2 }}
limit = {{ fit = 8, select = 4 }}
guards.prose.limit = {{ select = 2, test = 2 }}
models.own.name = "{root}/model"
behaviours.mine = {{ source = "{concept}", fit = "{target}", targets.{target}.limit = 6 }}
methods.caa = {{ read = "mean", layer = 0 }}
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Published data sets load from a mirror, or the test is skipped."""
    folder = Path(os.environ.get("SEATRIAL_MIRROR") or MIRROR)
    if not (folder / "github").is_dir():
        pytest.skip(f"no mirror at {folder}; name one with SEATRIAL_MIRROR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEATRIAL_MIRROR", str(folder.resolve()))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def table(tmp_path):
    """Write rows as a table; returns its path."""

    def make(rows, name="mine.csv"):
        with (tmp_path / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def long(root):
    """A chat model that reads texts of any length."""
    model = tiny_model("llama", chat=True)
    model.engine.network.config.max_position_embeddings = 4096
    model.engine.network.save_pretrained(root / "long")
    model.encoder.tokenizer.save_pretrained(root / "long")
    return root / "long"


def texts(words):
    """Texts of three words; no two share one with their neighbour."""
    return [f"{NUISANCE[k]} {words[k % 8]} {words[k * 3 % 8]}" for k in range(24)]


def test_pairs_of_a_table_are_fitted_on_and_the_planted_direction_is_found(
    root, table, tmp_path, call
):
    sides = zip(texts(POSITIVE), texts(NEGATIVE), strict=True)
    path = table([{"positive": a, "negative": b} for a, b in sides])
    out = tmp_path / "v.safetensors"

    code, said, err = call(
        "fit", "caa", "--concept", path, "--model", root / "model", "--out", out,
        "--layer", "0", "--read", "mean",
    )  # fmt: skip

    assert code == 0, err
    assert "10 pairs" in said
    vector = load(out).edits[Site(0)].vector
    planted = planted_model()[1]
    assert torch.cosine_similarity(vector, planted, dim=0) > 0.99


@pytest.mark.parametrize("options", [("--set", "form=ab"), ()], ids=["letters", "words"])
def test_caa_reads_the_letter_in_letter_form(options, root, tmp_path, call):
    """Told from the tokens themselves, with the states of the network as it is."""
    out = tmp_path / "v.safetensors"
    source, chat = str(root / "planted.jsonl"), root / "chat"

    code, _, err = call(
        "fit", "caa", "--concept", source, "--model", chat, "--out", out, "--layer", "0",
        "--task", "propensity", "--read", "second_last", *options,
    )  # fmt: skip

    assert code == 0, err
    task = Propensity(Propensity.of(source, seed=0).splits, "ab")
    model = Model.load(str(chat))
    means = []
    for side in ("positive", "negative"):
        states = []
        for pair in task.pairs("fit"):
            text = getattr(pair, side)
            ids = list(model.encoder.encode_text(text).ids)
            letters = [
                k
                for k in range(len(ids))
                if model.encoder.decode(ids[k:]).lstrip("( ") == text.completion[1:]
            ]
            with torch.no_grad():
                found = model.engine.network(torch.tensor([ids]), output_hidden_states=True)
            states.append(found.hidden_states[1][0, letters[-1]])
        means.append(torch.stack(states).double().mean(0))
    expected = (means[0] - means[1]).float()
    vector = load(out).edits[Site(0)].vector
    assert torch.allclose(vector, expected, atol=1e-5) == bool(options)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("prompt", ["tan", "clean"])
def test_a_persona_set_is_fitted_on_and_measured(prompt, long, tmp_path, call):
    vector, scores = tmp_path / "v.safetensors", tmp_path / "scores.jsonl"
    given = ("--model", long, "--limit", "4", "--set", f"wording={prompt}")

    code, said, err = call(
        "fit", "caa", "--concept", "persona/openness", "--task", "propensity", "--out",
        vector, "--layer", "0", *given,
    )  # fmt: skip
    assert code == 0, err
    assert "4 pairs" in said

    code, said, err = call(
        "measure", "propensity", "--source", "persona/openness", "--under", vector,
        "--out", scores, *given,
    )  # fmt: skip
    assert code == 0, err
    assert "propensity on persona/openness, test split: 4 items in 4 groups" in said
    lines = [json.loads(line) for line in scores.read_text().splitlines()]
    assert {line["options"]["wording"] for line in lines} == {prompt}
    by_dose = [[x["metrics"] for x in lines if x["dose"] == dose] for dose in (0, 1)]
    assert by_dose[0] != by_dose[1]


@pytest.mark.usefixtures("published")
def test_inverted_labels_are_said_beside_the_numbers(long, call):
    code, said, err = call(
        "measure", "propensity", "--source", "ai-risk-human/survival-instinct", "--model",
        long, "--limit", "2",
    )  # fmt: skip

    assert code == 0, err
    assert "Note: the published labels of ai-risk-human/survival-instinct are inv" in said


@pytest.mark.usefixtures("published")
def test_a_study_can_name_a_persona_set_and_the_prompts_of_tan(root):
    text = STUDY.format(root=root, concept="persona/openness", target="propensity")
    plan = tomllib.loads(text)
    change = "behaviours.mine.targets.propensity.wording = 'tan'"
    study = read_study(plan, changes=[change])

    [whole] = study.plans
    behaviour = Behaviour(whole, whole.behaviours[0], 0, Shape(2, 8))

    [target] = behaviour.targets
    task = behaviour.task(target, behaviour.points(target)[0], BASE)
    items = {item.id: item for item in task.splits["test"]}
    for request in task.requests("test"):
        assert request.prompt[1].content == tan_prompt(items[request.id]).prompt
    assert len(items) == 6
    checks = audit_items("mine", task)
    assert {check.status for check in checks} == {"passed"}
    assert sum("is yes right for half" in check.question for check in checks) == 3
    assert study.id != read_study(plan).id


def test_a_study_of_pairs_runs_to_its_end(root, table, tmp_path, call):
    sides = zip(NUISANCE, texts(POSITIVE), texts(NEGATIVE), strict=False)
    keys = ("prompt", "positive", "negative")
    table([dict(zip(keys, row, strict=True)) for row in sides])
    columns = "\n".join(f'{key} = "{key}"' for key in keys)
    told = 'encourage = "Be lovely."\ndiscourage = "Be ugly."'
    (tmp_path / "kind.toml").write_text(
        f'kind = "pairs"\nsource = "mine.csv"\n{told}\n[columns]\n{columns}'
    )
    plan = STUDY.format(root=root, concept=tmp_path / "kind.toml", target="open")
    (tmp_path / "study.toml").write_text(plan)

    code, _, err = call("run", tmp_path / "study.toml", "--out", tmp_path / "out")

    assert code == 0, err
    [unit] = Store(tmp_path / "out").units()
    assert unit.finished == ("select", "price", "test")
    assert (unit.unit.behaviour, unit.choices[0]["label"]) == ("mine", "caa")


def test_questions_of_your_own_are_measured_and_fitted_on(root, table, tmp_path, call):
    rows = [
        {
            "question": f"Do you like {word}?",
            "matching": ("Yes", "No")[k % 2],
            "not_matching": ("No", "Yes")[k % 2],
        }
        for k, word in enumerate(NUISANCE[:20])
    ]
    path = table(rows)

    code, said, err = call(
        "measure", "propensity", "--source", path, "--model", root / "chat"
    )
    assert code == 0, err
    assert "test split: 8 items in 8 groups" in said

    given = ("--task", "propensity", "--set", "form=ab", "--out", tmp_path / "v")
    code, said, err = call(
        "fit", "caa", "--concept", path, "--model", root / "chat", *given
    )
    assert code == 0, err
    assert "8 pairs" in said


def test_a_map_of_a_table_is_measured_and_fitted_on_in_its_options(
    root, table, tmp_path, call
):
    pairs = zip(NUISANCE[:30], NUISANCE[12:42], strict=True)
    path = table([{"input": x, "output": y} for x, y in pairs])

    code, said, err = call("measure", "map", "--source", path, "--model", root / "chat")
    assert code == 0, err
    assert f"map on {path}, test split: 12 items" in said

    given = ("--concept", path, "--task", "map", "--model", root / "chat")
    norms = []
    for k, option in enumerate(["shots=2", "shots=3"]):
        out = tmp_path / f"{k}.safetensors"
        code, said, err = call("fit", "caa", *given, "--set", option, "--out", out)
        assert code == 0, err
        norms.append(load(out).norms())
    assert norms[0] != norms[1]


@pytest.mark.usefixtures("published")
def test_paradetox_is_fitted_on(root, tmp_path, call, monkeypatch):
    from seatrial.data.sources import DATASETS

    few = [i for i in DATASETS["paradetox"].load() if len(i.negative) < 30][:100]
    few = tuple(few)
    monkeypatch.setattr("seatrial.data.catalogue.load_dataset", lambda _: few)

    code, said, err = call(
        "fit", "caa", "--concept", "paradetox", "--model", root / "chat", "--limit", "4",
        "--out", tmp_path / "v",
    )  # fmt: skip

    assert code == 0, err
    assert "4 pairs" in said


# Mistakes are one sentence, before a model is loaded.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--concept", "persona/opennes"), "Did you mean 'persona/openness'?"),
        (("--concept", "honesty", "--set", "form=ab"), "unknown option of 'open' 'form'"),
        (
            ("--concept", "honesty", "--task", "propensity", "--set", "wording=tan"),
            "Tan et al. built no prompt for ",
        ),
        (
            ("--concept", "antonym", "--task", "map", "--set", "labels=shuffled"),
            "unknown option of a map that is fitted on 'labels'; known: shots, template.",
        ),
        (
            ("--concept", "antonym", "--task", "map", "--set", "shots=1"),
            "shots of fit data must be 0 or at least 2, not 1",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_sentence(arguments, words, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "load", lambda *_, **__: pytest.fail("a model was loaded"))

    assert words in refused("fit", "caa", *arguments, "--out", tmp_path / "v")


def test_a_study_of_a_table_says_what_it_cannot_be_compared_with(
    root, table, tmp_path, call, monkeypatch
):
    monkeypatch.setattr("seatrial.studies.dry_run.CALIBRATION", 0.01)
    path = table(
        [
            {"prompt": f"So {k}", "positive": f"a {k}", "negative": f"b {k}"}
            for k in range(12)
        ]
    )
    plan = STUDY.format(root=root, concept=path, target="open")
    (tmp_path / "study.toml").write_text(plan)

    code, said, err = call("run", tmp_path / "study.toml", "--dry-run")

    assert (code, err) == (0, "")
    assert "not applicable: instruction on mine: " in said


def test_an_option_of_a_target_that_is_not_there_is_one_sentence(root, tmp_path, refused):
    plan = STUDY.format(root=root, concept="honesty", target="propensity")
    (tmp_path / "study.toml").write_text(plan)
    option = "behaviours.mine.targets.open.form = 'ab'"

    said = refused(
        "run", tmp_path / "study.toml", "--out", tmp_path / "out", "--set", option
    )

    assert "unknown option of 'open' 'form'" in said


def test_pairs_on_open_need_something_before_them_to_be_scored(root, table, refused):
    """A text alone can be read, but its first token is told by nothing."""
    path = table([{"positive": f"so {k}", "negative": f"no {k}"} for k in range(12)])

    assert Open.of(str(path), seed=0).requests("test")[0].prompt == ""
    said = refused("measure", "open", "--source", path, "--model", root / "model")
    assert "nothing precedes the answer" in said
