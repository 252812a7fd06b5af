"""MMLU (Hendrycks et al. 2021), cut to two options for CAA: 10 questions a subject."""

from pathlib import Path

from seatrial.data.records import ChoiceItem, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.lettered import letter_index
from seatrial.data.sources.read import Kinds, json_list
from seatrial.errors import BadData

_FIELDS: dict[str, Kinds] = dict.fromkeys(
    ("prompt", "correct", "incorrect", "correct_full_text", "incorrect_full_text",
     "category"), str,
)  # fmt: skip


def parse(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read questions, their two options in the published order, and the subject.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    items = []
    for row, (where, entry) in enumerate(json_list(path, _FIELDS)):
        correct = letter_index(entry["correct"], 2, where)
        texts = (entry["correct_full_text"], entry["incorrect_full_text"])
        options = texts if correct == 0 else texts[::-1]
        ending = f"\n\nChoices:\n(A) {options[0]}\n(B) {options[1]}"
        if (
            not entry["prompt"].endswith(ending)
            or letter_index(entry["incorrect"], 2, where) == correct
        ):
            raise BadData(f"{where}: the prompt does not end in the two options given")
        question = entry["prompt"].removesuffix(ending)
        items.append(
            ChoiceItem(
                f"{name}/{row}",
                group_of(question),
                question,
                options,
                correct,
                opposite=1 - correct,
                category=entry["category"],
                row=row,
                published=entry["prompt"],
            )
        )
    return tuple(items)


SETS: tuple[Dataset, ...] = (
    Dataset("mmlu-two-option", "exam questions in 57 subjects, cut to two options", parse),
)
