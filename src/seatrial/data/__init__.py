"""Where items come from, and how they are split before anything is fitted."""

from seatrial.data.catalogue import load_concept, load_map
from seatrial.data.concepts import CONCEPTS, load_prose
from seatrial.data.dialogues import Contexts, Conversation, load_contexts, load_dialogues
from seatrial.data.facts import Fact, load_facts
from seatrial.data.maps import MAPS
from seatrial.data.records import Concept, Item, MapData, MapPair
from seatrial.data.split import (
    DEFAULT_SHARES,
    check_disjoint,
    sample,
    sample_balanced,
    split,
)
from seatrial.data.values import ValuePair, load_values

__all__ = [
    "CONCEPTS",
    "DEFAULT_SHARES",
    "MAPS",
    "Concept",
    "Contexts",
    "Conversation",
    "Fact",
    "Item",
    "MapData",
    "MapPair",
    "ValuePair",
    "check_disjoint",
    "load_concept",
    "load_contexts",
    "load_dialogues",
    "load_facts",
    "load_map",
    "load_prose",
    "load_values",
    "sample",
    "sample_balanced",
    "split",
]
