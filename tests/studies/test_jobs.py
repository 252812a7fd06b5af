"""What is handed out next follows from what is stored, and holds plain values alone."""

import io
import pickle
from itertools import islice

import pytest

from seatrial.store import Store
from seatrial.store.records import (
    Begun,
    Checked,
    Chosen,
    Failed,
    Finished,
    Fitted,
    Items,
    Name,
    Planned,
    Rows,
    Unit,
)
from seatrial.studies.jobs import jobs, phases_of, units_of
from seatrial.studies.study import read_study

HEADER = {"layers": 6, "heads": 24, "targets": {}, "guards": {}}
"""Of a model in which there is nothing to choose."""


@pytest.fixture
def plans(plan, concept):
    """Records of a plan with as many behaviours as are asked for."""

    def make(*behaviours, **changes):
        labels = behaviours or ("planted",)
        named = {label: {"source": str(concept)} for label in labels}
        return read_study(plan(behaviours=named, **changes)).plans

    return make


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "run")


def finish(store, unit, *phases):
    store.keep(Begun(unit, HEADER))
    for phase in phases:
        store.keep(Finished(unit, phase))


def fail(store, unit, phase, label=""):
    store.keep(Begun(unit, HEADER))
    store.keep(Failed(unit, phase, label, "it is haunted"))


def handed(job):
    return None if job is None else (job.unit.seed, job.unit.behaviour, job.phase)


# Order.


@pytest.mark.parametrize("transfer", [[], ["behaviour"]])
def test_a_unit_goes_through_its_phases_in_order(transfer, plans, store):
    phases = []
    for job in jobs(plans(transfer=transfer), store):
        phases.append(job.phase)
        finish(store, job.unit, job.phase)

    last = ["transfer"] if transfer else []
    assert phases == ["select", "price", "test", *last]


def test_a_worker_goes_on_with_the_unit_whose_model_it_has(plans, store):
    order = []
    for job in jobs(plans("a", "b"), store):
        order.append(handed(job))
        finish(store, job.unit, job.phase)

    phases = ("select", "price", "test")
    assert order == [(0, unit, phase) for unit in "ab" for phase in phases]


def test_units_of_one_seed_stand_together(plans):
    units = [unit for _, unit in units_of(plans("a", "b", seeds=[0, 1]))]

    assert [(unit.seed, unit.behaviour) for unit in units] == [
        (0, "a"), (0, "b"), (1, "a"), (1, "b"),
    ]  # fmt: skip


def test_other_units_are_handed_out_while_one_is_at_work(plans, store):
    first = list(islice(jobs(plans("a", "b"), store), 2))

    assert list(map(handed, first)) == [(0, "a", "select"), (0, "b", "select")]


def test_none_stands_for_nothing_to_ask_before_more_is_kept(plans, store):
    source = jobs(plans(), store)
    job = next(source)

    assert (next(source), next(source)) == (None, None)
    finish(store, job.unit, "select")
    assert handed(next(source)) == (0, "planted", "price")
    assert next(source) is None


def test_what_is_finished_already_is_not_handed_out(plans, store):
    finish(store, Unit("tiny", 0, "a"), "select", "price")
    finish(store, Unit("tiny", 0, "b"), "select", "price", "test")

    source = jobs(plans("a", "b"), store)

    assert handed(next(source)) == (0, "a", "test")
    finish(store, Unit("tiny", 0, "a"), "test")
    assert list(source) == []


# Failures.


@pytest.mark.parametrize("phase", ["select", "price", "test"])
def test_a_unit_that_failed_is_not_handed_out_again(phase, plans, store):
    order = []
    for job in jobs(plans("a", "b"), store):
        order.append(handed(job))
        if (job.unit.behaviour, job.phase) == ("a", phase):
            fail(store, job.unit, phase)
        else:
            finish(store, job.unit, job.phase)

    phases = ("select", "price", "test")
    until = phases[: phases.index(phase) + 1]
    assert order == [
        *((0, "a", each) for each in until),
        *((0, "b", each) for each in phases),
    ]


def test_a_failure_that_is_told_late_stops_what_would_follow(plans, store):
    source = jobs(plans(), store)
    job = next(source)
    assert next(source) is None  # while it is at work

    fail(store, job.unit, job.phase)

    assert list(source) == []


def test_an_arm_that_failed_holds_nothing_up(plans, store):
    order = []
    for job in jobs(plans(), store):
        order.append(job.phase)
        fail(store, job.unit, job.phase, "caa")
        finish(store, job.unit, job.phase)

    assert order == ["select", "price", "test"]


# Transfer.

TESTED = ("select", "price", "test")


@pytest.fixture
def transferring(plans):
    return plans("a", "b", seeds=[0, 1], transfer=["behaviour"])


