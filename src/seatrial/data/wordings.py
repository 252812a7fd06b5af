"""How a map is asked in words: sentences, a question, an instruction."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import final

from seatrial.data.concepts import FOLDER

ALIASES: dict[str, str] = {"capitalize": "capitalise", "next_item": "next-item"}
"""Published maps that ask the same as one of ours under another name."""


@final
@dataclass(frozen=True)
class Wording:
    """Texts in which ``{x}`` stands for an input of the map.

    The answer follows a sentence after one space, and the sentence ends with it.
    """

    sentences: tuple[str, ...]
    """Three short ones."""
    clauses: str
    """A long one that says what is wanted only several clauses after the input."""
    question: str
    """For a conversation."""
    instruction: str
    """Asks for the map as such; has no ``{x}``."""


@cache
def load_wordings() -> Mapping[str, Wording]:
    """The wordings that ship, by name of the map."""
    tables = tomllib.loads((FOLDER / "wordings.toml").read_text("utf-8"))
    return MappingProxyType(
        {
            name: Wording(**{**entry, "sentences": tuple(entry["sentences"])})
            for name, entry in tables.items()
        }
    )


def wording_of(name: str) -> Wording | None:
    """The wording of a map; None if there is none.

    Args:
        name: of a map that ships, of a published one (``maps/antonym``), or of your own.
    """
    bare = name.removeprefix("maps/")
    return load_wordings().get(ALIASES.get(bare, bare))
