"""FACTOR (Muhlgay et al. 2023): is the true completion likelier than three false ones?"""

from pathlib import Path

from seatrial.data.records import ChoiceItem, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import read_table

_OPTIONS = ("completion", "contradiction_0", "contradiction_1", "contradiction_2")
_NEWS = ("", "full_prefix", "doc_id", *_OPTIONS, "longest_completions",
         "turncated_prefixes")  # fmt: skip
_EXPERT = ("", "Unnamed: 0", "full_prefix", "context", "doc_id", *_OPTIONS,
           "longest_completions", "turncated_prefixes")  # fmt: skip


def parse_news(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read the news set; see ``parse``."""
    return parse(path, name, _NEWS)


def parse_expert(path: Path, name: str) -> tuple[ChoiceItem, ...]:
    """Read the expert answers, where some items share a document; see ``parse``."""
    return parse(path, name, _EXPERT)


def parse(path: Path, name: str, columns: tuple[str, ...]) -> tuple[ChoiceItem, ...]:
    """Read prefixes and completions; the true completion is option 0.

    ``question`` is the prefix cut to the length that the published scorer uses, with the
    white space at its end. Items of one document are one group.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    return tuple(
        ChoiceItem(
            f"{name}/{row}",
            group_of(f"{name} document {entry['doc_id']}"),
            entry["turncated_prefixes"],
            tuple(entry[option] for option in _OPTIONS),
            correct=0,
            category=name.rpartition("/")[2],
            row=row,
            published=entry["full_prefix"],
        )
        for row, (_, entry) in enumerate(read_table(path, columns, may_be_empty=[]))
    )


SETS: tuple[Dataset, ...] = (
    Dataset("factor/news", "a news text and its true or three false sequels", parse_news),
    Dataset(
        "factor/expert",
        "an expert answer and its true or three false sequels",
        parse_expert,
    ),
)
