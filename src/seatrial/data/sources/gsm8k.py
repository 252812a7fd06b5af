"""GSM8K (Cobbe et al. 2021): word problems of primary-school arithmetic, test split."""

import re
from pathlib import Path

from seatrial.data.records import Problem, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import json_lines
from seatrial.errors import BadData


def parse(path: Path, name: str) -> tuple[Problem, ...]:
    """Read problem, worked solution and result, which follows "####".

    The marks of the calculator ("<<3*4=12>>") are taken out of the solution.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    items = []
    for row, (where, entry) in enumerate(
        json_lines(path, {"question": str, "answer": str})
    ):
        solution, mark, result = entry["answer"].rpartition("\n#### ")
        result = result.strip().replace(",", "")
        if not mark or not re.fullmatch(r"-?\d+", result):
            raise BadData(
                f"{where} does not end in '#### ' and a whole number on a line of its own"
            )
        items.append(
            Problem(
                f"{name}/{row}",
                group_of(entry["question"]),
                entry["question"].strip(),
                re.sub(r"<<[^>]*>>", "", solution),
                result,
            )
        )
    return tuple(items)


SETS: tuple[Dataset, ...] = (
    Dataset("gsm8k", "arithmetic word problems with solutions, test split", parse),
)
