"""A study with several guards, from its plan to the page."""

import json
from dataclasses import replace

import pytest

from seatrial.analysis.summary import summarise
from seatrial.report import render, verdict_table
from seatrial.store import Store
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.jobs import CONTROL_GUARD_DOSES
from seatrial.studies.run import run
from seatrial.studies.study import make_study
from seatrial.tasks import Fluency
from seatrial.tasks.measure import measure
from seatrial.testing import planted_concept, planted_model

GUARDS = ["prose", "facts", "dialogue", "fluency"]


def study(folder, guards):
    limited = {name: 4 for name in guards if name != "prose"}
    return make_study(
        {
            "name": "guarded",
            "model": "planted",
            "concepts": [str(planted_concept(folder / "planted.jsonl", groups=12))],
            "targets": ["open"],
            "methods": [{"name": "caa", "read": "completion"}],
            "layers": [0],
            "doses": [-1, 0, 1],
            "guards": guards,
            "controls": {"random": 3, "shuffled": 2},
            "limits": {"select": 8, "prose": 3, "test": {"open": 12}, "guards": limited},
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
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The model, the plan and the store of a study with four guards."""
    folder = tmp_path_factory.mktemp("guards")
    plan, model = study(folder, GUARDS), planted_model()[0]
    store, shares = Store(folder / "out"), []
    run(plan, store, model=model, progress=lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    return model, plan, store


@pytest.fixture(scope="module")
def summary(done):
    return summarise(done[2])


def test_every_guard_is_measured_under_the_method_its_controls_and_the_prompt(done):
    frame = done[2].frame()

    for name in GUARDS:
        rows = frame.filter((frame["task"] == name) & (frame["dose"] != 0))
        seeds = set(rows.select("method", "seed", "dose").unique().rows())
        wanted = {("caa", 0), ("instruction", 0), *(("random", k) for k in (1, 2, 3))}
        wanted |= {("shuffled", 1), ("shuffled", 2)}
        assert seeds == {(*who, dose) for who in wanted for dose in CONTROL_GUARD_DOSES}


@pytest.mark.parametrize("name", GUARDS)
def test_the_rows_of_a_guard_are_what_measuring_it_gives(name, done):
    model, plan, store = done
    guard = Behaviour(plan, plan.concepts[0]).guards[name]
    [scores] = measure(model, guard)
    frame = store.frame()
    rows = frame.filter((frame["task"] == name) & (frame["method"] == "unsteered"))

    found = {(i, m): v for i, m, v in rows.select("item", "metric", "value").rows()}

    expected = {(s.item, m): v for s in scores for m, v in s.metrics.items()}
    assert found == pytest.approx(expected, abs=1e-5)


def test_results_hold_every_guard_but_prose_which_has_prices(summary):
    [trial] = json.loads(render(summary).json)["trials"]

    found = {(guard["guard"], guard["metric"]) for guard in trial["guards"]}
    assert found == {
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

    for found in trial.guards:
        for damage in found.damages:
            assert str(damage.change) in made.markdown
            assert str(damage.change).replace(" [", " <i>[") in made.html
        name = f"{found.guard}: {found.metric}, {found.unit}"
        assert name in made.html
        assert name in made.markdown
    for name in GUARDS[1:]:
        assert f"{name} " in shown[80]
        assert f"{name} " in shown[120]


def test_without_prose_the_price_is_unknown_and_the_rest_is_shown(done, tmp_path):
    store = Store(tmp_path / "out")
    run(study(tmp_path, ["facts"]), store, model=done[0])

    found = summarise(store)

    [trial] = found.trials
    assert trial.prices == ()
    assert trial.control_prices == {}
    assert [guard.guard for guard in trial.guards] == ["facts"]
    assert trial.verdict.label != "works"
    assert "facts" in render(found).html
