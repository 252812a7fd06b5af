"""Anything by name: a concept, a map or records; ours, published, or your own file."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from seatrial.data.concepts import CONCEPTS, read_concept_file, shipped_concept
from seatrial.data.jsonl import check_ids
from seatrial.data.maps import MAPS, merge_inputs, read_map_file, shipped_map
from seatrial.data.records import (
    ChoiceItem,
    Concept,
    ContrastiveItem,
    MapData,
    MapPair,
    Record,
    TextPair,
)
from seatrial.data.sources import DATASETS, OWN, find_datasets, load_dataset
from seatrial.data.sources.mwe import clean_items, risk_item, with_behaviour_matching
from seatrial.data.sources.user_files import read_bare, read_own
from seatrial.data.split import join_groups, kinds
from seatrial.errors import BadData, UnknownName, unknown

R = TypeVar("R", bound=Record)

FAMILIES = ("persona", "ai-risk", "ai-risk-human", "caa")
"""Families of published questions of which one answer shows a behaviour."""

PUBLISHED_QUESTIONS: tuple[str, ...] = tuple(
    entry.name for family in FAMILIES for entry in find_datasets(family)
)
"""Their names, which name concepts as well."""

PUBLISHED_PAIRS: tuple[str, ...] = ("paradetox",)
"""Published pairs of texts that name concepts too."""

PUBLISHED_MAPS: tuple[str, ...] = tuple(
    name for name in DATASETS if name.startswith(("maps/", "extractive/"))
)
"""Published maps; one that ships as well has its name after the slash."""

_LETTER = re.compile(r"\s*\(?([A-Z])\)?[.:]?\s*")
"""An answer that is the letter of an option."""


def load_concept(source: str) -> Concept[Any]:
    """A concept that ships, a published set of questions or pairs, or your own file.

    Where the published labels of a set are inverted they are exchanged, so that the
    matching answer shows the behaviour, and ``about`` says so.

    Args:
        source: a concept by name; a data set such as ``persona/openness``; or a path: a
            ``.jsonl`` file of ``Item`` as ``read_concept_file`` reads it, pairs (positive,
            negative) or items (question, matching, not_matching) as ``.jsonl``, ``.csv``,
            ``.tsv``, ``.parquet`` or by a ``.toml`` file, or ``.json`` in CAA's format.

    Returns:
        Its items are all ``Item``, ``ChoiceItem`` or ``TextPair``, no text in two groups.

    Raises:
        UnknownName: for a name that is not there.
        BadData: for items of another kind, malformed or one-sided ones.
        BadOption, BadFile, Unreachable, StoreFault: as ``load_dataset``.
    """
    if source in CONCEPTS:
        return shipped_concept(source)
    path = Path(source)
    if path.suffix == ".jsonl" and _holds_items(path):
        return read_concept_file(path)
    if source not in DATASETS and not (path.is_file() and path.suffix in OWN):
        raise _unknown_concept(source)
    items = _contrastive(source, load_dataset(source))
    if source in DATASETS:
        return _published(source, items)
    items, name = _own(source, items), name_of(source)
    if path.suffix != ".toml":
        return Concept(name, "own", name, "", "", items)
    own = read_own(path)
    return Concept(name, "own", own.about or name, own.encourage, own.discourage, items)


def load_map(source: str) -> MapData:
    """A map that ships, a published one, or your own file; each input stands once.

    Args:
        source: a map by name; a data set such as ``maps/antonym``; or the path of a
            ``.jsonl`` file as ``read_map_file`` reads it, or of a ``.csv``, ``.tsv``,
            ``.parquet`` or ``.toml`` file with the columns input and output.

    Raises:
        UnknownName: for a name that is not there.
        BadData: for records of another kind, malformed or one-sided ones.
        BadOption, BadFile, Unreachable, StoreFault: as ``load_dataset``.
    """
    if source in MAPS:
        return shipped_map(source)
    path = Path(source)
    if source not in DATASETS and not (path.is_file() and path.suffix in OWN):
        own = "or a path to your own .jsonl, .csv, .tsv, .parquet or .toml file"
        raise unknown("map", source, [*MAPS, *PUBLISHED_MAPS, own])
    if path.suffix == ".jsonl":
        return read_map_file(path)
    pairs = merge_inputs(load_records(MapPair, source), source)
    if source not in DATASETS:
        return MapData(path.stem, path.stem, pairs)
    return MapData(source, DATASETS[source].summary.removeprefix("map: "), pairs)


def load_records(kind: type[R], source: str) -> tuple[R, ...]:
    """The records of a data set, or of your own file, that must all be of one kind.

    Raises:
        BadData: if they are of another kind.
        SeatrialError: whatever ``load_dataset`` raises.
    """
    records = load_dataset(source)
    fitting = tuple(record for record in records if isinstance(record, kind))
    if len(fitting) < len(records):
        raise BadData(
            f"{source} holds records of the kind {type(records[0]).__name__}, this task "
            f"asks {kind.__name__}; give another data set or task"
        )
    return fitting


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
    """Whether ``read_concept_file`` is to read, or refuse, a file."""
    if not path.is_file():
        return False
    try:
        return not read_bare(path).kind
    except BadData:
        return True


def _unknown_concept(source: str) -> UnknownName:
    family = source.partition("/")[0]
    sets = [entry.name for entry in find_datasets(family)] if family in FAMILIES else []
    names = sets or [*CONCEPTS, *(f"{name}/..." for name in FAMILIES), *PUBLISHED_PAIRS]
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
        one, other = item.sides
        if one == other and source not in DATASETS:
            raise BadData(
                f"{source}: {item.id} has the same text {one!r} on both sides, so it shows "
                "no difference; write another one, or leave it out"
            )
    return join_groups(kept)


def _published(source: str, items: tuple[ContrastiveItem, ...]) -> Concept[Any]:
    family, _, short = source.rpartition("/")
    texts = _descriptions().get(short.removesuffix("-test"), {})
    about = texts.get("about", DATASETS[source].summary)
    if DATASETS[source].is_inverted:
        items = with_behaviour_matching(items)  # pyright: ignore[reportArgumentType]
        about = f"{about} (published labels are inverted, and exchanged here)"
    return Concept(
        name_of(source),
        family or source,
        about,
        texts.get("encourage", ""),
        texts.get("discourage", ""),
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


@cache
def _descriptions() -> dict[str, dict[str, str]]:
    """What published sets are about, and the instructions for and against it."""
    text = (files("seatrial.data.sources") / "about.toml").read_text("utf-8")
    return tomllib.loads(text)
