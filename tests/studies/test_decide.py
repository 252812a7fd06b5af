"""Options and doses are decided by select rows alone: those of a run, or planted ones."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from seatrial.store import Store, UnitFolder
from seatrial.store.records import Chosen, Finished, Planned, Rows, Unit
from seatrial.studies.behaviour import BASE, Behaviour
from seatrial.studies.decide import doses_chosen, options_chosen
from seatrial.studies.expand import Shape
from seatrial.studies.run import run
from seatrial.studies.study import read_study

UNIT = Unit("tiny", 0, "planted")
QUICK = {"facts": {"limit": {"select": 4, "test": 2}}}
"""A guard of short texts."""


@pytest.fixture(scope="module")
def choosing(plan):
    """A plan in which one method chooses its layer, and one its dose by the rule."""

    def make(**changes):
        return plan(
            **{
                "doses": [1, 2, 3],
                "methods": {
                    "caa": {"read": "completion", "choose": {"layer": [1, 2]}},
                    "ruled": {
                        "name": "caa",
                        "read": "completion",
                        "layer": 3,
                        "choose": {"dose": [1, 2, 3]},
                    },
                },
                "limit": {"fit": 12, "select": 8, "test": 6},
                "controls": {},
                "guards": {"prose": {"limit": {"select": 3, "test": 2}}},
                **changes,
            }
        )

    return make


@pytest.fixture(scope="module")
def ran(choosing, tmp_path_factory):
    """Such a plan that ran through: its plan, its store, and what it told."""
    study, records = read_study(choosing()), []
    store = Store(tmp_path_factory.mktemp("ran") / "run")
    run(study, store, None, records.append)
    return study.plans[0], store, records


@pytest.fixture
def replayed(ran, tmp_path):
    """A unit's folder with the records of the run up to the end of a phase.

    ``value(name, k, metric, before)`` is what stands in place of each score, of the k-th
    item of its cell. What is chosen is chosen anew.
    """

    def make(phase, value=lambda name, k, metric, before: before):
        plan, _, records = ran
        folder, names = UnitFolder(tmp_path / phase), {}
        for record in records:
            if isinstance(record, Planned):
                names |= {name.cell: name for name in record.names}
            elif isinstance(record, Rows):
                items = {item: k for k, item in enumerate(dict.fromkeys(record.item))}
                columns = zip(
                    record.cell, record.item, record.metric, record.value, strict=True
                )
                values = tuple(
                    float(value(names[cell], items[item], metric, before))
                    for cell, item, metric, before in columns
                )
                record = Rows(
                    UNIT, record.cell, record.item, record.metric, values, record.cells
                )
            elif isinstance(record, Chosen):
                record = Chosen(UNIT, tuple(options_chosen(plan, folder)))
            folder.keep(record)
            if record == Finished(UNIT, phase):
                return folder

    return make


def by_label(choices):
    return {choice["label"]: choice for choice in choices}


def layer(choice):
    return json.loads(choice["settings"])["layer"]


# On select rows alone.


def test_neither_prices_nor_test_rows_change_what_options_are_chosen(ran, replayed):
    plan, store, _ = ran

    early = options_chosen(plan, replayed("select"))

    assert early == options_chosen(plan, store.unit(UNIT))
    chosen = by_label(store.unit(UNIT).choices)
    assert {c["label"]: c["settings"] for c in early} == {
        label: choice["settings"] for label, choice in chosen.items()
    }
    assert len(by_label(early)["caa"]["values"]) == 2  # there was something to choose from
    assert len(by_label(early)["ruled"]["values"]) == 3


def test_test_rows_do_not_change_what_doses_are_chosen(ran, replayed):
    _, store, _ = ran

    assert doses_chosen(replayed("price")) == store.unit(UNIT).choices


def test_other_test_items_change_neither_the_choice_nor_the_select_cells(
    concept, choosing, measured, tmp_path
):
    own = tmp_path / "planted.jsonl"
    own.write_text(concept.read_text())
    source = {"planted": {"source": str(own), "targets": {"open": "open"}}}
    one = {"caa": {"read": "completion", "choose": {"layer": [1, 2]}}}
    study = choosing(behaviours=source, methods=one, guards=QUICK, doses=[1, 2])
    first, _ = measured(study, Store(tmp_path / "first"))
    [plan] = read_study(study).plans
    behaviour = Behaviour(plan, plan.behaviours[0], 0, Shape(6, 24))
    [target] = behaviour.targets
    tested = behaviour.task(target, behaviour.points(target)[0], BASE).splits["test"]
    lines = [json.loads(line) for line in own.read_text().splitlines()]
    for line in lines:
        if line.get("id") in {item.id for item in tested}:
            line["matching_text"] += " kab"
    own.write_text("\n".join(map(json.dumps, lines)))

    second, _ = measured(study, Store(tmp_path / "second"))

    assert first.unit(UNIT).choices == second.unit(UNIT).choices
    frames = [s.scan().drop("run").collect().sort(pl.all()) for s in (first, second)]
    before = [frame.filter(pl.col("phase") != "test") for frame in frames]
    assert set(before[0]["phase"]) == {"select", "price"}
    assert_frame_equal(*before)
    asked = [set(frame.filter(phase="test", target="open")["cell"]) for frame in frames]
    assert not asked[0] & asked[1]


# Options.


@pytest.mark.parametrize(
    ("slopes", "chosen"),
    [({1: 1.0, 2: 2.0}, 2), ({1: 1.0, 2: 1.0}, 1), ({1: -1.0, 2: -2.0}, 1)],
    ids=["the larger", "the first on ties", "the least loss"],
)
def test_a_planted_layer_is_chosen(slopes, chosen, ran, replayed):
    def planted(name, k, metric, before):
        return k + slopes.get(json.loads(name.settings).get("layer"), 0.0) * name.dose

    [choice, _] = options_chosen(ran[0], replayed("select", planted))

    assert (choice["label"], layer(choice)) == ("caa", chosen)
    assert choice["values"] == pytest.approx(
        {f'{{"layer": {at}}} at 1': slope for at, slope in slopes.items()}
    )
    assert (choice["doses"], choice["by_rule"]) == ([1.0, 2.0, 3.0], False)


# Doses.


def damaging(*losses, spread=0.0):
    """Rows in which prose loses so much at doses 1, 2 and 3, some passages more."""

    def planted(name, k, metric, before):
        if name.target != "prose":
            return before
        if metric != "loss" or name.label == "unsteered":
            return 0.0
        return losses[round(abs(name.dose)) - 1] + spread * (-1) ** k

    return planted


@pytest.mark.parametrize(
    ("losses", "spread", "dose", "is_within"),
    [
        ((0.03, 0.06, 0.09), 0.0, 3.0, True),
        ((0.03, 0.06, 0.10), 0.0, 2.0, True),
        ((0.03, 0.10, 0.20), 0.0, 1.0, True),
        ((0.10, 0.06, 0.20), 0.0, 2.0, True),
        ((0.20, 0.30, 0.40), 0.0, 1.0, False),
        ((-0.5, 0.06, 0.06), 0.2, 1.0, True),
    ],
    ids=["all within", "but the largest", "the smallest alone", "a smaller one does harm",
         "none", "the upper end counts"],
)  # fmt: skip
def test_the_budget_limits_the_dose(losses, spread, dose, is_within, replayed):
    """A budget of 1.1 is a loss of 0.095 nats per token."""
    folder = replayed("price", damaging(*losses, spread=spread))

    choice = by_label(doses_chosen(folder))["caa"]

    assert (choice["dose"], choice["is_within"]) == (dose, is_within)
    assert set(choice["upper"]) == {"1", "2", "3"}
    if not spread:
        ratios = pl.Series(losses).exp().to_list()
        upper = [choice["upper"][key]["prose"] for key in ("1", "2", "3")]
        assert upper == pytest.approx(ratios)


@pytest.mark.parametrize(
    ("losses", "dose", "is_within"),
    [((0, 0, 0), 2.0, True), ((0, 1, 0), 3.0, True), ((0, 1, 1), 1.0, True),
     ((1, 1, 1), 2.0, False)],
)  # fmt: skip
def test_doses_that_a_plan_lists_are_taken_in_the_order_of_the_rule(
    losses, dose, is_within, ran, replayed
):
    """The rule finds 2 best, then 3, then 1; the first within the budget is taken."""
    wanted, damage = {1.0: 0.1, 2.0: 0.3, 3.0: 0.2}, damaging(*losses)

    def planted(name, k, metric, before):
        if name.phase == "select":
            return wanted[name.dose] if name.label == "ruled" else 0.0
        return damage(name, k, metric, before)

    folder = replayed("price", planted)
    before = by_label(options_chosen(ran[0], folder))["ruled"]
    choice = by_label(doses_chosen(folder))["ruled"]

    assert (before["by_rule"], before["doses"], before["dose"]) == (True, [2, 3, 1], 2)
    assert (choice["dose"], choice["is_within"]) == (dose, is_within)


# What leaves nothing to choose.


@pytest.fixture(scope="module")
def free(choosing, concept, tmp_path_factory):
    """A unit's folder: no budget, a fixed dose, and a target that chooses for another."""
    targets = {"open": "open", "again": {"task": "open", "chosen_on": "open"}}
    study = choosing(
        behaviours={"planted": {"source": str(concept), "targets": targets}},
        methods={
            "caa": {"read": "completion", "choose": {"layer": [1, 2]}},
            "fixed": {
                "name": "caa",
                "read": "completion",
                "layer": 3,
                "dose": 2,
                "on": ["open"],
            },
        },
        doses=[-1, 1],
        guards={"facts": {**QUICK["facts"], "budget": "inf"}},
    )
    store = Store(tmp_path_factory.mktemp("free") / "run")
    run(read_study(study), store)
    return store.unit(UNIT)


def test_without_a_budget_the_largest_dose_is_taken_and_nothing_priced(free):
    choice = by_label(free.choices)["caa"]

    assert (choice["dose"], choice["is_within"], choice["upper"]) == (1.0, True, {})
    assert free.names().filter(phase="price").is_empty()


def test_a_dose_that_the_plan_fixes_is_not_chosen_and_tested_beside_the_others(free):
    choice = by_label(free.choices)["fixed"]

    assert (choice["dose"], choice["doses"], choice["values"]) == (2.0, [2.0], {})
    names = free.names().filter(label="fixed", target="open")
    assert set(names["phase"]) == {"test"}
    assert sorted(names["dose"]) == [-2.0, -1.0, 1.0, 2.0]


def test_a_target_takes_the_choice_of_the_one_that_it_names(free):
    own, taken = [dict(c) for c in free.choices if c["label"] == "caa"]

    assert (own.pop("target"), taken.pop("target")) == ("open", "again")
    assert own == taken
    names = free.names()
    assert set(names.filter(phase="select")["target"]) == {"open"}
    assert set(names.filter(phase="test", role="target")["target"]) == {"open", "again"}
