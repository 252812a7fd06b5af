"""A run's folder belongs to plans of one code, joins its units, and is read whole."""

import json
import re
import subprocess
import sys
import time

import polars as pl
import pytest

from seatrial.errors import BadFile, StoreFault
from seatrial.store.records import (
    Begun,
    Failed,
    Finished,
    Items,
    JobProgress,
    Name,
    Planned,
    Rows,
    Unit,
)
from seatrial.store.store import Store, code_identity, environment, folder_name, scan
from seatrial.store.unit import read_sealed, write_sealed

PLAN = {"name": "small", "written": {"seeds": [0]}, "completed": {"seeds": [0]}}
FIRST = Unit("smollm2-135m", 0, "antonym")
SECOND = Unit("smollm2-135m", 1, "antonym")


def name(cell, **changes):
    plain = Name(
        *(cell, "ask", "fit", "test", "caa", "method", "", -1, '{"layer": 3}', 1.0),
        *("target", "zero-shot", "", "base", "antonym", "base", "test"),
    )
    return plain._replace(**changes)


def records(unit, cells=("c1", "c2"), n_items=2, metrics=("accuracy",)):
    asked = [f"i{k}" for k in range(n_items)]
    keys = [(cell, item, m) for cell in cells for item in asked for m in metrics]
    entry = {"ask": "ask", "group": "g", "text": "what is it?", "factors": "{}"}
    return [
        Begun(unit, {"model": "m"}),
        Planned(unit, "test", tuple(map(name, cells))),
        Items(unit, tuple({**entry, "item": item} for item in asked)),
        Rows(unit, *zip(*keys, strict=True), (0.5,) * len(keys), tuple(cells)),
        Finished(unit, "test"),
    ]


@pytest.fixture
def make(tmp_path):
    def make(folder="run", units=(FIRST,), **keys):
        store = Store(tmp_path / folder)
        store.open(PLAN)
        for unit in units:
            for record in records(unit, **keys):
                store.keep(record)
        return store

    return make


def test_units_of_several_runs_are_one_frame(make):
    one, two = make("one", units=(FIRST, SECOND)), make("two", cells=("c2", "c3"))

    frame = scan([one, two]).collect()

    assert frame.select("run", "model", "seed", "behaviour", "cell").unique().sort(
        "run", "seed", "cell"
    ).rows() == [
        ("one", "smollm2-135m", 0, "antonym", "c1"),
        ("one", "smollm2-135m", 0, "antonym", "c2"),
        ("one", "smollm2-135m", 1, "antonym", "c1"),
        ("one", "smollm2-135m", 1, "antonym", "c2"),
        ("two", "smollm2-135m", 0, "antonym", "c2"),
        ("two", "smollm2-135m", 0, "antonym", "c3"),
    ]
    assert frame.height == 12
    assert frame.columns == [
        *("run", "model", "seed", "behaviour"),
        *Name._fields,
        *("item", "group", "metric", "value"),
    ]


def test_a_cell_with_two_names_has_its_rows_under_both(make):
    store = make()
    store.keep(Planned(FIRST, "test", (name("c1"), name("c1", label="other"))))

    frame = store.scan().collect()

    assert sorted(frame["label"].to_list()) == ["caa", "caa", "other", "other"]


def test_rows_that_the_newest_plan_does_not_name_are_kept_and_not_seen(make):
    store = make()
    store.keep(Planned(FIRST, "test", (name("c2"),)))

    assert store.scan().collect()["cell"].unique().to_list() == ["c2"]
    assert store.unit(FIRST).cells == {"c1", "c2"}


def test_an_item_without_words_is_seen(make):
    store = make()
    store.keep(Planned(FIRST, "test", (name("c1", ask="another"),)))

    assert store.scan().collect()["group"].to_list() == [None, None]


def test_a_unit_that_failed_has_no_rows(make):
    store = make(units=())
    store.keep(Failed(FIRST, "select", "", "no such model"))

    assert store.scan().collect().height == 0
    assert [folder.unit for folder in store.units()] == [FIRST]


