"""A plan that is printed is the plan that is read."""

import tomllib
from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.studies.study import STUDIES, read_study
from seatrial.studies.toml import WIDTH, as_toml

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(
        st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text('abc ."é', max_size=5), VALUES, max_size=5))
def test_what_is_written_is_read_again(table):
    assert tomllib.loads(as_toml(table)) == table


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", ["small", "smoke"])
def test_a_completed_plan_is_a_plan(name, scale):
    study = read_study(name, scale=scale)
    text = as_toml(study.completed)
    back = tomllib.loads(text)

    assert read_study(back).id == study.id
    for key, table in study.completed.items():
        if isinstance(table, dict):
            assert list(back[key]) == list(table)  # the order of labels is the plan's
    assert max(map(len, text.splitlines())) <= WIDTH + 60


def test_numbers_that_json_does_not_know():
    back = tomllib.loads(as_toml({"a": inf, "b": -inf, "c": float("nan"), "d": 1e300}))

    assert (back["a"], back["b"], back["d"]) == (inf, -inf, 1e300)
    assert isnan(back["c"])


def test_nothing_has_no_word():
    with pytest.raises(TypeError, match="TOML has no word for None"):
        as_toml({"a": None})
