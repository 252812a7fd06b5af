"""A unit's folder reads as before a record or as after it, and never as anything else."""

import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest

from seatrial.errors import BadFile, StoreFault
from seatrial.files import Folder
from seatrial.store.records import (
    Begun,
    Checked,
    Chosen,
    Failed,
    Finished,
    Fitted,
    Items,
    JobProgress,
    Name,
    Planned,
    Rows,
    Unit,
)
from seatrial.store.unit import UnitFolder, read_sealed, write_sealed

UNIT = Unit("smollm2-135m", 0, "antonym")


def name(cell, **changes):
    plain = Name(
        *(cell, "ask", "fit", "test", "caa", "method", "", -1, '{"layer": 3}', 1.0),
        *("target", "zero-shot", "", "base", "antonym", "base", "test"),
    )
    return plain._replace(**changes)


def rows(*cells, value=0.5, texts=False):
    keys = [
        (cell, item, m) for cell in cells for item in "ab" for m in ("accuracy", "nats")
    ]
    columns = zip(*keys, strict=True)
    written = tuple((cell, item, f"text of {item}") for cell in cells for item in "ab")
    return Rows(UNIT, *columns, (value,) * len(keys), cells, written if texts else ())


def items(*asks):
    return Items(
        UNIT,
        tuple(
            {
                "ask": ask,
                "item": item,
                "group": "g",
                "text": f"wort {item} für",
                "factors": "{}",
            }
            for ask in asks
            for item in "ab"
        ),
    )


BEGUN = Begun(UNIT, {"model": "m", "labels": {"zero-shot": {"metric": "accuracy"}}})
PLANNED = Planned(
    UNIT, "test", (name("c1"), name("c2", dose=-1)), ({"what": "a", "reason": "b"},)
)
FITTED = Fitted(UNIT, "f1", "caa.layer=3", b"\x00bytes", {"norm 3.resid": 2.5})
CHECKED = Checked(UNIT, ({"name": "weights", "holds": True},))
CHOSEN = Chosen(
    UNIT, ({"label": "caa", "target": "zero-shot", "settings": "{}", "dose": 1.0},)
)
FAILED = Failed(UNIT, "test", "caa", "too large", True)
RECORDS = [
    *(BEGUN, PLANNED, items("ask"), FITTED, rows("c1", "c2", texts=True), CHECKED, CHOSEN),
    *(FAILED, Finished(UNIT, "test")),
]


def reading(folder):
    """Everything that readers can see."""
    cells = sorted(folder.cells)
    return {
        "header": json.dumps(folder.header, sort_keys=True),
        "cells": cells,
        "names": folder.names().rows(),
        "items": folder.items().rows(),
        "facts": folder.facts().rows(),
        "fits": folder.fits(),
        "rows": folder.rows(cells).rows(),
        "texts": folder.texts(cells).rows(),
        "files": [path.name for path in folder.row_files()],
    }


@pytest.fixture
def folder(tmp_path):
    return UnitFolder(tmp_path / "unit")


@pytest.fixture
def full(folder):
    for record in RECORDS:
        folder.keep(record)
    return folder


def again(folder):
    """The same folder, read by another process."""
    return UnitFolder(folder.root)


def test_every_kind_of_record_comes_back_as_it_was(full):
    read = again(full)

    assert read.unit == UNIT
    assert read.header["header"] == BEGUN.header
    assert read.names().rows() == [tuple(each) for each in PLANNED.names]
    assert read.header["not_applicable"] == [{"what": "a", "reason": "b", "phase": "test"}]
    assert read.items().to_dicts() == list(items("ask").entries)
    assert read.fits() == {"f1": b"\x00bytes"}
    assert read.facts().rows() == [("f1", "norm 3.resid", 2.5)]
    kept = rows("c1", "c2", texts=True)
    assert read.rows(["c1", "c2"]).rows() == [
        *zip(kept.cell, kept.item, kept.metric, kept.value, strict=True)
    ]
    assert read.texts(["c2"]).rows() == [("c2", "a", "text of a"), ("c2", "b", "text of b")]
    assert read.cells == {"c1", "c2"}
    assert read.header["audit"] == list(CHECKED.checks)
    assert read.choices == list(CHOSEN.choices)
    assert read.header["failed"] == [
        {"phase": "test", "label": "caa", "reason": "too large", "is_defect": True}
    ]
    assert read.finished == ("test",)
    assert reading(read) == reading(full)


