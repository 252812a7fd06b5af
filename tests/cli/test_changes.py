"""`--set`: several values at once or one by one, for every command that has it."""

from itertools import permutations

import pytest

from seatrial.cli.changes import changed
from seatrial.errors import BadOption
from seatrial.model import Model

COMMANDS = {
    "measure": (
        ("measure", "map"),
        ("shots=-1", "template=arrow", "context_words=30"),
        "shots must be 0 or more, not -1",
    ),
    "fit": (
        ("fit", "caa", "--concept", "honesty", "--task", "propensity", "--out", "v"),
        ("wording=tan", "both_orders=false", "form=ab"),
        "Tan et al. built no prompt for ",
    ),
    "run": (
        ("run", "quickstart"),
        ("doses=[0]", "seeds=[3]", "name='renamed'"),
        "doses lists no dose but 0",
    ),
}
"""The first of the values is wrong, so its sentence tells that it has arrived."""


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("command", COMMANDS)
def test_every_set_counts_wherever_it_stands(
    command, order, refused, tmp_path, monkeypatch
):
    arguments, values, words = COMMANDS[command]
    one, two, three = (values[k] for k in order)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Model, "load", lambda *_, **__: pytest.fail("a model was loaded"))

    for said in (
        ("--set", one, two, three),
        ("--set", one, "--set", two, "--set", three),
        ("--set", one, two, "--set", three),
    ):
        assert words in refused(*arguments, *said)


@pytest.mark.parametrize(
    "said", [("--set", "a=1", "a=2"), ("--set", "a=1", "--set", "a=2")]
)
@pytest.mark.parametrize("command", ["fit", "measure"])  # of a plan the last one holds
def test_a_key_with_two_values_is_one_sentence(command, said, refused, tmp_path):
    arguments, _, _ = COMMANDS[command]

    assert "--set gives 'a' two values, 1 and 2; give it one" in refused(*arguments, *said)


def test_the_same_value_twice_is_no_mistake():
    assert changed([["a=1", "b=x"], ["a=1"], []]) == {"a": 1, "b": "x"}


def test_values_are_compared_as_values_and_not_as_texts():
    assert changed([["a=[1, 2]", "a=[1,2]"]]) == {"a": [1, 2]}
    with pytest.raises(BadOption, match=r"two values, 'x' and \['x'\]"):
        changed([["a=x"], ['a=["x"]']])
