"""Whether a text has a phrase in it.

Numbered traps are those of docs/hazards.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.errors import BadOption
from seatrial.files import fingerprint
from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale


@final
@dataclass(frozen=True)
class Regex(Judge):
    """1 where a regular expression is found in the completion, else 0.

    The reply of a judgement is the text that was found. A phrase is a poor sign of most
    behaviours: substrings that were taken for refusals have been seen to flag 70 % of other
    texts (trap T50), so look at ``agreement`` with labels before trusting one.
    """

    name: ClassVar[str] = "regex"
    summary: ClassVar[str] = "1 where a regular expression is found, else 0"

    pattern: str
    """In the syntax of Python's ``re``."""
    ignore_case: bool = True

    def __post_init__(self) -> None:
        try:
            match = self._compiled().search("")
        except re.error as error:
            raise BadOption(
                f"{self.pattern!r} is no regular expression ({error}); put a backslash "
                "before signs that are meant as they are"
            ) from error
        if match:
            raise BadOption(
                f"{self.pattern!r} is found in an empty text, so every text would score 1; "
                "give a pattern that needs at least one character"
            )

    @property
    def scale(self) -> Scale:
        return Scale(0.0, 1.0)

    @property
    def identity(self) -> str:
        return f"regex {fingerprint([self.pattern, self.ignore_case])}"

    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        judgements = []
        for item in texts:
            match = self._compiled().search(item.completion)
            judgements.append(
                Judgement(float(match is not None), match[0] if match else "")
            )
        return judgements

    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.IGNORECASE if self.ignore_case else 0)
