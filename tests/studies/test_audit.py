"""Each check of the hazard audit passes where all is well and bites where it is not."""

from dataclasses import replace

import polars as pl
import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods import CAA
from seatrial.model import Model
from seatrial.steering.edits import Add
from seatrial.steering.intervention import UNSTEERED, Intervention
from seatrial.store import COLUMNS
from seatrial.studies import audit
from seatrial.studies.audit import audit_behaviour, audit_model, audit_rows, plain_checks
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.study import make_study
from seatrial.tasks import Open, Propensity, fit_data
from seatrial.testing import tiny_model
from seatrial.testing.planted import planted_concept
from seatrial.types import Request, Site


@pytest.fixture(scope="module")
def behaviour(tmp_path_factory):
    concept = planted_concept(tmp_path_factory.mktemp("audit") / "planted.jsonl", groups=12)
    plan = {
        "name": "small",
        "model": "tiny",
        "concepts": [str(concept)],
        "methods": [{"name": "caa"}],
        "layers": [0],
    }
    return Behaviour(make_study(plan), str(concept))


@pytest.fixture(scope="module")
def model(tiny):
    return tiny("llama", chat=True)


@pytest.fixture(scope="module")
def task(behaviour):
    return behaviour.targets["open"]


@pytest.fixture(scope="module")
def fitted(model, behaviour, task):
    return CAA(layer=1).fit(model, fit_data(behaviour.concept, task), seed=0)


def by_id(checks):
    return {check.id: check for check in checks}


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("target", ["open", "propensity"])
def test_a_sound_model_and_method_pass_every_check(family, target, behaviour, tiny):
    model, task = tiny(family), behaviour.targets[target]
    fitted = CAA(layer=1).fit(model, fit_data(behaviour.concept, task), seed=0)

    checks = by_id(audit_model(model, "planted", task, fitted, "last"))

    assert {key: check.status for key, check in checks.items()} == dict.fromkeys(
        ("H1", "H3", "H4", "H5"), "passed"
    )
    assert "0 of 12 answers differ" in checks["H1"].detail


def test_what_was_read_and_edited_is_shown_in_words(model, task, fitted):
    checks = by_id(audit_model(model, "planted", task, fitted, "completion"))

    pair = task.pairs("fit")[0]
    assert repr(pair.positive.completion) in checks["H3"].detail
    assert "scope 'from_last_prompt'" in checks["H4"].question
    encoded = model.encoder.encode_text(task.pairs("select")[0].positive)
    first = model.encoder.tokenizer.decode([encoded.ids[encoded.n_prompt - 1]])
    assert f"edited: {first!r} " in checks["H4"].detail


def test_a_dose_0_that_is_not_the_baseline_fails(model, task, monkeypatch):
    """The engine takes dose 0 apart by itself, so a leak is planted behind it."""
    ask = Model.log_probs

    def leak(self, requests, under=(UNSTEERED,), **options):
        lines = ask(self, requests, under, **options)
        for k, (intervention, dose) in enumerate(under):
            if intervention.edits and dose == 0:
                first = lines[k][0]
                moved = ((first.log_probs[0][0] - 1e-6, *first.log_probs[0][1:]),)
                lines[k][0] = replace(first, log_probs=moved + first.log_probs[1:])
        return lines

    monkeypatch.setattr(Model, "log_probs", leak)
    vector = torch.ones(model.d_model)
    check = by_id(
        audit_model(model, "c", task, Intervention({Site(1): Add(vector)}), None)
    )["H1"]

    assert check.status == "failed"
    assert "1 of 12 answers differ" in check.detail


def test_a_steering_without_any_effect_fails(model, task, fitted, monkeypatch):
    ask = Model.log_probs

    def deaf(self, requests, under=(UNSTEERED,), **options):
        return ask(self, requests, [UNSTEERED] * len(under), **options)

    monkeypatch.setattr(Model, "log_probs", deaf)
    check = by_id(audit_model(model, "c", task, fitted, None))["H1"]

    assert check.status == "failed"
    assert (
        "0 of 12 answers differ, while dose 1 moves a token by up to 0 nats" in check.detail
    )


