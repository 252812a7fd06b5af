"""Sums of scores that are not all there."""

import pytest

from seatrial.errors import BadData
from seatrial.tasks.judges import Scale, tally
from seatrial.types import Score


def make(*values):
    return [
        Score(f"item-{k}", f"group-{k}", {} if value is None else {"score": value})
        for k, value in enumerate(values)
    ]


def test_the_mean_is_over_what_was_read_and_the_bounds_over_everything():
    found = tally(make(2.0, 4.0, None, 6.0, None), Scale(0.0, 10.0))

    assert found.mean.value == 4
    assert (found.n, found.unreadable, found.share.value) == (5, 2, 0.4)
    assert (found.lowest, found.highest) == pytest.approx((12 / 5, 32 / 5))


def test_where_all_is_read_the_bounds_are_the_mean():
    found = tally(make(1.0, 2.0, 3.0), Scale(-1.0, 5.0))

    assert found.lowest == found.highest == found.mean.value == 2
    assert found.share.value == 0
    assert found.share.high > 0


def test_no_score_at_all_is_no_zero():
    with pytest.raises(BadData, match="none of the 3 texts has a score"):
        tally(make(None, None, None), Scale(0.0, 10.0))