def test_transfer_waits_for_the_other_units_of_its_model_and_seed(transferring, store):
    finish(store, Unit("tiny", 0, "a"), *TESTED)
    source = jobs(transferring, store)

    before = list(islice(source, 4))  # until nothing is left to hand out
    finish(store, Unit("tiny", 0, "b"), *TESTED)
    after = list(islice(source, 3))

    assert list(map(handed, before)) == [
        (0, "b", "select"), (1, "a", "select"), (1, "b", "select"), None,
    ]  # fmt: skip
    assert list(map(handed, after)) == [(0, "a", "transfer"), (0, "b", "transfer"), None]


def test_transfer_does_not_wait_for_other_seeds_or_models(plans, store):
    both = plans("a", "b", seeds=[0, 1], transfer=["behaviour"], models={
        "tiny": {}, "small": {"name": "tiny"}})  # fmt: skip
    for behaviour in "ab":
        finish(store, Unit("tiny", 0, behaviour), *TESTED)

    order = list(map(handed, islice(jobs(both, store), 2)))

    assert order == [(0, "a", "transfer"), (0, "b", "transfer")]


def test_transfer_does_not_wait_for_a_unit_that_failed(transferring, store):
    finish(store, Unit("tiny", 0, "a"), *TESTED)
    fail(store, Unit("tiny", 0, "b"), "select")

    assert handed(next(jobs(transferring, store))) == (0, "a", "transfer")


def test_transfer_does_not_begin_before_its_own_unit_is_tested(transferring, store):
    finish(store, Unit("tiny", 0, "a"), "select", "price")
    finish(store, Unit("tiny", 0, "b"), *TESTED)

    order = list(map(handed, islice(jobs(transferring, store), 4)))

    assert order == [(0, "a", "test"), (1, "a", "select"), (1, "b", "select"), None]


def test_transfer_has_the_choices_of_every_behaviour(transferring, store):
    for behaviour in "ab":
        unit = Unit("tiny", 0, behaviour)
        finish(store, unit, *TESTED)
        store.keep(Chosen(unit, ({"label": "caa", "target": behaviour},)))

    job = next(jobs(transferring, store))

    assert {label: [c["target"] for c in each] for label, each in job.others.items()} == {
        "a": ["a"], "b": ["b"],
    }  # fmt: skip


# What a job holds.


def name(label, target, cell, dose=0.0, settings="{}", phase="select"):
    """What a cell is called, as far as a choice needs to know."""
    return Name(
        cell=cell,
        ask=f"{phase}-{target}",
        fit="" if label == "unsteered" else f"fit-{settings}",
        phase=phase,
        label=label,
        kind="unsteered" if label == "unsteered" else "method",
        control="",
        draw=-1,
        settings=settings,
        dose=dose,
        role="target" if target == "open" else "guard",
        target=target,
        point="",
        condition="base",
        fit_behaviour="planted",
        fit_condition="base",
        split="select",
    )


def keep(store, phase, names, means, metric):
    """Store cells whose items have about these means, and what the cells are called."""
    unit, items = Unit("tiny", 0, "planted"), [f"i{k}" for k in range(4)]
    rows = [
        (cell, item, metric, mean + 0.01 * k)
        for cell, mean in means.items()
        for k, item in enumerate(items)
    ]
    entries = tuple(
        {"ask": ask, "item": item, "group": item, "text": item, "factors": "{}"}
        for ask in sorted({each.ask for each in names})
        for item in items
    )
    store.keep(Planned(unit, phase, tuple(names)))
    store.keep(Items(unit, entries))
    store.keep(Rows(unit, *zip(*rows, strict=True), cells=tuple(means)))
    store.keep(Finished(unit, phase))


LAYER = '{{"layer": {}}}'
CHOOSING = {
    **HEADER,
    "targets": {
        "open": {"metric": "open", "sign": 1, "chosen_on": "", "arms": ["caa"]},
    },
    "guards": {"prose": {"metric": "loss", "sign": 1, "damage": "ratio", "budget": 1.1}},
}


def select(store, best):
    """Store select rows in which one layer moves the target more than the other."""
    store.keep(Begun(Unit("tiny", 0, "planted"), CHOOSING))
    names = [
        name("unsteered", "open", "s0"),
        name("caa", "open", "s1", 1.0, LAYER.format(1)),
        name("caa", "open", "s2", 1.0, LAYER.format(2)),
    ]
    means = {"s0": 0.0, "s1": 0.2, "s2": 0.2, f"s{best}": 0.9}
    keep(store, "select", names, means, "open")


def price(store, settings, largest):
    """Store prices of doses up to one that is within the budget; beyond, none is."""
    names = [name("unsteered", "prose", "p0", phase="price")] + [
        name("caa", "prose", f"p{dose}", dose, settings, phase="price")
        for dose in (0.5, 1.0, 2.0)
    ]
    losses = {f"p{dose}": 3.0 if dose <= largest else 3.5 for dose in (0.5, 1.0, 2.0)}
    keep(store, "price", names, {"p0": 3.0, **losses}, "loss")


