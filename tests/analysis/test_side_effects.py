"""Guards beside prose: every number can be made by hand, and controls are counted alone."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from seatrial.analysis.side_effects import guarded, judged
from seatrial.stats import cluster_difference, control_band
from seatrial.store.labels import MetricLabel, TaskLabel
from seatrial.types import Estimate

ITEMS = [f"q-{k}" for k in range(20)]
GROUPS = [f"topic-{k // 2}" for k in range(20)]
WRONG = np.array([float(k % 4 == 0) for k in range(20)])
SEEDS = {("random", 1): 3, ("random", 2): 5, ("random", 3): 7, ("shuffled", 1): 9}
"""Which item a control gets wrong that the unsteered model gets right."""

SHARE = MetricLabel("error", "share of questions", "verdict")
LOSS = MetricLabel("loss", "nats per token", "verdict")
DRIFT = MetricLabel("kl", "nats per token", "drift")
FACTS = TaskLabel("facts", "guard", "errors in facts", (SHARE,))
DIALOGUE = TaskLabel("dialogue", "guard", "loss of replies", (LOSS, DRIFT))
PROSE = TaskLabel("prose", "guard", "loss of prose", (LOSS, DRIFT), is_priced=True)
KINDS = {"unsteered": "unsteered", "caa": "method", "instruction": "baseline"}


def flipped(*places):
    values = WRONG.copy()
    values[list(places)] = 1 - values[list(places)]
    return values


def rows(method, seed, dose, values, task="facts", metric="error"):
    return pl.DataFrame(
        {
            "target": task, "method": method, "draw": seed, "dose": dose,
            "kind": KINDS.get(method, "control"), "metric": metric,
            "item": ITEMS, "group": GROUPS, "value": list(values),
        }
    )  # fmt: skip


def table(steered, task="facts", metric="error"):
    """A method at doses -1 to 2 and its controls at -1 and 1."""
    kept = {"task": task, "metric": metric}
    parts = [rows("unsteered", 0, 0.0, WRONG, **kept)]
    parts += [rows("caa", 0, dose, v, **kept) for dose, v in steered.items()]
    for (name, seed), place in SEEDS.items():
        parts += [rows(name, seed, dose, flipped(place), **kept) for dose in (-1.0, 1.0)]
    parts += [rows("instruction", 0, dose, WRONG, **kept) for dose in (-1.0, 1.0)]
    return pl.concat(parts)


RUINED = {-1.0: WRONG, 1.0: np.ones(20), 2.0: np.ones(20)}


def test_damage_is_the_paired_change_from_the_unsteered_model():
    [found] = guarded(table(RUINED), [PROSE, FACTS], "caa")

    assert (found.guard, found.metric, found.unit) == (
        "facts",
        "error",
        "share of questions",
    )
    assert found.base.value == 0.25
    changes = {damage.dose: damage.change for damage in found.damages}
    assert changes[1.0] == cluster_difference(np.ones(20), WRONG, GROUPS)
    assert changes[1.0].value == changes[2.0].value == 0.75


def test_the_band_is_that_of_every_seed_and_only_where_controls_were_measured():
    [found] = guarded(table(RUINED), [FACTS], "caa")

    alone = [cluster_difference(flipped(k), WRONG, GROUPS) for k in SEEDS.values()]
    bands = {damage.dose: damage.band for damage in found.damages}
    assert bands == {-1.0: control_band(alone), 1.0: control_band(alone), 2.0: None}


def test_controls_are_averaged_over_their_seeds_and_the_prompt_stands_beside():
    [found] = guarded(table(RUINED), [FACTS], "caa")

    assert set(found.controls) == {"instruction", "random", "shuffled"}
    values = {name: [d.change.value for d in ds] for name, ds in found.controls.items()}
    assert values["random"] == pytest.approx([0.05, 0.05])
    assert values["instruction"] == [0.0, 0.0]


def test_only_what_is_more_than_any_control_is_clear():
    [ruined] = guarded(table(RUINED), [FACTS], "caa")
    [mild] = guarded(table({1.0: flipped(1)}), [FACTS], "caa")

    assert [damage.is_clear for damage in ruined.damages] == [False, True, False]
    assert [damage.is_clear for damage in mild.damages] == [False]


def test_flags_of_which_none_changed_have_an_honest_interval():
    """A bootstrap would say [0, 0] of twenty questions."""
    [found] = guarded(table({1.0: WRONG}), [FACTS], "caa")

    change = found.damages[0].change
    assert change.value == 0
    assert change.low < -0.05 < 0.05 < change.high


def test_drift_stands_beside_the_loss_where_a_guard_has_it():
    parts = [table(RUINED, "dialogue", metric) for metric in ("loss", "kl")]

    loss, drift = guarded(pl.concat(parts), [DIALOGUE], "caa")

    assert (loss.metric, drift.metric) == ("loss", "kl")
    assert judged((loss, drift)) == (loss,)


def test_prose_has_prices_instead():
    assert guarded(table(RUINED), [PROSE], "caa") == ()


def test_unequal_items_are_refused():
    lost = table(RUINED).filter(
        ~((pl.col("method") == "caa") & (pl.col("dose") == 1) & (pl.col("item") == "q-3"))
    )

    with pytest.raises(AssertionError, match="items of a guard differ in error"):
        guarded(lost, [FACTS], "caa")


def test_a_method_without_damage_of_its_own_has_none():
    [found] = guarded(table({}), [FACTS], "caa")

    assert found.damages == ()
    assert isinstance(found.base, Estimate)


def test_a_guard_of_which_less_is_worse_is_turned():
    less = TaskLabel("facts", "guard", "right answers", (replace(SHARE, sign=-1),))

    [turned] = guarded(table(RUINED), [less], "caa")

    [plain] = guarded(table(RUINED), [FACTS], "caa")
    for one, other in zip(turned.damages, plain.damages, strict=True):
        assert one.change.value == -other.change.value
        assert (one.change.low, one.change.high) == (-other.change.high, -other.change.low)
    assert not any(damage.is_clear for damage in turned.damages)


def test_a_guard_that_was_not_measured_says_nothing():
    assert guarded(table(RUINED), [DIALOGUE], "caa") == ()