def test_noise_of_the_engine_above_the_limit_fails(model, task, fitted, monkeypatch):
    ask = Model.log_probs

    def noisy(self, requests, *rest, **options):
        lines = ask(self, requests, *rest, **options)
        if len(requests) > 1:
            return lines
        return [
            [
                replace(a, log_probs=tuple(tuple(x - 2e-4 for x in t) for t in a.log_probs))
                for a in line
            ]
            for line in lines
        ]

    monkeypatch.setattr(Model, "log_probs", noisy)
    check = by_id(audit_model(model, "c", task, fitted, None))["H5"]

    assert check.status == "failed"
    assert "noise up to 2.0e-04 nats per token, limit 1e-04 in float32" in check.detail


def test_a_score_that_is_no_number_is_infinite_noise(model, task, fitted, monkeypatch):
    ask = Model.log_probs

    def broken(self, requests, *rest, **options):
        lines = ask(self, requests, *rest, **options)
        if len(requests) > 1:
            return lines
        nan = float("nan")
        return [
            [
                replace(a, log_probs=tuple((nan,) * len(t) for t in a.log_probs))
                for a in line
            ]
            for line in lines
        ]

    monkeypatch.setattr(Model, "log_probs", broken)

    check = by_id(audit_model(model, "c", task, fitted, None))["H5"]

    assert (check.status, "noise up to inf" in check.detail) == ("failed", True)


@pytest.mark.parametrize(
    ("scope", "status", "missed"),
    [
        ("generated", "failed", "1 of 4 answers missed (short)"),
        ("last", "passed", "0 of 4"),
    ],
)
def test_edited_positions_that_reach_no_score_fail(scope, status, missed, model):
    """An edit of the last token predicts nothing: an answer of one token is not steered."""
    requests = [
        Request("long", "1", "Say it", (" slowly", " quickly")),
        Request("short", "2", "Say it", ("!", " quickly")),
    ]
    pushed = Intervention({Site(1): Add(torch.ones(model.d_model))}, scope)

    check = audit._positions(model, requests, pushed, "c")

    assert check.status == status
    assert missed in check.detail


def test_a_steering_that_edits_nothing_reaches_no_score(model, task):
    check = audit._positions(model, task.requests("select")[:2], Intervention(), "c")

    assert check.status == "failed"
    assert "4 of 4 answers missed" in check.detail


def test_a_double_bos_fails(model, behaviour, fitted):
    doubled = {
        part: tuple(replace(item, prompt=f"<bos><bos>{item.prompt}") for item in items)
        for part, items in behaviour.parts.items()
    }

    check = by_id(audit_model(model, "c", Open(doubled), fitted, "last"))["H3"]

    assert check.status == "failed"
    texts = 2 * len(behaviour.parts["fit"])
    assert f"{texts} of {texts} texts begin with two" in check.detail


def test_a_read_at_another_token_than_meant_fails(behaviour, task, fitted, monkeypatch):
    """Labels computed without BOS and ids with it: one token off (trap T6)."""
    model = tiny_model("llama", chat=True)
    right = model.encoder.read_span

    def one_off(text, at):
        start, stop = right(text, at)
        return start - 1, stop - 1

    monkeypatch.setattr(model.encoder, "read_span", one_off)

    check = audit._reads(model, task, "last", "c")

    assert check.status == "failed"
    texts = 2 * len(behaviour.parts["fit"])
    assert f"{texts} are read at another token than meant, such as: " in check.detail
    assert "should be the end of the text" in check.detail


def test_sound_splits_pass_and_are_counted(behaviour):
    checks = audit_behaviour(behaviour)

    assert {check.status for check in checks} == {"passed"}
    assert f"test {len(behaviour.parts['test'])} items" in checks[0].detail


def test_a_text_in_two_splits_stops_the_study(behaviour, monkeypatch):
    parts = dict(behaviour.parts)
    copy = replace(parts["test"][0], id="copy", group="another")
    parts["fit"] = (*parts["fit"], copy)
    monkeypatch.setattr(behaviour, "parts", parts)

    with pytest.raises(BadData, match=r"splits 'fit' and 'test' share .* \(items copy and"):
        audit_behaviour(behaviour)


