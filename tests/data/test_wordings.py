"""Every map that ships can be asked in words."""

import pytest

from seatrial.data import MAPS
from seatrial.data.templates import sentence_template
from seatrial.data.wordings import load_wordings, wording_of


def test_every_map_that_ships_has_a_wording_and_nothing_else_has():
    assert sorted(load_wordings()) == sorted(MAPS)


@pytest.mark.parametrize("name", MAPS)
def test_wordings_are_different_texts_with_one_place_for_the_input(name):
    wording = load_wordings()[name]
    asked = (*wording.sentences, wording.clauses, wording.question)

    assert len(wording.sentences) == 3
    assert len(set(asked)) == 5
    assert all(text.count("{x}") == text.count("{") == 1 for text in asked)
    for text in (*asked, wording.instruction):
        assert text == text.strip() and "  " not in text
    for text in (*wording.sentences, wording.clauses):
        sentence_template(text)
        assert text[-1].isalpha(), "a word stands before the answer"
    assert wording.question.endswith("?")
    assert wording.instruction.startswith("You ") and wording.instruction.endswith(".")


@pytest.mark.parametrize("name", MAPS)
def test_the_long_sentence_says_what_is_wanted_clauses_after_the_input(name):
    before, after = load_wordings()[name].clauses.split("{x}")

    assert len(after.split()) >= 12
    assert (before + after).count(",") >= 2
    short = max(len(s.split()) for s in load_wordings()[name].sentences)
    assert len(load_wordings()[name].clauses.split()) > 1.5 * short


def test_no_two_maps_are_asked_alike():
    texts = [t for w in load_wordings().values() for t in (*w.sentences, w.question)]

    assert len(set(texts)) == len(texts)


def test_directions_of_translation_are_not_exchanged():
    """The trap of swapped labels, T43."""
    for language in ("french", "german", "spanish"):
        there, back = (
            wording_of(name) for name in (f"english-{language}", f"{language}-english")
        )
        assert f"The {language.title()} word for {{x}} is" in there.sentences
        assert f"The {language.title()} word {{x}} means" in back.sentences
        assert there.instruction.endswith(f"into {language.title()}.")
        assert back.instruction.endswith("into English.")


def test_published_maps_are_worded_like_ours_of_that_name():
    assert wording_of("maps/country-capital") is wording_of("country-capital") is not None
    assert wording_of("maps/capitalize") is wording_of("capitalise") is not None
    assert wording_of("maps/next_item") is wording_of("next-item") is not None
    assert wording_of("extractive/choose_first_of_3") is None
