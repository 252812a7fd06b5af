"""ParaDetox (Logacheva et al. 2022): toxic sentences and neutral rewrites."""

from pathlib import Path

from seatrial.data.records import TextPair, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import read_table

_REWRITES = ("neutral1", "neutral2", "neutral3")


def parse(path: Path, name: str) -> tuple[TextPair, ...]:
    """Read one pair per rewrite, the neutral text as the positive one.

    All rewrites of a sentence are one group. Rewrites that repeat another one, or that
    leave the sentence as it was, make no pair and are left out.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    items = []
    rows = read_table(
        path, ("toxic", *_REWRITES), delimiter="\t", may_be_empty=_REWRITES[1:]
    )
    for row, (_, entry) in enumerate(rows):
        toxic = entry["toxic"].strip()
        rewrites = dict.fromkeys(entry[key].strip() for key in _REWRITES)
        items += [
            TextPair(f"{name}/{row}-{k}", group_of(toxic), rewrite, toxic)
            for k, rewrite in enumerate(rewrites)
            if rewrite not in ("", toxic)
        ]
    return tuple(items)


SETS: tuple[Dataset, ...] = (
    Dataset("paradetox", "toxic sentences with neutral rewrites; offensive", parse),
)