def header(**changes):
    ground = {"model": "m", "dtype": "float32", "fingerprints": ["w", "t"], "layers": 2}
    environment = {"torch": "2.13.0", "threads": "2"}
    return {**ground, "environment": environment, **changes}


def test_what_a_unit_rests_on_and_was_different_before_is_on_record(folder):
    folder.keep(Begun(UNIT, header()))
    folder.keep(rows("c1"))
    folder.keep(Begun(UNIT, header()))
    assert "changes" not in again(folder).header or not again(folder).header["changes"]

    other = header(
        fingerprints=["w", "other"], environment={"torch": "2.13.0", "threads": "1"}
    )
    folder.keep(Begun(UNIT, other))

    assert again(folder).header["changes"] == [
        "fingerprints was w t and is w other",
        "threads was 2 and is 1",
    ]


def test_nothing_has_changed_where_nothing_was_measured(folder):
    folder.keep(Begun(UNIT, header()))
    folder.keep(Begun(UNIT, header(dtype="bfloat16")))

    assert not again(folder).header.get("changes")


def test_progress_is_not_stored(folder):
    folder.keep(JobProgress(UNIT, "test", "x", 1.0, 2.0))

    assert not folder.root.exists()


def test_a_unit_that_failed_before_it_began_says_what_it_is(folder):
    folder.keep(Failed(UNIT, "select", "", "no such model"))

    assert again(folder).unit == UNIT


def test_kept_twice_changes_nothing(full):
    before, files = reading(full), sorted(full.root.rglob("*"))

    for record in RECORDS:
        full.keep(record)

    assert reading(again(full)) == before
    assert sorted(full.root.rglob("*")) == files


def test_rows_are_written_once_and_never_touched(folder):
    folder.keep(rows("c1", value=0.5))
    [path] = folder.row_files()
    before = path.read_bytes()

    folder.keep(rows("c1", "c2", value=0.75))

    assert path.read_bytes() == before
    values = again(folder).rows(["c1", "c2"]).group_by("cell").agg(pl.col("value").mean())
    assert sorted(values.rows()) == [("c1", 0.5), ("c2", 0.75)]


def test_a_fit_and_items_are_written_once(folder):
    folder.keep(FITTED)
    folder.keep(Fitted(UNIT, "f1", "other", b"other", {"norm": 1.0}))
    folder.keep(items("x"))
    folder.keep(items("x", "y"))

    assert again(folder).fits() == {"f1": b"\x00bytes"}
    assert again(folder).facts().height == 1
    assert again(folder).items()["ask"].to_list() == ["x", "x", "y", "y"]


def test_a_cell_may_have_no_rows_at_all(folder):
    folder.keep(Rows(UNIT, (), (), (), (), ("c1",)))

    assert again(folder).cells == {"c1"}
    assert again(folder).rows(["c1"]).height == 0


def test_rows_of_cells_that_are_not_there_are_none(folder):
    assert folder.rows(["x"]).height == 0
    assert folder.texts([]).height == 0
    assert folder.names().height == folder.items().height == folder.facts().height == 0


def test_names_of_a_phase_are_those_of_the_newest_plan(full):
    full.keep(Planned(UNIT, "select", (name("c3", phase="select"),)))
    full.keep(
        Planned(UNIT, "test", (name("c1", label="renamed"), name("c1", label="renamed")))
    )

    assert [row[0] for row in again(full).names().rows()] == ["c3", "c1"]
    assert again(full).names()["label"].to_list() == ["caa", "renamed"]
    assert again(full).header["not_applicable"] == []
    assert again(full).cells == {"c1", "c2"}


