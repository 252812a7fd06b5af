"""Prompts of a map: written as their papers do, and shuffled labels really are wrong."""

from collections import Counter

import numpy as np
import pytest

from seatrial.data.templates import (
    TEMPLATES,
    Template,
    draw,
    generator_for,
    sentence_template,
    template_named,
    with_labels_moved,
)
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.types import Example, Message

SHOWN = (Example("hot", "cold"), Example("big", "small"))


def examples(*outputs):
    return tuple(Example(f"x{k}", output) for k, output in enumerate(outputs))


def generators(n):
    return [np.random.default_rng(seed) for seed in range(n)]


def test_templates_are_written_as_their_papers_do():
    qa, arrow, bare = (TEMPLATES[name] for name in ("qa", "arrow", "bare"))

    assert qa.prompt(SHOWN, "up") == "Q: hot\nA: cold\n\nQ: big\nA: small\n\nQ: up\nA:"
    assert qa.answer("down") == " down"
    assert arrow.prompt(SHOWN[:1], "up") == "example:hot->cold\nexample:up->"
    assert arrow.answer("down") == "down"
    assert bare.prompt(SHOWN[:1], "up") == "hot -> cold\nup ->"


def test_a_sentence_is_a_template_whose_demonstrations_are_finished_sentences():
    template = template_named("The opposite of {x} is")

    assert template == sentence_template("The opposite of {x} is")
    assert template.prompt(SHOWN[:1], "up") == (
        "The opposite of hot is cold.\nThe opposite of up is"
    )


def test_context_stands_before_all_and_facts_between_input_and_answer():
    qa = TEMPLATES["qa"].prompt(SHOWN[:1], "up", context="Some.", facts=("One.", "Two."))
    bare = TEMPLATES["bare"].prompt((), "up", facts=("One.",))

    assert qa == "Some.\n\nQ: hot\nA: cold\n\nQ: up\nOne. Two.\nA:"
    assert bare == "up (One.) ->"


def test_a_scope_stays_in_front_of_the_demonstrations():
    template = Template("{x}={y};", "{x}=", "", scope="map: ")

    assert template.prompt(SHOWN, "up", context="Some.") == (
        "Some.\n\nmap: hot=cold;big=small;up="
    )


def test_a_conversation_has_a_turn_for_every_query_and_output():
    template = Template("", "Opposite of {x}?", "")

    found = template.conversation(SHOWN[:1], "up", context="Some.", facts=("One.",))

    assert found == (
        Message("user", "Opposite of hot?"),
        Message("assistant", "cold"),
        Message("user", "Some.\n\nOpposite of up (One.)?"),
    )


def test_braces_in_inputs_are_text():
    odd = (Example("{x}", "{y}"),)

    assert TEMPLATES["bare"].prompt(odd, "{z}", facts=("{0}",)) == (
        "{x} -> {y}\n{z} ({0}) ->"
    )


@pytest.mark.parametrize(
    "sentence",
    ["The {y} is", "{x} and {x}", "{x:>9} is", "{x!r} is", "{x} {", "two words", "{x} is "],
)
def test_a_sentence_that_cannot_be_filled_is_refused(sentence):
    with pytest.raises(BadOption, match=r"cannot be a template; write \{x\} once"):
        template_named(sentence)


def test_an_unknown_template_says_which_there_are():
    with pytest.raises(UnknownName, match="known: arrow, bare, qa, or a sentence that"):
        template_named("aq")


def test_random_numbers_of_an_item_depend_on_seed_item_and_use_and_nothing_else():
    def numbers(*key):
        return tuple(generator_for(*key).integers(0, 2**60, 3).tolist())

    keys = [(s, i, u) for s in (0, 1) for i in ("a", "b") for u in ("labels", "facts")]

    assert len({numbers(*key) for key in keys}) == len(keys)
    assert numbers(0, "a", "facts") == numbers(0, "a", "facts")
    # The same in every process, version and machine: a changed number is a changed prompt.
    order = generator_for(0, "antonym/hot", "labels").permutation(8).tolist()
    assert order == [5, 6, 4, 0, 7, 2, 1, 3]


def test_demonstrations_never_name_the_query_on_either_side():
    """In a series the query is another item's output: Monday -> Tuesday."""
    days = [Example("Mon", "Tue"), Example("TUE", "Wed"), Example("Wed", "Thu")]

    for generator in generators(20):
        shown = draw(days, 1, generator, query=Example("tue", "Wed"))
        assert shown == (days[2],)


def test_fewer_shots_are_the_first_of_more():
    pool = examples(*"abcdefgh")

    few, many = (draw(pool, n, np.random.default_rng(5)) for n in (2, 6))

    assert many[:2] == few
    assert len(set(many)) == 6


def test_every_example_is_drawn_equally_often():
    pool = examples(*"abcdef")

    counts = Counter(e for g in generators(600) for e in draw(pool, 2, g))

    assert set(counts) == set(pool)
    # 200 each are expected; 5 standard deviations are 58.
    assert all(abs(count - 200) < 58 for count in counts.values())


def test_too_few_examples_are_refused():
    with pytest.raises(BadData, match="3 demonstrations need as many examples besides the"):
        draw(examples(*"abc"), 3, np.random.default_rng(0), query=Example("x0", "a"))


@pytest.mark.parametrize("outputs", ["ab", "abc", "abcdefghij", "aabb", "aabbcc", "aaabcd"])
def test_no_moved_label_is_right_and_all_labels_are_still_there(outputs):
    shown = examples(*outputs)

    for generator in generators(50):
        moved = with_labels_moved(shown, generator)
        assert [e.input for e in moved] == [e.input for e in shown]
        assert Counter(e.output for e in moved) == Counter(outputs)
        assert all(a.output != b.output for a, b in zip(moved, shown, strict=True))


@pytest.mark.parametrize(("outputs", "kept"), [("aaab", 2), ("aaabb", 1), ("aaaaa", 5)])
def test_labels_stay_right_only_where_one_output_is_in_the_majority(outputs, kept):
    shown = examples(*outputs)

    for generator in generators(50):
        moved = with_labels_moved(shown, generator)
        right = sum(a == b for a, b in zip(moved, shown, strict=True))
        assert right == kept


def test_every_other_label_can_be_taken():
    """Not always that of the neighbour, which a model could learn to look at."""
    shown = examples(*"abcde")

    taken = Counter(with_labels_moved(shown, g)[0].output for g in generators(400))

    assert set(taken) == set("bcde")
    assert min(taken.values()) > 50


def test_one_label_cannot_move():
    with pytest.raises(BadData, match="1 demonstration has no other whose label it could"):
        with_labels_moved(SHOWN[:1], np.random.default_rng(0))
