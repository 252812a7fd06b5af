"""A summary is a function of the rows, and each of its numbers can be made by hand."""

import json
from dataclasses import replace
from math import exp

import numpy as np
import polars as pl
import pytest

from seatrial.analysis.summary import summarise
from seatrial.errors import StoreFault
from seatrial.report.table import numbers
from seatrial.stats import slopes
from seatrial.store import (
    AUDIT,
    PROGRESS,
    Budget,
    Labels,
    MetricLabel,
    SteeringLabel,
    Store,
    TaskLabel,
)
from seatrial.types import Score

ITEMS = [f"item-{k}" for k in range(8)]
IS_YES = {name: k != 3 for k, name in enumerate(ITEMS)}
GROUPS = [f"group-{k // 2}" for k in range(8)]
DOSES = (-1.0, 0.0, 1.0, 2.0)
SELECT = {0: 0.1, 1: 0.6}
"""Mean slope by layer on the select split."""
PASSAGES = ["p-0", "p-1", "p-2"]
METHOD_LOSS = 0.2
CONTROL_LOSS = {("random", 1): 0.1, ("random", 2): 0.3, ("random", 3): 0.5}
CONTROL_LOSS |= {("shuffled", 1): 0.0, ("shuffled", 2): 0.2}
KINDS = {
    "unsteered": "unsteered",
    "caa": "method",
    "random": "control",
    "shuffled": "control",
    "instruction": "baseline",
}
TARGET = TaskLabel(
    "open",
    "target",
    "free text",
    (
        MetricLabel("open", "nats per token", "verdict"),
        MetricLabel("matching", "nats per token", "promoted"),
        MetricLabel("other", "nats per token", "suppressed"),
        MetricLabel("order", "nats per token", "order"),
    ),
)
PROSE = TaskLabel(
    "prose",
    "guard",
    "damage to prose",
    (
        MetricLabel("loss", "nats per token", "verdict"),
        MetricLabel("kl", "nats per token", "drift"),
    ),
    is_priced=True,
)
LABELS = Labels(
    (TARGET,),
    (PROSE,),
    tuple(SteeringLabel(name, kind, "for tests") for name, kind in KINDS.items()),
    Budget(),
)
INSTRUCTION = {-1.0: -0.5, 1.0: 1.5}


def curve(item, dose):
    """An item's metric: some rise, one falls, and the rise flattens."""
    slope = -0.1 if item == 3 else 0.8 + 0.02 * item
    return 0.01 * item + slope * dose - 0.05 * dose**2 + 0.05 * np.sin(7 * item + dose)


def cell(task, split, method, seed, dose, layer):
    reference = method if method in ("unsteered", "instruction") else "caa"
    layer = -1 if method in ("unsteered", "instruction") else layer
    return {
        "cell": f"{task} {split} {method} {layer} {seed} {dose}", "concept": "c",
        "task": task, "split": split, "method": method, "kind": KINDS[method],
        "reference": reference, "layer": layer, "seed": seed, "dose": dose,
    }  # fmt: skip


def target_rows(split, method, seed, dose, layer, value):
    scores = [
        Score(
            name,
            group,
            {"open": value(k, dose), "matching": -1 + value(k, dose) / 2, "other": -2.0},
        )
        for k, (name, group) in enumerate(zip(ITEMS, GROUPS, strict=True))
    ]
    return cell("open", split, method, seed, dose, layer), scores


def guard_rows(method, seed, dose, loss, kl):
    scores = [
        Score(name, name, {"loss": 2.0 + k / 10 + loss, "kl": kl, "tokens": 9.0})
        for k, name in enumerate(PASSAGES)
    ]
    return cell("prose", "test", method, seed, dose, 1), scores


