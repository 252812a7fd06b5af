"""The instructions of AlpacaEval (Li et al. 2023); NON-COMMERCIAL."""

from pathlib import Path

from seatrial.data.records import Question, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import Kinds, json_list

_FIELDS: dict[str, Kinds] = dict.fromkeys(
    ("instruction", "output", "generator", "dataset", "datasplit"), str
)


def parse(path: Path, name: str) -> tuple[Question, ...]:
    """Read the instructions; the outputs beside them are an example model's, no reference.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    return tuple(
        Question(
            f"{name}/{row}",
            group_of(entry["instruction"]),
            (entry["instruction"],),
            category=entry["dataset"],
        )
        for row, (_, entry) in enumerate(json_list(path, _FIELDS))
    )


SETS: tuple[Dataset, ...] = (
    Dataset("alpaca-eval", "open instructions of five collections; non-commercial", parse),
)
