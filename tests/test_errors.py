"""The tree of errors: each is ours, each is also the builtin it stands for."""

import re

import pytest

from seatrial import errors

TREE = {
    name: thing
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, errors.SeatrialError)
}
LEAVES = {name: thing for name, thing in TREE.items() if name != "SeatrialError"}


def test_the_drawn_tree_is_the_real_one():
    drawn = dict(re.findall(r"[├└]── (\w+) \((\w+)\)", errors.__doc__))

    assert drawn == {name: thing.__mro__[2].__name__ for name, thing in LEAVES.items()}


@pytest.mark.parametrize("name", LEAVES)
def test_each_error_is_ours_and_a_builtin(name):
    error = LEAVES[name]("one sentence")

    assert isinstance(error, errors.SeatrialError)
    assert isinstance(error, (ValueError, RuntimeError, OSError))
    assert str(error) == "one sentence"


def test_unknown_name_lists_the_known_ones_and_guesses():
    error = errors.unknown("method", "cca", ["instruction", "caa"])

    assert isinstance(error, errors.UnknownName)
    assert (
        str(error) == "unknown method 'cca'; known: caa, instruction. Did you mean 'caa'?"
    )


def test_unknown_name_without_a_near_one_does_not_guess():
    assert str(errors.unknown("task", "xyz", [])) == "unknown task 'xyz'; known: none."


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("it broke.", "it broke"),
        ("\n  first line\nsecond line\n", "first line"),
        ("", "RuntimeError"),
    ],
)
def test_a_foreign_message_is_cut_to_its_first_sentence(message, sentence):
    assert errors.sentence(RuntimeError(message)) == sentence


def test_an_alternative_to_a_name_closes_the_list():
    from seatrial.errors import unknown

    assert str(unknown("study", "x", ["quickstart", "or a path to a .toml file"])) == (
        "unknown study 'x'; known: quickstart, or a path to a .toml file."
    )
