"""Where the items of a concept come from: shipped, published, or your own file."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from seatrial.data import CONCEPTS, Concept, load_concept
from seatrial.data.jsonl import check_ids
from seatrial.data.records import ChoiceItem, ContrastiveItem, Record, TextPair
from seatrial.data.sources import DATASETS, OWN, find_datasets, load_dataset
from seatrial.data.sources.mwe import clean_items, risk_item, with_behaviour_matching
from seatrial.data.sources.user_files import read_bare, read_own
from seatrial.data.split import contents_of, kinds
from seatrial.errors import BadData, UnknownName, unknown

FAMILIES = ("persona", "ai-risk", "ai-risk-human", "caa")
"""Families of published questions of which one answer shows a behaviour."""

QUESTIONS: tuple[str, ...] = tuple(
    entry.name for family in FAMILIES for entry in find_datasets(family)
)
"""Their names, which name concepts as well."""

PAIRS: tuple[str, ...] = ("paradetox",)
"""Published pairs of texts that name concepts too."""

_LETTER = re.compile(r"\s*\(?([A-Z])\)?[.:]?\s*")
"""An answer that is the letter of an option."""


def read_concept(source: str) -> Concept[Any]:
    """A concept that ships, a published set of questions or pairs, or your own file.

    Where the published labels of a set are inverted they are exchanged, so that the
    matching answer shows the behaviour, and ``about`` says so.

    Args:
        source: a concept by name; a data set such as ``persona/openness``; or a path: a
            ``.jsonl`` file of ``Item`` as ``load_concept`` reads it, pairs (positive,
            negative) or items (question, matching, not_matching) as ``.jsonl``, ``.csv``,
            ``.tsv``, ``.parquet`` or by a ``.toml`` file, or ``.json`` in CAA's format.

    Returns:
        Its items are all ``Item``, ``ChoiceItem`` or ``TextPair``, no text in two groups.

    Raises:
        UnknownName: for a name that is not there.
        BadData: for items of another kind, malformed or one-sided ones.
        BadOption, BadFile, Unreachable, StoreFault: as ``load_dataset``.
    """
    path = Path(source)
    if source in CONCEPTS or (path.suffix == ".jsonl" and _holds_items(path)):
        return load_concept(source)
    if source not in DATASETS and not (path.is_file() and path.suffix in OWN):
        raise _unknown(source)
    items = _contrastive(source, load_dataset(source))
    if source in DATASETS:
        return _published(source, items)
    own = read_own(path) if path.suffix == ".toml" else None
    told = (own.about, own.encourage, own.discourage) if own else ("", "", "")
    about, *instructions = told
    name = name_of(source)
    return Concept(name, "own", about or name, *instructions, items=_own(source, items))


def name_of(source: str) -> str:
    """The name of a concept, which also names files: no slash, folder or ending."""
    if source in CONCEPTS:
        return source
    return source.replace("/", "-") if source in DATASETS else Path(source).stem


def note_on(source: str) -> str:
    """What must be known beside the numbers: labels that were exchanged; mostly empty."""
    if source not in DATASETS or not DATASETS[source].is_inverted:
        return ""
    return (
        f"the published labels of {source} are inverted and were exchanged, so that the "
        "matching answer shows the behaviour"
    )


def asks(item: ContrastiveItem) -> bool:
    """Whether it asks something; some published items are templates never filled in."""
    if not isinstance(item, ChoiceItem) or item.category != "ai-risk":
        return True
    return bool(clean_items([item]))


def _holds_items(path: Path) -> bool:
    """Whether ``load_concept`` is to read, or refuse, a file."""
    if not path.is_file():
        return False
    try:
        return not read_bare(path).kind
    except BadData:
        return True


def _unknown(source: str) -> UnknownName:
    family = source.partition("/")[0]
    found = [entry.name for entry in find_datasets(family)] if family in FAMILIES else []
    names = found or [*CONCEPTS, *(f"{name}/..." for name in FAMILIES), *PAIRS]
    own = f"or a path to your own {', '.join(OWN)} file"
    return unknown("concept", source, [*names, own])


def _contrastive(source: str, records: Sequence[Record]) -> tuple[ContrastiveItem, ...]:
    if not records:
        raise BadData(f"{source} holds no items; give at least a few dozen")
    kept = tuple(r for r in records if isinstance(r, ChoiceItem | TextPair))
    if len(kept) < len(records):
        raise BadData(
            f"{source} holds records of the kind {type(records[0]).__name__}, of which no "
            "side shows a behaviour; give items (question, matching, not_matching) or "
            "pairs (positive, negative), or ask them with another task, such as map"
        )
    for item in kept:
        one, other = (
            item.sides if isinstance(item, ChoiceItem) else (item.positive, item.negative)
        )
        if one == other and source not in DATASETS:
            raise BadData(
                f"{source}: {item.id} has the same text {one!r} on both sides, so it shows "
                "no difference; write another one, or leave it out"
            )
    return joined(kept)


def _published(source: str, items: tuple[ContrastiveItem, ...]) -> Concept[Any]:
    family, _, short = source.rpartition("/")
    told = _descriptions().get(short.removesuffix("-test"), {})
    about = told.get("about", DATASETS[source].summary)
    if DATASETS[source].is_inverted:
        items = with_behaviour_matching(items)  # pyright: ignore[reportArgumentType]
        about = f"{about} (published labels are inverted, and exchanged here)"
    return Concept(
        name_of(source),
        family or source,
        about,
        told.get("encourage", ""),
        told.get("discourage", ""),
        items,
    )


def _own(source: str, items: tuple[ContrastiveItem, ...]) -> tuple[ContrastiveItem, ...]:
    """Your own items, checked; where letters answer, the options come out of the text."""
    check_ids(source, [item.id for item in items])
    choices = [item for item in items if isinstance(item, ChoiceItem)]
    sides = [_LETTER.fullmatch(side) for item in choices for side in item.sides]
    if choices and all(sides):
        items = tuple(map(_with_options, choices))
    # Prompts of Tan et al. and what is left out of their sets are of published items.
    items = tuple(
        replace(item, category="") if isinstance(item, ChoiceItem) else item
        for item in items
    )
    if len(answers := set(kinds(items))) == 1 and (word := answers.pop()) in ("yes", "no"):
        raise BadData(
            f"{source} is one-sided: the matching answer is {word!r} for all {len(items)} "
            "items, so saying it always would look like the behaviour; add items of the "
            "other kind"
        )
    return items


def _with_options(item: ChoiceItem) -> ChoiceItem:
    matching, other = (f"({side.strip(' ().:')})" for side in item.sides)
    entry = {
        "question": item.question,
        "answer_matching_behavior": matching,
        "answer_not_matching_behavior": other,
    }
    return replace(risk_item(entry, item.id, item.row, item.id), group=item.group)


def joined(items: tuple[ContrastiveItem, ...]) -> tuple[ContrastiveItem, ...]:
    """The items with groups that share a text made one, as two rewrites may be alike."""
    leader: dict[str, str] = {}

    def first(group: str) -> str:
        while leader.setdefault(group, group) != group:
            group = leader[group]
        return group

    seen: dict[str, str] = {}
    for item in items:
        for text in contents_of(item):
            plain = " ".join(re.findall(r"\w+", text.lower()))
            leader[first(item.group)] = first(seen.setdefault(plain, item.group))
    return tuple(replace(item, group=first(item.group)) for item in items)


@cache
def _descriptions() -> dict[str, dict[str, str]]:
    """What published sets are about, and the instructions for and against it."""
    text = (files("seatrial.data.sources") / "about.toml").read_text("utf-8")
    return tomllib.loads(text)