def test_a_lopsided_answer_is_warned_about(behaviour, monkeypatch):
    parts = {
        part: tuple(replace(item, matching="yes") for item in items[:-1]) + items[-1:]
        for part, items in behaviour.parts.items()
    }
    monkeypatch.setattr(behaviour, "parts", parts)

    checks = [check for check in audit_behaviour(behaviour) if check.id == "H9"]

    assert {check.status for check in checks} == {"warned"}


def rows(*changes):
    """Two cells on two items, sound but for the changes: (row number, column, value)."""
    table = [
        {
            **dict.fromkeys(("concept", "task", "method", "reference"), "x"),
            "split": "test",
            "kind": "method",
            "layer": 0,
            "seed": 0,
            "dose": 1.0,
            "group": item,
            "cell": cell,
            "item": item,
            "metric": "matching",
            "value": -1.0,
        }
        for cell in ("a", "b")
        for item in ("1", "2")
    ]
    for number, column, value in changes:
        table[number][column] = value
    return pl.DataFrame(table, schema=COLUMNS)


def test_sound_rows_pass():
    checks = by_id(audit_rows(rows(), {"a", "b"}))

    assert (checks["H7"].status, checks["H8"].status) == ("passed", "passed")
    assert "2 cells planned, 0 of them missing" in checks["H7"].detail


@pytest.mark.parametrize(
    ("frame", "planned", "words"),
    [
        (rows(), {"a", "b", "c"}, "3 cells planned, 1 of them missing"),
        (rows(), {"a"}, "1 others stored"),
        (rows(), {"a", "c"}, "1 of them missing, 1 others stored"),
        (rows((3, "item", "3")), {"a", "b"}, "1 comparisons with unequal items"),
        (rows((3, "item", "1")), {"a", "b"}, "1 rows twice, 1 comparisons"),
        (pl.concat([rows(), rows()]), {"a", "b"}, "4 rows twice"),
        (rows().head(3), {"a", "b"}, "1 comparisons with unequal items"),
    ],
)
def test_cells_that_are_not_the_planned_ones_or_have_other_items_fail(
    frame, planned, words
):
    check = by_id(audit_rows(frame, planned))["H7"]

    assert check.status == "failed"
    assert words in check.detail


def test_cells_of_other_tasks_and_splits_may_have_other_items():
    other = [
        (2, "split", "select"),
        (3, "split", "select"),
        (2, "item", "8"),
        (3, "item", "9"),
    ]

    assert by_id(audit_rows(rows(*other), {"a", "b"}))["H7"].status == "passed"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "4 rows, 1 not finite"),
        (float("inf"), "4 rows, 1 not finite, 1 above 0"),
        (1e-9, "4 rows, 0 not finite, 1 above 0"),
    ],
)
def test_a_score_that_cannot_be_fails(value, words):
    check = by_id(audit_rows(rows((0, "value", value)), {"a", "b"}))["H8"]

    assert check.status == "failed"
    assert words in check.detail


def test_only_log_probabilities_must_be_below_0():
    frame = rows((0, "metric", "loss"), (0, "value", 3.0))

    assert by_id(audit_rows(frame, {"a", "b"}))["H8"].status == "passed"


def test_checks_are_listed_in_one_order_whatever_the_order_they_were_made_in(behaviour):
    checks = [*audit_rows(rows(), {"a", "b"}), *audit_behaviour(behaviour)]

    listed = plain_checks(checks)

    assert listed == plain_checks(checks[::-1])
    assert [entry["id"] for entry in listed] == ["H6", "H7", "H8", "H9", "H9", "H9"]


def test_every_precision_that_a_study_may_have_has_a_noise_limit():
    from seatrial.model.load.load import DTYPES

    assert set(audit.NOISE_LIMITS) == set(DTYPES)


def test_a_propensity_task_reads_its_own_pairs(model, behaviour, fitted):
    check = by_id(audit_model(model, "c", Propensity(behaviour.parts), fitted, "last"))[
        "H3"
    ]

    assert check.status == "passed"
