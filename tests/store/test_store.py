"""Results are written whole or not at all, belong to one study, and are never mixed."""

import json
import os
import platform
import subprocess
import sys

import polars as pl
import pyarrow.parquet as pq
import pytest

from seatrial.errors import BadFile, StoreFault
from seatrial.store import (
    COLUMNS,
    Budget,
    Labels,
    MetricLabel,
    SteeringLabel,
    Store,
    TaskLabel,
)
from seatrial.types import Score

ID = "0123456789ab"
PLAN = {"name": "small", "model": "planted"}
OPEN = MetricLabel("open", "nats", "verdict", bounds=(-1.0, 1.0))
OTHER = MetricLabel("other", "nats", "suppressed", sign=-1)
ERROR = MetricLabel("error", "share of questions", "verdict")
LABELS = Labels(
    targets=(TaskLabel("open", "target", "free text", (OPEN, OTHER)),),
    guards=(TaskLabel("facts", "guard", "errors in facts", (ERROR,)),),
    steerings=(
        SteeringLabel("caa", "method", "mean difference"),
        SteeringLabel("random", "control", "any direction"),
    ),
    budget=Budget(perplexity_ratio=1.3),
)
HEADER = {
    "model": "m (folder, 0)",
    "dtype": "float32",
    "logit fingerprint": "ab",
    "data": {},
}


def cell(dose=1.0):
    return {
        "cell": f"cell at {dose}", "concept": "c", "task": "open", "split": "test",
        "method": "caa", "kind": "method", "reference": "caa", "layer": 0, "seed": 0,
        "dose": dose, "options": "{}",
    }  # fmt: skip


def scores(value=0.5):
    return [Score(item, "g", {"open": value, "other": -1.0}) for item in ("b", "a")]


def take(store, identity=ID, plan=PLAN, **header):
    store.open(identity, plan, LABELS, {**HEADER, **header})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "out")
    take(store)
    return store


def test_rows_come_back_as_they_were_in_a_fixed_order(store):
    store.add("second", [cell(1.0), cell(-1.0)], [scores(), scores(0.25)])

    frame = store.frame()

    assert dict(frame.schema) == COLUMNS
    assert frame.select("dose", "item", "metric", "value").rows() == [
        (dose, item, metric, value)
        for dose, metrics in ((-1.0, 0.25), (1.0, 0.5))
        for item in ("a", "b")
        for metric, value in (("open", metrics), ("other", -1.0))
    ]
    assert frame["cell"].unique().sort().to_list() == ["cell at -1.0", "cell at 1.0"]


def test_the_order_of_files_does_not_show(store, tmp_path):
    other = Store(tmp_path / "other")
    store.add("1", [cell(1.0)], [scores()])
    store.add("2", [cell(-1.0)], [scores()])
    other.add("2", [cell(1.0)], [scores()])
    other.add("1", [cell(-1.0)], [scores()])

    assert store.frame().equals(other.frame())


def test_a_file_of_rows_says_what_its_cells_are(store):
    store.add("batch", [cell()], [scores()])

    metadata = pq.read_metadata(store.root / "rows" / "batch.parquet").metadata

    assert store.cells()[0]["options"] == "{}"
    assert metadata[b"seatrial"]
    assert store.has("batch")
    assert not store.has("batc")


def test_the_same_study_finds_its_folder_again(store):
    before = (store.root / "study.json").read_bytes()

    take(store)

    assert (store.root / "study.json").read_bytes() == before


def test_another_study_is_refused(store):
    with pytest.raises(
        StoreFault, match=r"holds results of another study \(small, .*this is other"
    ):
        take(store, "ba9876543210", {**PLAN, "name": "other"})


@pytest.mark.parametrize("key", list(HEADER))
def test_another_model_or_other_items_are_refused(key, store):
    with pytest.raises(StoreFault, match=f"was measured with {key} .* now it is 'x'"):
        take(store, **{key: "x"})


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(
        StoreFault, match="is not empty and holds no study; choose another --out"
    ):
        take(Store(tmp_path))

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "out").write_text("a file")

    with pytest.raises(StoreFault, match=r"cannot write .*study.json"):
        take(Store(tmp_path / "out"))


def test_a_folder_without_a_study_says_how_to_make_one(tmp_path):
    with pytest.raises(
        StoreFault, match="holds no study; run one with `seatrial run STUDY --out"
    ):
        Store(tmp_path).plan()


def test_a_study_without_results_says_so(store):
    with pytest.raises(StoreFault, match="holds no results yet; run its study first"):
        store.frame()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "study.json cannot be read"),
        ("[]", "has format None, this seatrial reads 2"),
        ('{"format": 1}', "has format 1, this seatrial reads 2; run its study again"),
        ('{"format": 2, "id": ""}', "lacks header, labels, study"),
    ],
)
def test_a_damaged_plan_is_said(text, message, store):
    (store.root / "study.json").write_text(text)

    with pytest.raises(BadFile, match=message):
        take(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels.pop("budget"),
        lambda labels: labels["targets"][0].pop("metrics"),
        lambda labels: labels["targets"][0]["metrics"].clear(),
        lambda labels: labels["steerings"].append({"name": "x"}),
    ],
)
def test_damaged_labels_are_said(change, store):
    plan = json.loads((store.root / "study.json").read_text())
    change(plan["labels"])
    (store.root / "study.json").write_text(json.dumps(plan))

    with pytest.raises(BadFile, match=r"the labels in .*study.json are damaged"):
        store.labels()


