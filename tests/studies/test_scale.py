"""Plans and stores of the size that a paper has: planned at once, read in little memory."""

import json
import subprocess
import sys
import textwrap
from time import perf_counter

import pytest

from seatrial.model import Model
from seatrial.store import Store
from seatrial.store.records import (
    Begun,
    Chosen,
    Finished,
    Items,
    Name,
    Planned,
    Rows,
    Unit,
)
from seatrial.studies import asked as asking
from seatrial.studies.cells import cell_id
from seatrial.studies.described import described
from seatrial.studies.phases import Phases
from seatrial.studies.study import read_study

CELLS, ITEMS = 500, 2_000
UNIT = Unit("tiny", 0, "many")
PLANNED_WITHIN = 0.3
"""Seconds; a laptop's core that does nothing else needs a tenth of it."""
MOST_MEMORY = 400
"""MB that a report of a million rows may need beyond one of ten thousand."""


@pytest.fixture(scope="module")
def plan_of(tmp_path_factory):
    """A plan of some hundred cells on some test items: ``plan_of(2_000)``."""

    def make(n_items, draws=125):
        path = tmp_path_factory.mktemp("many") / "many.csv"
        lines = [
            f"the sea is calm {k},the sea is rough {k}" for k in range(n_items * 5 // 4)
        ]
        path.write_text("\n".join(["positive,negative", *lines]) + "\n", "utf-8")
        return {
            "models": ["tiny"],
            "behaviours": {"many": {"source": str(path), "targets": {"open": "open"}}},
            "methods": {"caa": {"layer": 1, "dose": 1}},
            "doses": [-1, 1],
            "split": {"fit": 0.1, "select": 0.1, "test": 0.8},
            "limit": {"fit": 12, "select": 8},
            "controls": {"random": draws, "shuffled": draws},
            "baselines": [],
            "guards": {},
        }

    return make


@pytest.fixture(scope="module")
def model():
    return Model.load("tiny")


def names_of(phases, phase):
    """All cells of a phase as a worker names them."""
    fingerprints = phases.model.fingerprints
    return tuple(
        Name(
            cell=cell_id(fingerprints, fit.id if fit else "", one.dose, batch.ask.id),
            ask=batch.ask.id,
            fit=fit.id if fit else "",
            phase=phase,
            label=one.label,
            kind=one.kind,
            control=one.control,
            draw=one.draw,
            settings=one.settings,
            dose=one.dose,
            role=batch.role,
            target=batch.target,
            point=batch.point,
            condition=batch.condition,
            fit_behaviour=fit.behaviour if fit else "",
            fit_condition=fit.condition.label if fit else "",
            split=batch.ask.split,
        )
        for batch in phases.batches(phase)
        for one in batch.placed
        for fit in [one.fit]
    )


def test_500_cells_of_2000_items_are_planned_in_less_than_a_third_of_a_second(
    plan_of, model
):
    """Beyond reading and rendering the items, which takes as long for a single cell."""
    [plan] = read_study(plan_of(50, draws=1)).plans
    names_of(Phases(model, plan, UNIT), "test")  # what a process does once
    [plan] = read_study(plan_of(ITEMS)).plans
    for _ in range(3):  # others may use this machine, too
        phases = Phases(model, plan, UNIT)
        next(phases.test(()))  # renders the requests
        phases.tried_on(phases.behaviour.targets[0])  # reads what is fitted on

        begun = perf_counter()
        names = names_of(phases, "test")
        seconds = perf_counter() - begun
        if seconds < PLANNED_WITHIN:
            break

    assert len({name.cell for name in names}) == len(names) >= CELLS
    assert len(phases.batches("test")[0].ask.requests) == ITEMS
    assert seconds < PLANNED_WITHIN


def test_requests_are_rendered_once_for_all_cells_of_an_ask(plan_of, model, monkeypatch):
    rendered = []
    render = asking._rendered

    def counted(task, requests, model):
        rendered.append(len(requests))
        return render(task, requests, model)

    monkeypatch.setattr(asking, "_rendered", counted)
    [plan] = read_study(plan_of(50)).plans
    phases = Phases(model, plan, UNIT)

    names, again = names_of(phases, "test"), names_of(phases, "test")

    assert len(names) >= CELLS and names == again
    assert rendered == [50]


# A store of a million rows.

READ = textwrap.dedent(
    """
    import json, re, sys
    from pathlib import Path
    from seatrial.analysis.summary import summarise
    from seatrial.report.forms import render
    from seatrial.store import Store

    store = Store(Path(sys.argv[2]))
    told = {}
    if sys.argv[1] == "scan":
        import polars as pl

        grouped = store.scan().group_by("label", "control", "dose")
        frame = grouped.agg(pl.len(), pl.col("value").mean()).collect()
        told["rows"] = int(frame["len"].sum())
    else:
        report = render(summarise(store))
        [trial] = report.summary.trials
        told = {"verdict": trial.verdict.label, "effect": trial.effect.value}
        [told["rows"]] = [
            int(check["detail"].split(" rows")[0])
            for check in report.summary.audit if check["id"] == "H8"
        ]
    # Not what getrusage says: to that belongs the process that this one was forked from.
    [peak] = re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({**told, "megabytes": int(peak) / 1024}))
    """
)


def stored(root, plain, model):
    """A store of 500 cells with planted scores: the method moves every item by its dose."""
    study = read_study(plain)
    [plan] = study.plans
    phases, store = Phases(model, plan, UNIT), Store(root)
    names = names_of(phases, "test")
    requests = phases.batches("test")[0].ask.requests
    items = [request.id for request in requests]
    [ask] = {name.ask for name in names}
    entries = [
        {"ask": ask, "item": r.id, "group": r.group, "text": r.id, "factors": "{}"}
        for r in requests
    ]
    chosen = {"label": "caa", "target": "open", "settings": "{}", "dose": 1.0}
    store.open(study.plain)
    store.keep(Begun(UNIT, {**described(phases), "layers": 6, "heads": 24}))
    store.keep(Chosen(UNIT, (chosen,)))
    store.keep(Planned(UNIT, "test", names))
    store.keep(Items(UNIT, tuple(entries)))
    for start in range(0, len(names), 25):
        some = names[start : start + 25]
        rows = [
            (name.cell, item, "open", _score(name, k))
            for name in some
            for k, item in enumerate(items)
        ]
        cells = tuple(name.cell for name in some)
        store.keep(Rows(UNIT, *zip(*rows, strict=True), cells=cells))
    for phase in ("select", "price", "test"):
        store.keep(Finished(UNIT, phase))
    return store, len(names) * len(items)


def _score(name, k):
    """An item's own level, what the steering does to it, and a little of a draw's own."""
    effect = name.dose if name.kind == "method" else 0.01 * name.dose * (name.draw % 5 - 2)
    return k % 7 - 3.0 + effect


def read(what, store):
    done = subprocess.run(
        [sys.executable, "-c", READ, what, store.root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_store_of_a_million_rows_is_read_in_bounded_memory(plan_of, model, tmp_path):
    small, few = stored(tmp_path / "small", plan_of(ITEMS // 100), model)
    large, rows = stored(tmp_path / "large", plan_of(ITEMS), model)
    assert few >= 10_000 and rows >= 1_000_000

    for what in ("scan", "report"):
        before, after = read(what, small), read(what, large)
        assert (before["rows"], after["rows"]) == (few, rows)
        assert after["megabytes"] - before["megabytes"] < MOST_MEMORY, what
        if what == "report":
            assert after["effect"] == pytest.approx(1.0)  # as planted
            assert before["verdict"] == after["verdict"]
