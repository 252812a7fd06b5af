"""What stands around a query is as long as asked for and gives nothing away."""

import re

import numpy as np
import pytest

from seatrial.data import MAPS, MapPair, load_contexts, load_facts, load_map, load_prose
from seatrial.data.distractors import distractors_for
from seatrial.errors import BadOption

BUDGETS = (20, 50, 100, 200, 400, 800)


@pytest.fixture(scope="module")
def around():
    """The distractors of each map that ships, made once."""
    return {name: distractors_for(load_map(name).pairs) for name in MAPS}


def generator(seed=0):
    return np.random.default_rng(seed)


def names(text, name):
    """Whether a text has a name as whole words, however it is spelled."""
    whole, part = (re.findall(r"\w+", words.casefold()) for words in (text, name))
    return any(whole[k : k + len(part)] == part for k in range(len(whole)))


def some(pairs):
    return [pairs[k] for k in np.random.default_rng(1).permutation(len(pairs))[:3]]


@pytest.mark.parametrize("words", BUDGETS)
@pytest.mark.parametrize("name", MAPS)
def test_contexts_have_the_length_that_is_asked_for(name, words, around):
    for pair in some(load_map(name).pairs):
        text = around[name].context(words, (pair.input, *pair.answers), generator())
        assert abs(len(text.split()) - words) <= max(3, 0.05 * words)


@pytest.mark.parametrize("name", MAPS)
def test_neither_context_nor_facts_name_the_input_or_an_answer(name, around):
    for pair in some(load_map(name).pairs):
        avoid = (pair.input, *pair.answers)
        texts = around[name].between(20, avoid, generator())
        texts += (around[name].context(800, avoid, generator()),)
        assert not any(names(text, word) for text in texts for word in avoid)


def test_without_that_care_they_would_be_named(around):
    """The check above can fail."""
    unaware = around["english-french"].context(400, (), generator())

    assert names(unaware, "and")


def test_items_that_many_sentences_name_can_still_be_asked_in_the_largest_context(around):
    worst = {"english-french": "and", "next-item": "A", "antonym": "in"}

    for name, word in worst.items():
        [pair] = [p for p in load_map(name).pairs if p.input == word]
        avoid = (pair.input, *pair.answers)
        assert around[name].context(1600, avoid, generator())
        assert len(around[name].between(40, avoid, generator())) == 40


def test_sentences_that_show_the_map_at_work_are_left_out(around):
    def facts(name):
        return {sentence.text for sentence in around[name].facts}

    assert "The capital of Portugal is Lisbon." not in facts("country-capital")
    assert "The capital of Portugal is Lisbon." in facts("present-past")
    assert "A frog is an amphibian." not in facts("animal-class")
    for name in MAPS:
        assert len(around[name].facts) > 280 and len(around[name].prose) > 270


def test_a_word_that_is_its_own_answer_shows_nothing():
    """Else every sentence with a common word would be one of capitalising it."""
    same = distractors_for((MapPair("m/water", "water", "water", "Water"),))
    one_letter = distractors_for((MapPair("m/water", "water", "water", "a"),))
    other = distractors_for((MapPair("m/water", "water", "water", "the"),))

    assert len(same.prose) == len(one_letter.prose) > len(other.prose)


def test_contexts_are_whole_sentences_of_ours_in_their_order(around):
    passages = [text for _, text in load_prose()]
    passages += [paragraph.text for paragraph in load_contexts().paragraphs]

    text = around["antonym"].context(200, ("hot", "cold"), generator())

    for paragraph in text.split("\n\n"):
        sentences = re.split(r"(?<=[.!?]) ", paragraph)
        [source] = [p for p in passages if sentences[0] in p]
        places = [source.index(sentence) for sentence in sentences]
        assert places == sorted(places)


def test_facts_are_true_statements_and_fewer_are_the_first_of_more(around):
    few, many = (around["antonym"].between(n, ("hot",), generator(3)) for n in (2, 8))

    assert many[:2] == few and len(set(many)) == 8
    assert set(many) <= {fact.true_statement for fact in load_facts()}


def test_seeds_draw_others(around):
    drawn = around["antonym"]

    assert len({drawn.context(100, (), generator(seed)) for seed in range(8)}) == 8
    assert len({drawn.between(2, (), generator(seed)) for seed in range(8)}) == 8


def test_nothing_is_asked_for_and_nothing_given(around):
    assert around["antonym"].context(0, ("hot",), generator()) == ""
    assert around["antonym"].between(0, ("hot",), generator()) == ()


@pytest.mark.parametrize("words", [1, 2, 100_000])
def test_a_length_that_cannot_be_made_is_refused(words, around):
    with pytest.raises(BadOption, match=f"a context of {words} words cannot be made, the"):
        around["antonym"].context(words, (), generator())


def test_more_facts_than_there_are_are_refused(around):
    with pytest.raises(BadOption, match=r"301 facts are too many, there are \d+ that do"):
        around["antonym"].between(301, ("hot",), generator())