def test_progress_is_not_stored(make):
    store = make(units=())
    store.keep(JobProgress(FIRST, "test", "x", 1.0, 2.0))

    with pytest.raises(StoreFault, match="holds no results yet; run its study first"):
        store.scan()


def test_a_folder_that_holds_a_plan_is_grown(make):
    store = make()
    other = {**PLAN, "name": "grown"}

    store.open(other)
    store.open(other)

    assert [plan["name"] for plan in Store(store.root).plans()] == ["small", "grown"]
    assert Store(store.root).plan["name"] == "grown"
    assert Store(store.root).scan().collect().height == 4
    store.open(PLAN)
    assert [plan["name"] for plan in store.plans()] == ["grown", "small"]


def test_the_same_plan_finds_its_folder_as_it_was(make):
    store = make()
    before = (store.root / "study.json").read_bytes()

    Store(store.root).open({**PLAN, "completed": {"seeds": (0,)}})

    assert (store.root / "study.json").read_bytes() == before


def test_another_version_of_the_code_is_refused(make, monkeypatch):
    store = make()
    monkeypatch.setattr("seatrial.store.store.code_identity", lambda: "seatrial 9 (code x)")

    with pytest.raises(
        StoreFault,
        match=r"was measured by seatrial .*, and this is seatrial 9 \(code x\): row",
    ):
        Store(store.root).open(PLAN)


def test_a_store_of_format_1_is_refused_with_one_sentence(tmp_path):
    old = {"format": 1, "id": "x", "study": {"name": "old"}, "header": {}}
    (tmp_path / "study.json").write_text(json.dumps(old, indent=1))

    for use in (lambda store: store.open(PLAN), lambda store: store.plans()):
        with pytest.raises(BadFile) as caught:
            use(Store(tmp_path))
        assert str(caught.value) == (
            f"{tmp_path / 'study.json'} has format 1, and this seatrial reads 3; run its "
            "study again in another folder"
        )


@pytest.mark.parametrize("content", [[], {}, {"format": 2, "plans": []}])
def test_a_study_of_another_format_is_refused(content, make):
    store = make(units=())
    write_sealed(store, "study.json", content)

    with pytest.raises(BadFile, match=r"has format (None|2), and this seatrial reads 3"):
        store.plans()


@pytest.mark.parametrize("plans", [[], [3], [{}]])
def test_a_study_without_plans_is_refused(plans, make):
    store = make(units=())
    write_sealed(store, "study.json", {"format": 3, "plans": plans})

    with pytest.raises(BadFile, match="names no plan that was run; run its study again"):
        store.plans()


def test_one_flipped_bit_of_the_study_is_refused(make):
    path = make().root / "study.json"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)

        with pytest.raises(BadFile, match=r"is not what was written|cannot be read|is no"):
            Store(path.parent).plans()


def test_one_flipped_bit_of_rows_is_refused_by_scan(make):
    store = make()
    [path] = store.unit(FIRST).row_files()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(BadFile, match="its checksum differs"):
        Store(store.root).scan()


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(
        StoreFault, match="is not empty and holds no study; choose another --out"
    ):
        Store(tmp_path).open(PLAN)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_process_left_is_swept_away(make):
    store = make()
    unit = store.unit(FIRST).root
    code = "import os, platform; print(platform.node(), os.getpid())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    node, process = out.stdout.split()
    for folder in (store.root, unit, unit / "rows"):
        (folder / f".x.{node}.{process}.partial").write_text("half")

    Store(store.root).open(PLAN)

    assert not [path for path in store.root.rglob("*") if path.name.startswith(".x")]


def test_a_folder_with_nothing_but_what_a_killed_process_left_is_new(tmp_path):
    (tmp_path / ".study.json.elsewhere.7.partial").write_text("half")

    Store(tmp_path).open(PLAN)

    assert Store(tmp_path).plan["name"] == "small"


def test_a_folder_without_a_study_says_how_to_make_one(tmp_path):
    with pytest.raises(
        StoreFault, match="holds no study; run one with `seatrial run STUDY --out"
    ):
        Store(tmp_path).plans()


def test_folders_that_are_no_units_are_not_read(make):
    store = make()
    (store.root / "units" / "notes").mkdir()
    (store.root / "units" / "notes" / "thesis.txt").write_text("mine")

    assert len(Store(store.root).units()) == 1


