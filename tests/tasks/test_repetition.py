"""Repetition by hand, and what must hold for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.tasks.repetition import (
    degenerate,
    distinct,
    longest_loop,
    repetition,
    written_words,
)

TEXTS = st.lists(st.sampled_from("abc"), max_size=24)


def test_words_are_lower_case_and_signs_stand_alone():
    assert written_words("Wait, hold on.\n\nWAIT!!") == [
        "wait", ",", "hold", "on", ".", "wait", "!", "!",
    ]  # fmt: skip
    assert written_words("It's 3.5 \u00e9t\u00e9") == [
        "it",
        "'",
        "s",
        "3",
        ".",
        "5",
        "\u00e9t\u00e9",
    ]
    assert written_words(" \n\t") == []


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("a b c d", {1: 1, 2: 1, 3: 1, 4: 1}),
        ("a a a a", {1: 1 / 4, 2: 1 / 3, 3: 1 / 2, 4: 1}),
        ("a b a b a", {1: 2 / 5, 2: 2 / 4, 3: 2 / 3, 4: 1}),
        ("a", {1: 1, 2: None}),
        ("", {1: None, 4: None}),
    ],
)
def test_distinct_n_grams_by_hand(text, shares):
    for n, share in shares.items():
        assert distinct(text.split(), n) == share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("the cat sat on the mat", 0),
        ("one two three four one two three four", 1 / 5),
        ("no no no no no no no", 3 / 4),
        ("no no no", None),
    ],
)
def test_repeated_4_grams_by_hand(text, share):
    assert repetition(text.split()) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wait , hold on . wait , hold on .", 10),
        ("well wait hold wait hold wait now", 5),  # a last incomplete round counts
        ("a b c a b", 0),  # not twice in a row
        ("very very good", 2),
        ("so it is , so it is not , so it is", 0),
        ("x y z", 0),
        ("", 0),
        ("a a b b b b", 4),
        ("a b a b c c c c c c", 6),
    ],
)
def test_the_longest_loop_by_hand(text, words):
    assert longest_loop(text.split()) == words


@given(TEXTS)
def test_the_longest_loop_is_that_of_looking_at_every_stretch(words):
    def is_loop(stretch):
        return any(
            all(stretch[k] == stretch[k - p] for k in range(p, len(stretch)))
            for p in range(1, len(stretch) // 2 + 1)
        )

    stretches = [
        words[i:j] for i in range(len(words)) for j in range(i + 2, len(words) + 1)
    ]
    assert longest_loop(words) == max(map(len, filter(is_loop, stretches)), default=0)


@given(TEXTS, st.integers(1, 4))
def test_repetition_and_distinct_are_shares_that_add_to_one(words, n):
    share = distinct(words, n)

    if len(words) < n:
        assert share is repetition(words, n) is None
    else:
        assert 0 < share <= 1
        assert repetition(words, n) == 1 - share


@given(st.lists(st.sampled_from("abcde"), min_size=4, max_size=12))
def test_saying_all_again_and_again_raises_repetition_and_makes_one_loop(words):
    assert longest_loop(words * 3) == len(words * 3)
    assert repetition(words * 3) > repetition(words)


@pytest.mark.parametrize(
    ("text", "lost"), [("", 1), ("a b c", 0), ("a b c d", 0), ("a a a a a a", 2 / 3)]
)
def test_an_empty_text_is_lost_and_a_short_one_is_not(text, lost):
    assert degenerate(written_words(text)) == pytest.approx(lost)
