"""The command line: what it prints, its exit codes, and one sentence for every mistake."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seatrial import cli
from seatrial.cli.changes import change
from seatrial.errors import BadOption
from seatrial.files import Folder
from seatrial.methods import METHODS
from seatrial.steering import load, save
from seatrial.steering.compare import added_vectors, comparison
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention, PromptEdit
from seatrial.store import Store
from seatrial.store.records import Checked, Rows
from seatrial.studies import read_study
from seatrial.tasks import TASKS, Map, Propensity
from seatrial.testing.planted import planted_model
from seatrial.types import Site


@pytest.fixture
def changed(root, tmp_path):
    """The study with some text replaced, as another file."""

    def write(old, new):
        text = (root / "study.toml").read_text()
        assert old in text
        (tmp_path / "study.toml").write_text(text.replace(old, new))
        return tmp_path / "study.toml"

    return write


def concept_with(root, tmp_path, change):
    """The planted concept with changed items."""
    about, *lines = (root / "planted.jsonl").read_text().splitlines()
    items = change([json.loads(line) for line in lines])
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join([about, *map(json.dumps, items)]))
    return path


# What works.


def test_help_names_every_command(call):
    code, out, err = call("--help")

    assert (code, err) == (0, "")
    for command in cli.COMMANDS:
        assert f"• {command} " in out


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_describes_itself_and_its_options(command, call):
    code, out, err = call(command, "--help")

    assert (code, err) == (0, "")
    assert (cli.COMMANDS[command].__doc__ or "").splitlines()[0][:40] in out


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            "methods",
            ["caa", "add the difference of mean activations", "random", "control:"],
        ),
        ("tasks", ["open", "propensity", "prose", "guard", "transfer", "list options"]),
        ("options", ["context_words=0", "letters or texts", "seed=0"]),
        (
            "models",
            [
                "smollm2-135m",
                "HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0",
                "a random Llama of 6 blocks, made in memory",
            ],
        ),
        ("studies", ["quickstart", "caa on positive-sentiment, interest-in-music"]),
        ("concepts", ["interest-in-music", "items)"]),
    ],
)
def test_list_shows_a_line_for_each(what, words, call):
    code, out, err = call("list", what)

    assert (code, err) == (0, "")
    assert all(word in out for word in words)


def test_list_tasks_tells_the_role_and_counts_sources_where_there_is_room(
    call, monkeypatch
):
    rows = {}
    for width in (200, 100):
        monkeypatch.setattr(cli.OUT, "width", width)
        _, out, _ = call("list", "tasks")
        lines = [line.split() for line in out.splitlines() if line[1] != " "]
        rows[width] = {name: (role, " ".join(rest)) for name, role, *rest in lines}

    for name, kind in TASKS.items():
        role, line = rows[200][name]
        assert (role, rows[100][name][0]) == (kind.about.role, kind.about.role)
        assert line.endswith("source)" if len(kind.sources) == 1 else " sources)")
    assert rows[200]["propensity"][1].endswith(f"({len(Propensity.sources)} sources)")
    assert not any(line.startswith("guard:") for _, line in rows[200].values())
    assert not rows[100]["open"][1].endswith("sources)")


def test_fit_help_lists_the_options_of_the_method_with_their_meaning(call):
    code, out, _ = call("fit", "caa", "--help")

    assert code == 0
    assert "https://arxiv.org/abs/2312.06681" in out
    for option in ("--concept", "--out", "--model", "--task", "--limit", "--seed"):
        assert option in out
    for option, words in (
        ("--layer", "Decoder block whose output"),
        ("--read", "Which token of each text is read"),
        ("--tokens", "Which tokens are edited"),
    ):
        assert option in out
        assert words in out
    assert "--of" not in out


def test_fit_help_of_a_control_has_the_options_of_its_reference_too(call):
    _, out, _ = call("fit", "shuffled", "--of", "caa", "--help")

    for option in ("--of", "--rescale", "--layer", "--tokens"):
        assert option in out


# What a method needs on the planted model, which knows few words, beside its defaults.
NEEDS = {
    "actadd": ("--positive", "bright", "--negative", "dull"),
    "function-vector": (
        *("--task", "map", "--shots", "2"),
        *("--mean-prompts", "4", "--effect-prompts", "2"),
    ),
    "layer-mean": ("--task", "map", "--shots", "2", "--mean-prompts", "4"),
    "length": ("--of", "dola"),
    "task-vector": ("--task", "map"),
}


# The planted model knows no word of the built-in concept that `other-task` would fit on.
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"other-task"}))
def test_fit_writes_a_file_that_can_be_loaded(name, root, tmp_path, call):
    out = tmp_path / "deep" / "v.safetensors"
    needs = NEEDS.get(name, ())
    # The words of the planted model cannot write the template of a map.
    source, model = ("map.jsonl", "chat") if "map" in needs else ("planted.jsonl", "model")
    data = ("--concept", root / source, "--limit", "6", "--seed", "2", *needs)

    code, said, _ = call("fit", name, "--model", root / model, *data, "--out", out)

    assert code == 0
    fitted = load(out)
    assert f"{out}: 6 pairs; " in said
    assert ("no added vector" in said) == (not added_vectors({name: fitted}))
    assert (fitted.origin.method, fitted.origin.seed) == (name, 2)


@pytest.mark.parametrize("method", [("repe", "--form", "piecewise"), ("icv",)])
def test_fit_says_how_long_a_vector_of_any_kind_is(method, root, tmp_path, call):
    out = tmp_path / "v.safetensors"
    data = ("--concept", root / "planted.jsonl", "--model", root / "model", "--out", out)

    _, said, _ = call("fit", *method, *data)

    for row in comparison({"fitted": load(out)}).rows:
        beside = f" (|v|/|h| {row.ratio:.2g})" if row.ratio else ""
        assert f"site {row.site}: norm {row.norm:.3g}{beside}" in said


def test_the_options_of_a_method_reach_it(root, tmp_path, call):
    out = tmp_path / "v.safetensors"
    data = ("--concept", root / "planted.jsonl", "--model", root / "model", "--out", out)

    options = ("--layer", "0", "--read", "completion", "--tokens", "first_2")
    _, said, _ = call("fit", "caa", *data, *options)

    fitted = load(out)
    [row] = comparison({"caa": fitted}).rows
    assert f"norm {row.norm:.3g} (|v|/|h| {row.ratio:.2g})" in said
    assert list(fitted.edits) == [Site(0)]
    assert fitted.tokens == "first_2"
    told = {"layer": 0, "read": "completion", "tokens": "first_2"}
    assert told.items() <= fitted.origin.options.items()


def test_the_options_of_a_control_reach_it_and_its_reference(root, tmp_path, call):
    norms = {}
    for flag in ("--rescale", "--no-rescale"):
        out = tmp_path / f"v{flag}.safetensors"
        data = (
            "--concept",
            root / "planted.jsonl",
            "--model",
            root / "model",
            "--out",
            out,
        )
        call("fit", "shuffled", *data, "--of=caa", "--layer", "0", flag)
        norms[flag] = load(out).norms()[Site(0)]

    assert norms["--no-rescale"] < 0.7 * norms["--rescale"]


@pytest.mark.parametrize("method", ["caa", "task-vector"])
def test_fit_on_a_map_reads_its_fit_split(method, root, tmp_path, call):
    out = tmp_path / "v.safetensors"
    data = ("--concept", root / "map.jsonl", "--model", root / "chat", "--out", out)

    code, said, _ = call("fit", method, *data, "--task", "map", "--seed", "1")

    map_data = Map.of(str(root / "map.jsonl"), seed=1).fit_data()
    assert code == 0
    assert f"{len(map_data.pairs)} pairs" in said
    assert load(out).origin.data == map_data.fingerprint


def test_fit_on_another_task_reads_other_pairs(root, tmp_path, call):
    prints = set()
    for task in ("open", "propensity"):
        out = tmp_path / f"{task}.safetensors"
        data = ("--concept", root / "planted.jsonl", "--model", root / "chat", "--out", out)
        assert call("fit", "caa", *data, "--task", task)[0] == 0
        prints.add(load(out).origin.data)

    assert len(prints) == 2


@pytest.fixture(scope="module")
def push(root):
    """A vector made by hand for the chat model."""
    vector = torch.linspace(-1, 1, 32)
    save(Intervention({Site(1): Add(vector)}, "all"), root / "push.safetensors")
    return root / "push.safetensors"


@pytest.mark.parametrize(("dose", "alike"), [("0", True), ("5", False)])
def test_steer_prints_the_steered_text_beside_the_unsteered(dose, alike, root, push, call):
    options = ("--model", root / "chat", "--dose", dose, "--max-tokens", "6")

    code, out, err = call("steer", push, "What does the sea look like?", *options)

    head, row = (line for line in out.splitlines() if line[0] in "┃│")
    _, left, right, _ = (cell.strip() for cell in row.split("│"))
    assert (code, err) == (0, "")
    assert [cell.strip() for cell in head.split("┃")] == [
        "",
        "unsteered",
        f"dose {dose}",
        "",
    ]
    assert (left == right) == alike
    assert left


def test_every_option_of_steer_has_an_effect(root, push, call):
    def said(*options):
        return call("steer", push, "What is it?", "--model", root / "chat", *options)[1]

    plain = said("--max-tokens", "8")

    assert said("--max-tokens", "8") == plain
    for more in (["--dose", "9"], ["--max-tokens", "2"], ["--temperature", "5"]):
        assert said("--max-tokens", "8", *more) != plain
    hot = ("--temperature", "5", "--seed")
    assert said(*hot, "1") == said(*hot, "1") != said(*hot, "2")


def test_a_base_model_continues_the_prompt(root, vector, call):
    code, out, _ = call(
        "steer", vector, "kab lod", "--model", root / "model", "--dose", "3"
    )

    assert code == 0
    assert "dose 3" in out


def test_a_study_can_be_run_reported_and_audited(finished, call):
    code, out, err = call("report", finished)
    assert (code, err) == (0, "")
    assert "works" in out
    assert f"Report: {finished}/report.html" in out
    for name in ("report.html", "report.md", "results.json"):
        assert (finished / name).stat().st_size > 1000

    code, out, err = call("audit", finished)
    assert (code, err) == (0, "")
    assert re.search(r"small: (\d+) checks, \1 passed, 0 warned, 0 failed.", out)
    assert "does an item get the same score alone as in its batch?" in out
    assert "Has every cell one score an item and metric" in out  # H7, asked of the rows


def test_claims_are_demanded(root, finished, tmp_path, call):
    code, _, err = call("report", finished, "--check")
    assert code == 3
    assert err.startswith("does not hold: caa for planted on open (planted-0) works: ")

    # Of 7 or 8 groups p may be below .05.
    more = (
        "split={fit=0.2, select=0.15, test=0.65}",
        "behaviours.planted.targets.open.limit='all'",
    )
    call("run", root / "study.toml", "--out", tmp_path / "out", "--set", *more)
    code, _, err = call("report", tmp_path / "out", "--check")
    assert (code, err) == (0, "All 1 claims hold.\n")


def test_nothing_to_check_is_no_success(root, tmp_path, call):
    call("run", root / "study.toml", "--out", tmp_path / "out", "--set", "controls=[]")

    code, _, err = call("report", tmp_path / "out", "--check")

    assert code == 2
    assert err.startswith("seatrial: there is no claim to check: ")


def test_a_report_of_several_runs_is_json_where_that_is_asked_for(finished, tmp_path, call):
    code, out, err = call("report", finished, finished, "--out", tmp_path, "--json")

    assert (code, err) == (0, "")
    assert json.loads(out)["format"]
    assert (tmp_path / "report.html").is_file()


def test_run_says_what_comes_next_and_set_lies_over_the_plan(root, tmp_path, call):
    out = tmp_path / "out"
    changes = ("methods.caa.layer=0", "seeds=[4]", "--set", 'name="renamed"')

    code, said, _ = call("run", root / "study.toml", "--out", out, "--set", *changes)

    plan = Store(out).plan
    assert code == 0
    assert said == f"Measured: 1 of 1 unit whole. Now: seatrial report {out}\n"
    assert (plan["name"], plan["completed"]["seeds"]) == ("renamed", [4])
    assert plan["completed"]["methods"]["caa"]["layer"] == 0


def test_the_folder_is_runs_and_the_name_by_default(root, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)

    call("run", root / "study.toml", "--set", "methods.caa.layer=0")

    assert (tmp_path / "runs" / "small" / "study.json").is_file()


def test_a_log_file_gets_plain_lines(root, tmp_path, call):
    _, _, err = call("run", root / "study.toml", "--out", tmp_path, "--set", "limit.test=4")

    lines = err.splitlines()
    assert lines[-1] == "100% planted-0, seed 0, planted: test done, 0:00:00 left"
    assert len(lines) < 8
    assert all(re.match(r" *\d+% planted-0, seed 0, planted: ", line) for line in lines)


def test_a_unit_that_fails_is_told_and_the_others_are_kept(root, tmp_path, call):
    few = tmp_path / "few.csv"
    few.write_text("positive,negative\n" + "".join(f"a {k},b {k}\n" for k in range(5)))
    study = f"behaviours.few={{source='{few}'}}"

    code, out, err = call(
        "run", root / "study.toml", "--out", tmp_path / "out", "--set", study
    )

    assert code == 0
    assert "Measured: 1 of 2 units whole, 1 unit failed. Now: " in out
    [line] = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: planted-0, seed 0, few: ")
    assert "too few to split" in line


def test_a_dry_run_prints_the_plan_and_what_there_is_to_measure(
    root, tmp_path, call, monkeypatch
):
    monkeypatch.setattr("seatrial.studies.dry_run.CALIBRATION", 0.01)
    monkeypatch.chdir(tmp_path)

    code, out, err = call("run", root / "study.toml", "--dry-run")

    assert (code, err) == (0, "")
    plan, _, counts = out.partition(" model ")
    assert read_study(tomllib.loads(plan)).id == read_study(root / "study.toml").id
    assert re.search(r"planted-0 +select +1 +2 +1 +5 +\d+", counts)
    assert re.search(r"planted-0: about \d+ .* by one process here", counts)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_counts_a_model_that_is_not_here(call, monkeypatch):
    monkeypatch.setattr("seatrial.model.load.outline.cache_folder", lambda _: Path("/no"))

    code, out, _ = call("run", "quickstart", "--dry-run")

    assert code == 0
    assert "smollm2-135m is not on this machine: counted by the table of seatrial" in out
    assert re.search(r"smollm2-135m +select +3 +15 +6 +", out)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_with_its_code_and_the_same_command_goes_on(
    number, code, root, finished, tmp_path, call, monkeypatch, request
):
    # Who is started in the background ignores Ctrl-C, and so do its children.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    out, keep, left = tmp_path / "out", Store.keep, [2]

    def interrupted(store, record):
        left[0] -= isinstance(record, Rows)
        if left[0] < 0:
            os.kill(os.getpid(), number)
        keep(store, record)

    monkeypatch.setattr(Store, "keep", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    result = call("run", root / "study.toml", "--out", out)
    monkeypatch.setattr(Store, "keep", keep)

    assert result[0] == code
    assert (
        result[2]
        .rstrip()
        .endswith(
            "Stopped. What was measured is kept; the same command goes on from there."
        )
    )
    assert signal.getsignal(signal.SIGTERM) == before
    assert len(list(out.glob("units/*/rows/*"))) in (2, 3)
    assert call("run", root / "study.toml", "--out", out)[0] == 0
    for folder in (out, finished):
        assert call("report", folder)[0] == 0
    told = [json.loads((f / "results.json").read_text()) for f in (out, finished)]
    assert told[0]["trials"] == [
        {**trial, "run": "out"} if "run" in trial else trial for trial in told[1]["trials"]
    ]


# Mistakes of a user: exit code 2 and a sentence.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sail"],
        ["run"],
        ["list", "boats"],
        ["run", "quickstart", "--worker", "2"],
        ["steer", "v.safetensors"],
        ["steer", "v.safetensors", "hello", "--dose", "much"],
        ["fit", "caa"],
        ["fit", "caa", "--concept", "c", "--out", "o", "--layer", "top"],
        ["fit", "caa", "--concept", "c", "--out", "o", "--laier", "1"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_parsed_exits_with_2_and_says_why_on_stderr(arguments, call):
    code, out, err = call(*arguments)

    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert len(err.splitlines()) > 1


def test_fit_alone_says_what_it_needs(refused):
    assert (
        "fit needs a method: seatrial fit METHOD --concept CONCEPT --out FILE"
        in refused("fit")
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "cea"], "unknown method 'cea'; known: ablate, "),
        (["fit", "random", "--of", "cea"], "unknown method 'cea'"),
        (["fit", "random", "--of", "shuffled"], "'shuffled' is a control itself"),
        (["run", "quickstat"], "unknown study 'quickstat'; known: "),
        (["run", "quickstart", "--set", "doses"], "--set 'doses' is no line of TOML"),
        (["run", "quickstart", "--set", "=3"], "--set '=3' is no line of TOML"),
        (["run", "quickstart", "--set", "dosis=[0]"], "no key 'dosis'"),
        (["run", "quickstart", "--set", "seeds='x'"], "seeds"),
        (["run", "quickstart", "--scale", "huge"], "unknown scale 'huge'; known: full, sm"),
        (["run", "quickstart", "--as-published", "bos"], "unknown published defect 'bos'"),
        (["run", "quickstart", "--workers", "0"], "--workers is 0; write 1, or how many"),
        (["run", "quickstart", "--set", "behaviours=['sea']"], "unknown concept 'sea'"),
        (["run", "quickstart", "--set", "methods=['cea']"], "unknown method 'cea'; known"),
        (
            ["run", "quickstart", "--dry-run", "--set", "models=['a/b']"],
            "a/b is not on thi",
        ),
        (["report"], "report needs a results folder"),
        (["report", "a", "b"], "a report of several studies needs its own folder: --out F"),
        (["pull", "smollm3"], "unknown model 'smollm3'"),
        (["report", "nowhere"], "nowhere holds no study; run one with `seatrial run"),
        (["audit", "nowhere"], "nowhere holds no study; run one with `seatrial run"),
        (
            ["steer", "nowhere.safetensors", "hello"],
            "nowhere.safetensors does not exist; a steer",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(arguments, words, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert words in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("doses = [-1, 1]", "dozes = [-1, 1]", "the plan has no key 'dozes'"),
        ("doses = [-1, 1]", "doses = -1, 0", "study.toml is no valid TOML"),
        ("read =", "reed =", "reed"),
        ("random = 3", "randon = 3", "unknown method 'randon'"),
        ("/planted.jsonl", "/nowhere.jsonl", "unknown concept "),
        ("prose.limit", "prosa.limit", "unknown task 'prosa'"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(old, new, words, changed, refused, tmp_path):
    assert words in refused("run", changed(old, new), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items: [], "holds no items"),
        (
            lambda items: [i for i in items if i["matching"] == "yes"],
            "own.jsonl is one-sided",
        ),
        (lambda items: items[:16], "4 groups are too few to split"),
        (
            lambda items: [*items, {**items[0], "id": "copy", "group": "g"}],
            "stand in two groups",
        ),
        (lambda items: [*items[:-1], {"id": "x"}], "has the fields id; wanted: "),
    ],
)
def test_a_data_file_that_proves_nothing_is_one_sentence(
    change, words, root, tmp_path, refused
):
    path = concept_with(root, tmp_path, change)
    out = tmp_path / "out"

    study = (root / "study.toml", "--out", out)
    for seed in range(2):
        changes = (f'behaviours.planted.source="{path}"', f"split.seed={seed}")
        assert words in refused("run", *study, "--set", *changes)


def test_a_data_file_that_cannot_be_fitted_on_is_one_sentence(root, tmp_path, refused):
    path = concept_with(root, tmp_path, lambda items: [])

    said = refused("fit", "caa", "--concept", path, "--out", tmp_path / "v", "--model", "x")

    assert "own.jsonl holds no items" in said


def test_a_layer_that_the_model_lacks_is_one_sentence_for_fit_too(root, tmp_path, refused):
    data = (
        "--concept",
        root / "planted.jsonl",
        "--out",
        tmp_path / "v",
        "--model",
        root / "model",
    )

    assert "layer 7 does not exist in 'model'" in refused(
        "fit", "caa", *data, "--layer", "7"
    )
    assert "unknown target task 'prose'" in refused("fit", "caa", *data, "--task", "prose")
    assert "'some' is no token scope" in refused("fit", "caa", *data, "--tokens", "some")


def test_a_broken_or_foreign_vector_is_one_sentence(root, vector, tmp_path, refused):
    def steer(path, *options):
        return refused("steer", path, "kab", "--model", root / "model", *options)

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(vector.read_bytes()[:50])
    assert "broken.safetensors is no readable safetensors file" in steer(broken)

    save_file({"x": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    assert "no seatrial steering" in steer(tmp_path / "foreign.safetensors")

    wide = Intervention({Site(0): Add(torch.ones(32))})
    save(wide, tmp_path / "wide.safetensors")
    assert "is 32 wide, but 'model' is 64 wide there" in steer(
        tmp_path / "wide.safetensors"
    )

    save(
        Intervention(prompt_edit=PromptEdit("Do.", "Don't.")), tmp_path / "ask.safetensors"
    )
    said = steer(tmp_path / "ask.safetensors", "--dose", "2")
    assert "a prompt can only have the doses -1, 0 and 1, not 2" in said


def test_a_vector_of_another_model_is_one_sentence(root, tmp_path, vector, refused):
    other = planted_model(seed=1)[0]
    other.engine.network.save_pretrained(tmp_path / "model")
    other.encoder.tokenizer.save_pretrained(tmp_path / "model")

    said = refused("steer", vector, "kab", "--model", tmp_path / "model")

    assert "this steering was fitted on model (folder, " in said
    assert "fit it again on this model" in said


def test_a_foreign_folder_is_one_sentence_and_left_alone(root, tmp_path, refused):
    (tmp_path / "thesis.txt").write_text("mine")

    said = refused("run", root / "study.toml", "--out", tmp_path)

    assert "is not empty and holds no study; choose another --out" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture
def unfinished(root, tmp_path, call, monkeypatch):
    """A study that ran out of disk space after two files of rows."""
    write, left = Folder.write, [2]

    def full(folder, name, fill):
        left[0] -= name.startswith("rows/")
        if left[0] < 0:
            monkeypatch.setattr(Path, "write_bytes", no_space)
        write(folder, name, fill)

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as monkeypatch:
        monkeypatch.setattr(Folder, "write", full)
        result = call("run", root / "study.toml", "--out", tmp_path / "out")
    return tmp_path / "out", result


def test_a_full_disk_is_one_sentence_and_keeps_what_was_measured(unfinished, root, call):
    folder, (code, _, err) = unfinished

    [said] = [line for line in err.splitlines() if line.startswith("seatrial: ")]
    assert code == 2
    assert "No space left on device" in said
    assert "what was measured before is kept" in said
    assert len(list(folder.glob("units/*/rows/*"))) == 2
    assert not list(folder.rglob("*.partial"))
    assert call("run", root / "study.toml", "--out", folder)[0] == 0


def test_an_unfinished_study_says_so_in_its_report(unfinished, call):
    folder, _ = unfinished

    code, _, _ = call("report", folder)

    assert code == 0
    assert "Not whole: " in (folder / "report.md").read_text()


def test_a_damaged_file_of_rows_is_one_sentence(unfinished, root, refused, call):
    folder, _ = unfinished
    damaged = next(iter(folder.glob("units/*/rows/*")))
    damaged.write_bytes(b"PAR1")

    said = refused("run", root / "study.toml", "--out", folder)
    assert f"{damaged} is not what was written" in said

    shutil.rmtree(damaged.parents[1])  # as the sentence says
    assert call("run", root / "study.toml", "--out", folder)[0] == 0
    assert call("report", folder)[0] == 0


def test_a_stopped_study_shows_its_audit(finished, tmp_path, call):
    shutil.copytree(finished, tmp_path / "run")
    store = Store(tmp_path / "run")
    [unit] = store.units()
    check = {
        "id": "H1",
        "question": "Is [dose] 0 [/b]?",
        "status": "failed",
        "detail": "[no]",
    }
    store.keep(Checked(unit.unit, (check,)))

    code, out, _ = call("audit", tmp_path / "run")

    assert code == 0
    assert "Is [dose] 0 [/b]?" in out
    assert "1 failed." in out


# Defects of ours.


def test_a_defect_of_ours_is_a_traceback_and_exit_code_1():
    """The console script is `sys.exit(main())`."""
    code = (
        "import sys\n"
        "from seatrial import cli\n"
        "def broken(folder: str): raise RuntimeError('a defect')\n"
        "cli.COMMANDS['audit'] = broken\n"
        "sys.exit(cli.main(['audit', '--folder', 'x']))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: a defect")


def test_the_console_script_is_installed_and_passes_the_exit_code_on():
    script = Path(sys.executable).with_name("seatrial")

    codes = [
        subprocess.run([script, *a], capture_output=True, check=False).returncode
        for a in (["--help"], ["sail"])
    ]

    assert codes == [0, 2]


def test_a_reader_that_leaves_early_is_no_defect():
    script = Path(sys.executable).with_name("seatrial")
    process = subprocess.Popen(
        [script, "list", "studies"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()

    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (0, b"")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("doses=[-1,0,1]", ("doses", [-1, 0, 1])),
        ("seed=3", ("seed", 3)),
        ("model=a/b", ("model", "a/b")),
        ('model="a=b"', ("model", "a=b")),
        ("limits={prose=3}", ("limits", {"prose": 3})),
    ],
)
def test_set_takes_toml_values_and_bare_words(text, expected):
    assert change(text) == expected


def test_set_without_a_value_is_refused():
    with pytest.raises(BadOption, match="--set takes KEY=VALUE, such as doses"):
        change("doses")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_verdict_is_readable_at_every_width(width, finished, call, monkeypatch):
    monkeypatch.setattr(cli.OUT, "width", width)

    _, out, _ = call("report", finished)

    assert "planted" in out
    assert "works" in out
