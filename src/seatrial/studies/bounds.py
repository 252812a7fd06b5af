"""The numbers that bound a study: controls, sizes, and what may still be said to work."""

from dataclasses import dataclass, field
from typing import final

from pydantic import ConfigDict

from seatrial.errors import BadOption

STRICT = ConfigDict(extra="forbid")
"""A key that does not exist is refused."""


@final
@dataclass(frozen=True)
class Controls:
    """How many controls stand beside each method; fewer than this is no trial."""

    __pydantic_config__ = STRICT

    random: int = 5
    """The method's edits in random directions, each with its own seed; at least 3."""
    shuffled: int = 3
    """Refits on pairs with half of the labels swapped; at least 2."""

    def __post_init__(self) -> None:
        if self.random < 3 or self.shuffled < 2:
            raise BadOption(
                "controls cannot be left out: a study needs at least 3 random and 2 "
                f"shuffled ones, not {self.random} and {self.shuffled}"
            )


@final
@dataclass(frozen=True)
class Limits:
    """Largest number of items, by split and for guards; a seeded sample is taken."""

    __pydantic_config__ = STRICT

    fit: int | None = None
    select: int | None = None
    test: dict[str, int] = field(default_factory=dict)
    """By task."""
    prose: int | None = None
    guards: dict[str, int] = field(default_factory=dict)
    """By guard task; that of prose is ``prose``."""

    def __post_init__(self) -> None:
        if "prose" in self.guards:
            raise BadOption("the limit of prose is limits.prose, not limits.guards.prose")
        given = {f"guards.{name}": limit for name, limit in self.guards.items()}
        for key, limit in {"prose": self.prose, **given}.items():
            if limit is not None and limit < 2:
                raise BadOption(
                    f"limits.{key} must be at least 2, so that there is an interval, not "
                    f"{limit}"
                )

    def of_guard(self, name: str) -> int | None:
        """Of one guard task."""
        return self.prose if name == "prose" else self.guards.get(name)


@final
@dataclass(frozen=True)
class Limit:
    """What a steering may do and still be said to work."""

    __pydantic_config__ = STRICT

    perplexity_ratio: float = 1.1
    """Largest acceptable perplexity of neutral prose at doses 1 and -1; unsteered is 1.
    Other guards have no such number: what is beyond all controls there is a price."""
    anti_steerable: float = 1 / 3
    """Largest acceptable share of items that move the wrong way or not at all."""
