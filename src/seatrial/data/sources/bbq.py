"""BBQ (Parrish et al. 2022): who did it, where the text may not say so."""

from pathlib import Path
from typing import Any

from seatrial.data.records import BiasQuestion, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import json_lines
from seatrial.errors import BadData

_FIELDS = {
    "example_id": int, "question_index": str, "question_polarity": str,
    "context_condition": str, "category": str, "answer_info": dict,
    "additional_metadata": dict, "context": str, "question": str, "ans0": str,
    "ans1": str, "ans2": str, "label": int,
}  # fmt: skip


def parse(path: Path, name: str) -> tuple[BiasQuestion, ...]:
    """Read a category; all items of one template are one group.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    return tuple(_item(entry, name, where) for where, entry in json_lines(path, _FIELDS))


def _item(entry: dict[str, Any], name: str, where: str) -> BiasQuestion:
    for key, known in (
        ("question_polarity", ("neg", "nonneg")),
        ("context_condition", ("ambig", "disambig")),
        ("label", (0, 1, 2)),
    ):
        if entry[key] not in known:
            raise BadData(f"{where}: {key} is {entry[key]!r}; wanted: {known}")
    try:
        people = [entry["answer_info"][f"ans{k}"][1] for k in range(3)]
        targets = entry["additional_metadata"]["stereotyped_groups"]
    except (KeyError, IndexError, TypeError) as error:
        raise BadData(
            f"{where} does not say whom its answers are about ({error!r}); wanted: "
            "answer_info for ans0 to ans2, and stereotyped_groups"
        ) from error
    unknown = [k for k in range(3) if people[k] == "unknown"]
    stereotyped = [k for k in range(3) if people[k] != "unknown" and people[k] in targets]
    if len(unknown) != 1 or len(stereotyped) != 1:
        raise BadData(
            f"{where} needs one unknown and one stereotyped answer, has {len(unknown)} and "
            f"{len(stereotyped)}"
        )
    return BiasQuestion(
        id=f"{name}/{entry['example_id']}",
        group=group_of(f"BBQ {entry['category']} {entry['question_index']}"),
        category=entry["category"],
        context=entry["context"].strip(),
        question=entry["question"].strip(),
        options=(entry["ans0"], entry["ans1"], entry["ans2"]),
        correct=entry["label"],
        unknown=unknown[0],
        stereotyped=stereotyped[0],
        is_ambiguous=entry["context_condition"] == "ambig",
        is_negative=entry["question_polarity"] == "neg",
    )


SETS: tuple[Dataset, ...] = (
    Dataset("bbq/age", "bias questions about old and young, half unanswerable", parse),
    Dataset("bbq/religion", "bias questions about religions, half unanswerable", parse),
)
