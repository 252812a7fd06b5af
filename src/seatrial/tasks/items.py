"""Items that nothing is fitted on: loaded as records of one kind, dealt to the splits."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from seatrial.data import sample, split
from seatrial.data.records import Record
from seatrial.data.sources import load_dataset
from seatrial.data.split import Grouped
from seatrial.errors import BadData
from seatrial.types import Split

G = TypeVar("G", bound=Grouped)
R = TypeVar("R", bound=Record)

MEASURED_SHARES: Mapping[Split, float] = {"fit": 0.1, "select": 0.2, "test": 0.7}
"""How groups are dealt where items are only measured on: most of them measure. What is in
``fit`` may serve as demonstrations."""


def deal(items: Sequence[G], limit: int | None, *, seed: int) -> dict[Split, tuple[G, ...]]:
    """Items by split, whole groups by ``MEASURED_SHARES``, at most ``limit`` to test on.

    Raises:
        BadData: if there are too few groups, or two splits share content.
        BadOption: for a limit below 1.
    """
    parts = split(items, MEASURED_SHARES, seed=seed)
    parts["test"] = sample(parts["test"], limit, seed=seed)
    return parts


def load_as(kind: type[R], name: str) -> tuple[R, ...]:
    """The records of a data set that must all be of one kind.

    Raises:
        BadData: if they are of another kind.
        SeatrialError: whatever ``load_dataset`` raises.
    """
    records = load_dataset(name)
    found = [record for record in records if isinstance(record, kind)]
    if len(found) < len(records):
        raise BadData(
            f"{name} holds records of the kind {type(records[0]).__name__}, this task asks "
            f"{kind.__name__}; give another data set or task"
        )
    return tuple(found)
