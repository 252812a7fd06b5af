"""Nothing measured was fitted on: splits share no topic and no text, in any process."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.data import (
    CONCEPTS,
    Item,
    check_disjoint,
    load_concept,
    sample,
    sample_balanced,
    split,
)
from seatrial.errors import BadData, BadOption
from seatrial.types import SPLITS

SHARES = {"fit": 0.4, "select": 0.2, "test": 0.4}
SHARE = st.integers(1, 98)


def make_items(groups=10, each=4):
    return tuple(
        Item(
            f"item-{group}-{k}",
            f"group-{group}",
            f"I like number {k} of {group}.",
            "yes" if k % 2 else "no",
            f"Number {k} of {group} came and",
            "was liked.",
            "was not seen.",
        )
        for group in range(groups)
        for k in range(each)
    )


def contents(items):
    texts = [
        (i.statement, f"{i.prompt} {i.matching_text}", f"{i.prompt} {i.other_text}")
        for i in items
    ]
    return {text for line in texts for text in line}


@pytest.mark.parametrize("name", CONCEPTS)
def test_splits_share_neither_topics_nor_texts_for_many_seeds(name):
    items = load_concept(name).items

    for seed in range(25):
        parts = split(items, SHARES, seed=seed)

        assert sorted(i.id for part in parts.values() for i in part) == sorted(
            i.id for i in items
        )
        for one, other in (("fit", "select"), ("fit", "test"), ("select", "test")):
            assert not {i.group for i in parts[one]} & {i.group for i in parts[other]}
            assert not contents(parts[one]) & contents(parts[other])


@pytest.mark.parametrize("name", CONCEPTS)
def test_splits_have_their_shares_and_keep_the_balance(name):
    items = load_concept(name).items
    groups = len({item.group for item in items})

    parts = split(items, SHARES, seed=0)

    for part, share in SHARES.items():
        assert abs(len({item.group for item in parts[part]}) - share * groups) <= 1
        counts = Counter(item.matching for item in parts[part])
        assert counts["yes"] == counts["no"]


def test_another_seed_gives_another_split():
    items = make_items(groups=12)

    draws = {
        tuple(item.id for item in split(items, SHARES, seed=seed)["test"])
        for seed in range(20)
    }

    assert len(draws) > 15


def test_the_order_of_the_items_does_not_change_the_split():
    items = make_items()

    straight, backwards = split(items, SHARES, seed=1), split(items[::-1], SHARES, seed=1)

    for part in SPLITS:
        assert set(straight[part]) == set(backwards[part])


SCRIPT = """
import json, sys
from seatrial.data import load_concept, load_prose, sample, sample_balanced, split
shares = {"fit": 0.4, "select": 0.2, "test": 0.4}
parts = split(load_concept("formality").items, shares, seed=7)
drawn = {name: [item.id for item in items] for name, items in parts.items()}
drawn["balanced"] = [item.id for item in sample_balanced(parts["test"], 10, seed=7)]
drawn["prose"] = [key for key, _ in sample(load_prose(), 5, seed=7)]
print(json.dumps(drawn))
"""


def test_two_processes_draw_the_same_splits_and_samples():
    """Sets of texts have another order in every process (trap T46)."""
    drawn = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert drawn[0] == drawn[1]
    assert {part: len(ids) for part, ids in json.loads(drawn[0]).items()}["balanced"] == 10


COPIES = {
    "statement": lambda original, item: replace(item, statement=original.statement),
    "the same in other letters": lambda original, item: replace(
        item, statement=original.statement.upper().replace(" ", "  ").rstrip(".") + "!"
    ),
    "continuation": lambda original, item: replace(
        item, prompt=original.prompt, matching_text=original.matching_text
    ),
    "the other continuation": lambda original, item: replace(
        item, prompt=original.prompt, other_text=original.other_text
    ),
    "continuations exchanged": lambda original, item: replace(
        item,
        prompt=original.prompt,
        matching_text=original.other_text,
        other_text="came late.",
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_text_in_two_splits_is_refused_by_name_whatever_the_ids_say(copy):
    """Traps T38 and T39: 58-76 % of the test items had been fitted on."""
    items = make_items()
    parts = split(items, SHARES, seed=0)
    original, victim = parts["fit"][0], parts["test"][0]
    leaking = tuple(COPIES[copy](original, i) if i.id == victim.id else i for i in items)

    with pytest.raises(
        BadData, match=rf"splits 'fit' and 'test' share .*{original.id} and {victim.id}"
    ) as error:
        split(leaking, SHARES, seed=0)

    number = original.id.removeprefix("item-").split("-")
    assert f"number {number[1]} of {number[0]}" in str(error.value)
    assert "remove the copy, or give both items the same `group`" in str(error.value)


def test_a_copy_within_one_topic_is_no_leak():
    items = make_items()
    inside = tuple(
        replace(i, statement=items[0].statement) if i.id == items[1].id else i
        for i in items
    )

    for seed in range(10):
        split(inside, SHARES, seed=seed)


def test_a_topic_in_two_splits_is_refused():
    one, *_, other = make_items()

    with pytest.raises(BadData, match="splits 'fit' and 'test' share 'group group-0'"):
        check_disjoint(
            {"fit": [one], "select": [], "test": [replace(other, group=one.group)]}
        )


@pytest.mark.parametrize(
    "shares",
    [
        {"fit": 0.4, "select": 0.2, "test": 0.3},
        {"fit": 0.5, "select": 0.5, "test": 0.5},
        {"fit": 1.0, "select": 0.0, "test": 0.0},
        {"fit": 1.4, "select": -0.2, "test": -0.2},
        {"fit": 0.5, "test": 0.5},
    ],
)
def test_shares_that_are_not_positive_or_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(
        BadOption,
        match=r"shares of fit, select and test must be positive and sum to 1, not \{",
    ):
        split(make_items(), shares, seed=0)


@pytest.mark.parametrize("groups", [1, 5])
def test_too_few_groups_are_refused_with_what_to_do(groups):
    with pytest.raises(
        BadData, match=f"{groups} groups are too few to split: .*distinct `group` values"
    ):
        split(make_items(groups=groups), SHARES, seed=0)


@given(
    groups=st.integers(6, 40),
    shares=st.tuples(SHARE, SHARE, SHARE),
    seed=st.integers(0, 99),
)
def test_every_split_gets_at_least_two_groups_whatever_the_shares(groups, shares, seed):
    wanted = {part: share / sum(shares) for part, share in zip(SPLITS, shares, strict=True)}

    parts = split(make_items(groups=groups, each=2), wanted, seed=seed)

    assert all(len({item.group for item in part}) >= 2 for part in parts.values())
    assert sum(map(len, parts.values())) == 2 * groups


def test_a_sample_is_drawn_by_seed_and_not_the_first_ones():
    """Trap T41: sorted data and a limit give one topic only."""
    things = list(range(100))
    draws = [sample(things, 10, seed=seed) for seed in range(200)]

    assert all(draw == tuple(sorted(set(draw))) and len(draw) == 10 for draw in draws)
    assert tuple(range(10)) not in draws
    counts = Counter(thing for draw in draws for thing in draw)
    # Each is drawn 20 times on average, standard deviation 4.2.
    assert len(counts) == 100
    assert min(counts.values()) >= 5 and max(counts.values()) <= 40


def test_the_same_seed_gives_the_same_sample():
    assert sample(range(50), 7, seed=3) == sample(range(50), 7, seed=3)


@pytest.mark.parametrize("limit", [None, 5, 6])
def test_a_limit_that_does_not_bite_keeps_everything(limit):
    items = make_items(groups=1, each=5)

    assert sample("abcde", limit, seed=0) == tuple("abcde")
    assert sample_balanced(items, limit, seed=0) == items


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(BadOption, match=f"a limit must be at least 1, not {limit}"):
        sample("abc", limit, seed=0)


@pytest.mark.parametrize("limit", [1, 0, -2])
def test_a_limit_of_items_below_two_is_refused(limit):
    with pytest.raises(
        BadOption,
        match=f"a limit of items must be at least 2, one of each kind, not {limit}",
    ):
        sample_balanced(make_items(), limit, seed=0)


@pytest.mark.parametrize("limit", [2, 7, 10, 39])
def test_a_balanced_sample_has_as_many_yes_as_no_in_the_items_order(limit):
    items = make_items()

    for seed in range(10):
        drawn = sample_balanced(items, limit, seed=seed)

        assert Counter(item.matching for item in drawn) == dict.fromkeys(
            ("yes", "no"), limit // 2
        )
        assert [items.index(item) for item in drawn] == sorted(
            items.index(item) for item in drawn
        )


def test_a_balanced_sample_is_spread_over_the_topics_and_not_the_first_ones():
    items = make_items()
    drawn = [item.id for seed in range(60) for item in sample_balanced(items, 8, seed=seed)]

    assert set(drawn) == {item.id for item in items}


def test_a_balanced_sample_of_lopsided_items_is_balanced_too():
    lopsided = tuple(
        item for k, item in enumerate(make_items()) if item.matching == "yes" or k < 6
    )

    drawn = sample_balanced(lopsided, 16, seed=0)

    assert Counter(item.matching for item in drawn) == {"yes": 3, "no": 3}


def test_a_balanced_sample_of_one_kind_is_refused():
    only = tuple(item for item in make_items() if item.matching == "yes")

    with pytest.raises(
        BadData,
        match="the matching answer is 'yes' for all 20 items that a limit of 8 is to",
    ):
        sample_balanced(only, 8, seed=0)
