"""BIG-Bench Hard (Suzgun et al. 2022): the tasks that are answered by a letter."""

from pathlib import Path

from seatrial.data.records import ChoiceItem, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.lettered import letter_index, split_options
from seatrial.data.sources.read import json_list

_BROKEN = (
    ("movie_recommendation", 163), ("ruin_names", 99), ("ruin_names", 144), ("snarks", 88),
)  # fmt: skip
"""Items that no letter answers: three had their options cut at the commas inside a name,
such as "Monsters, Inc", and one has a single option."""

_ONE_QUESTION = ("hyperbaton", "snarks")
"""Tasks whose items differ in their options alone."""


def parse(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read a task, without the four items that no letter answers.

    Items are grouped by their question, or by their options where all items of a task ask
    the same.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    items = []
    entries = json_list(path, {"input": str, "target": str}, key="examples")
    task = name.rpartition("/")[2]
    for row, (where, entry) in enumerate(entries):
        if (task, row) in _BROKEN:
            continue
        stem, options = split_options(entry["input"], where)
        question = stem.removesuffix("Options:").rstrip()
        items.append(
            ChoiceItem(
                f"{name}/{row}",
                group_of(*sorted(options)) if task in _ONE_QUESTION else group_of(question),
                question,
                options,
                letter_index(entry["target"], len(options), where),
                category=task,
                row=row,
                published=entry["input"],
            )
        )
    return tuple(items)


TASKS = {
    "date_understanding": "which date is meant",
    "disambiguation_qa": "whom a pronoun means",
    "hyperbaton": "which order of adjectives is right",
    "logical_deduction_three_objects": "which of three objects stands where",
    "movie_recommendation": "which film is like four others",
    "penguins_in_a_table": "questions about a small table",
    "ruin_names": "which misspelt name is funny",
    "snarks": "which of two statements is sarcastic",
}

SETS: tuple[Dataset, ...] = tuple(
    Dataset(f"bbh/{name}", f"reasoning by letters: {about}", parse)
    for name, about in TASKS.items()
)
