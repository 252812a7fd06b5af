"""What fails loses itself and nothing else: an arm, a unit, an old answer."""

from dataclasses import replace

import pytest

from seatrial.analysis.summary import summarise
from seatrial.model import Model
from seatrial.store.records import Checked, Failed

LATE = {"name": "caa", "tokens": "generated"}
"""Edits generated tokens alone, which no score of an answer depends on."""


@pytest.fixture
def asked(plan, concept):
    """A plan whose only target is asked for yes and no."""

    def make(**changes):
        behaviours = {
            "planted": {"source": str(concept), "targets": {"propensity": "propensity"}}
        }
        return plan(behaviours=behaviours, **changes)

    return make


def failures(records):
    return [record for record in records if isinstance(record, Failed)]


@pytest.mark.parametrize(
    "late", [{**LATE, "choose": {"layer": [1, 2]}}, {**LATE, "layer": 1}]
)
def test_an_arm_that_the_engine_refuses_is_lost_alone(late, asked, measured):
    """With a choice it fails on select items, without one in the audit."""
    methods = {"caa": {"layer": 1, "dose": 1}, "late": {**late, "dose": 1}}

    store, records = measured(asked(methods=methods))

    assert {failure.label for failure in failures(records)} == {"late"}
    [unit] = store.units()
    assert "test" in unit.finished
    names = unit.names().rows(named=True)
    stored = {name["label"] for name in names if name["cell"] in unit.cells}
    assert stored == {"unsteered", "caa"}
    summary = summarise(store)
    assert [trial.label for trial in summary.trials] == ["caa"]
    assert any(entry.get("label") == "late" for entry in summary.failed)


def test_controls_of_an_arm_that_failed_are_not_measured(asked, measured):
    methods = {"late": {**LATE, "choose": {"layer": [1, 2]}, "dose": 1}}

    store, _ = measured(asked(methods=methods))

    [unit] = store.units()
    kinds = {r["kind"] for r in unit.names().rows(named=True) if r["cell"] in unit.cells}
    assert kinds == {"unsteered"}


def test_a_choice_is_made_by_the_metric_of_the_target_that_chooses(concept, plan, measured):
    targets = {"open": "open", "asked": {"task": "propensity", "chosen_on": "open"}}
    both = {"planted": {"source": str(concept), "targets": targets}}

    store, records = measured(plan(behaviours=both))

    assert not failures(records)
    [unit] = store.units()
    one, other = (
        next(c for c in unit.choices if c["target"] == target)
        for target in ("open", "asked")
    )
    assert one["settings"] == other["settings"]
    assert one["values"] == other["values"]
    assert None not in one["values"].values()


def test_a_check_that_failed_and_was_mended_is_answered_anew(plan, measured, monkeypatch):
    ask = Model.log_probs

    def noisy(self, requests, *arguments, **options):
        lines = ask(self, requests, *arguments, **options)
        if len(requests) > 1:
            return lines
        return [
            [
                replace(answer, log_probs=tuple(tuple(x - 1e-3 for x in y)
                                                for y in answer.log_probs))
                for answer in line
            ]
            for line in lines
        ]  # fmt: skip

    with monkeypatch.context() as broken:
        broken.setattr(Model, "log_probs", noisy)
        store, records = measured(plan())
    assert "check H5" in failures(records)[0].reason

    store, records = measured(plan(), store)

    assert not failures(records)
    [unit] = store.units()
    assert {check["status"] for check in unit.header["audit"]} == {"passed"}
    assert {entry["status"] for entry in summarise(store).audit} == {"passed"}
    _, records = measured(plan(), store)
    assert not [record for record in records if isinstance(record, Checked)]


def test_a_control_is_asked_only_at_doses_that_its_method_has(plan, measured):
    few = {"few-shot": {"shots": 2}}
    halves = {"shuffled": {"draws": 1, "doses": [0.5, 1]}}

    store, records = measured(plan(methods=few, controls=halves))

    assert not failures(records)
    [unit] = store.units()
    drawn = unit.names().filter(unit.names()["kind"] == "control")
    assert set(drawn["dose"]) == {1.0}