@pytest.mark.parametrize(
    "unit",
    [
        FIRST,
        Unit("meta-llama/Llama-2-7b", 10**9, "persona/openness"),
        Unit("../..", 0, "../../etc"),
        Unit("模型" * 100, 0, "行为" * 100),
        Unit("a\\b:c*", 0, "x\ny\0"),
    ],
)
def test_every_unit_has_a_folder_of_its_own_inside_of_the_run(unit, tmp_path):
    plain = folder_name(unit)

    assert re.fullmatch(r"[A-Za-z0-9_.-]+\.\d+\.[A-Za-z0-9_.-]+\.[0-9a-f]{12}", plain)
    assert len(plain) < 200
    assert (tmp_path / plain).resolve().parent == tmp_path.resolve()


def test_units_that_look_alike_have_different_folders():
    alike = [Unit("a/b", 0, "x"), Unit("a-b", 0, "x"), Unit("a b", 0, "x")]

    assert len(set(map(folder_name, alike))) == 3


def test_the_code_and_its_surroundings_are_named():
    assert re.fullmatch(r"seatrial [\w.]+ \(code [0-9a-f]{12}\)", code_identity())
    assert set(environment()) == {"torch", "transformers", "numpy", "machine"}
    assert environment(3)["threads"] == "3"


def test_what_is_on_disk_needs_no_torch():
    code = (
        "import sys, seatrial.store.store; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert out.stdout == "[]\n", out.stderr


def test_a_batch_is_kept_in_milliseconds(make):
    store = make(units=())
    metrics = ("accuracy", "log_prob", "rank")
    times = []
    for batch in range(5):
        cells = tuple(f"c{batch}-{k}" for k in range(50))
        kept = records(FIRST, cells, n_items=60, metrics=metrics)[3]
        begin = time.process_time()
        store.keep(kept)
        times.append(time.process_time() - begin)

    assert len(kept.value) == 9_000
    assert min(times) < 0.2  # 0.05 without the checks of types in tests


MILLION = """
import json, resource, sys
from pathlib import Path
from seatrial.store.store import Store
import polars as pl

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

frame = Store(Path(sys.argv[1])).scan()
frame.filter(pl.col("cell") == "none").collect(engine="streaming")
before = peak()
means = (
    frame.group_by("label", "target", "dose", "metric")
    .agg(pl.col("value").mean(), pl.len())
    .collect(engine="streaming")
)
print(json.dumps({"rows": int(means["len"].sum()), "more": peak() - before}))
"""


@pytest.mark.slow
def test_a_million_rows_are_scanned_in_bounded_memory(make):
    store = make(units=())
    for batch in range(20):
        cells = tuple(f"cell{batch:03}{k:05}" for k in range(50))
        unit = Unit("m", batch // 4, "b")
        for record in records(unit, cells, n_items=500, metrics=("accuracy", "log_prob")):
            store.keep(record)
        folder = store.unit(unit)
        names = tuple(map(name, sorted(folder.cells)))
        store.keep(Planned(unit, "test", names))

    out = subprocess.run(
        [sys.executable, "-c", MILLION, str(store.root)], capture_output=True, text=True
    )

    assert out.returncode == 0, out.stderr
    result = json.loads(out.stdout)
    assert result["rows"] == 1_000_000
    assert result["more"] < 300  # MiB


def test_the_manifest_is_readable_by_any_reader_of_json(make):
    path = make().unit(FIRST).root / "unit.json"

    assert json.loads(path.read_text())["content"] == read_sealed(
        Store(path.parent), "unit.json"
    )


def test_scores_survive_as_they_were(make):
    store = make(units=())
    values = (0.1, -0.0, 1e-320, float("inf"), float("nan"))
    asked = tuple(f"i{k}" for k in range(5))
    store.keep(Rows(FIRST, ("c",) * 5, asked, ("m",) * 5, values, ("c",)))

    stored = Store(store.root).unit(FIRST).rows(["c"])["value"]

    assert stored.equals(pl.Series("value", values, dtype=pl.Float64), null_equal=True)
