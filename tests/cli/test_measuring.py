"""`seatrial measure`: every number with its interval, and the scores behind it."""

import json
import re

import pytest
import torch

from seatrial import cli
from seatrial.data import load_concept
from seatrial.model import Model
from seatrial.stats import cluster_difference, cluster_mean
from seatrial.steering import load, save
from seatrial.steering.edits import Add
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.tasks import Open, Propensity, in_condition
from seatrial.tasks.base import instructions_of
from seatrial.tasks.conditions import TAN
from seatrial.tasks.judges import Lexicon
from seatrial.tasks.measure import measure
from seatrial.types import Site

NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"
INTERVAL = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"


@pytest.fixture
def on(root):
    """Options that every run here has."""

    def options(*more, model="model"):
        return ("--source", root / "planted.jsonl", "--model", root / model, *more)

    return options


def rows_of(out):
    """Rows of the printed table, as {metric: [cells]}."""
    found = {}
    for line in out.splitlines():
        cells = re.split(r" {2,}", line.strip())
        if len(cells) > 2 and re.fullmatch(INTERVAL, cells[1]):
            found[cells[0]] = cells[1:]
    return found


def test_the_unsteered_model_is_measured_with_intervals(root, on, call):
    code, out, _ = call("measure", "open", *on("--seed", "3"))

    scores = measure(
        Model.load(str(root / "model")), Open.of(str(root / "planted.jsonl"), seed=3)
    )
    values, groups = zip(*[(s.metrics["open"], s.group) for s in scores[0]], strict=True)
    assert code == 0
    assert rows_of(out)["open"] == [str(cluster_mean(values, groups)), "20", "0"]
    assert list(rows_of(out)) == ["open", "matching", "other"]
    assert "nats per token" in out
    assert f"open on {root}/planted.jsonl, test split: 20 items in 5 groups; " in out


def test_steered_and_unsteered_stand_side_by_side_with_their_paired_difference(
    root, vector, on, call
):
    code, out, _ = call("measure", "open", *on("--under", vector))

    model = Model.load(str(root / "model"))
    steering = Steering(load(vector))
    plain, steered = measure(
        model, Open.of(str(root / "planted.jsonl"), seed=0), "test", [UNSTEERED, steering]
    )
    a, b = ([s.metrics["open"] for s in scores] for scores in (plain, steered))
    groups = [s.group for s in plain]
    lines = [line for line in out.splitlines() if re.match(r" *open ", line)]
    assert code == 0
    assert re.findall(INTERVAL, lines[0]) == [
        str(cluster_mean(a, groups)),
        str(cluster_mean(b, groups)),
        str(cluster_difference(b, a, groups)),
    ]
    assert cluster_difference(b, a, groups).low > 0  # the planted direction is found


def test_every_dose_has_a_row(vector, on, call):
    _, out, _ = call("measure", "open", *on("--under", vector, "--doses", "-1", "0", "2"))

    lines = [
        line.split()[:2] for line in out.splitlines() if re.match(r" *open +-?\d", line)
    ]
    zero = next(line for line in out.splitlines() if re.match(r" *open +0 ", line))
    assert lines == [["open", "-1"], ["open", "0"], ["open", "2"]]
    assert re.findall(INTERVAL, zero)[2] == "0.00 [0.00, 0.00]"


def test_no_cell_of_the_table_is_a_number_without_an_interval(vector, on, call):
    _, out, _ = call("measure", "open", *on("--under", vector, "--doses", "1", "2"))

    table = [line for line in out.splitlines() if re.search(INTERVAL, line)]
    assert len(table) == 6
    for line in table:
        left = re.sub(INTERVAL, "", line).split()
        assert [cell for cell in left if re.fullmatch(NUMBER, cell)] == left[1:]
        assert left[2:] == ["20", "0"]  # dose, items, and those without the metric


