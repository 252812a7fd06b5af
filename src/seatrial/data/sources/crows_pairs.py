"""CrowS-Pairs (Nangia et al. 2020): sentences that tell, or break, a stereotype."""

from pathlib import Path

from seatrial.data.records import StereotypePair, group_of
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.read import read_table
from seatrial.errors import BadData

_COLUMNS = ("", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "annotations",
            "anon_writer", "anon_annotators")  # fmt: skip
_KINDS = {"stereo": True, "antistereo": False}


def parse(path: Path, name: str) -> tuple[StereotypePair, ...]:
    """Read the pairs; the one pair that stands there twice is one group.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    items = []
    for row, (where, entry) in enumerate(read_table(path, _COLUMNS, may_be_empty=[])):
        if entry["stereo_antistereo"] not in _KINDS:
            raise BadData(
                f"{where}: stereo_antistereo is {entry['stereo_antistereo']!r}; wanted: "
                f"{', '.join(_KINDS)}"
            )
        more, less = entry["sent_more"], entry["sent_less"]
        items.append(
            StereotypePair(
                f"{name}/{row}",
                group_of(*sorted([more, less])),
                entry["bias_type"],
                more,
                less,
                _KINDS[entry["stereo_antistereo"]],
            )
        )
    return tuple(items)


SETS: tuple[Dataset, ...] = (
    Dataset(
        "crows-pairs", "sentence pairs that tell or break a stereotype; offensive", parse
    ),
)
