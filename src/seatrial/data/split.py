"""Splits by group and seed, disjoint by content, and seeded samples; never the first N.

Numbered traps are those of docs/hazards.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import combinations
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from seatrial.data.records import ChoiceItem, ContrastiveItem, Item, TextPair
from seatrial.data.texts import plain
from seatrial.errors import BadData, BadOption
from seatrial.types import SPLITS, Split

DEFAULT_SHARES: Mapping[Split, float] = {"fit": 0.4, "select": 0.2, "test": 0.4}
"""How groups are dealt unless something else is asked for."""

MEASURED_SHARES: Mapping[Split, float] = {"fit": 0.1, "select": 0.2, "test": 0.7}
"""How groups are dealt where items are only measured on: most of them measure. What is in
``fit`` may serve as demonstrations."""


@runtime_checkable
class Grouped(Protocol):
    """A frozen dataclass of texts, with what splitting needs."""

    @property
    def id(self) -> str:
        """Names it in messages."""
        ...

    @property
    def group(self) -> str:
        """Items of one group never straddle two splits."""
        ...


T = TypeVar("T")
G = TypeVar("G", bound=Grouped)
C = TypeVar("C", bound=ContrastiveItem)


def split(
    items: Sequence[G], shares: Mapping[Split, float] = DEFAULT_SHARES, *, seed: int
) -> dict[Split, tuple[G, ...]]:
    """Deal whole groups to fit, select and test.

    Args:
        items: of one concept, map or dataset.
        shares: of the groups, by split; they sum to 1.
        seed: of the shuffle.

    Raises:
        BadOption: if the shares are not positive or do not sum to 1.
        BadData: if there are too few groups, or two splits share content.
    """
    if (
        set(shares) != set(SPLITS)
        or min(shares.values()) <= 0
        or abs(sum(shares.values()) - 1) > 1e-9
    ):
        raise BadOption(
            "shares of fit, select and test must be positive and sum to 1, not "
            f"{dict(shares)}"
        )
    groups = sorted({item.group for item in items})
    if len(groups) < 6:
        raise BadData(
            f"{len(groups)} groups are too few to split: fit, select and test need at "
            "least 2 each; give items distinct `group` values"
        )
    shuffled = np.random.default_rng([seed, len(groups)]).permutation(np.array(groups))
    # Every split keeps at least two groups, however small its share.
    first = min(max(2, round(shares["fit"] * len(groups))), len(groups) - 4)
    second = min(first + max(2, round(shares["select"] * len(groups))), len(groups) - 2)
    dealt = zip(SPLITS, np.split(shuffled, [first, second]), strict=True)
    part_of = {group: name for name, chosen in dealt for group in chosen.tolist()}
    parts: dict[Split, tuple[G, ...]] = {
        name: tuple(item for item in items if part_of[item.group] == name)
        for name in SPLITS
    }
    check_disjoint(parts)
    return parts


def deal(items: Sequence[G], limit: int | None, *, seed: int) -> dict[Split, tuple[G, ...]]:
    """Items by split, whole groups by ``MEASURED_SHARES``, at most ``limit`` to test on.

    Raises:
        BadData: if there are too few groups, or two splits share content.
        BadOption: for a limit below 1.
    """
    parts = split(items, MEASURED_SHARES, seed=seed)
    parts["test"] = sample(parts["test"], limit, seed=seed)
    return parts


def check_disjoint(parts: Mapping[Split, Sequence[Grouped]]) -> None:
    """Refuse splits that share a group or a text, whatever the ids say (traps T38, T39).

    Raises:
        BadData: naming the text that two splits share.
    """
    contents = {
        name: {key: item for item in items for key in _keys(item)}
        for name, items in parts.items()
    }
    for one, other in combinations(parts, 2):
        shared = sorted(set(contents[one]) & set(contents[other]))
        if shared:
            raise BadData(
                f"splits {one!r} and {other!r} share {shared[0]!r} (items "
                f"{contents[one][shared[0]].id} and {contents[other][shared[0]].id}); "
                "remove the copy, or give both items the same `group`"
            )


def check_copies(name: str, items: Sequence[Grouped]) -> None:
    """Refuse a text in two groups: it would count as two, or straddle two splits.

    Raises:
        BadData: naming the text and both items.
    """
    first: dict[str, Grouped] = {}
    for item in items:
        for text in contents_of(item):
            before = first.setdefault(plain(text), item)
            if before.group != item.group:
                raise BadData(
                    f"{name}: items {before.id} and {item.id} hold the same text {text!r}, "
                    f"but stand in two groups, {before.group} and {item.group}; remove the "
                    "copy, or give both one `group`"
                )


def _keys(item: Grouped) -> list[str]:
    return [
        f"group {item.group}",
        *map(plain, contents_of(item)),
    ]


def contents_of(item: Grouped) -> tuple[str, ...]:
    """The texts of an item that must not stand in two groups or two splits."""
    match item:
        case Item():
            matching, other = item.matching_text, item.other_text
            return item.statement, f"{item.prompt} {matching}", f"{item.prompt} {other}"
        case ChoiceItem():
            # In any order, and whichever of them matches; a few published items have
            # options alone.
            question = item.question if re.search(r"\w", item.question) else item.published
            return (" ".join((question, *sorted(item.options))),)
        case TextPair():
            sides = (item.positive, item.negative)
            return tuple(f"{item.prompt} {side}".strip() for side in sides)
    assert is_dataclass(item)
    names = [f.name for f in fields(item) if f.name not in ("id", "group", "row")]
    return (" ".join(str(getattr(item, name)) for name in names),)


def join_groups(items: tuple[ContrastiveItem, ...]) -> tuple[ContrastiveItem, ...]:
    """The items with groups that share a text made one, as two rewrites may be alike."""
    leader: dict[str, str] = {}

    def first(group: str) -> str:
        while leader.setdefault(group, group) != group:
            group = leader[group]
        return group

    seen: dict[str, str] = {}
    for item in items:
        for text in contents_of(item):
            leader[first(item.group)] = first(seen.setdefault(plain(text), item.group))
    return tuple(replace(item, group=first(item.group)) for item in items)


def sample(items: Sequence[T], limit: int | None, *, seed: int) -> tuple[T, ...]:
    """At most ``limit`` things, drawn by seed and kept in their order.

    Raises:
        BadOption: for a limit below 1.
    """
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 1:
        raise BadOption(f"a limit must be at least 1, not {limit}")
    picked = np.random.default_rng([seed, len(items), limit]).permutation(len(items))[
        :limit
    ]
    return tuple(items[k] for k in sorted(picked.tolist()))


def sample_balanced(items: Sequence[C], limit: int | None, *, seed: int) -> tuple[C, ...]:
    """At most ``limit`` items, as many of one of their ``kinds`` as of the other, in order.

    Where no more than ``limit`` items are there, all of them, as they are.

    Raises:
        BadOption: for a limit below 2.
        BadData: if all items are answered by yes, or all by no.
    """
    if limit is None or limit >= len(items):
        return tuple(items)
    if limit < 2:
        raise BadOption(
            f"a limit of items must be at least 2, one of each kind, not {limit}"
        )
    labels = kinds(items)
    if len(set(labels)) == 1:
        if labels[0] in ("yes", "no"):
            raise BadData(
                f"the matching answer is {labels[0]!r} for all {len(items)} items that a "
                f"limit of {limit} is to choose from, so they cannot be balanced; mix both "
                "kinds in every group"
            )
        return sample(items, limit, seed=seed)
    dealt = [
        [item for item, label in zip(items, labels, strict=True) if label == kind]
        for kind in set(labels)
    ]
    each = min(limit // 2, *map(len, dealt))
    kept = {item.id for kind in dealt for item in sample(kind, each, seed=seed)}
    return tuple(item for item in items if item.id in kept)


def kinds(items: Sequence[ContrastiveItem]) -> list[str]:
    """What may come to stand for the behaviour by its share alone, item by item.

    It is the matching answer where all are answered by yes or no. Of other choices it is
    whether the matching one of the two comes first or second, as published. Pairs have
    nothing of the kind: empty.
    """
    words = [_word(item) for item in items]
    if all(words):
        return words
    return [
        ("first" if item.correct < item.other else "second")
        if isinstance(item, ChoiceItem)
        else ""
        for item in items
    ]


def _word(item: ContrastiveItem) -> str:
    if isinstance(item, Item):
        return item.matching
    return item.word if isinstance(item, ChoiceItem) else ""
