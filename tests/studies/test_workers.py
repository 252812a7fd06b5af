"""Who measures changes nothing; what a lost worker costs is its unit, once."""

import os
import signal

import pytest
from polars.testing import assert_frame_equal

from seatrial.errors import BadOption
from seatrial.store.records import Failed, JobProgress, Rows, Unit
from seatrial.store.store import Store
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.studies.workers import Local, Processes

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


def rows(store):
    return store.scan().drop("run").collect().sort(ORDER)


@pytest.fixture
def seeded(plan):
    """Two units that share a model."""
    return plan(seeds=[0, 1])


@pytest.mark.slow
def test_two_processes_measure_what_one_does(seeded, measured, tmp_path):
    alone, _ = measured(seeded, Store(tmp_path / "alone"), Local())
    together, records = measured(seeded, Store(tmp_path / "both"), Processes(2, threads=1))

    assert not [record for record in records if isinstance(record, Failed)]
    assert_frame_equal(rows(together), rows(alone), abs_tol=1e-4, rel_tol=0)


@pytest.mark.slow
def test_a_killed_worker_loses_its_unit_once_and_the_next_run_measures_it(
    seeded, measured, tmp_path
):
    study, store = read_study(seeded), Store(tmp_path / "run")
    team, records, lost = Processes(2, threads=1), [], []

    def kill(record):
        records.append(record)
        if isinstance(record, Rows) and not lost:
            lost.append(record.unit)
            # Its first rows have come, and there is more to come.
            victim = next(w for w, job in team.busy.items() if job.unit == record.unit)
            os.kill(team.processes[victim].pid, signal.SIGKILL)

    run(study, store, team, kill)

    [failure] = [record for record in records if isinstance(record, Failed)]
    assert (failure.unit, failure.label, failure.is_defect) == (lost[0], "", False)
    assert failure.reason == (
        "its worker process ended (killed by SIGKILL); the same command tries again"
    )
    [other] = {Unit("tiny", 0, "planted"), Unit("tiny", 1, "planted")} - {lost[0]}
    assert store.unit(other).finished == ("select", "price", "test")
    assert "test" not in store.unit(lost[0]).finished

    measured(seeded, store, Local())
    whole, _ = measured(seeded, Store(tmp_path / "whole"), Local())
    assert not store.unit(lost[0]).header["failed"]
    assert_frame_equal(rows(store), rows(whole), abs_tol=1e-4, rel_tol=0)


def test_an_error_of_the_driver_ends_every_process(seeded, tmp_path):
    team = Processes(2, threads=1)

    def stop(record):
        if isinstance(record, JobProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(read_study(seeded), Store(tmp_path / "run"), team, stop)

    assert not any(process.is_alive() for process in team.processes)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((0,), "^0 workers measure nothing; 1 is the least"),
     ((2, 0), "^2 workers with 0 threads each measure nothing; 1 is the least")],
)  # fmt: skip
def test_no_workers_are_refused(numbers, message):
    with pytest.raises(BadOption, match=message):
        Processes(*numbers)
