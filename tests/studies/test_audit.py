"""Each check of the hazard audit passes where all is well and bites where it is not."""

from dataclasses import replace
from typing import final

import polars as pl
import pytest
import torch

from seatrial.errors import BadData, SteeringFault
from seatrial.methods import CAA, DoLa
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.gate import Gate
from seatrial.steering.intervention import UNSTEERED, Intervention
from seatrial.store.records import Checked, Failed, Planned, Rows, Unit
from seatrial.studies import audit
from seatrial.studies.audit import audit_fit, audit_items, audit_reads, refuse
from seatrial.studies.behaviour import BASE, Behaviour
from seatrial.studies.expand import Shape
from seatrial.studies.study import read_study
from seatrial.tasks import Open
from seatrial.tasks.base import Scored
from seatrial.testing import tiny_model
from seatrial.types import FitData, Request, Site

LIMIT = {"fit": 12, "select": 8, "test": 6}
QUICK = {"facts": {"limit": {"select": 4, "test": 2}}}
"""A guard of short texts."""


@pytest.fixture(scope="module")
def behaviour(plan):
    """A concept with two targets, of which every item is asked."""
    both = plan(limit={}, behaviours={"c": plan()["behaviours"]["planted"]["source"]})
    [planned] = read_study(both).plans
    return Behaviour(planned, planned.behaviours[0], 0, Shape(2, 8))


@pytest.fixture(scope="module")
def tasks(behaviour):
    [*both] = behaviour.targets
    points = [behaviour.points(target)[0] for target in both]
    return {
        target.label: behaviour.task(target, point, BASE)
        for target, point in zip(both, points, strict=True)
    }


@pytest.fixture(scope="module")
def model(tiny):
    return tiny("llama", chat=True)


@pytest.fixture(scope="module")
def fitted(model, behaviour):
    return CAA(layer=1).fit(model, behaviour.fit_data(), seed=0)


def by_id(checks):
    return {check.id: check for check in checks}


def everything(model, task, fitted, data, read="last", doses=(1.0, -1.0)):
    checks = audit_fit(model, "c", task, fitted, doses)
    return by_id([*checks, *audit_reads(model, "c", data, read)])


@pytest.mark.parametrize(
    ("family", "target"),
    [
        ("llama", "open"),
        ("llama", "propensity"),
        ("gemma2", "open"),
        ("gpt2", "propensity"),
    ],
)
def test_a_sound_model_and_method_pass_every_check(family, target, tasks, behaviour, tiny):
    model, data = tiny(family), behaviour.fit_data()
    fitted = CAA(layer=1).fit(model, data, seed=0)

    checks = everything(model, tasks[target], fitted, data)

    assert {key: check.status for key, check in checks.items()} == dict.fromkeys(
        ("H1", "H3", "H4", "H5"), "passed"
    )
    assert "0 of 12 answers differ" in checks["H1"].detail
    assert 0 <= checks["H5"].value <= audit.NOISE_LIMITS["float32"]
    refuse(list(checks.values()))


def test_what_was_read_and_edited_is_shown_in_words(model, tasks, fitted, behaviour):
    task, data = tasks["open"], behaviour.fit_data()

    checks = everything(model, task, fitted, data, "completion")

    assert repr(data.pairs[0].positive.completion) in checks["H3"].detail
    assert "scope 'from_last_prompt'" in checks["H4"].question
    text = task.pairs("select")[0].positive
    first = model.where(task.requests("select")[0], fitted)[0].token
    assert text.prompt.endswith(first)
    assert f"edited: {first!r} " in checks["H4"].detail


# Dose 0 and the engine: a leak, deafness and noise are planted behind it.


@pytest.fixture
def tampered(monkeypatch):
    """Let every later answer of the model pass through a function of its request."""

    def tamper(change):
        ask = Model.log_probs

        def call(self, requests, under=(UNSTEERED,), **options):
            lines = ask(self, requests, under, **options)
            return [
                [change(requests, steering, answer) for answer in line]
                for steering, line in zip(under, lines, strict=True)
            ]

        monkeypatch.setattr(Model, "log_probs", call)

    return tamper


