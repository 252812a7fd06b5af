"""What is chosen is a pure function of the rows of the select split."""

import polars as pl
import pytest

from seatrial.store import Budget, Labels, MetricLabel, TaskLabel
from seatrial.studies.choose import choose

OPEN = TaskLabel("open", "target", "", (MetricLabel("open", "nats", "verdict"),))
LABELS = Labels((OPEN,), (), (), Budget())
ITEMS = ("a", "b", "c")


def rows(slopes, *, split="select", metric="open"):
    """Rows of an unsteered model and of a method at doses -1 and 1 of some layers."""
    steered = [(layer, dose) for layer in slopes for dose in (-1.0, 1.0)]
    return pl.DataFrame(
        [
            {
                "task": "open", "split": split, "metric": metric, "item": item,
                "method": "caa" if layer >= 0 else "unsteered", "layer": layer,
                "kind": "method" if layer >= 0 else "unsteered", "dose": dose,
                "value": k + slopes.get(layer, 0.0) * dose,
            }
            for layer, dose in [(-1, 0.0), *steered]
            for k, item in enumerate(ITEMS)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("slopes", "chosen"),
    [({0: 1.0, 1: 2.0}, 1), ({0: 1.0, 1: 1.0}, 0), ({0: -1.0, 1: -2.0}, 0)],
)
def test_the_largest_mean_slope_wins_and_the_lower_layer_on_ties(slopes, chosen):
    assert choose(rows(slopes), LABELS, {"caa": (0, 1)}) == {("open", "caa"): chosen}


def test_only_the_select_split_and_the_metric_of_verdicts_count():
    others = [rows({0: 9.0, 1: 0.0}, split="test"), rows({0: 9.0, 1: 0.0}, metric="other")]

    chosen = choose(pl.concat([rows({0: 1.0, 1: 2.0}), *others]), LABELS, {"caa": (0, 1)})

    assert chosen == {("open", "caa"): 1}


def test_one_candidate_is_taken_without_looking():
    assert choose(rows({}), LABELS, {"icv": (-1,)}) == {("open", "icv"): -1}
