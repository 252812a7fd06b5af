"""Texts that are the same but for case, signs and spaces are read as the same."""

import hashlib

import pytest

from seatrial.data.records import Item, TextPair, group_of
from seatrial.data.split import check_disjoint
from seatrial.data.texts import near_copies, plain, words_of


@pytest.mark.parametrize(
    "text", ["Be kind.", "be KIND", "  Be\n kind ", "«Be», kind!", "be-kind"]
)
def test_case_signs_and_spaces_do_not_make_another_text(text):
    assert plain(text) == "be kind"
    assert group_of(text) == group_of("Be kind.")


def test_texts_of_signs_alone_are_different_texts():
    assert [plain(text) for text in ("+", " - ", "")] == ["+", "-", ""]
    check_disjoint(
        {"fit": (TextPair("a", "g", "+", "-"),), "test": (TextPair("b", "h", "*", "/"),)}
    )


def test_the_name_of_a_group_stays_what_it_was():
    """Every split rests on these names."""
    assert group_of("Wie groß?") == hashlib.sha256('["wie groß"]'.encode()).hexdigest()[:12]
    assert group_of("Is it?", "+") == hashlib.sha256(b'["is it", "+"]').hexdigest()[:12]


def test_words_keep_their_apostrophes():
    assert words_of("Don’t, won't - DO!") == ["don’t", "won't", "do"]


def test_near_copies_are_found_and_what_shares_only_the_template_is_not():
    texts = [f"I like the {word} very much" for word in ("sea", "old harbour", "tide")]

    assert near_copies([*texts, "I like the old harbour very much!"]) == [(1, 3)]
    assert near_copies(texts) == []


def test_what_holds_two_texts_gives_them_as_sides():
    item = Item("a", "g", "I am kind.", "yes", "Once", "kindly", "rudely")

    assert item.sides == ("kindly", "rudely")
    assert TextPair("b", "g", "kind", "rude").sides == ("kind", "rude")