def fill(store, drop=(), controls=CONTROL_LOSS, order=None):
    """A finished study, written by hand."""
    header = {"model": "m", "dtype": "float32", "logit fingerprint": "0"}
    store.open("0123456789ab", {"name": "by-hand", "model": "m"}, LABELS, header)
    flat = [target_rows("select", "unsteered", 0, 0.0, -1, lambda k, dose: 0.0)]
    flat += [
        target_rows("select", "caa", 0, dose, layer, lambda k, dose, s=slope: s * dose)
        for layer, slope in SELECT.items()
        for dose in (-1.0, 1.0)
    ]
    flat += [target_rows("test", "unsteered", 0, 0.0, -1, curve)]
    flat += [target_rows("test", "caa", 0, dose, 1, curve) for dose in DOSES if dose]
    flat += [
        target_rows("test", method, seed, dose, 1, lambda k, d, s=seed: 0.02 * (s - 2) * d)
        for method, seed in controls
        for dose in DOSES
        if dose
    ]
    flat += [
        target_rows("test", "instruction", 0, dose, -1, lambda k, _, change=change: change)
        for dose, change in INSTRUCTION.items()
    ]
    flat += [guard_rows("unsteered", 0, 0.0, 0.0, 0.0)]
    flat += [
        guard_rows("caa", 0, dose, METHOD_LOSS * abs(dose), 0.1) for dose in DOSES if dose
    ]
    flat += [
        guard_rows(method, seed, dose, loss, seed / 10)
        for (method, seed), loss in controls.items()
        for dose in (-1.0, 1.0)
    ]
    flat += [guard_rows("instruction", 0, dose, 0.01, 0.2) for dose in (-1.0, 1.0)]
    flat = [
        (c, [s for s in found if (c["method"], c["dose"], s.item) not in drop])
        for c, found in flat
    ]
    for where, found in flat:
        if order is not None and where["task"] == "open":
            for score in found:
                score.metrics["order"] = order * where["dose"]
    store.add("batch", [c for c, _ in flat], [found for _, found in flat])
    store.write_items(
        [
            {
                "concept": "c",
                "task": "open",
                "item": item,
                "group": group,
                "text": f"text of {item}",
                "factors": json.dumps({"yes": IS_YES[item], "(A)": True}),
            }
            for item, group in zip(ITEMS, GROUPS, strict=True)
        ]
    )
    store.write_json(AUDIT, [])
    done = {"finished": True, "cells": len(flat), "concepts": ["c"], "about": {"c": {}}}
    store.write_json(PROGRESS, done)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fill(Store(tmp_path_factory.mktemp("summary") / "out"))


@pytest.fixture(scope="module")
def trial(store):
    [trial] = summarise(store).trials
    return trial


@pytest.fixture(scope="module")
def table():
    return np.array([[curve(k, dose) for dose in DOSES] for k in range(8)])


def test_the_slope_of_the_mean_curve_is_the_mean_of_the_item_slopes(trial, table):
    of_mean = slopes(DOSES, table.mean(axis=0, keepdims=True))[0]

    assert trial.response.steerability.value == pytest.approx(of_mean)
    assert np.mean([effect.slope for effect in trial.effects]) == pytest.approx(of_mean)


def test_intervals_count_groups_and_not_items(trial):
    assert trial.response.steerability.n == trial.base.n == 4


def test_every_item_is_there_with_its_own_numbers_the_best_first(trial, table):
    own = dict(zip(ITEMS, slopes(DOSES, table), strict=True))

    assert [effect.slope for effect in trial.effects] == sorted(own.values(), reverse=True)
    for effect in trial.effects:
        k = ITEMS.index(effect.item)
        assert effect.slope == pytest.approx(own[effect.item])
        assert (effect.group, effect.text) == (GROUPS[k], f"text of {effect.item}")
        assert (effect.unsteered, effect.steered) == pytest.approx(
            (table[k, 1], table[k, 2])
        )
    assert trial.effects[-1].item == "item-3"
    assert trial.response.anti_steerable.value == pytest.approx(1 / 8)


def test_the_curve_is_the_mean_change_from_the_unsteered_model(trial, table):
    expected = {
        dose: (table[:, k] - table[:, 1]).mean() for k, dose in enumerate(DOSES) if dose
    }

    assert {point.dose: point.change.value for point in trial.curve} == pytest.approx(
        expected
    )


def test_the_prompt_effect_is_half_the_difference_of_asking_for_and_against(trial):
    assert trial.instruction.value == pytest.approx((1.5 - -0.5) / 2)


def test_the_chosen_layer_and_all_candidates_are_shown(trial):
    assert trial.layer == 1
    assert {p.layer: p.slope.value for p in trial.layers} == pytest.approx(SELECT)


def test_promoting_and_suppressing_are_told_apart(trial):
    whole = trial.response.steerability.value

    assert trial.parts["matching"].value == pytest.approx(whole / 2)
    assert trial.parts["other"].value == 0


