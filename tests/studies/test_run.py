"""A study that is stopped, killed or shared ends like one that ran through."""

import errno
import json
import os
import platform
import subprocess
import sys
import textwrap
from dataclasses import asdict, dataclass
from typing import ClassVar, final

import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from seatrial.analysis.summary import summarise
from seatrial.errors import BadData, BadOption, SteeringFault, StoreFault
from seatrial.methods import METHODS, Method, origin_of
from seatrial.model import Model
from seatrial.report import make_report
from seatrial.steering import saving
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.store import Store
from seatrial.studies.audit import Check
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.jobs import CONTROL_GUARD_DOSES, Plan
from seatrial.studies.run import run
from seatrial.studies.study import make_study
from seatrial.testing.planted import planted_concept, planted_model
from seatrial.types import Site

PLAN = {
    "name": "small",
    "methods": [{"name": "caa", "read": "completion"}],
    "layers": [0, 1],
    "targets": ["open"],
    "doses": [-1, 0, 1],
    "controls": {"random": 3, "shuffled": 2},
    "limits": {"select": 8, "prose": 3, "test": {"open": 12}},
}


@final
@dataclass(frozen=True)
class Constant(Method):
    """Add the same made-up vector whatever the data."""

    name: ClassVar[str] = "constant"
    summary: ClassVar[str] = "for tests"

    layer: int = 0

    def fit(self, model, data, *, seed):
        vector = torch.linspace(-0.5, 0.5, model.d_model)
        return Intervention(
            {Site(self.layer): Add(vector)},
            "from_last_prompt",
            origin=origin_of(self, model, data, seed),
        )


@pytest.fixture(scope="module")
def model():
    return planted_model()[0]


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The planted model as a folder, its concept, and one whole run of a study of both."""
    root = tmp_path_factory.mktemp("run")
    model.engine.network.save_pretrained(root / "model")
    model.encoder.tokenizer.save_pretrained(root / "model")
    planted_concept(root / "planted.jsonl", groups=12)
    return root


@pytest.fixture(scope="module")
def plan(folder):
    def make(**changes):
        places = {
            "model": str(folder / "model"),
            "concepts": [str(folder / "planted.jsonl")],
        }
        return make_study({**PLAN, **places, **changes})

    return make


@pytest.fixture(scope="module")
def whole(plan, folder):
    """The store of the study, run in one go, with two targets: 7 files of rows."""
    study = plan(targets=["open", "propensity"])
    store = Store(folder / "whole")
    run(study, store)
    return study, store


CHILD = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import pyarrow.parquet as pq
    from seatrial.studies.run import run
    from seatrial.store import Store
    from seatrial.studies.study import make_study

    study = make_study(json.loads(sys.argv[1]))
    out, moments = Path(sys.argv[2]), sys.argv[3:]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def measure(moment):
        if moment.startswith("half"):
            write, left = pq.write_table, [int(moment[4:])]
            def half(table, path, **options):
                write(table, path, **options)
                left[0] -= 1
                if not left[0]:
                    path.write_bytes(path.read_bytes()[:100])
                    die()
            pq.write_table = half
        elif moment.isdigit():
            add, left = Store.add, [int(moment)]
            def count(store, *batch):
                add(store, *batch)
                left[0] -= 1
                if not left[0]:
                    die()
            Store.add = count
        run(study, Store(out / moment.split("-")[0]))

    def start(moment):
        process = os.fork()
        if not process:
            try:
                measure(moment)
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
            os._exit(1)
        return process

    together = [m for m in moments if m.startswith("together")]
    for moment in [m for m in moments if m not in together]:
        print(moment, os.waitstatus_to_exitcode(os.waitpid(start(moment), 0)[1]))
    for process in [start(moment) for moment in together]:
        print("together", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    """
)