def shifted(answer, by):
    tokens = tuple(tuple(x + by for x in each) for each in answer.log_probs)
    return replace(answer, log_probs=tokens)


def test_a_dose_0_that_is_not_the_baseline_fails(model, tasks, fitted, tampered):
    def leak(requests, steering, answer):
        is_zero = steering.intervention.edits and steering.dose == 0
        return shifted(answer, -1e-6) if is_zero else answer

    tampered(leak)
    check = by_id(audit_fit(model, "c", tasks["open"], fitted, [1.0]))["H1"]

    assert check.status == "failed"
    assert "4 of 12 answers differ" in check.detail
    with pytest.raises(SteeringFault, match=r"check H1 of the audit failed \(c: is dose 0"):
        refuse([check])


def test_a_model_that_stays_steered_fails(model, tasks, fitted, tampered):
    """What is left behind is seen in the unsteered answers that come after."""
    were_steered = []

    def stay(requests, steering, answer):
        is_steered = bool(steering.intervention.edits)
        were_steered.append(is_steered)
        return answer if is_steered or not any(were_steered) else shifted(answer, 1e-6)

    tampered(stay)
    check = by_id(audit_fit(model, "c", tasks["open"], fitted, [1.0]))["H1"]

    assert check.status == "failed"
    assert "4 of 12 answers differ" in check.detail


def test_a_steering_without_any_effect_fails(model, tasks, fitted, monkeypatch):
    ask = Model.log_probs

    def deaf(self, requests, under=(UNSTEERED,), **options):
        return ask(self, requests, [UNSTEERED] * len(under), **options)

    monkeypatch.setattr(Model, "log_probs", deaf)
    check = by_id(audit_fit(model, "c", tasks["open"], fitted, [1.0, -1.0]))["H1"]

    assert check.status == "failed"
    assert (
        "0 of 12 answers differ, while dose 1 moves a token by up to 0 nats" in check.detail
    )


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (2e-4, "noise up to 2.0e-04 nats per token, limit 1e-04 in float32"),
        (float("nan"), "noise up to inf nats"),
    ],
)
def test_noise_of_the_engine_above_the_limit_fails(
    noise, words, model, tasks, fitted, tampered
):
    tampered(lambda requests, _, answer: (
        answer if len(requests) > 1 else shifted(answer, noise)
    ))  # fmt: skip
    check = by_id(audit_fit(model, "c", tasks["open"], fitted, [1.0]))["H5"]

    assert check.status == "failed"
    assert words in check.detail


def test_every_precision_that_a_study_may_have_has_a_noise_limit():
    from seatrial.model.load.load import DTYPES

    assert set(audit.NOISE_LIMITS) == set(DTYPES)


# Positions.


@final
class Two(Scored):
    """Two requests, of which one has an answer of a single token."""

    def requests(self, split):
        return [
            Request("long", "1", "Say it", (" slowly", " quickly")),
            Request("short", "2", "Say it", ("!", " quickly")),
        ]

    def score(self, requests, answers):
        raise NotImplementedError

    @classmethod
    def of(cls, source, *, seed, limit=None):
        return cls()


@pytest.mark.parametrize(
    ("scope", "status", "missed"),
    [
        ("generated", "failed", "1 of 4 answers missed (short)"),
        ("last", "passed", "0 of 4"),
    ],
)
def test_edited_positions_that_reach_no_score_fail(
    scope, status, missed, model, monkeypatch
):
    """An edit of the last token predicts nothing: an answer of one token is not steered."""
    pushed = Intervention({Site(1): Add(torch.ones(model.d_model))}, scope)
    # The engine refuses such edits by itself; here it has forgotten to.
    monkeypatch.setattr("seatrial.model.engine.engine.check_reach", lambda *_: None)

    check = by_id(audit_fit(model, "c", Two(), pushed, [1.0]))["H4"]

    assert (check.status, missed in check.detail) == (status, True)


def test_a_steering_that_edits_nothing_fails(model, tasks):
    """No position is wrong, as for words and readouts; but nothing moves."""
    checks = by_id(audit_fit(model, "c", tasks["open"], Intervention(), [1.0]))

    assert checks["H1"].status == "failed"
    assert "no activation is edited" in checks["H4"].detail


