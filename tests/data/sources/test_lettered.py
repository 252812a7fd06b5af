"""Options come out of published questions whole, and go back cleanly in any order."""

import pytest

from seatrial.data.records import ChoiceItem
from seatrial.data.sources import clean_prompt
from seatrial.data.sources.lettered import letter_index, split_options
from seatrial.errors import BadData, BadOption

ITEM = ChoiceItem("toy/1", "g", "Which? ", ("red", "green  and\nblue ", "white"), 1)


def test_options_are_split_from_the_question():
    stem, options = split_options("Which?\n\nChoices:\n (A) red \n (B)blue", "here")

    assert (stem, options) == ("Which?\n\nChoices:", ("red", "blue"))


def test_only_the_last_run_of_letters_counts_as_options():
    text = "Either\n (A) this or\n (B) that?\nChoices:\n(A) first\n(B) second\n(C) both"

    stem, options = split_options(text, "here")

    assert stem == "Either\n (A) this or\n (B) that?\nChoices:"
    assert options == ("first", "second", "both")


@pytest.mark.parametrize(
    "text",
    ["Which?", "Which?\n(A) red", "Which?\n(A) red\n(C) blue", "Which?\n(B) b\n(C) c"],
)
def test_questions_without_options_in_order_are_refused(text):
    with pytest.raises(
        BadData, match=r"^here does not end in options \(A\), \(B\), \.\.\."
    ):
        split_options(text, "here")


def test_letters_are_found_with_and_without_a_space_before():
    assert [letter_index(a, 3, "here") for a in (" (A)", "(C)")] == [0, 2]
    for answer in ("(D)", "B", " Yes", "  (A)", "(A) "):
        with pytest.raises(BadData, match=r"here: the answer .* is none of \(A\) to \(C\)"):
            letter_index(answer, 3, "here")


def test_a_clean_prompt_has_single_spaces_and_the_correct_letter_first():
    made = clean_prompt(ITEM)

    assert made.prompt == ("Which?\n\nChoices:\n (A) red\n (B) green and blue\n (C) white")
    assert made.answers == ("(B)", "(A)", "(C)")
    assert (made.id, made.group) == ("toy/1", "g")


def test_options_may_be_shown_in_any_order_and_the_letters_follow():
    made, turned = clean_prompt(ITEM, (1, 2)), clean_prompt(ITEM, (2, 1))

    assert made.prompt == "Which?\n\nChoices:\n (A) green and blue\n (B) white"
    assert made.answers == ("(A)", "(B)")
    assert turned.prompt == "Which?\n\nChoices:\n (A) white\n (B) green and blue"
    assert turned.answers == ("(B)", "(A)")


@pytest.mark.parametrize("order", [(0, 2), (1,), (1, 1), (1, 3), (-1, 1), ()])
def test_orders_that_do_not_fit_are_refused(order):
    with pytest.raises(BadOption, match=r"does not fit toy/1: name two or more different"):
        clean_prompt(ITEM, order)
