"""Paired statements: minimal edits, balanced so that no fixed preference earns anything."""

import json
import re
from collections import Counter
from itertools import combinations
from statistics import mean

import pytest

from seatrial.data.values import ValuePair, load_values, parse_values
from seatrial.errors import BadData

FUNCTION_WORDS = {
    "a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "of", "on", "one",
    "the", "to", "who", "with", "without",
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs():
    return load_values()


def middle(a, b):
    """What is left of two lists of words without their common beginning and end."""
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return a, b


def of_kind(pairs, kind):
    return [pair for pair in pairs if pair.kind == kind]


def agreement(pairs, likes):
    """Share of pairs in which the better-liked sentence is on the side that counts."""
    return mean(likes(pair) == pair.side for pair in pairs)


@pytest.mark.parametrize("kind", ["value", "control"])
def test_there_are_enough_pairs_of_each_kind(pairs, kind):
    assert len(of_kind(pairs, kind)) == 162


def test_every_comparison_has_two_value_pairs_and_two_controls_of_one_category(pairs):
    groups = {pair.group for pair in pairs}
    kinds = Counter((pair.group, pair.kind) for pair in pairs)

    assert len(groups) == 81
    assert kinds == {(group, kind): 2 for group in groups for kind in ("value", "control")}
    assert len({(pair.group, pair.category) for pair in pairs}) == 81


def test_the_categories_cover_many_kinds_of_group(pairs):
    comparisons = Counter(
        category for _, category in {(p.group, p.category) for p in pairs}
    )

    assert set(comparisons) >= {
        "gender", "age", "nationality", "religion", "disability", "profession", "ethnicity"
    }  # fmt: skip
    assert min(comparisons.values()) >= 3


def test_only_values_have_a_stereotype_and_only_controls_a_truth(pairs):
    for pair in pairs:
        if pair.kind == "value":
            assert (pair.expected, pair.side) == ("equal", pair.stereotype)
        else:
            assert (pair.stereotype, pair.side) == ("none", pair.expected)


def test_the_sentences_of_a_pair_differ_only_in_the_few_words_that_name_the_group(pairs):
    for pair in pairs:
        first, second = (sentence.split() for sentence in pair.sentences)
        only_first, only_second = middle(first, second)
        assert 1 <= len(only_first) <= 5 and 1 <= len(only_second) <= 5, pair.id
        shared = pair.ending.split()
        assert first[-len(shared) :] == second[-len(shared) :] == shared, pair.id


def test_the_shared_ending_is_long_enough_to_score_and_does_not_name_the_group(pairs):
    for pair in pairs:
        words = re.findall(r"[a-z-]+", pair.ending.lower())
        assert len(words) >= 3, pair.id
        named = {
            word.lower().strip(",")
            for side in middle(pair.a.split(), pair.b.split())
            for word in side
        }
        assert not (named - FUNCTION_WORDS) & set(words), pair.id


def test_both_sides_count_equally_often_in_every_group_and_begin_alike(pairs):
    """So what a model thinks of the names alone cancels."""
    for group in {pair.group for pair in pairs}:
        for kind in ("value", "control"):
            own = [pair for pair in of_kind(pairs, kind) if pair.group == group]
            assert Counter(pair.side for pair in own) == {"a": 1, "b": 1}, (group, kind)
            assert len({(pair.a, pair.b) for pair in own}) == 1, (group, kind)


def test_whoever_likes_one_side_or_the_longer_name_earns_chance_and_no_more(pairs):
    fixed = [
        lambda pair: "a",
        lambda pair: "b",
        lambda pair: "a" if len(pair.a) > len(pair.b) else "b",
        lambda pair: "a" if pair.a < pair.b else "b",
    ]

    for likes in fixed:
        for kind in ("value", "control"):
            assert agreement(of_kind(pairs, kind), likes) == 0.5
    assert agreement(pairs, lambda pair: pair.side) == 1


def test_the_group_that_stands_first_varies(pairs):
    """Else side a would be the women, the old or the foreign throughout."""
    first = [
        "a" if re.search(r"\b(woman|female|sister|mother|girls?)\b", pair.a) else "b"
        for pair in pairs
        if re.search(r"\b(woman|female|sister|mother|girls?)\b", f"{pair.a} {pair.b}")
        and re.search(r"\b(man|male|brother|father|boys?)\b", f"{pair.a} {pair.b}")
    ]

    assert min(Counter(first).values()) >= 4
    assert len(Counter(first)) == 2


def test_ids_and_sentences_are_all_different(pairs):
    sentences = [sentence for pair in pairs for sentence in pair.sentences]

    assert len({pair.id for pair in pairs}) == len({pair.ending for pair in pairs}) == 324
    assert len(set(sentences)) == len(sentences)


def test_no_ending_is_nearly_that_of_another_comparison(pairs):
    words = {
        pair.id: frozenset(re.findall(r"[a-z]+", pair.ending.lower())) - FUNCTION_WORDS
        for pair in pairs
    }

    close = [
        (one.ending, other.ending)
        for one, other in combinations(pairs, 2)
        if one.group != other.group
        and len(words[one.id] & words[other.id])
        >= 0.6 * len(words[one.id] | words[other.id])
    ]

    assert close == []


def test_texts_are_plain_ascii_sentences(pairs):
    for pair in pairs:
        for sentence in pair.sentences:
            assert sentence.isascii() and " ".join(sentence.split()) == sentence, pair.id
            assert sentence[0].isupper() and sentence.endswith("."), pair.id
            assert sentence.count(".") == 1 or " one's" in sentence, pair.id


def make_entry(k=0, **changes):
    entry = {
        "id": f"own-{k}",
        "group": "pets",
        "category": "owners",
        "kind": "value",
        "a": "The woman with a cat",
        "b": "The woman with a dog",
        "ending": f"reads book number {k}.",
        "expected": "equal",
        "stereotype": "ab"[k % 2],
    }
    return {**entry, **changes}


def read(*entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    return parse_values(lines, "mine.jsonl")


def test_your_own_lines_are_read_pair_by_pair():
    one, other = read(make_entry(0), make_entry(1))

    assert other == ValuePair(**make_entry(1))
    assert (one.side, other.side) == ("a", "b")
    assert one.sentences == (
        "The woman with a cat reads book number 0.",
        "The woman with a dog reads book number 0.",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"note": "x"}, r"mine\.jsonl, line 1 has the fields .*note.*; wanted: id, group"),
        ({"ending": ""}, r"line 1: ending is empty; fill it in"),
        ({"a": 3}, r"line 1: a is 3; write a text in quotes"),
        ({"kind": "fact"}, r"line 1: kind is 'fact'; write one of value, control"),
        ({"expected": "c"}, r"line 1: expected is 'c'; write one of equal, a, b"),
        ({"stereotype": "c"}, r"line 1: stereotype is 'c'; write one of a, b, none"),
        ({"b": "The woman with a cat"}, r"line 1: a and b are both 'The woman with a cat'"),
        ({"expected": "a"}, r"a value pair with expected 'a' and stereotype 'a'; write"),
        (
            {"stereotype": "none"},
            r"a value pair with expected 'equal' and stereotype 'none'",
        ),
        ({"kind": "control"}, r"a control pair with expected 'equal' and stereotype 'a'"),
        ({"kind": "control", "expected": "a"}, r"a control pair with expected 'a' and"),
    ],
)
def test_a_bad_pair_is_refused_with_what_is_wrong(changes, message):
    with pytest.raises(BadData, match=message):
        read(make_entry(0, **changes))


def test_a_group_that_counts_one_side_more_often_is_refused():
    message = "side a counts in 2 and side b in 1 value pairs of group 'pets'.*as many of"
    with pytest.raises(BadData, match=message):
        read(make_entry(0), make_entry(1), make_entry(2))


def test_a_group_that_begins_in_several_ways_is_refused():
    message = "the value pairs of group 'pets' begin in several ways; give all of them the"
    with pytest.raises(BadData, match=message):
        read(make_entry(0), make_entry(1, b="The woman with a goat"))


def test_controls_may_begin_otherwise_than_the_values_of_their_group():
    truth = {"kind": "control", "stereotype": "none", "a": "A cat", "b": "A dog"}

    pairs = read(
        make_entry(0),
        make_entry(1),
        make_entry(2, expected="a", **truth),
        make_entry(3, expected="b", **truth),
    )

    assert [pair.side for pair in pairs] == ["a", "b", "a", "b"]


def test_an_empty_file_is_refused():
    with pytest.raises(BadData, match=r"mine\.jsonl holds no items"):
        read("")
