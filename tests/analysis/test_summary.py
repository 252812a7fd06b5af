"""A summary is a function of the rows, and each of its numbers can be made by hand."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest

from seatrial.analysis.summary import summarise
from seatrial.errors import StoreFault
from seatrial.report.table import numbers
from seatrial.stats import slopes
from seatrial.store.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory, by_hand):
    return by_hand.fill(Store(tmp_path_factory.mktemp("summary") / "out"), by_hand.Run())


@pytest.fixture(scope="module")
def trial(store):
    [trial] = summarise(store).trials
    return trial


@pytest.fixture(scope="module")
def table(by_hand):
    return np.array([[by_hand.curve(k, dose) for dose in by_hand.DOSES] for k in range(8)])


def test_the_slope_of_the_mean_curve_is_the_mean_of_the_item_slopes(trial, table, by_hand):
    of_mean = slopes(by_hand.DOSES, table.mean(axis=0, keepdims=True))[0]

    assert trial.response.steerability.value == pytest.approx(of_mean)
    assert np.mean([effect.slope for effect in trial.effects]) == pytest.approx(of_mean)


def test_intervals_count_groups_and_not_items(trial):
    assert trial.response.steerability.n == trial.base.n == 4


def test_every_item_is_there_with_its_own_numbers_the_best_first(trial, table, by_hand):
    own = dict(zip(by_hand.ITEMS, slopes(by_hand.DOSES, table), strict=True))

    assert [effect.slope for effect in trial.effects] == sorted(own.values(), reverse=True)
    for effect in trial.effects:
        k = by_hand.ITEMS.index(effect.item)
        assert effect.slope == pytest.approx(own[effect.item])
        assert (effect.group, effect.text) == (by_hand.GROUPS[k], f"text of {effect.item}")
        assert (effect.unsteered, effect.steered) == pytest.approx(
            (table[k, 1], table[k, 2])
        )
    assert trial.effects[-1].item == "item-3"
    assert trial.response.anti_steerable.value == pytest.approx(1 / 8)


def test_the_curve_is_the_mean_change_from_the_unsteered_model(trial, table, by_hand):
    expected = {
        dose: (table[:, k] - table[:, 1]).mean()
        for k, dose in enumerate(by_hand.DOSES)
        if dose
    }

    assert {point.dose: point.change.value for point in trial.curve} == pytest.approx(
        expected
    )


def test_the_effect_is_the_change_at_the_dose_that_was_chosen(
    trial, table, summary_of, by_hand
):
    [other] = summary_of(by_hand.Run(dose=2.0)).trials

    assert (trial.dose, other.dose) == (1.0, 2.0)
    assert trial.effect.value == pytest.approx((table[:, 2] - table[:, 1]).mean())
    assert other.effect.value == pytest.approx((table[:, 3] - table[:, 1]).mean())
    assert other.response == trial.response


def test_a_baseline_is_half_the_difference_of_asking_for_and_against(trial):
    assert list(trial.baselines) == ["instruction"]
    assert trial.baselines["instruction"].value == pytest.approx((1.5 - -0.5) / 2)


def test_a_baseline_of_one_direction_is_its_change(summary_of, by_hand, table):
    [trial] = summary_of(by_hand.Run(instruction={1.0: 1.5})).trials

    assert trial.baselines["instruction"].value == pytest.approx(1.5 - table[:, 1].mean())


def test_what_was_chosen_and_all_candidates_are_shown(trial, by_hand):
    assert dict(trial.settings) == {"layer": 1}
    assert {p.settings: p.slope.value for p in trial.candidates} == pytest.approx(
        {f"layer {layer}": slope for layer, slope in by_hand.SELECT.items()}
    )
    assert [p.is_chosen for p in trial.candidates] == [False, True]


def test_promoting_and_suppressing_are_told_apart(trial):
    whole = trial.response.steerability.value

    assert trial.parts["matching"].value == pytest.approx(whole / 2)
    assert trial.parts["other"].value == 0


def test_what_the_word_explains_of_the_slopes_is_told(trial, table, by_hand):
    """The one item that falls is the one whose matching answer is no; trap T36."""
    own = slopes(by_hand.DOSES, table)
    between = np.corrcoef(own, [k != 3 for k in range(8)])[0, 1]

    [part] = trial.spread

    assert part.by == "whether yes matches"
    assert part.share.value == pytest.approx(between**2)
    assert part.leans == ""  # one item of one group of four shows nothing
    [line] = [line for line in numbers(trial) if line.name.startswith("share by")]
    assert line.text == str(part.share)
    leaning = replace(trial, spread=(replace(part, leans="lower"),))
    [line] = [line for line in numbers(leaning) if line.name.startswith("share by")]
    assert line.meaning.endswith("; slopes are lower where it does")


def test_summaries_and_trials_show_themselves_in_a_line(store, trial):
    assert repr(summarise(store)) == "<Summary of 'by-hand': 1 trials>"
    assert repr(trial).startswith("<Trial of caa for 'c' on open: works at a price, mean")
    assert len(repr(trial)) < 200


def test_items_asked_in_both_orders_tell_what_the_order_does(summary_of, by_hand, table):
    """Each item moves by its own slope, and by 2 a dose more where its answer is first."""
    own = slopes(by_hand.DOSES, table)

    first, second = summary_of(by_hand.Run(order=2.0)).trials[0].spread

    assert first.by == "which answer is named first (items in both orders)"
    assert first.share.value == pytest.approx(4 / (4 + own.var()))
    assert (second.by, second.among) == ("whether yes matches", "of the items' means")


def test_the_price_is_the_ratio_of_perplexities(trial):
    ratios = {price.dose: price.perplexity_ratio.value for price in trial.prices}

    assert ratios == pytest.approx({-1: exp(0.2), 1: exp(0.2), 2: exp(0.4)})
    assert trial.prices[0].kl.value == pytest.approx(0.1)
    assert trial.verdict.label == "works at a price"


def test_the_price_that_counts_is_that_of_the_chosen_dose(summary_of, by_hand):
    [trial] = summary_of(by_hand.Run(dose=2.0)).trials

    assert trial.price.dose == 2
    assert trial.price.perplexity_ratio.value == pytest.approx(exp(0.4))
    assert any("at dose +2, above the budget" in why for why in trial.verdict.reasons)


def test_a_dose_beyond_every_budget_is_said(summary_of, by_hand):
    [trial] = summary_of(by_hand.Run(is_within=False)).trials

    assert trial.verdict.reasons[-1].startswith("no dose that was offered is within every")


def test_a_method_without_shuffled_controls_is_judged_by_its_random_ones(
    trial, summary_of, by_hand
):
    """Some methods read no labels that could be shuffled."""
    drawn = {key: loss for key, loss in by_hand.CONTROL_LOSS.items() if key[0] == "random"}

    [other] = summary_of(by_hand.Run(controls=drawn, deciding=("random",))).trials

    assert {control.method for control in other.controls} == {"random"}
    assert list(other.control_verdicts) == ["random"]
    assert set(other.control_prices) == {"random", "instruction"}
    slopes_drawn = [control.slope.value for control in other.controls]
    assert other.band.value == pytest.approx(np.mean(slopes_drawn))
    assert (other.band.n, other.verdict.label) == (3, trial.verdict.label)


@pytest.mark.parametrize(
    ("left", "why"),
    [
        ([("random", 0), ("random", 1), ("shuffled", 0), ("shuffled", 1)],
         "only 2 of at least 3 random draws were measured"),
        ([("random", 0), ("random", 1), ("random", 2), ("shuffled", 0)],
         "only 1 of at least 2 shuffled draws were measured"),
        ([], "only 0 of at least 3 random draws and 0 of at least 2 shuffled draws were"),
    ],
)  # fmt: skip
def test_without_enough_controls_nothing_is_judged(left, why, summary_of, by_hand, trial):
    drawn = {key: by_hand.CONTROL_LOSS[key] for key in left}

    [bare] = summary_of(by_hand.Run(controls=drawn)).trials

    assert bare.verdict.label == "not judged"
    assert bare.verdict.reasons[1].startswith(why)
    assert bare.response == trial.response
    assert (bare.effect, bare.price) == (trial.effect, trial.price)
    assert bool(left) == (bare.band is not None)


def test_a_method_that_no_control_fits_is_not_judged(summary_of, by_hand):
    [trial] = summary_of(by_hand.Run(controls={}, deciding=())).trials

    assert trial.verdict.label == "not judged"
    assert "no random or shuffled control applies to it" in trial.verdict.reasons[1]
    assert all(point.band is None for point in trial.curve)


def test_a_unit_that_does_not_say_what_decides_means_what_it_planned(summary_of, by_hand):
    drawn = {key: loss for key, loss in by_hand.CONTROL_LOSS.items() if key[0] == "random"}

    [trial] = summary_of(by_hand.Run(controls=drawn, deciding=None)).trials

    assert trial.verdict.label == "works at a price"


def test_control_prices_are_averaged_over_their_draws(trial):
    prices = trial.control_prices

    assert set(prices) == {"instruction", "random", "shuffled"}
    for name, loss, kl in (
        ("random", 0.3, 0.2),
        ("shuffled", 0.1, 0.15),
        ("instruction", 0.01, 0.2),
    ):
        assert [price.dose for price in prices[name]] == [-1, 1]
        for price in prices[name]:
            assert price.perplexity_ratio.value == pytest.approx(exp(loss))
            assert price.kl.value == pytest.approx(kl)


def test_each_control_is_shown_and_the_band_holds_them_all(trial, by_hand):
    drawn = {(c.method, c.draw): c.slope.value for c in trial.controls}

    # Their curves start at the unsteered model of the test split, not at 0. A draw is
    # called by its seed, which no other unit of the study has.
    assert set(drawn) == {(name, draw + 1) for name, draw in by_hand.CONTROL_LOSS}
    assert all(trial.band.low <= slope <= trial.band.high for slope in drawn.values())
    assert trial.band.n == 5
    assert set(trial.control_verdicts) == {"random", "shuffled"}


def test_equal_rows_give_equal_summaries(store):
    assert summarise(store) == summarise(Store(store.root))


def test_the_order_of_rows_changes_nothing(store, trial, summary_of, by_hand, monkeypatch):
    from seatrial.analysis import trials

    def shuffled(folder, run, scan=trials.scan_unit):
        rows = scan(folder, run).collect()
        return rows.sample(fraction=1.0, shuffle=True, seed=1).lazy()

    monkeypatch.setattr(trials, "scan_unit", shuffled)

    assert summarise(Store(store.root)).trials == (trial,)


@pytest.mark.parametrize("label", ["caa", "unsteered"])
def test_an_item_that_lacks_a_value_is_left_out_of_every_dose(
    label, summary_of, by_hand, table
):
    """Curves over unequal items would compare what cannot be compared (trap T44)."""
    dose = 2.0 if label == "caa" else 0.0

    [trial] = summary_of(by_hand.Run(drop=((label, dose, "item-5"),))).trials

    assert "item-5" not in {effect.item for effect in trial.effects}
    assert trial.left_out == (1 if label == "caa" else 0)
    kept = np.delete(table, 5, axis=0)
    assert trial.response.steerability.value == pytest.approx(
        slopes(by_hand.DOSES, kept).mean()
    )


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(StoreFault, match="holds no study"):
        summarise(Store(tmp_path))


def test_a_run_that_is_not_whole_is_told_as_far_as_it_is(summary_of, by_hand):
    from seatrial.report.words import headline

    whole = summary_of(by_hand.Run(), folder="whole")
    part = summary_of(by_hand.Run(missing=2, finished=("select", "price")))

    assert (whole.is_whole, part.is_whole) == (True, False)
    assert part.cells_planned - part.cells_stored == 2
    assert part.trials[0].response == whole.trials[0].response
    assert headline(part).endswith(
        f"Not whole: 2 of {part.cells_planned} planned cells are missing, 1 of 1 units "
        "unfinished."
    )
    assert "Not whole" not in headline(whole)


@pytest.mark.parametrize(
    ("plan", "missing"),
    [
        ({}, 0),
        ({"seeds": [0], "behaviours": {"c": {}}}, 0),
        ({"seeds": [0, 1], "behaviours": {"c": {}, "d": {"source": ["e", "f"]}}}, 5),
        ({"seeds": [0, 1], "behaviours": {"c": {}}, "models": {"m": {"with": {}}}}, 0),
    ],
)
def test_units_that_were_not_begun_are_counted(plan, missing, summary_of, by_hand):
    from seatrial.report.words import headline

    summary = summary_of(by_hand.Run(), **plan)

    assert summary.units_not_begun == missing
    assert summary.is_whole == (not missing)
    assert ("Not whole: 5 units are not begun." in headline(summary)) == bool(missing)


def test_a_unit_whose_fits_wait_to_be_asked_elsewhere_is_not_whole(summary_of, by_hand):
    run = by_hand.Run()
    waiting = summary_of(run, transfer=["behaviour"])
    run.finished = (*run.finished, "transfer")
    done = summary_of(run, transfer=["behaviour"], folder="done")

    assert (waiting.is_whole, done.is_whole) == (False, True)


def test_a_run_of_which_nothing_is_measured_has_no_trial(tmp_path):
    from seatrial.report import render
    from seatrial.store.records import Failed, Unit

    store = Store(tmp_path / "out")
    store.open({"name": "by-hand", "completed": {}})
    store.keep(Failed(Unit("m", 0, "c"), "select", "", "the model is not there"))

    summary = summarise(store)
    report = render(summary)

    assert summary.trials == ()
    for form in (report.html, report.markdown):
        assert "No trial is measured on m yet." in form
        assert "m, seed 0, c: the whole unit failed: the model is not there" in form


def test_what_failed_and_what_does_not_apply_is_listed_in_words(summary_of, by_hand):
    from seatrial.report import render

    run = by_hand.Run(
        failed=(("test", "caa, random", "a draw is not finite"),),
        not_applicable=({"what": "dola on c", "reason": "it has nothing to read"},),
        controls={},
    )
    summary = summary_of(run)
    report = render(summary)

    assert [entry["reason"] for entry in summary.failed] == ["a draw is not finite"]
    [entry] = summary.not_applicable
    assert (entry["what"], entry["model"], entry["seed"]) == ("dola on c", "m", 0)
    for form in (report.html, report.markdown):
        assert "m, seed 0, c: caa, random failed: a draw is not finite" in form
        assert "dola on c: it has nothing to read" in form
        assert "1 part failed." in form


def test_a_trial_without_its_rows_is_a_failure_with_a_reason(summary_of, by_hand):
    lost = tuple(("caa", dose, item) for dose in by_hand.DOSES for item in by_hand.ITEMS)

    summary = summary_of(by_hand.Run(drop=lost))

    assert summary.trials == ()
    [entry] = summary.failed
    assert entry["reason"] == "caa was not measured on open"
    assert (entry["label"], entry["target"], entry["phase"]) == ("caa", "open", "report")


def test_a_failed_arm_is_told_once(summary_of, by_hand):
    lost = tuple(("caa", dose, item) for dose in by_hand.DOSES for item in by_hand.ITEMS)
    failed = (("test", "caa", "it overflows"),)

    [entry] = summary_of(by_hand.Run(drop=lost, failed=failed)).failed

    assert entry["reason"] == "it overflows"


def test_a_metric_of_which_less_is_wanted_is_turned(summary_of, by_hand, trial):
    def turned(item, dose):
        return -by_hand.curve(item, dose)

    [less] = summary_of(by_hand.Run(sign=-1, curve=turned)).trials

    assert less.response == trial.response
    assert less.effect == trial.effect
    assert less.base.value == -trial.base.value
    assert [e.steered for e in less.effects] == [-e.steered for e in trial.effects]


@pytest.mark.parametrize(
    ("doses", "dose"), [((0.0, 1.0), 1.0), ((0.0, 0.25, 1.0, 3.0), 3.0)]
)
def test_doses_need_no_sign(doses, dose, summary_of, by_hand):
    [trial] = summary_of(by_hand.Run(doses=doses, dose=dose)).trials

    own = np.array([[by_hand.curve(k, dose) for dose in doses] for k in range(8)])
    assert trial.response.steerability.value == pytest.approx(slopes(doses, own).mean())
    assert trial.price.dose == dose
    assert (trial.response.r2 is None) == (len(doses) == 2)
    assert not any("unknown" in reason for reason in trial.verdict.reasons)


def test_seeds_share_their_items_and_not_their_draws(summary_of, by_hand, table):
    def higher(item, dose):
        return by_hand.curve(item, dose) + 0.2 * dose

    one, two = by_hand.Run(), by_hand.Run(seed=1, curve=higher, dose=2.0, layer=0)

    [trial] = summary_of(one, two).trials

    mean = slopes(by_hand.DOSES, table).mean()
    assert trial.response.steerability.value == pytest.approx(mean + 0.1)
    assert trial.response.steerability.n == 4
    assert trial.band.n == 10
    assert {c.draw for c in trial.controls} == {1, 2, 3, 1001, 1002, 1003}
    assert [(s.seed, s.dose, dict(s.settings)) for s in trial.seeds] == [
        (0, 1.0, {"layer": 1}),
        (1, 2.0, {"layer": 0}),
    ]
    first, second = (seed.effect.value for seed in trial.seeds)
    assert second == pytest.approx((table[:, 3] - table[:, 1]).mean() + 0.4)
    assert trial.effect.value == pytest.approx((first + second) / 2)


def test_doses_that_only_one_seed_has_bend_no_curve(summary_of, by_hand):
    more = by_hand.Run(seed=1, doses=(*by_hand.DOSES, 9.0))

    [trial] = summary_of(by_hand.Run(), more).trials

    assert [point.dose for point in trial.curve] == [-1.0, 1.0, 2.0]


def test_conditions_and_points_are_told_beside_without_a_verdict(summary_of, by_hand):
    def half(item, dose):
        return by_hand.curve(item, dose / 2)

    run = by_hand.Run(
        points=("template=bare", "template=qa"),
        conditions=("base", "system-positive"),
        elsewhere={
            ("template=bare", "system-positive"): half,
            ("template=qa", "base"): lambda item, dose: 1.0,
        },
    )

    [trial] = summary_of(run).trials

    first, second = trial.elsewhere
    assert (first.point, first.condition) == ("template=bare", "system-positive")
    expected = np.mean([half(k, 1.0) - half(k, 0.0) for k in range(8)])
    assert first.effect.value == pytest.approx(expected)
    assert first.slope.low < first.slope.value < first.slope.high
    assert (second.point, second.condition) == ("template=qa", "base")
    assert (second.base.value, second.effect.value) == (1.0, 0.0)
    assert len(trial.curve) == 3


def test_recovery_is_the_share_of_the_way_to_the_ceiling(summary_of, by_hand, table):
    [trial] = summary_of(by_hand.Run(ceiling=2.0)).trials

    reached = (table[:, 2] - table[:, 1]).mean()
    assert trial.ceiling.level.value == pytest.approx(table[:, 1].mean() + 2.0)
    assert trial.ceiling.recovery.value == pytest.approx(reached / 2.0)
    recovery = trial.ceiling.recovery
    assert recovery.low < recovery.value < recovery.high
    assert {"ceiling", "recovery"} <= {line.name for line in numbers(trial)}


def test_a_ceiling_that_is_no_higher_gives_no_recovery(summary_of, by_hand):
    [trial] = summary_of(by_hand.Run(ceiling=0.0)).trials

    assert trial.ceiling.recovery is None
    assert "recovery" not in {line.name for line in numbers(trial)}


def test_fits_asked_elsewhere_are_matrices(summary_of, by_hand):
    from seatrial.report.table import matrices

    run = by_hand.Run(
        conditions=("base", "tools"),
        elsewhere={("", "tools"): by_hand.curve},
        transfers={
            ("d/open", "base"): 0.5,
            ("tools", "base"): 0.25,
            ("tools", "tools"): 2.0,
        },
    )

    summary = summary_of(run)
    [trial] = summary.trials

    told = {(t.kind, t.fitted, t.place): t.effect.value for t in trial.transfers}
    base = np.mean([by_hand.curve(k, 0.0) for k in range(8)])
    assert told == pytest.approx(
        {
            ("behaviour", "c", "d on open"): 0.5,
            ("condition", "tools", "base"): 0.25 - base,
            ("condition", "tools", "tools"): 2.0 - base,
        }
    )
    behaviours, conditions = matrices(summary)
    assert behaviours.columns == ("c on open", "d on open")
    assert [row[0] for row in behaviours.rows] == ["c (open)"]
    assert behaviours.rows[0][1] == str(trial.effect)
    assert [row[0] for row in conditions.rows] == ["base", "tools"]
    assert all(cell for row in conditions.rows for cell in row)


def test_runs_of_one_name_are_told_apart(tmp_path, by_hand):
    from seatrial.report import render

    stores = [
        by_hand.fill(Store(tmp_path / part / "run"), by_hand.Run(), name=part)
        for part in ("one", "two")
    ]

    summary = summarise(stores)

    assert [study["run"] for study in summary.studies] == ["run", "run (2)"]
    assert [trial.run for trial in summary.trials] == ["run", "run (2)"]
    assert summary.trials[0].response == summary.trials[1].response
    assert summary.name == "one, two"
    page = render(summary).html
    assert page.count('<section class="trial" id="trial-') == 2
    assert "run (2)" in page


def test_models_stand_beside_each_other(summary_of, by_hand):
    from seatrial.report.table import verdict_rows

    rows = verdict_rows(summary_of(by_hand.Run(), by_hand.Run(model="n")))

    assert [row.where for row in rows] == ["m", "n"]


def test_a_check_of_every_unit_is_listed(summary_of, by_hand):
    check = {"id": "H1", "question": "?", "status": "passed", "detail": "", "value": None}

    summary = summary_of(by_hand.Run(audit=(check,)), by_hand.Run(seed=1, audit=(check,)))

    asked = [entry for entry in summary.audit if entry["id"] == "H1"]
    assert [entry["seed"] for entry in asked] == [0, 1]


def test_no_torch_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, seatrial.analysis.summary, seatrial.report.forms, "
        "seatrial.report.terminal, seatrial.store.store\n"
        "print({'torch', 'transformers', 'seatrial.tasks', 'seatrial.methods'} "
        "& set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