def test_options_of_the_task_reach_it(root, on, call, tmp_path):
    out = tmp_path / "deep" / "scores.jsonl"

    code, said, _ = call(
        "measure", "propensity", *on(model="chat"), "--set", "form=ab", "--limit", "8",
        "--out", out,
    )  # fmt: skip

    task = Propensity.of(str(root / "planted.jsonl"), seed=0, limit=8)
    ab = Propensity(task.splits, "ab")
    [scores] = measure(Model.load(str(root / "chat")), ab)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0
    assert said.endswith(f"Scores: {out}\n")
    assert [line["item"] for line in lines] == [score.item for score in scores]
    assert [line["metrics"] for line in lines] == [score.metrics for score in scores]
    assert {line["options"]["form"] for line in lines} == {"ab"}
    assert {line["version"] for line in lines} == {Propensity.version}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("form=ab",), ("by whether (A) matches", "by whether yes matches")),
        ((), ("by whether yes matches",)),
        (
            ("form=ab", "both_orders=true"),
            ("by which answer is named first", "by whether yes matches"),
        ),
    ],
    ids=str,
)
def test_what_letters_words_and_orders_explain_is_told(
    options, parts, root, on, call, tmp_path
):
    """Trap T36."""
    given = ("--set", *options) if options else ()
    out, chat = tmp_path / "v.safetensors", root / "chat"
    concept = ("--concept", root / "planted.jsonl")
    call("fit", "caa", *concept, "--model", chat, "--layer", "0", "--out", out)

    code, said, err = call(
        "measure", "propensity", *on("--under", out, *given, model="chat")
    )

    assert code == 0, err
    before, after = re.findall(r"Share of the variance of propensity \((.*)\): (.*)", said)
    assert (before[0], after[0]) == ("unsteered", "change at dose 1")
    for _, told in (before, after):
        assert len(re.findall(INTERVAL, told)) == len(parts)
        assert all(part in told for part in parts)


def test_tasks_without_such_answers_tell_nothing_of_them(vector, on, call):
    _, said, _ = call("measure", "open", *on("--under", vector))

    assert "variance" not in said


def test_five_conditions_stand_side_by_side(root, on, call, tmp_path):
    out = tmp_path / "scores.jsonl"
    few = ("--limit", "8", "--out", out)

    code, said, err = call(
        "measure", "propensity", *on(*few, "--condition", "all", model="chat")
    )

    assert code == 0, err
    concept = load_concept(str(root / "planted.jsonl"))
    task = Propensity.of(str(root / "planted.jsonl"), seed=0, limit=8)
    model = Model.load(str(root / "chat"))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for condition in TAN:
        [scores] = measure(model, in_condition(task, condition, instructions_of(concept)))
        values, groups = zip(
            *[(s.metrics["propensity"], s.group) for s in scores], strict=True
        )
        here = [line for line in lines if line["condition"] == condition]
        [row] = [
            line for line in said.splitlines()
            if re.match(rf" *propensity +{condition} ", line)
        ]  # fmt: skip
        assert re.findall(INTERVAL, row) == [str(cluster_mean(values, groups))]
        assert [line["metrics"] for line in here] == [score.metrics for score in scores]
        told = {"base": ""}.get(
            condition, concept.discourage if "negative" in condition else concept.encourage
        )
        assert {line["instruction"] for line in here} == {told}
    assert len({json.dumps(line["metrics"]) for line in lines}) > 8
    assert {line["task"] for line in lines} == {"propensity"}
    assert "propensity in 5 conditions on " in said


def test_one_condition_is_measured_with_a_steering(vector, on, call):
    code, out, err = call(
        "measure", "open", *on("--under", vector, "--condition", "user-negative")
    )

    assert code == 0, err
    assert "open@user-negative on " in out
    [row] = [line for line in out.splitlines() if re.match(r" *open +1 ", line)]
    assert len(re.findall(INTERVAL, row)) == 3


def test_a_guard_is_asked_under_the_instructions_of_a_concept(root, call):
    options = ("--limit", "4", "--model", root / "chat", "--concept", "formality")

    code, out, err = call("measure", "facts", *options, "--condition", "system-positive")

    assert code == 0, err
    assert "facts@system-positive on facts" in out


def test_a_judge_is_named_with_the_scores(root, call, tmp_path):
    out = tmp_path / "scores.jsonl"
    few = ("--limit", "4", "--set", "max_tokens=3", "--model", root / "chat")

    code, _, err = call("measure", "generation", *few, "--out", out)

    assert code == 0, err
    [judge] = {json.loads(x)["options"]["judge"] for x in out.read_text().splitlines()}
    assert judge == Lexicon().identity


