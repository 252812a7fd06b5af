"""The questions of MT-bench (Zheng et al. 2023): two turns each, in eight categories."""

from pathlib import Path

from seatrial.data.records import Question, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import json_lines
from seatrial.errors import BadData


def parse(path: Path, name: str) -> tuple[Question, ...]:
    """Read the questions; some have a reference answer to each turn.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    required = {"question_id": int, "category": str, "turns": list}
    items = []
    for where, entry in json_lines(path, required, {"reference": list}):
        turns, references = entry["turns"], entry.get("reference", [])
        for key, texts in (("turns", turns), ("reference", references)):
            if not all(isinstance(text, str) for text in texts):
                raise BadData(f"{where}: {key} holds other than texts")
        if len(turns) != 2 or len(references) not in (0, 2):
            raise BadData(
                f"{where} has {len(turns)} turns and {len(references)} references; wanted: "
                "2 turns, and 2 references or none"
            )
        items.append(
            Question(
                f"{name}/{entry['question_id']}",
                group_of(turns[0]),
                tuple(turns),
                tuple(references),
                entry["category"],
            )
        )
    return tuple(items)


SETS: tuple[Dataset, ...] = (
    Dataset("mt-bench", "open questions of two turns in eight categories", parse),
)
