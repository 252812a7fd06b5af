"""TruthfulQA (Lin et al. 2022): questions that invite a false answer.

Three files: the original 817 questions as published, the same questions with the answer
lists of MC1 and MC2, and the 790 questions of 2025 with one wrong answer chosen (binary).
"""

from pathlib import Path

from seatrial.data.records import ChoiceItem, LetteredPrompt, TruthfulItem, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import json_list, read_table
from seatrial.errors import BadData

_COLUMNS = ("Type", "Category", "Question", "Best Answer", "Correct Answers",
            "Incorrect Answers", "Source")  # fmt: skip
_BINARY = (*_COLUMNS[:4], "Best Incorrect Answer", *_COLUMNS[4:])


def parse(path: Path, name: str) -> tuple[TruthfulItem, ...]:
    """Read the table of questions; answer lists are cut at their semicolons.

    Answers are kept as written; ``closed`` ends them as the published scorers do.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    items = []
    for row, (where, entry) in enumerate(
        read_table(path, _COLUMNS, may_be_empty=["Source"])
    ):
        correct = answers_of(entry["Correct Answers"], where)
        best = entry["Best Answer"].strip()
        if best not in correct:
            raise BadData(f"{where}: the best answer {best!r} is none of the correct ones")
        items.append(
            TruthfulItem(
                f"{name}/{row}",
                group_of(entry["Question"]),
                entry["Question"].strip(),
                best,
                correct,
                answers_of(entry["Incorrect Answers"], where),
                entry["Category"],
                row,
            )
        )
    return tuple(items)


def parse_choices(path: Path, name: str) -> tuple[TruthfulItem, ...]:
    """Read the answer lists of MC1 and MC2, whose false answers are the same.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    required = {"question": str, "mc1_targets": dict, "mc2_targets": dict}
    items = []
    for row, (where, entry) in enumerate(json_list(path, required)):
        best, incorrect = _by_truth(entry["mc1_targets"], where)
        correct, incorrect_mc2 = _by_truth(entry["mc2_targets"], where)
        if len(best) != 1 or best[0] not in correct or set(incorrect) != set(incorrect_mc2):
            raise BadData(
                f"{where}: MC1 must have one true answer, also true in MC2, and the false "
                "answers of MC2"
            )
        items.append(
            TruthfulItem(
                f"{name}/{row}",
                group_of(entry["question"]),
                entry["question"].strip(),
                best[0],
                correct,
                incorrect,
                row=row,
            )
        )
    return tuple(items)


def _by_truth(targets: dict[str, int], where: str) -> list[tuple[str, ...]]:
    """The true answers and the false ones."""
    parts = [tuple(a for a, v in targets.items() if v == right) for right in (1, 0)]
    if not all(parts) or sum(map(len, parts)) != len(targets):
        raise BadData(
            f"{where}: answers must map to 1 (true) or 0 (false), at least one to each"
        )
    return parts


def parse_binary(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read the questions with one true and one false answer; the true one stands first.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    return tuple(
        ChoiceItem(
            f"{name}/{row}",
            group_of(entry["Question"]),
            entry["Question"].strip(),
            (entry["Best Answer"].strip(), entry["Best Incorrect Answer"].strip()),
            correct=0,
            opposite=1,
            category=entry["Category"],
            row=row,
            published=entry["Question"],
        )
        for row, (_, entry) in enumerate(read_table(path, _BINARY, may_be_empty=["Source"]))
    )


def answers_of(cell: str, where: str) -> tuple[str, ...]:
    """The answers of a cell, which semicolons part; empty pieces do not count.

    Raises:
        BadData: if there is none.
    """
    answers = tuple(piece.strip() for piece in cell.split(";") if piece.strip())
    if not answers:
        raise BadData(f"{where} has a cell without answers; part them by semicolons")
    return answers


def closed(answer: str) -> str:
    """An answer with a full stop at its end, as the published scorers give it."""
    return answer if answer.endswith(".") else f"{answer}."


def tan_question(item: TruthfulItem) -> LetteredPrompt:
    """The prompt of Tan et al.: the best answer against the first false one.

    (B) is right in even rows and (A) in odd ones. They read ``truthfulqa-mc`` from another
    copy with the questions in another order, so a question may have the other letter there.
    """
    pair = (item.incorrect[0], item.best) if item.row % 2 == 0 else (
        item.best, item.incorrect[0])  # fmt: skip
    letters = ("(B)", "(A)") if item.row % 2 == 0 else ("(A)", "(B)")
    text = f"{item.question}\n\n(A) {pair[0]}\n(B) {pair[1]}"
    return LetteredPrompt(item.id, item.group, text.strip(), letters)


SETS: tuple[Dataset, ...] = (
    Dataset("truthfulqa", "questions that invite a false answer, the original 817", parse),
    Dataset("truthfulqa-mc", "the same with answer lists of MC1 and MC2", parse_choices),
    Dataset(
        "truthfulqa-binary",
        "revision of 2025, one true and one false answer",
        parse_binary,
    ),
)