def test_labels_come_back_as_they_were(store):
    assert store.labels() == LABELS
    assert store.labels().target("open").metric == OPEN
    assert store.labels().priced is None


def test_a_store_shows_itself_in_a_line_whatever_it_holds(store, tmp_path):
    shown = [Store(tmp_path / "none"), store]
    for name, text in (("foreign", None), ("broken", "{"), ("old", '{"format": 1}')):
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "study.json").write_text(text)
        shown.append(Store(tmp_path / name))
    hostile = Store(tmp_path / "<script>")
    take(hostile, plan={"name": "<img>" * 1000})
    shown.append(hostile)

    known = "study small, not finished"
    states = ("empty", known, "no study", "damaged", "damaged", "<img>")
    for each, state in zip(shown, states, strict=True):
        assert state in repr(each)
        assert max(len(repr(each)), len(each._repr_html_())) < 2000
    store.write_json("progress.json", {"finished": True, "cells": 7})
    assert "study small, finished, 7 cells" in repr(store)
    assert "<img" not in hostile._repr_html_() and "<script" not in hostile._repr_html_()


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def other_columns(path):
    pl.DataFrame({"a": [1]}).write_parquet(path)


@pytest.mark.parametrize("damage", [cut, other_columns])
def test_a_damaged_file_of_rows_says_what_to_do(damage, store):
    store.add("good", [cell()], [scores()])
    store.add("bad", [cell(2.0)], [scores()])

    damage(store.root / "rows" / "bad.parquet")

    for read in (store.frame, store.cells):
        with pytest.raises(BadFile, match=r"bad.parquet is damaged .*; delete it and run"):
            read()


def test_damaged_items_say_what_to_do(store):
    (store.root / "items.parquet").write_bytes(b"PAR1")

    with pytest.raises(BadFile, match=r"items.parquet is damaged .*; delete it and run"):
        store.items()


def test_text_is_kept_as_it_is(store):
    store.write_text("report.md", "σ – ×\n")
    store.write_json("a/b.json", {"b": 1, "a": "σ"})
    store.write_items([{"item": "1", "text": "“so”"}])

    assert (store.root / "report.md").read_bytes() == "σ – ×\n".encode()
    assert list(store.read_json("a/b.json")) == ["a", "b"]
    assert store.read_json("c.json") is None
    assert store.items().rows() == [("1", "“so”")]


def test_a_folder_that_cannot_be_written_is_said_once(store):
    (store.root / "vectors").write_text("a file in the way")

    with pytest.raises(
        StoreFault, match=r"cannot write .*x.safetensors: .*is kept"
    ) as caught:
        store.write("vectors/x.safetensors", lambda path: path.write_bytes(b"x"))

    assert str(caught.value).count("cannot write") == 1


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(kind, store, monkeypatch):
    store.add("batch", [cell()], [scores()])
    before = store.frame()

    def fail(_, path, **options):
        path.write_bytes(b"half")
        raise kind("No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(
        StoreFault if kind is OSError else kind, match="No space left on device"
    ):
        store.add("batch", [cell()], [scores(0.7)])

    assert store.frame().equals(before)
    assert os.listdir(store.root / "rows") == ["batch.parquet"]


def test_only_the_rests_of_dead_processes_of_this_machine_are_swept_away(store):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        check=True,
    )
    dead, alive = int(ended.stdout), os.getppid()
    names = {
        f".x.parquet.{platform.node()}.{dead}.partial": False,
        f".x.parquet.{platform.node()}.{alive}.partial": True,
        f".x.parquet.elsewhere.{dead}.partial": True,
        ".mine.partial": True,
    }
    (store.root / "rows").mkdir()
    for name in names:
        (store.root / "rows" / name).write_bytes(b"half")

    take(store)

    assert {name: (store.root / "rows" / name).exists() for name in names} == names
    with pytest.raises(StoreFault, match="holds no results yet"):
        store.frame()


def test_a_folder_where_another_process_has_just_begun_can_be_shared(tmp_path):
    (tmp_path / f".study.json.{platform.node()}.{os.getppid()}.partial").write_text("{")

    take(Store(tmp_path))

    assert json.loads((tmp_path / "study.json").read_text())["id"] == ID


@pytest.mark.parametrize("package", ["store", "analysis", "analysis.summary", "report"])
def test_what_is_on_disk_is_read_and_reported_without_torch(package):
    code = (
        f"import sys, seatrial.{package} as package\n"
        "[getattr(package, name) for name in getattr(package, '__all__', [])]\n"
        "print({'torch', 'transformers', 'seatrial.tasks', 'seatrial.methods', "
        "'seatrial.studies', 'seatrial.model'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
