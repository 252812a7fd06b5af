"""The forms that data can have, told by their fields, and one line of each read alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from seatrial.data.concepts import read_item
from seatrial.data.dialogues import Conversation
from seatrial.data.facts import Fact
from seatrial.data.jsonl import check_fields, check_texts
from seatrial.data.lint.rows import concept_row, map_row, prose_row
from seatrial.data.lint.sheet import Form, SheetRow
from seatrial.data.maps import read_pair
from seatrial.data.records import Item
from seatrial.data.values import ValuePair
from seatrial.errors import BadFile


def _names(record: type) -> tuple[str, ...]:
    return tuple(part.name for part in fields(record))


FIELDS: dict[Form, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "concept": (_names(Item), ()),
    "map": (("input", "output"), ("also", "group")),
    "pairs": (("positive", "negative"), ("prompt", "id", "group")),
    "items": (("question", "matching", "not_matching"), ("id", "group")),
    "facts": (_names(Fact), ()),
    "values": (_names(ValuePair), ()),
    "dialogues": (_names(Conversation), ()),
    "prose": (("id", "text"), ("group",)),
}
"""Fields that each form needs, and fields that it may have."""

OWN: tuple[Form, ...] = ("concept", "map", "pairs", "items")
"""Forms in which people bring their own data."""


def form_of(entries: Sequence[Mapping[str, Any]], name: str) -> Form:
    """The form that most rows have.

    Raises:
        BadFile: if none has the fields of any form.
    """
    votes: Counter[Form] = Counter()
    for entry in entries:
        for form, (needed, optional) in FIELDS.items():
            if set(needed) <= set(entry):
                # Fields that the form does not know are a fault, but a smaller one.
                votes[form] += 100 - min(99, len(set(entry) - {*needed, *optional}))
    if votes:
        return votes.most_common(1)[0][0]
    choices = "; ".join(f"{form}: {', '.join(FIELDS[form][0])}" for form in OWN)
    seen = f"has {', '.join(map(str, entries[0]))}" if entries else "holds no rows"
    raise BadFile(
        f"{name} {seen}; give every row the fields of one form ({choices}), or a TOML file "
        "that says which column means what"
    )


def read_row(form: Form, line: int, entry: dict[str, Any], stem: str) -> SheetRow:
    """One line of a concept, a map or neutral prose.

    Args:
        form: one of those three.
        line: its number.
        entry: what it says.
        stem: begins the ids of a map's pairs.

    Raises:
        BadData: with what is wrong with it.
    """
    place = "this row"
    if form == "map":
        return map_row(line, read_pair(entry, place, stem))
    if form == "concept":
        return concept_row(line, read_item(entry, place))
    assert form == "prose"
    needed, optional = FIELDS[form]
    required = [*needed, *(key for key in optional if key in entry)]
    check_fields(place, entry, required)
    check_texts(place, entry, required)
    return prose_row(line, entry)
