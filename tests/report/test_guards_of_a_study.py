"""A study with several guards, from its plan to the page."""

import json
from dataclasses import replace

import pytest

from seatrial.analysis.summary import summarise
from seatrial.model import Model
from seatrial.report import make_report, render, verdict_table
from seatrial.store.store import Store
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.tasks import Fluency
from seatrial.tasks.measure import measure
from seatrial.testing import planted_concept, planted_model

GUARDS = ["prose", "facts", "dialogue", "fluency"]
DOSES = (-1.0, 1.0)


def study(folder, guards):
    return read_study(
        {
            "models": ["tiny"],
            "behaviours": {
                "planted": {
                    "source": str(planted_concept(folder / "planted.jsonl", groups=12)),
                    "targets": {"open": {"limit": {"test": 12}}},
                }
            },
            "methods": {"caa": {"read": "completion", "layer": 0, "dose": 1}},
            "doses": [-1, 1],
            "guards": {name: {"limit": {"select": 4, "test": 4}} for name in guards},
            "controls": {"random": 3, "shuffled": 2},
            "limit": {"select": 8},
        }
    )


@pytest.fixture(scope="module", autouse=True)
def brief():
    """Texts of 5 tokens instead of 100: enough to be repetitive."""
    make = Fluency.of.__func__

    def of(cls, source, **options):
        return replace(make(cls, source, **options), max_tokens=5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fluency, "of", classmethod(of))
        model = planted_model()[0]
        patch.setattr(Model, "load", classmethod(lambda cls, name, **_: model))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The store of a study with four guards."""
    folder = tmp_path_factory.mktemp("guards")
    store = Store(folder / "out")
    run(study(folder, GUARDS), store)
    return store


@pytest.fixture(scope="module")
def summary(done):
    return summarise(done)


def test_every_guard_is_measured_under_the_method_its_controls_and_the_prompt(done):
    frame = done.scan().collect()
    rows = frame.filter((frame["role"] == "guard") & (frame["phase"] == "test"))

    for name in GUARDS:
        own = rows.filter((rows["target"] == name) & (rows["dose"] != 0))
        who = {("caa", "", -1), ("instruction", "", -1)}
        who |= {("caa", "random", k) for k in range(3)}
        who |= {("caa", "shuffled", k) for k in range(2)}
        measured = set(own.select("label", "control", "draw", "dose").unique().rows())
        assert measured == {(*one, dose) for one in who for dose in DOSES}


@pytest.mark.parametrize("name", GUARDS)
def test_the_rows_of_a_guard_are_what_measuring_it_gives(name, done, tmp_path):
    from seatrial.studies.behaviour import Behaviour
    from seatrial.studies.expand import Shape

    model = Model.load("tiny")
    [plan] = study(tmp_path, GUARDS).plans
    behaviour = Behaviour(plan, plan.behaviours[0], 0, Shape(model.n_layers, model.n_heads))
    [guard] = [behaviour.guard(each) for each in plan.guards if each.label == name]
    [scores] = measure(model, guard)
    frame = done.scan().collect()
    rows = frame.filter((frame["target"] == name) & (frame["label"] == "unsteered"))
    rows = rows.filter(rows["phase"] == "test")

    stored = {(i, m): v for i, m, v in rows.select("item", "metric", "value").rows()}

    expected = {(s.item, m): v for s in scores for m, v in s.metrics.items()}
    assert stored == pytest.approx(expected, abs=1e-5)


def test_results_hold_every_guard_but_prose_which_has_prices(summary):
    [trial] = json.loads(render(summary).json)["trials"]

    measured = {(guard["guard"], guard["metric"]) for guard in trial["guards"]}
    assert measured == {
        ("facts", "error"), ("dialogue", "loss"), ("dialogue", "kl"),
        ("fluency", "degenerate"),
    }  # fmt: skip
    assert [price["dose"] for price in trial["prices"]] == [-1, 1]
    assert set(trial["control_prices"]) == {"instruction", "random", "shuffled"}
    for guard in trial["guards"]:
        assert [damage["dose"] for damage in guard["damages"]] == [-1, 1]
        assert set(guard["controls"]) == {"instruction", "random", "shuffled"}
        for damage in guard["damages"]:
            change = damage["change"]
            assert change["low"] <= change["value"] <= change["high"]
            assert damage["band"]["n"] == 5


def test_every_form_of_the_report_shows_every_guard(summary):
    made = render(summary)
    [trial] = summary.trials
    shown = {
        width: "\n".join(
            str(cell) for column in verdict_table(summary, width).columns
            for cell in column.cells
        )
        for width in (80, 120)
    }  # fmt: skip

    for guard in trial.guards:
        for damage in guard.damages:
            assert str(damage.change) in made.markdown
            assert str(damage.change).replace(" [", " <i>[") in made.html
        name = f"{guard.guard}: {guard.metric}, {guard.unit}"
        assert name in made.html
        assert name in made.markdown
    for name in GUARDS[1:]:
        assert f"{name} " in shown[80]
        assert f"{name} " in shown[120]


def test_without_prose_the_price_is_unknown_and_the_rest_is_shown(tmp_path):
    store = Store(tmp_path / "out")
    run(study(tmp_path, ["facts"]), store)

    report = make_report(store)

    [trial] = report.summary.trials
    assert trial.prices == ()
    assert trial.control_prices == {}
    assert [guard.guard for guard in trial.guards] == ["facts"]
    assert trial.verdict.label != "works"
    assert "facts" in report.html