def test_a_gate_that_stays_shut_moves_nothing_and_passes(model, tasks):
    gate = Gate(Site(1), torch.ones(model.d_model), threshold=1.1)
    shut = Intervention({Site(1): Add(torch.ones(model.d_model))}, "last", gate=gate)

    checks = by_id(audit_fit(model, "c", tasks["open"], shut, [1.0]))

    assert {check.status for check in checks.values()} == {"passed"}
    assert "moves a token by up to 0 nats" in checks["H1"].detail
    assert "its gate opens for none of these prompts" in checks["H4"].detail


# Reads.


def test_a_double_bos_fails(model, tasks):
    doubled = [
        replace(
            pair,
            positive=pair.positive._replace(prompt=f"<bos><bos>{pair.positive.prompt}"),
        )
        for pair in tasks["open"].pairs("fit")
    ]

    [check] = audit_reads(model, "c", FitData("c", tuple(doubled)), "last")

    assert (check.id, check.status) == ("H3", "failed")
    texts = 2 * len(doubled)
    assert f"{len(doubled)} of {texts} texts begin with two" in check.detail


def test_a_read_at_another_token_than_meant_fails(behaviour, monkeypatch):
    """Labels computed without BOS and ids with it: one token off (trap T6)."""
    model, data = tiny_model("llama", chat=True), behaviour.fit_data()
    right = model.encoder.read_span

    def one_off(text, at):
        start, stop = right(text, at)
        return start - 1, stop - 1

    monkeypatch.setattr(model.encoder, "read_span", one_off)
    [check] = audit_reads(model, "c", data, "last")

    assert (check.id, check.status) == ("H3", "failed")
    texts = 2 * len(data.pairs)
    assert f"{texts} are read at another token than meant, such as: " in check.detail
    assert "should be the end of the text" in check.detail
    with pytest.raises(SteeringFault, match="check H3 of the audit failed"):
        refuse([check])


def test_a_fit_without_texts_has_nothing_to_read(model):
    assert audit_reads(model, "c", FitData("c", ()), "last") == []


# Items.


def test_sound_splits_pass_and_are_counted(tasks):
    for name, task in tasks.items():
        checks = audit_items(f"c, {name}", task)

        assert {check.status for check in checks} == {"passed"}
        assert [check.id for check in checks] == ["H6", "H9", "H9", "H9"]
        sizes = {part: len(items) for part, items in task.splits.items()}
        assert f"test {sizes['test']} items" in checks[0].detail
        assert f"50% of {sizes['select']}" in checks[2].detail


def test_a_text_in_two_splits_fails_whatever_its_id_says(tasks):
    splits = dict(tasks["open"].splits)
    copy = replace(splits["test"][0], id="copy", group="another")
    splits["fit"] = (*splits["fit"], copy)

    [check, *_] = audit_items("c, open", Open(splits))

    assert (check.id, check.status) == ("H6", "failed")
    with pytest.raises(BadData, match=r"check H6 .* splits 'fit' and 'test' share .*copy"):
        refuse([check])


def test_a_topic_in_two_splits_fails(tasks):
    splits = dict(tasks["open"].splits)
    akin = replace(splits["fit"][0], group=splits["select"][0].group)
    splits["fit"] = (akin, *splits["fit"][1:])

    [check, *_] = audit_items("c, open", Open(splits))

    assert check.status == "failed"
    assert f"share 'group {akin.group}'" in check.detail


def test_a_lopsided_answer_is_warned_about_and_stops_nothing(tasks):
    splits = {
        part: (*(replace(item, matching="yes") for item in items[:-1]), items[-1])
        for part, items in tasks["open"].splits.items()
    }

    checks = [each for each in audit_items("c", Open(splits)) if each.id == "H9"]

    assert [check.status for check in checks] == ["warned"] * 3
    refuse(checks)


# In a study.


