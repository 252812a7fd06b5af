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
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.store.store import COLUMNS, Store
from seatrial.studies.study import Cell, make_study
from seatrial.types import Score, Site

PLAN = {
    "name": "small",
    "model": "planted",
    "concepts": ["formality"],
    "methods": [{"name": "caa"}],
    "layers": [0],
}
HEADER = {
    "model": "m (folder, 0)",
    "dtype": "float32",
    "logit fingerprint": "ab",
    "data": {},
}


def cell(dose=1.0):
    return Cell("m", "float32", "c", "open", "test", "0", "caa", "{}", "caa", 0, 0, dose)


def scores(value=0.5):
    return [Score(item, "g", {"open": value, "other": -1.0}) for item in ("b", "a")]


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "out")
    store.open(make_study(PLAN), HEADER)
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
    assert frame["cell"].unique().sort().to_list() == sorted({cell(1.0).id, cell(-1.0).id})


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

    store.open(make_study(PLAN), HEADER)

    assert (store.root / "study.json").read_bytes() == before


def test_another_study_is_refused(store):
    other = make_study({**PLAN, "name": "other"})

    with pytest.raises(
        StoreFault, match=r"holds results of another study \(small, .*this is other"
    ):
        store.open(other, HEADER)


@pytest.mark.parametrize("key", list(HEADER))
def test_another_model_or_other_items_are_refused(key, store):
    with pytest.raises(StoreFault, match=f"was measured with {key} .* now it is 'x'"):
        store.open(make_study(PLAN), {**HEADER, key: "x"})


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(
        StoreFault, match="is not empty and holds no study; choose another --out"
    ):
        Store(tmp_path).open(make_study(PLAN), HEADER)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "out").write_text("a file")

    with pytest.raises(StoreFault, match=r"cannot write .*study.json"):
        Store(tmp_path / "out").open(make_study(PLAN), HEADER)


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
        ("[]", "has format None, this seatrial reads 1"),
        ('{"format": 2}', "has format 2, this seatrial reads 1"),
        ('{"format": 1, "id": ""}', "lacks header, study"),
    ],
)
def test_a_damaged_plan_is_said(text, message, store):
    (store.root / "study.json").write_text(text)

    with pytest.raises(BadFile, match=message):
        store.open(make_study(PLAN), HEADER)


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


def test_a_vector_can_be_loaded_again(store):
    vector = pytest.importorskip("torch").arange(4.0)

    store.write_vector("c.caa", Intervention({Site(0): Add(vector)}))

    loaded = Intervention.load(store.root / "vectors" / "c.caa.safetensors")
    assert loaded.edits[Site(0)].vector.tolist() == vector.tolist()
    assert os.listdir(store.root / "vectors") == ["c.caa.safetensors"]


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


def test_a_folder_that_cannot_be_written_is_said_for_vectors_too(store):
    (store.root / "vectors").write_text("a file in the way")

    with pytest.raises(
        StoreFault, match=r"cannot write .*x.safetensors: .*is kept"
    ) as caught:
        store.write_vector("x", Intervention())

    assert str(caught.value).count("cannot write") == 1


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

    store.open(make_study(PLAN), HEADER)

    assert {name: (store.root / "rows" / name).exists() for name in names} == names
    with pytest.raises(StoreFault, match="holds no results yet"):
        store.frame()


def test_a_folder_where_another_process_has_just_begun_can_be_shared(tmp_path):
    (tmp_path / f".study.json.{platform.node()}.{os.getppid()}.partial").write_text("{")

    Store(tmp_path).open(make_study(PLAN), HEADER)

    assert json.loads((tmp_path / "study.json").read_text())["id"] == make_study(PLAN).id
