"""What a judge is: texts in, scores or "cannot say" out, and no reply lost.

Numbered traps are those of docs/hazards.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, final

from seatrial.errors import BadOption, JudgeFault
from seatrial.types import Prompt


class Scale(NamedTuple):
    """The least and the most that a judge can give."""

    low: float
    high: float

    def holds(self, score: float) -> bool:
        """Whether a number lies on the scale."""
        return self.low <= score <= self.high


@final
@dataclass(frozen=True)
class Judged:
    """A text to be judged, with what led to it and what is looked for."""

    prompt: Prompt
    completion: str
    """What is judged."""
    concept: str
    """What is looked for, in words about the writer, as in ``Concept.about``."""


@final
@dataclass(frozen=True)
class Judgement:
    """What a judge said about one text."""

    score: float | None
    """More means more of the concept. None: the reply cannot be read; never 0 instead."""
    reply: str = ""
    """What the judge said, word for word; empty where it uses no words."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the score is made of, by name; all of them where there is a score."""


class Judge(ABC):
    """Scores texts: a frozen dataclass whose fields are its options.

    It is not told which text is steered, and the same text gets the same score whatever
    stands beside it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One honest line for people who choose."""

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """The least and the most that it can give."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Changes with everything that can change a score, and names no secret."""

    @property
    def kept(self) -> str:
        """Where its raw replies can be read; empty where they are not kept."""
        return ""

    @abstractmethod
    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        """One judgement for each text, in order.

        Raises:
            JudgeFault, Unreachable: if the judge cannot be asked.
        """


MAX_UNREADABLE = 0.05
"""The largest share of replies without a score that is tolerated unless said otherwise
(trap T49): what is lost could still move a mean by a twentieth of the judge's scale."""


def check_bound(bound: float) -> None:
    """Refuse a bound on unreadable replies that is no share.

    Raises:
        BadOption: if it is not in [0, 1).
    """
    if not 0 <= bound < 1:
        raise BadOption(
            f"the share of replies that may be unreadable must lie in [0, 1), not {bound}; "
            f"{MAX_UNREADABLE:g} is usual"
        )


def check_readable(replies: Sequence[str], *, total: int, bound: float, kept: str) -> None:
    """Refuse to go on with a judge that too often gives no score (trap T49).

    Args:
        replies: the unreadable ones, word for word.
        total: how many texts were judged.
        bound: the largest share that is tolerated.
        kept: where raw replies can be read.

    Raises:
        JudgeFault: if more of them are unreadable.
    """
    if len(replies) <= bound * total + 1e-9:
        return
    first = " ".join(replies[0].split())
    shown = first if len(first) <= 60 else first[:60] + "..."
    where = f"Raw replies are kept in {kept}. " if kept else ""
    raise JudgeFault(
        f"{len(replies)} of {total} replies of the judge hold no score that can be read "
        f"({len(replies) / total:.0%}; {bound:.0%} are tolerated), such as {shown!r}. "
        f"{where}Read some, then mend the rubric, take another judge, or raise the bound"
    )
