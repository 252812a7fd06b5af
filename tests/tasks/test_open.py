"""The model's own continuations in place of somebody else's."""

import pytest

from seatrial.data import load_concept
from seatrial.errors import BadData
from seatrial.tasks import Open
from seatrial.tasks.measure import measure
from seatrial.tasks.open import with_texts
from seatrial.types import Completion

ITEMS = load_concept("honesty").items[:4]


def wrote(*texts):
    return [Completion(text, (1,), (-1.0,), "length") for text in texts]


def test_the_texts_of_a_model_take_the_place_of_the_items():
    found = with_texts(ITEMS, wrote(" a", "b ", "\nc", "d"), wrote(" w", " x", " y", " z"))

    assert [item.matching_text for item in found] == ["a", "b", "c", "d"]
    assert [item.other_text for item in found] == ["w", "x", "y", "z"]
    for new, old in zip(found, ITEMS, strict=True):
        assert (new.id, new.group, new.prompt) == (old.id, old.group, old.prompt)


def test_items_that_show_no_difference_are_left_out():
    found = with_texts(ITEMS, wrote("a", "same", "", "d"), wrote("w", " same ", "y", " "))

    assert [item.id for item in found] == [ITEMS[0].id]


def test_no_difference_anywhere_is_said():
    with pytest.raises(BadData, match="none of 4 items has two different texts"):
        with_texts(ITEMS, wrote(*"abcd"), wrote(*"abcd"))


def test_texts_that_do_not_fit_the_items_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        with_texts(ITEMS, wrote("a", "b"), wrote("w", "x"))


def test_what_a_model_wrote_greedily_is_likelier_than_what_it_wrote_by_chance(tiny):
    """So on the model's own texts the likelihood is where it puts its own words."""
    model = tiny("llama")
    prompts = [item.prompt for item in ITEMS]
    [greedy] = model.generate(prompts, max_tokens=6)
    [chance] = model.generate(prompts, max_tokens=6, temperature=3.0)

    task = Open({"test": with_texts(ITEMS, greedy, chance)})

    [scores] = measure(model, task)
    assert all(score.metrics["open"] > 0 for score in scores)
