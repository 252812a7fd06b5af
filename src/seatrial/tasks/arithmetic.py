"""Word problems worked out in free text: can a steered model still calculate?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, final

import numpy as np

from seatrial.data.catalogue import load_records
from seatrial.data.records import Problem
from seatrial.data.split import deal
from seatrial.errors import BadData, BadOption, unknown
from seatrial.tasks.base import Written
from seatrial.types import Completion, Message, Metric, Request, Score, Split

INSTRUCTION = 'Work it out step by step, and end with "The answer is" and the number.'

_NEXT = re.compile(r"^\s*(?:Question|Q|Problem)\s*\d*\s*:", re.MULTILINE)
"""Where a model that does not stop invents the next problem."""

_MARK = re.compile(r"answer\s+is|final answer:|####|\\boxed", re.IGNORECASE)
"""What announces the result. Not "Answer:", which may open the working."""

_NUMBER = re.compile(
    r"(?<![A-Za-z_])"  # not the 3 of MP3
    r"(?P<sign>(?<![\w)\].])[-\u2212])?[$\u20ac\u00a3]?"  # not the minus of 5-3
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)"
)


@final
@dataclass(frozen=True)
class Arithmetic(Written):
    """Share of GSM8K problems (Cobbe et al. 2021) whose written solution ends wrongly.

    The model works a problem out in words. Its result is what ``find_result`` reads, right
    if it is the same number as the published one. Metrics of an item:

    - ``accuracy``: 0 or 1. ``error`` is 1 minus it, and the metric, because a guard's
      metric grows with the damage;
    - ``answered``: whether there was a number at all. A text without one is wrong;
    - ``unfinished``: whether the text ran into ``max_tokens``; where that is common, give
      more of them before reading the error;
    - ``tokens``: how many were written.

    With ``shots``, so many solved problems of the fit split stand before the question as
    earlier turns: the same ones, drawn by the seed, for every question (chain of thought,
    Wei et al. 2022, https://arxiv.org/abs/2201.11903).
    """

    name: ClassVar[str] = "arithmetic"
    summary: ClassVar[str] = "guard: errors in word problems worked out in free text"
    about: ClassVar[Metric] = Metric("error", "share of problems", "guard")
    sources: ClassVar[tuple[str, ...]] = ("gsm8k",)

    splits: Mapping[Split, Sequence[Problem]]
    shots: int = 0
    """How many solved problems stand before the question, as earlier turns."""
    seed: int = 0
    """Of the demonstrations."""
    max_tokens: int = 256
    """How many tokens the model may write."""
    temperature: float = 0.0
    """0 takes the most likely token."""

    def __post_init__(self) -> None:
        if self.shots < 0:
            raise BadOption(f"shots must be 0 or more, not {self.shots}")

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Arithmetic":
        """The guard on the published problems, which are fetched.

        Raises:
            UnknownName: for another source.
            SeatrialError: whatever ``load_dataset`` raises.
        """
        if source not in cls.sources:
            raise unknown("source of word problems", source, cls.sources)
        return cls(deal(load_records(Problem, source), limit, seed=seed), seed=seed)

    def requests(self, split: Split) -> Sequence[Request]:
        """A conversation for each problem.

        Raises:
            BadData: if the fit split has fewer problems than there are shots.
        """
        shown = self._demonstrations()
        return [
            Request(problem.id, problem.group, (*shown, _question(problem)), ())
            for problem in self.splits[split]
        ]

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        results = {p.id: Decimal(p.result) for part in self.splits.values() for p in part}
        return [
            Score(request.id, request.group, _metrics(completion, results[request.id]))
            for request, completion in zip(requests, completions, strict=True)
        ]

    def _demonstrations(self) -> tuple[Message, ...]:
        if not self.shots:
            return ()
        pool = self.splits["fit"]
        if len(pool) < self.shots:
            raise BadData(
                f"{self.shots} shots need as many problems in the fit split, which has "
                f"{len(pool)}; ask for fewer shots"
            )
        order = np.random.default_rng([self.seed, len(pool)]).permutation(len(pool))
        turns = []
        for problem in (pool[k] for k in order[: self.shots]):
            reply = f"{problem.solution}\nThe answer is {problem.result}."
            turns += [_question(problem), Message("assistant", reply)]
        return tuple(turns)


def find_result(text: str) -> Decimal | None:
    r"""The number that a written solution gives as its result; None: it has no number.

    It is the first number after the last "answer is" (or "final answer:", "####"
    or "\boxed"), else the last number of the text. What follows a line that opens another
    question is not read. Thousands may be divided by commas; currency signs and units are
    ignored; a minus counts where it directly precedes the number and is no operator.
    """
    text = _NEXT.split(text, maxsplit=1)[0]
    *_, rest = _MARK.split(text)
    announced = _numbers(rest) if rest != text else []
    if announced:
        return announced[0]
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def _numbers(text: str) -> list[Decimal]:
    return [
        Decimal(("-" if match["sign"] else "") + match["digits"].replace(",", ""))
        for match in _NUMBER.finditer(text)
    ]


def _question(problem: Problem) -> Message:
    return Message("user", f"{problem.question}\n{INSTRUCTION}")


def _metrics(completion: Completion, right: Decimal) -> dict[str, float]:
    result = find_result(completion.text)
    accuracy = float(result == right)
    return {
        "error": 1 - accuracy,
        "accuracy": accuracy,
        "answered": float(result is not None),
        "unfinished": float(completion.finish == "length"),
        "tokens": float(len(completion.token_ids)),
    }
