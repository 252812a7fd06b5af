"""Records refuse what makes no sense, and groups depend on the words alone."""

import pytest

from seatrial.data.records import ChoiceItem, group_of
from seatrial.errors import BadData


def make_item(**changes):
    given = {"options": ("yes", "no", "maybe"), "correct": 2, **changes}
    return ChoiceItem("toy/1", "g", "Why?", **given)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"options": ("yes",), "correct": 0},
            "toy/1 has 1 options; a choice needs at least",
        ),
        ({"correct": 3}, "toy/1 names option 3; its options are 0 to 2"),
        ({"correct": -1}, "toy/1 names option -1"),
        ({"opposite": 7}, "toy/1 names option 7"),
        ({"opposite": 2}, "toy/1 has option 2 as its own opposite"),
    ],
)
def test_options_that_are_not_there_are_refused(changes, match):
    with pytest.raises(BadData, match=match):
        make_item(**changes)


def test_the_other_option_is_the_named_or_the_only_one():
    assert make_item(opposite=0).other == 0
    assert make_item(options=("a", "b"), correct=1).other == 0
    with pytest.raises(BadData, match="has 3 options and none is named as the opposite"):
        _ = make_item().other


def test_groups_ignore_case_spaces_and_signs_and_nothing_else():
    assert group_of("Is it, so?") == group_of(" is it  so ")
    assert group_of("Is it so?") != group_of("Is it sold?")
    assert group_of("?!") != group_of("...")
    assert group_of("a", "b") != group_of("b", "a")
    assert len(group_of("x")) == 12