def test_a_run_that_begins_again_forgets_failures_and_keeps_rows(full):
    full.keep(Planned(UNIT, "transfer", (name("c9", phase="transfer"),)))

    full.begin_again(("select", "test"))

    read = again(full)
    assert read.header["failed"] == [] and read.finished == ()
    assert set(read.names()["phase"]) == {"test"}
    assert read.cells == {"c1", "c2"}
    assert read.choices


def test_a_unit_that_is_not_there_yet_begins_with_nothing(folder):
    folder.begin_again()

    assert not folder.root.exists()


class Killed(BaseException):
    """The process is gone; nothing after it happens."""


class Fate:
    """Ends the process at its nth step on disk; a step that writes is left half done."""

    def __init__(self, monkeypatch, step):
        self.left = step
        for owner, verb in (
            (Path, "write_bytes"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (os, "fsync"),
        ):
            monkeypatch.setattr(owner, verb, self.mortal(verb, getattr(owner, verb)))

    def mortal(self, verb, act):
        def step(*args, **kwargs):
            if verb == "unlink" and not args[0].exists():
                return act(*args, **kwargs)
            self.left -= 1
            if self.left > 0:
                return act(*args, **kwargs)
            if self.left == 0 and verb == "write_bytes":
                path, content = args
                act(path, content[: len(content) // 2])
            raise Killed

        return step


LATER = [
    *(Planned(UNIT, "test", (name("c1", label="new"), name("c7"))), items("ask", "more")),
    *(Fitted(UNIT, "f2", "icv", b"more bytes", {"norm": 1.0, "cosine": 0.1}),),
    *(rows("c7", "c8", texts=True), Begun(UNIT, {"model": "n"}), Finished(UNIT, "price")),
]


@pytest.mark.parametrize("record", LATER, ids=lambda record: type(record).__name__)
def test_killed_between_any_two_steps_it_reads_as_before_or_as_after(
    record, tmp_path, monkeypatch
):
    outcomes = set()
    for step in range(1, 60):
        folder = UnitFolder(tmp_path / str(step))
        for each in RECORDS:
            folder.keep(each)
        before = reading(again(folder))
        with monkeypatch.context() as patch:
            Fate(patch, step)
            try:
                folder.keep(record)
                survived = True
            except Killed:
                survived = False
        read = reading(again(folder))
        resumed = again(folder)
        resumed.keep(record)
        after = reading(again(resumed))

        assert after != before
        assert read in (before, after)
        outcomes.add("before" if read == before else "after")
        if survived:
            assert read == after
            break
    else:
        pytest.fail("a record takes more steps than this test looks at")
    assert step > 4
    assert outcomes == {"before", "after"}


@pytest.mark.parametrize("record", LATER, ids=lambda record: type(record).__name__)
def test_what_cannot_be_written_leaves_what_was_there(record, full, monkeypatch):
    before = reading(full)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(
            StoreFault, match=r"cannot write .*No space left.*free space or fix"
        ):
            full.keep(record)

    assert reading(full) == reading(again(full)) == before


def files_of(folder):
    return sorted(path for path in folder.root.rglob("*") if path.is_file())


def test_one_flipped_bit_in_any_file_is_refused(full):
    def read_all():
        reading(again(full))

    assert len(files_of(full)) == 7
    for path in files_of(full):
        content = path.read_bytes()
        places = range(0, len(content), max(1, len(content) // 40))
        for place in (*places, len(content) - 1):
            damaged = bytearray(content)
            damaged[place] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            with pytest.raises(
                BadFile, match=r"is not what was written|cannot be read|is no"
            ):
                read_all()
        path.write_bytes(content)
    read_all()


@pytest.mark.parametrize("read", ["names", "items", "facts", "row_files", "fits"])
def test_each_reader_refuses_its_damaged_file(read, full):
    kinds = {"names": "cells", "row_files": "rows"}
    start = kinds.get(read, read)
    [path] = [p for p in files_of(full) if str(p.relative_to(full.root)).startswith(start)]
    path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(BadFile, match=r"its checksum differs\); restore it, or delete the"):
        getattr(again(full), read)()


def test_a_missing_file_is_said(full):
    [path] = full.row_files()
    path.unlink()

    with pytest.raises(BadFile, match="is missing, and its unit names it; restore it, or"):
        again(full).rows(["c1"])


def test_foreign_files_are_never_read(full):
    before = reading(full)
    for place in ("", "rows", "fits", "texts"):
        (full.root / place / "notes.parquet").write_text("mine")
        (full.root / place / ".rows.partial").write_text("mine")
    (full.root / "cells.0123456789ab.parquet").write_text("mine")

    assert reading(again(full)) == before


def forged(folder, **entries):
    content = read_sealed(folder.folder, "unit.json")
    for key, entry in entries.items():
        content["files"][key.replace("__", "/")] = entry
    write_sealed(folder.folder, "unit.json", content)


@pytest.mark.parametrize(
    "place", ["../outside.parquet", "/etc/hostname", "rows/../../x", "C:\\x", "a:b"]
)
def test_a_unit_names_no_file_outside_of_its_folder(place, full):
    content = read_sealed(full.folder, "unit.json")
    content["files"][place] = {"sum": "0", "cells": []}
    write_sealed(full.folder, "unit.json", content)

    with pytest.raises(BadFile, match="is no unit of a run; take it away, or restore it"):
        _ = again(full).cells


@pytest.mark.parametrize(
    "content", [[], {}, {"header": {}, "files": {}}, {"header": {"unit": "x"}, "files": {}}]
)
def test_a_sealed_file_that_is_no_unit_is_refused(content, folder):
    write_sealed(folder.folder, "unit.json", content)

    with pytest.raises(BadFile, match="is no unit of a run"):
        _ = again(folder).header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            pl.DataFrame({"cell": ["c1"], "value": [1.0]}),
            "has the columns cell, value; a run",
        ),
        (b"no table", "is no Parquet file"),
    ],
)
def test_a_table_of_another_kind_is_refused(content, message, full):
    path = full.root / "rows" / "x.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.write_parquet(path)
    entry = {"sum": hashlib.sha256(path.read_bytes()).hexdigest(), "cells": ["c1"]}
    forged(full, rows__x_parquet=entry)
    state = read_sealed(full.folder, "unit.json")
    state["files"]["rows/x.parquet"] = state["files"].pop("rows/x_parquet")
    write_sealed(full.folder, "unit.json", state)

    with pytest.raises(BadFile, match=message):
        again(full).row_files()


def test_a_sealed_file_is_there_or_not(tmp_path):
    folder = Folder(tmp_path)
    write_sealed(folder, "a.json", {"text": "für", "number": 1e-5})

    assert read_sealed(folder, "a.json") == {"text": "für", "number": 1e-5}
    assert read_sealed(folder, "b.json") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "is no sealed file of a run; restore it, or measure anew"),
        ("[]", "is no sealed file"),
        ('{"content": 1}', "is no sealed file"),
        ('{"content": 1, "sum": "x"}', "is not what was written"),
        ("{", "cannot be read"),
    ],
)
def test_what_is_no_sealed_file(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(BadFile, match=message):
        read_sealed(Folder(tmp_path), "a.json")


def test_a_seal_is_to_the_letter(tmp_path):
    write_sealed(Folder(tmp_path), "a.json", {"number": 1e-5})
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace("1e-05", "1E-05"))

    with pytest.raises(BadFile, match="is not what was written"):
        read_sealed(Folder(tmp_path), "a.json")