@pytest.fixture(scope="module")
def killed(whole, folder):
    """Folders of the same study killed at several moments, and one that two measured."""
    moments = ["1", "2", "3", "5", "half4", "together-a", "together-b"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            json.dumps(asdict(whole[0])),
            folder / "killed",
            *moments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    ends = [line.split() for line in done.stdout.splitlines()]
    expected = [[m, "-9"] for m in moments[:5]] + [["together", "0"]] * 2
    assert ends == expected, done.stderr
    return folder / "killed"


def stamps(store):
    """What tells whether a file of rows was written again."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (store.root / "rows").glob("*.parquet")
    }


@pytest.mark.parametrize("moment", ["1", "3", "5", "half4"])
def test_a_killed_study_resumes_to_exactly_the_same_results(moment, whole, killed):
    study, reference = whole
    store = Store(killed / moment)
    before = stamps(store)
    assert len(before) == int(moment.removeprefix("half")) - moment.startswith("half")

    run(study, store)

    assert store.frame().equals(reference.frame())
    assert make_report(store).json == make_report(reference).json
    assert store.items().equals(reference.items())
    assert before.items() <= stamps(store).items()  # nothing was measured twice


def test_a_finished_study_keeps_what_should_not_decide_its_answers(whole):
    """Trap T36: whether yes is the matching answer, item by item."""
    _, store = whole
    kept = {"open": [], "propensity": []}
    for task, text, factors in store.items().select("task", "text", "factors").rows():
        kept[task].append((text, json.loads(factors)))

    assert {str(factors) for _, factors in kept["open"]} == {"{}"}
    assert {factors["yes"] for _, factors in kept["propensity"]} == {True, False}
    for text, factors in kept["propensity"]:
        assert factors == {"yes": text.endswith("(matching answer: yes)")}


def test_what_was_fitted_can_be_loaded_again(whole):
    _, store = whole

    [vector] = (store.root / "vectors").glob("planted.caa.layer-*.safetensors")

    [site] = saving.load(vector).edits
    assert f"layer-{site.layer}" in vector.name


def test_the_labels_of_a_store_are_those_of_its_tasks_and_methods(whole):
    labels = whole[1].labels()

    assert [target.metric.name for target in labels.targets] == ["open", "propensity"]
    assert labels.targets[0].metric.unit == "nats per token"
    assert labels.priced == labels.guards[0]
    assert labels.priced.named("verdict", "drift") == ("loss", "kl")
    kinds = {steering.name: steering.kind for steering in labels.steerings}
    assert kinds == {
        "unsteered": "unsteered", "caa": "method", "random": "control",
        "shuffled": "control", "instruction": "baseline",
    }  # fmt: skip
    rows = whole[1].frame().select("method", "kind").unique().rows()
    assert dict(rows) == kinds


def test_a_killed_study_cannot_be_reported(killed):
    with pytest.raises(
        StoreFault, match="is not finished; run it again with the same --out"
    ):
        summarise(Store(killed / "2"))


def test_what_a_killed_process_left_half_written_is_swept_away(whole, folder):
    study, reference = whole
    store = Store(folder / "swept")
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        check=True,
    )
    left = f"{platform.node()}.{int(ended.stdout)}.partial"
    for name in (
        f".study.json.{left}",
        f"vectors/..x.safetensors.{left}.{left}",
        f"vectors/.x.safetensors.{left}.partial",
    ):
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_bytes(b"half")

    (store.root / "vectors").rename(
        folder / "aside"
    )  # not there yet when a study is opened
    run(study, store)
    assert not list(store.root.rglob("*.partial"))
    assert store.frame().equals(reference.frame())

    for path in (folder / "aside").iterdir():
        path.rename(store.root / "vectors" / path.name)
    run(study, store)
    assert not list(store.root.rglob("*.partial"))


def test_two_processes_with_one_study_and_one_folder_do_no_harm(whole, killed):
    _, reference = whole

    shared = Store(killed / "together")

    assert shared.frame().equals(reference.frame())
    assert make_report(shared).json == make_report(reference).json
    assert not list(shared.root.rglob("*.partial"))


def test_a_finished_study_is_not_measured_again(whole, monkeypatch):
    study, store = whole
    before = stamps(store)
    asked = []
    monkeypatch.setattr(Model, "log_probs", lambda *_, **__: asked.append(1))

    run(study, store)

    assert (asked, stamps(store)) == ([], before)


def test_lost_rows_are_said_and_then_measured_again(whole, folder):
    study, reference = whole
    store = Store(folder / "lost")
    run(study, store)
    lost = sorted((store.root / "rows").glob("*controls-of*"))[0]
    lost.unlink()

    with pytest.raises(
        StoreFault, match=r"holds \d+ of the \d+ cells of its study; run it again"
    ):
        summarise(store)
    run(study, store)

    assert store.frame().equals(reference.frame())


def test_a_full_disk_is_one_sentence_and_keeps_what_was_measured(
    whole, folder, monkeypatch
):
    study, reference = whole
    store = Store(folder / "full")
    write, left = pq.write_table, [3]

    def full(table, path, **options):
        write(table, path, **options)
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(
        StoreFault, match=r"cannot write .*No space left on device.*is kept"
    ):
        run(study, store)
    kept = stamps(store)
    monkeypatch.undo()

    assert len(kept) == 3
    assert not list(store.root.rglob("*.partial"))
    run(study, store)
    assert kept.items() <= stamps(store).items()
    assert store.frame().equals(reference.frame())


def test_planned_cells_are_stored_cells_and_all_checks_pass(whole):
    _, store = whole
    progress, checks = store.read_json("progress.json"), store.read_json("audit.json")

    assert progress["cells"] == store.frame()["cell"].n_unique() == len(store.cells())
    assert {check["status"] for check in checks} == {"passed"}
    assert {check["id"] for check in checks} == {
        "H1",
        "H3",
        "H4",
        "H5",
        "H6",
        "H7",
        "H8",
        "H9",
    }


def test_every_control_is_measured_at_every_dose(whole):
    study, store = whole
    test = store.frame().filter((pl.col("split") == "test") & (pl.col("task") == "open"))

    seeds = {
        (method, seed, dose)
        for method, seed, dose in test.filter(pl.col("kind") == "control")
        .select("method", "seed", "dose")
        .unique()
        .rows()
    }
    asked = {
        dose
        for method, dose in test.select("method", "dose").rows()
        if method == "instruction"
    }

    controls = [
        ("random", 1),
        ("random", 2),
        ("random", 3),
        ("shuffled", 1),
        ("shuffled", 2),
    ]
    assert seeds == {(*c, dose) for c in controls for dose in study.doses if dose}
    assert asked == {-1.0, 1.0}


def test_the_guard_prices_the_controls_and_the_prompt(whole):
    _, store = whole
    guard = store.frame().filter(pl.col("task") == "prose")

    doses = {
        method: sorted(set(guard.filter(pl.col("method") == method)["dose"]))
        for method in ("unsteered", "caa", "random", "shuffled", "instruction")
    }

    both = list(CONTROL_GUARD_DOSES)
    assert doses == {
        "unsteered": [0.0],
        **dict.fromkeys(("caa", "random", "shuffled"), both),
    } | {"instruction": both}


def test_progress_grows_to_the_whole(plan, model, tmp_path):
    told = []

    run(
        plan(),
        Store(tmp_path / "out"),
        model=model,
        progress=lambda *step: told.append(step),
    )

    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert told[0][0] == "planted.open.select"


def test_a_layer_that_the_model_lacks_is_said_before_anything_is_written(
    plan, model, tmp_path
):
    with pytest.raises(
        BadOption, match=r"layer 7 does not exist in 'planted-0'; its layers are 0"
    ):
        run(plan(layers=[0, 7]), Store(tmp_path / "out"), model=model)

    assert not (tmp_path / "out").exists()


def test_a_model_in_another_precision_is_refused(plan, model, tmp_path):
    with pytest.raises(
        BadOption, match="the study asks for bfloat16, the model is in float32"
    ):
        run(plan(dtype="bfloat16"), Store(tmp_path / "out"), model=model)


def test_items_that_changed_are_not_mixed_with_old_results(model, folder, plan, tmp_path):
    concept = tmp_path / "planted.jsonl"
    concept.write_text((folder / "planted.jsonl").read_text())
    study = plan(concepts=[str(concept)])
    run(study, Store(tmp_path / "out"), model=model)
    concept.write_text(concept.read_text().replace("I say", "I write"))

    with pytest.raises(StoreFault, match=r"was measured with data .* cannot be continued"):
        run(study, Store(tmp_path / "out"), model=model)


def test_the_report_needs_no_concept_file(model, folder, plan, tmp_path):
    concept = tmp_path / "planted.jsonl"
    concept.write_text((folder / "planted.jsonl").read_text())
    store = Store(tmp_path / "out")
    run(plan(concepts=[str(concept)]), store, model=model)
    concept.unlink()

    assert summarise(store).trials[0].concept == "planted"


def choice(study, model, store):
    trial = Plan(study, model, Behaviour(study, study.concepts[0]))
    return trial.choose(store)


def test_the_layer_is_chosen_on_the_select_split_alone(whole, model, tmp_path):
    study, store = whole
    model = Model.load(study.model)
    only_select = Store(tmp_path / "select")
    (only_select.root / "rows").mkdir(parents=True)
    for path in (store.root / "rows").glob("*.select.*"):
        (only_select.root / "rows" / path.name).write_bytes(path.read_bytes())

    assert choice(study, model, only_select) == choice(study, model, store)


def test_other_test_items_change_neither_the_choice_nor_the_select_cells(
    model, folder, plan, tmp_path
):
    study = plan()
    kept = Behaviour(study, study.concepts[0]).parts["test"]
    text = (folder / "planted.jsonl").read_text()
    for item in kept:
        text = text.replace(item.matching_text, f"{item.matching_text} kab")
    changed = tmp_path / "planted.jsonl"
    changed.write_text(text)
    other = plan(concepts=[str(changed)])
    stores = Store(tmp_path / "one"), Store(tmp_path / "other")

    for one, store in zip((study, other), stores, strict=True):
        run(one, store, model=model)

    first, second = (s.frame().filter(pl.col("split") == "select") for s in stores)
    assert first.equals(second)
    assert choice(study, model, stores[0]) == choice(other, model, stores[1])
    tested = [set(s.frame().filter(split="test", task="open")["cell"]) for s in stores]
    assert not tested[0] & tested[1]


def rewrite_select(store, value):
    """Give the select rows hand-made values: ``value(layer, dose)``."""
    for path in (store.root / "rows").glob("*.select.*"):
        table = pl.read_parquet(path)
        made = [value(layer, dose) for layer, dose in table.select("layer", "dose").rows()]
        table.with_columns(value=pl.Series(made)).write_parquet(path)


@pytest.mark.parametrize(
    ("slope", "chosen"),
    [({0: 1.0, 1: 2.0}, 1), ({0: 1.0, 1: 1.0}, 0), ({0: -1.0, 1: -2.0}, 0)],
)
def test_the_largest_mean_slope_wins_and_the_lower_layer_on_ties(
    slope, chosen, model, plan, tmp_path
):
    study, store = plan(), Store(tmp_path / "out")
    run(study, store, model=model)

    rewrite_select(store, lambda layer, dose: slope.get(layer, 0.0) * dose)

    assert choice(study, model, store) == {("open", 0): chosen}


def test_the_order_of_methods_and_concepts_changes_no_trial(
    model, folder, plan, tmp_path, monkeypatch
):
    """A report is a function of rows, and rows are named by their content (T42)."""
    monkeypatch.setitem(METHODS, "constant", Constant)
    second = planted_concept(tmp_path / "second.jsonl", groups=12, seed=1)
    concepts = [str(folder / "planted.jsonl"), str(second)]
    methods = [{"name": "caa"}, {"name": "constant"}]
    there = plan(concepts=concepts, methods=methods)
    back = plan(concepts=concepts[::-1], methods=methods[::-1])
    found = []

    for name, study in (("there", there), ("back", back)):
        run(study, Store(tmp_path / name), model=model)
        found.append(summarise(Store(tmp_path / name)).trials)

    by_name = [{(t.concept, t.task, t.method): t for t in trials} for trials in found]
    assert list(by_name[0]) == list(by_name[1])[::-1]
    for key, trial in by_name[0].items():
        other = by_name[1][key]
        assert (trial.layer, trial.verdict.label) == (other.layer, other.verdict.label)
        assert trial.response.steerability.value == pytest.approx(
            other.response.steerability.value, abs=1e-6
        )
        assert trial.band.high == pytest.approx(other.band.high, abs=1e-6)
        assert [e.item for e in trial.effects][:1] == [e.item for e in other.effects][:1]


def test_methods_of_every_form_end_in_one_report(model, plan, tmp_path):
    """One layer, all layers and none; vectors, maps, heads and words; controls of each."""
    methods = [
        {"name": "caa", "read": "completion"},
        {"name": "leace", "read": "completion"},
        {"name": "few-shot", "shots": 2},
        {"name": "icv", "read": "completion"},
        {"name": "iti", "heads": 2, "read": "completion"},
    ]
    # Words have the doses -1, 0 and 1 only, whatever the study asks of vectors.
    doses = (-1.0, 0.0, 1.0, 1.5)
    study, store = plan(methods=methods, doses=doses), Store(tmp_path / "out")

    run(study, store, model=model)

    trials = {trial.method: trial for trial in summarise(store).trials}
    assert list(trials) == [method["name"] for method in methods]
    layers = {name: trial.layer for name, trial in trials.items()}
    assert {name: layers[name] for name in ("few-shot", "icv", "iti")} == {
        "few-shot": -1, "icv": -1, "iti": -1,
    }  # fmt: skip
    assert {layers["caa"], layers["leace"]} <= {0, 1}
    assert [point.dose for point in trials["caa"].curve] == [-1.0, 1.0, 1.5]
    assert [point.dose for point in trials["few-shot"].curve] == [-1.0, 1.0]
    kinds = {name: set(trial.control_verdicts) for name, trial in trials.items()}
    assert kinds.pop("few-shot") == {"shuffled"}
    assert set(map(frozenset, kinds.values())) == {frozenset({"random", "shuffled"})}
    assert {check["status"] for check in store.read_json("audit.json")} == {"passed"}
    made = make_report(store)
    assert all(name in made.html and name in made.markdown for name in trials)


def test_a_failed_check_stops_the_study_and_keeps_what_was_measured(
    model, plan, tmp_path, monkeypatch
):
    study, store = plan(), Store(tmp_path / "out")
    bad = [
        Check("H1", "Is dose 0 the unsteered model?", "failed", "3 of 12 answers differ")
    ]
    monkeypatch.setattr("seatrial.studies.run.audit_model", lambda *_: bad)
    with pytest.raises(
        SteeringFault,
        match=r"check H1 of the audit failed \(Is dose 0 .*\? 3 of 12 answers",
    ):
        run(study, store, model=model)

    kept = stamps(store)
    assert len(kept) == 1  # stopped before the test split was touched
    assert [c["status"] for c in store.read_json("audit.json")].count("failed") == 1
    with pytest.raises(StoreFault, match="is not finished"):
        summarise(store)
    monkeypatch.undo()
    run(study, store, model=model)  # once the cause is mended
    assert kept.items() <= stamps(store).items()
    assert {c["status"] for c in store.read_json("audit.json")} == {"passed"}


def test_rows_that_nobody_planned_stop_the_study(model, plan, tmp_path):
    study, store = plan(), Store(tmp_path / "out")
    run(study, store, model=model)
    path = next((store.root / "rows").glob("*.test.*"))
    stray = pl.read_parquet(path).with_columns(cell=pl.lit("0123456789ab"))
    stray.write_parquet(store.root / "rows" / "stray.parquet")

    with pytest.raises(BadData, match=r"check H7 of the audit failed .* 1 others stored"):
        run(study, store, model=model)