def test_planned_cells_are_stored_cells_and_all_checks_pass(concept, plan, measured):
    """Every target and every method on trial is asked about."""
    both = {"planted": {"source": str(concept)}}

    store, records = measured(plan(behaviours=both, limit=LIMIT, guards=QUICK))

    [unit] = store.units()
    assert unit.finished == ("select", "price", "test")
    assert set(unit.names()["cell"]) == unit.cells == set(store.scan().collect()["cell"])
    checks = unit.header["audit"]
    assert {check["status"] for check in checks} == {"passed"}
    asked = {(check["id"], check["question"].split(":")[0]) for check in checks}
    items = {(i, f"planted, {t}") for i in ("H6", "H9") for t in ("open", "propensity")}
    fits = {
        (identity, f"planted, {target}, caa")
        for identity in ("H1", "H3", "H4", "H5")
        for target in ("open", "propensity")
    }
    assert asked == items | fits
    # Checks come first: no test row is measured under what did not pass.
    kinds = [type(each) for each in records if isinstance(each, Checked | Rows | Planned)]
    tested = [each.phase for each in records if isinstance(each, Planned)].index("test")
    last_plan = [k for k, kind in enumerate(kinds) if kind is Planned][tested]
    assert kinds[last_plan + 1] is Checked


def test_a_method_that_fails_a_check_is_lost_and_what_was_measured_is_kept(
    plan, measured, monkeypatch
):
    """The engine is noisy for an item alone; once that is mended the study goes on."""
    ask = Model.log_probs

    def noisy(self, requests, *rest, **options):
        lines = ask(self, requests, *rest, **options)
        if len(requests) > 1:
            return lines
        return [[shifted(answer, -1e-3) for answer in line] for line in lines]

    monkeypatch.setattr(Model, "log_probs", noisy)
    study = plan(limit=LIMIT, guards=QUICK, doses=[-1, 1, 2])
    store, records = measured(study)

    [failure] = [record for record in records if isinstance(record, Failed)]
    assert (failure.unit, failure.phase) == (Unit("tiny", 0, "planted"), "test")
    assert (failure.label, failure.is_defect) == ("caa", False)
    assert "check H5 of the audit failed" in failure.reason
    answers = [c for r in records if isinstance(r, Checked) for c in r.checks]
    assert "failed" in {check["status"] for check in answers}
    [unit] = store.units()
    assert unit.finished == ("select", "price", "test")
    kept = [cell for each in records if isinstance(each, Rows) for cell in each.cells]
    assert unit.cells == set(kept)
    names = unit.names().filter(pl.col("cell").is_in(kept))
    assert {"select", "price"} <= set(names["phase"])
    assert set(names.filter(phase="test")["label"]) == {"unsteered"}

    monkeypatch.undo()
    _, more = measured(study, store)
    again = [cell for each in more if isinstance(each, Rows) for cell in each.cells]
    assert not {*again} & {*kept}
    assert store.units()[0].finished == ("select", "price", "test")
    now = [check for r in more if isinstance(r, Checked) for check in r.checks]
    assert {check["status"] for check in now} == {"passed"}
    assert {check["status"] for check in store.units()[0].header["audit"]} == {"passed"}


def test_a_fault_of_items_stops_the_unit(plan, measured, monkeypatch):
    monkeypatch.setattr("seatrial.studies.audit.check_disjoint", _overlap)

    store, records = measured(plan(limit=LIMIT, guards=QUICK))

    [failure] = [record for record in records if isinstance(record, Failed)]
    assert failure.label == ""
    assert "check H6 of the audit failed" in failure.reason
    assert store.units()[0].finished == ("select", "price")


def _overlap(parts):
    raise BadData("one text stands in fit and test")


@pytest.mark.parametrize(("norm", "factor"), [("final", 1), ("none", 100)])
def test_early_states_without_a_norm_may_be_noisier(norm, factor, model, tasks):
    """Their logits are so large that float32 itself is coarse there."""
    readout = DoLa(layers=(0,), norm=norm).fit(model, FitData("", ()), seed=0)

    checks = audit_fit(model, "dola", tasks["open"], readout, (1.0,))

    [noise] = [check for check in checks if check.id == "H5"]
    assert f"limit {1e-4 * factor:.0e} in float32" in noise.detail
