"""A study that is killed, stopped or grown ends like one that ran through."""

import json
import subprocess
import sys
import textwrap
from collections import Counter

import pytest
from polars.testing import assert_frame_equal

from seatrial.errors import SeatrialError, UnknownName
from seatrial.methods.caa import CAA
from seatrial.model import Model
from seatrial.store import Store
from seatrial.store.records import Failed, Finished, Fitted, Rows, Unit
from seatrial.studies.outcome import outcome
from seatrial.studies.run import run
from seatrial.studies.study import read_study

ORDER = [
    "seed",
    "behaviour",
    "cell",
    "label",
    "control",
    "draw",
    "target",
    "phase",
    "dose",
    "item",
    "metric",
]

CHILD = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import torch
    from seatrial.files import Folder
    from seatrial.store import Store
    from seatrial.studies.run import run
    from seatrial.studies.study import read_study

    torch.set_num_threads(int(sys.argv[3]))
    study = read_study(json.loads(sys.argv[1]))
    out, moments = Path(sys.argv[2]), sys.argv[4:]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def measure(moment):
        keep, write, left = Store.keep, Folder.write, [int(moment.removeprefix("half"))]
        def count(store, record):
            keep(store, record)
            left[0] -= 1
            if not left[0]:
                die()
        def half(folder, name, fill):
            left[0] -= 1
            if not left[0]:
                fill(folder.root / name)  # without a hidden name first
                path = folder.root / name
                path.write_bytes(path.read_bytes()[:50])
                die()
            write(folder, name, fill)
        if moment.startswith("half"):
            Folder.write = half
        else:
            Store.keep = count
        run(study, Store(out / moment))

    for moment in moments:
        process = os.fork()
        if not process:
            try:
                measure(moment)
            except BaseException as error:
                print(repr(error), file=sys.stderr)
            os._exit(1)
        print(moment, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    """
)
MOMENTS = ("1", "4", "13", "20", "30", "half12")


def rows(store):
    return store.scan().drop("run").collect().sort(ORDER)


def stamps(store):
    """What tells whether a file of rows was written again."""
    return {
        path.relative_to(store.root): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in store.root.glob("units/*/rows/*.parquet")
    }


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """A plan that ran through, with what it told."""
    store, records = Store(tmp_path_factory.mktemp("whole") / "run"), []
    run(read_study(plan()), store, None, records.append)
    return store, records


@pytest.fixture(scope="module")
def killed(plan, tmp_path_factory):
    """Folders of the same plan, killed at several moments."""
    import torch

    folder = tmp_path_factory.mktemp("killed")
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(plan()), folder, threads, *MOMENTS],
        capture_output=True,
        text=True,
        check=False,
    )
    ends = [line.split() for line in done.stdout.splitlines()]
    assert ends == [[moment, "-9"] for moment in MOMENTS], done.stderr
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_study_resumes_to_exactly_the_same_rows(moment, plan, whole, killed):
    store = Store(killed / moment)
    before = stamps(store)

    run(read_study(plan()), store)

    assert_frame_equal(rows(store), rows(whole[0]), check_exact=True)
    assert before.items() <= stamps(store).items()  # nothing was measured twice
    assert not list(store.root.rglob("*.partial"))
    [one], [other] = (s.units() for s in (store, whole[0]))
    assert one.choices == other.choices
    assert one.items().sort("ask", "item").equals(other.items().sort("ask", "item"))


def test_a_finished_study_is_not_measured_again(plan, whole, asked):
    store, before = whole[0], stamps(whole[0])

    run(read_study(plan()), store)

    assert (asked, stamps(store)) == (Counter(), before)


@pytest.fixture
def asked(monkeypatch):
    """How often the model answers requests, and methods are fitted, from now on."""
    counts = Counter()

    def counted(kind, name):
        before = getattr(kind, name)

        def call(*args, **kwargs):
            counts[name] += 1
            return before(*args, **kwargs)

        monkeypatch.setattr(kind, name, call)

    counted(Model, "log_probs")
    counted(CAA, "fit")
    return counts


GROWTH = {
    "a method": {"methods": {"caa": {"read": "completion", "choose": {"layer": [1, 2]}},
                             "mean-match": {"layer": 1}}},
    "a dose": {"doses": [-1, 1, 2]},
    "a seed": {"seeds": [0, 1]},
    "another name": {"methods": {"steered": {"name": "caa", "read": "completion",
                                             "choose": {"layer": [1, 2]}}}},
    "draws": {"controls": {"random": 3, "shuffled": 1}},
}  # fmt: skip


@pytest.mark.parametrize("change", GROWTH)
def test_a_finished_study_grows_by_what_is_new(change, plan, measured, tmp_path):
    """What is stored is used; what comes of it is what a fresh run measures."""
    grown, first = measured(plan())
    stored = {cell for record in first if isinstance(record, Rows) for cell in record.cells}
    fitted = {record.fit for record in first if isinstance(record, Fitted)}

    _, more = measured(plan(**GROWTH[change]), grown)
    fresh, _ = measured(plan(**GROWTH[change]), Store(tmp_path / "fresh"))

    new = [cell for record in more if isinstance(record, Rows) for cell in record.cells]
    needed = set(rows(fresh)["cell"])
    units = {record.unit for record in more if isinstance(record, Finished)}
    assert not stored & {c for r in more if isinstance(r, Rows) and r.unit.seed == 0
                         for c in r.cells}  # fmt: skip
    assert fitted.isdisjoint(r.fit for r in more if isinstance(r, Fitted))
    assert_frame_equal(rows(grown), rows(fresh), abs_tol=1e-5, rel_tol=0)
    assert (not new) == (change == "another name")
    assert needed >= set(new)
    assert len(units) == (2 if change == "a seed" else 1)


def test_more_items_are_other_asks_and_old_rows_stay(plan, measured):
    store, _ = measured(plan())
    before = stamps(store)

    more = {"fit": 12, "select": 8, "test": 10}
    measured(plan(limit=more), store)

    assert before.items() < stamps(store).items()
    test = rows(store).filter(phase="test", target="open", label="unsteered")
    assert test["item"].n_unique() == 10


# What fails.


def test_an_arm_that_fails_loses_its_trial_and_the_rest_goes_on(
    plan, measured, monkeypatch
):
    fit = CAA.fit

    def broken(self, model, data, *, seed):
        if self.layer == 2:
            raise SeatrialError("layer 2 is haunted")
        return fit(self, model, data, seed=seed)

    both = {"caa": {"read": "completion", "layer": 1},
            "other": {"name": "caa", "read": "completion", "layer": 2}}  # fmt: skip
    monkeypatch.setattr(CAA, "fit", broken)
    store, records = measured(plan(methods=both))

    failures = [record for record in records if isinstance(record, Failed)]
    assert {(f.label, f.reason) for f in failures} >= {("other", "layer 2 is haunted")}
    assert all(f.label.startswith("other") for f in failures)
    [unit] = store.units()
    assert unit.finished == ("select", "price", "test")
    assert set(rows(store)["label"]) == {"unsteered", "caa"}
    found = outcome(read_study(plan(methods=both)), store)
    assert len(found.whole) == 1
    assert "failed" in str(found)

    monkeypatch.setattr(CAA, "fit", fit)  # the next run tries again
    measured(plan(methods=both), store)
    assert set(rows(store)["label"]) == {"unsteered", "caa", "other"}
    assert str(outcome(read_study(plan(methods=both)), store)) == "1 of 1 unit whole"


def test_a_unit_that_fails_is_one_sentence_and_the_others_go_on(plan, measured, tmp_path):
    (tmp_path / "few.csv").write_text(
        "positive,negative\n" + "".join(f"a {k},b {k}\n" for k in range(4))
    )
    two = {**plan()["behaviours"], "few": {"source": str(tmp_path / "few.csv")}}

    store, records = measured(plan(behaviours=two))

    [failure] = [record for record in records if isinstance(record, Failed)]
    assert (failure.unit, failure.label) == (Unit("tiny", 0, "few"), "")
    assert "too few to split" in failure.reason
    found = outcome(read_study(plan(behaviours=two)), store)
    assert found.whole == (Unit("tiny", 0, "planted"),)
    assert str(found) == "1 of 2 units whole, 1 unit failed"
    [line] = found.sentences()
    assert line.startswith("tiny, seed 0, few: ")


def test_a_defect_in_a_unit_is_named_as_ours(plan, measured, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Model, "log_probs", broken)
    store, records = measured(plan())

    [failure] = [record for record in records if isinstance(record, Failed)]
    assert (failure.reason, failure.is_defect) == ("ZeroDivisionError: oh", True)
    assert outcome(read_study(plan()), store).is_defect


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["cea"]}, "unknown method 'cea'"),
        ({"behaviours": ["sea"]}, "unknown concept 'sea'"),
        ({"guards": ["prosa"]}, "unknown task 'prosa'"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_written(
    changes, message, plan, tmp_path
):
    with pytest.raises(UnknownName, match=message):
        run(read_study(plan(**changes)), Store(tmp_path / "run"))

    assert not (tmp_path / "run").exists()
