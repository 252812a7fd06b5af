"""Rows that cannot be what they should are said to be so."""

import polars as pl
import pytest

from seatrial.analysis.rows import audit_rows

LABELS = {"targets": [{"metrics": [{"name": "matching", "role": "promoted"}]}]}


def rows(*changes):
    frame = [
        {"ask": "a", "cell": cell, "item": item, "metric": metric, "value": -1.0}
        for cell in ("plain", "steered")
        for item in ("i1", "i2")
        for metric in ("matching", "score")
    ]
    for change in changes:
        change(frame)
    return pl.DataFrame(frame)


def test_rows_as_they_should_be_pass():
    assert [check["status"] for check in audit_rows(rows(), LABELS)] == ["passed"] * 2


@pytest.mark.parametrize(
    ("change", "identity", "detail"),
    [
        (lambda frame: frame.pop(), "H7", "1 comparisons with unequal items"),
        (lambda frame: frame.append({**frame[0], "value": -2.0}), "H7", "1 rows twice"),
        (lambda frame: frame[1].update(value=float("nan")), "H8", "1 not finite"),
        (lambda frame: frame[1].update(value=float("inf")), "H8", "1 not finite"),
        (lambda frame: frame[0].update(value=0.5), "H8", "1 above 0"),
    ],
)
def test_what_is_wrong_with_rows_is_counted(change, identity, detail):
    def both(frame):
        change(frame)
        if detail.endswith("items"):
            frame.pop()  # the item is gone with all of its metrics

    failed = [c for c in audit_rows(rows(both), LABELS) if c["status"] == "failed"]

    assert [check["id"] for check in failed] == [identity]
    assert detail in failed[0]["detail"]


def test_a_score_above_0_is_no_fault_where_it_is_no_log_probability():
    frame = rows(lambda frame: frame[1].update(value=0.5))

    assert [check["status"] for check in audit_rows(frame, LABELS)] == ["passed"] * 2
