"""Readings are kept by bytes: the latest ones, and always the newest."""

import pytest
import torch

from seatrial.model.readings import Readings, size_of


def reading(n):
    return {"site": torch.zeros(n)}


def test_sizes_are_those_of_all_tensors_inside():
    value = ({"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.float64)]}, None, 7)

    assert size_of(value) == 12 + 16


def test_what_fits_is_kept_and_what_was_used_last_stays_longest():
    readings = Readings(100)
    for key in "abc":
        readings.put(key, reading(8))
    readings.get("a")

    readings.put("d", reading(8))

    assert readings.get("b") is None
    assert all(readings.get(key) is not None for key in "acd")
    assert readings.size == 96


@pytest.mark.parametrize("n", [10, 1000])
def test_the_newest_is_kept_however_large(n):
    readings = Readings(16)
    readings.put("a", reading(n))
    readings.put("b", reading(n))

    assert readings.get("a") is None
    assert size_of(readings.get("b")) == 4 * n
    assert len(readings) == 1


def test_a_reading_is_made_once():
    readings, made = Readings(100), []

    for _ in range(3):
        readings.remembered("a", lambda: made.append(1) or reading(1))

    assert made == [1]


def test_a_reading_that_grows_counts_once():
    readings = Readings(100)
    readings.put("a", reading(8))
    readings.put("a", reading(16))

    assert readings.size == 64