def test_scores_are_one_line_for_each_item_and_steering(vector, on, call, tmp_path):
    out = tmp_path / "scores.jsonl"

    call("measure", "open", *on("--under", vector, "--doses", "0", "1", "--out", out))

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    keys = [(line["under"], line["dose"]) for line in lines]
    assert (
        keys == [(None, 0.0)] * 20 + [(str(vector), 0.0)] * 20 + [(str(vector), 1.0)] * 20
    )
    assert [line["metrics"] for line in lines[:20]] == [
        line["metrics"] for line in lines[20:40]
    ]
    assert {line["task"] for line in lines} == {"open"}
    assert {line["split"] for line in lines} == {"test"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("open", ["--condition", "tools", "--size", "0"], "nats per token"),
        ("map", ["--set", "shots=2", "template=arrow"], "share of items"),
        ("prose", ["--limit", "3"], "kl"),
    ],
)
def test_tasks_of_every_kind_can_be_measured(task, options, words, root, call):
    sources = {"open": "planted.jsonl", "map": "map.jsonl"}
    if task in sources:
        options = ["--source", root / sources[task], *options]

    model = "model" if task == "open" else "chat"
    code, out, err = call("measure", task, "--model", root / model, *options)

    assert code == 0, err
    assert words in out


def test_a_task_that_writes_is_measured_too(root, call, monkeypatch):
    """A steering that adds a large vector changes what is written."""
    save(
        Intervention({Site(1): Add(20 * torch.linspace(-1, 1, 32))}, "all"),
        root / "strong.safetensors",
    )
    options = ("--limit", "4", "--set", "max_tokens=6", "--model", root / "chat")

    code, out, err = call(
        "measure", "fluency", *options, "--under", root / "strong.safetensors"
    )

    assert code == 0, err
    assert "degenerate" in out
    assert re.search(rf"tokens +1 +{INTERVAL}", out)


def test_the_first_source_is_the_default(root, call, monkeypatch):
    asked = []
    make = Open.of.__func__

    def of(cls, source, **options):
        asked.append(source)
        return make(cls, str(root / "planted.jsonl"), **options)

    monkeypatch.setattr(Open, "of", classmethod(of))
    code, out, _ = call("measure", "open", "--model", root / "model")

    assert (code, asked) == (0, [Open.sources[0]])
    assert f"open on {Open.sources[0]}, test split" in out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_keeps_its_numbers_in_a_narrow_terminal(
    width, vector, on, call, monkeypatch
):
    monkeypatch.setattr(cli.OUT, "width", width)

    _, out, _ = call("measure", "open", *on("--under", vector))

    table = out.partition("open on ")[0]
    assert len(re.findall(INTERVAL, table)) == 9
    assert "\u2026" not in table
    assert max(map(len, table.splitlines())) <= width
    assert table.count(" 20 ") == 3


# Mistakes are one sentence, before a model is loaded.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["opne"], "unknown task 'opne'; known: "),
        (["open", "--source", "sea"], "unknown concept 'sea'"),
        (["open", "--set", "form"], "--set takes KEY=VALUE, such as shots=5, not 'form'"),
        (["open", "--set", "form=ab"], "unknown option of 'open' 'form'; known: none"),
        (["propensity", "--set", "forn=ab"], "Did you mean 'form'?"),
        (["propensity", "--set", "form=abc"], "form of 'propensity': input should be "),
        (["map", "--set", "shots=-1"], "shots must be 0 or more, not -1"),
        (["map", "--set", "shots=two"], "shots of 'map': input should be a valid integer"),
        (["open", "--doses", "1", "2"], "name its file with --under"),
        (["open", "--under", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["open", "--out", "scores.csv"], "must end in .jsonl"),
        (["open", "--condition", "user"], "unknown condition 'user'; known: all, base"),
        (["open", "--concept", "formality"], "give another --condition"),
        (["facts", "--condition", "all"], "facts is about no concept"),
        (["open", "--limit", "1"], "a limit of items must be at least 2"),
        (["open", "--model", "smollm3"], "unknown model 'smollm3'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(arguments, words, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(name, **options):
        assert name == "smollm3", "no model should have been loaded"
        return loader(name, **options)

    loader = Model.load
    monkeypatch.setattr(Model, "load", load)

    assert words in refused("measure", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_dose_twice_is_one_sentence(vector, on, refused):
    said = refused("measure", "open", *on("--under", vector, "--doses", "1", "1"))

    assert "--doses must be some different numbers, not [1.0, 1.0]" in said


def test_a_vector_of_another_model_is_one_sentence(vector, on, refused):
    said = refused("measure", "open", *on("--under", vector, model="chat"))

    assert "fitted on" in said or "wide" in said


def test_a_folder_that_cannot_be_made_is_one_sentence(on, tmp_path, refused):
    (tmp_path / "file").write_text("")

    said = refused("measure", "open", *on("--out", tmp_path / "file" / "s.jsonl"))

    assert "cannot be made" in said