def test_what_the_word_explains_of_the_slopes_is_told(store, trial, table):
    """The one item that falls is the one whose matching answer is no; trap T36."""
    own = slopes(DOSES, table)
    between = np.corrcoef(own, list(IS_YES.values()))[0, 1]

    [found] = trial.spread

    assert found.by == "whether yes matches"
    assert found.share.value == pytest.approx(between**2)
    assert found.leans == ""  # one item of one group of four shows nothing
    [line] = [
        line
        for line in numbers(trial, summarise(store))
        if line.name.startswith("share by")
    ]
    assert line.text == str(found.share)
    leaning = replace(trial, spread=(replace(found, leans="lower"),))
    [line] = [
        line
        for line in numbers(leaning, summarise(store))
        if line.name.startswith("share by")
    ]
    assert line.meaning.endswith("; slopes are lower where it does")


def test_summaries_and_trials_show_themselves_in_a_line(store, trial):
    assert repr(summarise(store)) == "<Summary of 'by-hand': 1 trials>"
    assert repr(trial).startswith("<Trial of caa for 'c' on open: works at a price, mean")
    assert len(repr(trial)) < 200


def test_items_asked_in_both_orders_tell_what_the_order_does(tmp_path):
    """Each item moves by its own slope, and by 2 a dose more where its answer is first."""
    store = fill(Store(tmp_path / "out"), order=2.0)
    own = slopes(DOSES, np.array([[curve(k, dose) for dose in DOSES] for k in range(8)]))

    first, second = summarise(store).trials[0].spread

    assert first.by == "which answer is named first (items in both orders)"
    assert first.share.value == pytest.approx(4 / (4 + own.var()))
    assert (second.by, second.among) == ("whether yes matches", "of the items' means")


def test_the_price_is_the_ratio_of_perplexities(trial):
    ratios = {price.dose: price.perplexity_ratio.value for price in trial.prices}

    assert ratios == pytest.approx({-1: exp(0.2), 1: exp(0.2), 2: exp(0.4)})
    assert trial.prices[0].kl.value == pytest.approx(0.1)
    assert trial.verdict.label == "works at a price"


def test_a_method_without_shuffled_controls_is_judged_by_its_random_ones(trial, tmp_path):
    """Some methods read no labels that could be shuffled."""
    drawn = {key: loss for key, loss in CONTROL_LOSS.items() if key[0] == "random"}

    [found] = summarise(fill(Store(tmp_path / "out"), controls=drawn)).trials

    assert {control.method for control in found.controls} == {"random"}
    assert list(found.control_verdicts) == ["random"]
    assert set(found.control_prices) == {"random", "instruction"}
    slopes_drawn = [control.slope.value for control in found.controls]
    assert found.band.value == pytest.approx(np.mean(slopes_drawn))
    assert (found.band.n, found.verdict.label) == (3, trial.verdict.label)


def test_control_prices_are_averaged_over_their_seeds(trial):
    prices = {name: prices for name, prices in trial.control_prices.items()}

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


def test_each_control_is_shown_and_the_band_holds_them_all(trial):
    found = {(c.method, c.seed): c.slope.value for c in trial.controls}

    # Their curves start at the unsteered model of the test split, not at 0.
    assert set(found) == set(CONTROL_LOSS)
    assert all(trial.band.low <= slope <= trial.band.high for slope in found.values())
    assert trial.band.n == 5
    assert set(trial.control_verdicts) == {"random", "shuffled"}


def test_equal_rows_give_equal_summaries(store):
    assert summarise(store) == summarise(Store(store.root))


def test_the_order_of_rows_changes_nothing(store, tmp_path):
    other = fill(Store(tmp_path / "out"))
    path = other.root / "rows" / "batch.parquet"
    pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(path)

    assert summarise(other) == summarise(store)


@pytest.mark.parametrize("method", ["caa", "random"])
def test_curves_over_unequal_items_are_refused(method, tmp_path):
    store = fill(Store(tmp_path / "out"), drop={(method, 2.0, "item-5")})

    with pytest.raises(AssertionError, match="items differ at dose 2"):
        summarise(store)


def test_an_unfinished_study_is_refused(tmp_path):
    store = fill(Store(tmp_path / "out"))
    for progress in ({"finished": False}, None):
        if progress is None:
            (store.root / "progress.json").unlink()
        else:
            store.write_json("progress.json", progress)

        with pytest.raises(
            StoreFault, match="is not finished; run it again with the same --out"
        ):
            summarise(store)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(StoreFault, match="holds no study"):
        summarise(Store(tmp_path))


def test_a_study_that_lost_cells_is_refused(tmp_path):
    store = fill(Store(tmp_path / "out"))
    progress = store.read_json("progress.json")
    store.write_json("progress.json", {**progress, "cells": progress["cells"] + 1})

    with pytest.raises(StoreFault, match=r"holds \d+ of the \d+ cells of its study"):
        summarise(store)
