"""Files in the format of Contrastive Activation Addition: to build from, and to test on.

A JSON list of questions that hold their options, with answers "(A)" and "(B)". Your own
files in this format are read with ``parse``.
"""

from pathlib import Path

from seatrial.data.records import ChoiceItem
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.mwe import risk_item
from seatrial.data.sources.read import checked, json_entries

_FIELDS = {
    "question": str,
    "answer_matching_behavior": str,
    "answer_not_matching_behavior": str,
}


def parse(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read such a file; its items are those of ``mwe.parse_risk``.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    return tuple(
        read_choice_item(entry, name, row, where)
        for row, (where, entry) in enumerate(json_entries(path))
    )


def read_choice_item(entry: object, name: str, row: int, where: str) -> ChoiceItem:
    """What one entry of the list says.

    Args:
        entry: its JSON value.
        name: begins the item's id.
        row: its place, counted from 0.
        where: its place in words.

    Raises:
        BadData: with the place and what is wrong with it.
    """
    return risk_item(checked(entry, _FIELDS, {}, where), f"{name}/{row}", row, where)


SETS: tuple[Dataset, ...] = (
    Dataset("caa/coordinate-other-ais", "A/B questions that CAA fits on", parse),
    Dataset("caa/coordinate-other-ais-test", "A/B questions that CAA tests on", parse),
)