@pytest.mark.parametrize("best", [1, 2])
def test_options_that_are_priced_are_those_that_select_rows_favour(best, plans, store):
    select(store, best)

    job = next(jobs(plans(doses=[-1, 0.5, 1, 2]), store))

    [choice] = job.choices
    assert (job.phase, choice["label"], choice["target"]) == ("price", "caa", "open")
    assert choice["settings"] == LAYER.format(best)
    assert choice["doses"] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("largest", [0.5, 1.0, 2.0])
def test_the_dose_that_is_tested_is_the_largest_whose_stored_price_is_within_the_budget(
    largest, plans, store
):
    study = plans(doses=[-1, 0.5, 1, 2])
    select(store, 2)
    store.keep(Chosen(Unit("tiny", 0, "planted"), next(jobs(study, store)).choices))
    price(store, LAYER.format(2), largest)

    job = next(jobs(study, store))

    [choice] = job.choices
    assert (job.phase, choice["settings"]) == ("test", LAYER.format(2))
    assert (choice["dose"], choice["is_within"]) == (largest, True)


def test_where_no_price_is_within_the_budget_the_smallest_dose_is_tested_and_said_so(
    plans, store
):
    study = plans(doses=[-1, 0.5, 1, 2])
    select(store, 1)
    store.keep(Chosen(Unit("tiny", 0, "planted"), next(jobs(study, store)).choices))
    price(store, LAYER.format(1), 0.0)

    [choice] = next(jobs(study, store)).choices

    assert (choice["dose"], choice["is_within"]) == (0.5, False)


def test_select_is_handed_out_without_choices(plans, store):
    job = next(jobs(plans(), store))

    assert (job.phase, job.choices, job.others) == ("select", (), {})


def test_a_job_lists_what_is_stored(plans, store):
    unit = Unit("tiny", 0, "planted")
    select(store, 1)
    store.keep(Fitted(unit, "f1", "caa", b"bytes of one"))
    store.keep(Fitted(unit, "f2", "caa", b"bytes of two"))
    store.keep(Rows(unit, (), (), (), (), cells=("without rows",)))

    job = next(jobs(plans(), store))

    assert job.stored == {"s0", "s1", "s2", "without rows"}
    assert job.fits == {"f1": b"bytes of one", "f2": b"bytes of two"}


def test_a_job_of_one_unit_lists_nothing_of_another(plans, store):
    select(store, 1)

    source = jobs(plans("planted", "b"), store)

    stored = {handed(job)[1]: job.stored for job in islice(source, 2)}
    assert stored == {"planted": {"s0", "s1", "s2"}, "b": frozenset()}


@pytest.mark.parametrize(
    ("statuses", "is_audited"),
    [
        ((), False),
        (("passed",), True),
        (("passed", "not applicable"), True),
        (("passed", "failed"), False),
    ],
)
def test_a_job_says_whether_its_unit_passed_every_check(statuses, is_audited, plans, store):
    unit = Unit("tiny", 0, "planted")
    finish(store, unit, "select", "price")
    checks = tuple({"id": f"H{k}", "status": status} for k, status in enumerate(statuses))
    store.keep(Checked(unit, checks))

    assert next(jobs(plans(), store)).is_audited == is_audited


OURS = {
    "seatrial.studies.jobs": {"Job"},
    "seatrial.store.records": {"Unit"},
    "seatrial.studies.plan": {
        *("BehaviourPlan", "Claim", "ConditionPlan", "ControlPlan", "GuardPlan", "Limit"),
        *("MethodPlan", "ModelPlan", "Plan", "Rule", "Shares", "TargetPlan"),
    },
}
"""Classes that a worker may find in a job: frozen records of plain values."""


class Recorder(pickle.Unpickler):
    """Reads a pickle, and remembers every class that it names."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self.named = set()

    def find_class(self, module, name):
        self.named.add((module, name))
        return super().find_class(module, name)


def test_a_job_is_made_of_plain_values(plans, store):
    study = plans("planted", "b", transfer=["behaviour"], doses=[-1, 0.5, 1, 2],
                  conditions=["base", {"name": "tools", "size": 2}])  # fmt: skip
    select(store, 1)
    store.keep(Fitted(Unit("tiny", 0, "planted"), "f1", "caa", b"bytes"))
    job = next(jobs(study, store))
    assert job.stored and job.fits and job.choices

    sent = Recorder(pickle.dumps(job))

    assert sent.load() == job
    assert sent.named >= {("seatrial.studies.jobs", "Job")}
    strange = {(module, name) for module, name in sent.named
               if name not in OURS.get(module, ()) and module != "builtins"}  # fmt: skip
    assert not strange


def test_phases_are_those_that_the_plan_has(plans):
    [short], [long] = plans(), plans(transfer=["condition"])

    assert phases_of(short) == ("select", "price", "test")
    assert phases_of(long) == ("select", "price", "test", "transfer")
