"""Our own contrastive behaviours, offline, and yours in the same format."""

import tomllib
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

from seatrial.data.jsonl import (
    check_fields,
    check_ids,
    check_texts,
    json_values,
    lines_of,
    read_entries,
)
from seatrial.data.records import Concept, Item
from seatrial.errors import BadData

FOLDER = files("seatrial.data") / "items"

CONCEPTS: tuple[str, ...] = (
    "interest-in-music",
    "agreeableness",
    "power-seeking",
    "positive-sentiment",
    "formality",
    "sycophancy",
    "honesty",
    "corrigibility",
    "risk-taking",
    "interest-in-science",
    "optimism",
    "environmentalism",
    "confidence",
)
"""Names of the concepts that ship with the package."""

_ABOUT = ("category", "about", "encourage", "discourage")
"""What a line about the concept itself may say."""


def shipped_concept(name: str) -> Concept[Item]:
    """One of ``CONCEPTS``."""
    about = tomllib.loads((FOLDER / "concepts.toml").read_text("utf-8"))[name]
    lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").split("\n")
    return Concept(name, items=parse_items(lines, name)[0], **about)


def read_concept_file(path: Path) -> Concept[Item]:
    """A concept out of a ``.jsonl`` file, a JSON object a line with the fields of ``Item``.

    A line with the single key ``concept`` may describe it: ``{"concept": {"about": ...,
    "encourage": ..., "discourage": ...}}``.

    Raises:
        BadData: if the file is empty, malformed, or one-sided.
    """
    items, about = parse_items(lines_of(path), str(path))
    return Concept(
        path.stem,
        str(about.get("category", "own")),
        str(about.get("about", path.stem)),
        str(about.get("encourage", "")),
        str(about.get("discourage", "")),
        items,
    )


def parse_items(lines: Sequence[str], name: str) -> tuple[tuple[Item, ...], dict]:
    """Read items strictly.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    about: dict = {}
    items: list[Item] = []
    for place, entry in json_values(lines, name):
        if isinstance(entry, dict) and set(entry) == {"concept"}:
            about = _described(entry["concept"], place)
        else:
            items.append(read_item(entry, place))
    if not items:
        raise BadData(
            f"{name} holds no items; give at least a few dozen, one JSON object a line"
        )
    for answer in ("yes", "no"):
        if all(item.matching == answer for item in items):
            raise BadData(
                f"{name} is one-sided: the matching answer is {answer!r} for all "
                f"{len(items)} items, so saying it always would look like the behaviour; "
                "add items of the other kind"
            )
    check_ids(name, [item.id for item in items])
    return tuple(items), about


def read_item(entry: object, place: str) -> Item:
    """What one line says.

    Raises:
        BadData: with its place and what is wrong with it.
    """
    required = [part.name for part in fields(Item)]
    entry = check_fields(place, entry, required)
    check_texts(place, entry, required)
    if entry["matching"] not in ("yes", "no"):
        raise BadData(f"{place}: matching is {entry['matching']!r}; write yes or no")
    return Item(**entry)


def _described(about: object, place: str) -> dict:
    if isinstance(about, dict) and set(about) <= set(_ABOUT):
        return about
    keys = ", ".join(about) if isinstance(about, dict) else repr(about)
    raise BadData(f"{place}: a concept is described by {', '.join(_ABOUT)}, not by {keys}")


def load_prose() -> tuple[tuple[str, str], ...]:
    """Neutral passages as (id, text), to see what steering costs elsewhere."""
    lines = (FOLDER / "plain-prose.jsonl").read_text("utf-8").split("\n")
    entries = read_entries(lines, "plain-prose", ("id", "group", "text"))
    return tuple((entry["id"], entry["text"]) for _, entry in entries)
