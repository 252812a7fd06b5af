"""Where items come from, and how they are split before anything is fitted."""

from seatrial.data.core import CONCEPTS, Concept, Item, load_concept, load_prose
from seatrial.data.split import check_disjoint, sample, sample_balanced, split

__all__ = [
    "CONCEPTS",
    "Concept",
    "Item",
    "check_disjoint",
    "load_concept",
    "load_prose",
    "sample",
    "sample_balanced",
    "split",
]
