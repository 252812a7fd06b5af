"""How likely free continuations are that show the behaviour (after Pres et al.)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data import Item
from seatrial.tasks.base import Splits, Target
from seatrial.types import Answer, Pair, Request, Score, Split, Text


@final
@dataclass(frozen=True)
class Open(Target):
    """Mean log-probability per token of the matching continuation minus the other one.

    Both parts are kept, because promoting the behaviour and suppressing its opposite are
    different successes.
    """

    name: ClassVar[str] = "open"
    summary: ClassVar[str] = (
        "free text: log-prob per token of the matching minus the other continuation"
    )
    metric: ClassVar[str] = "open"
    unit: ClassVar[str] = "nats per token"

    splits: Splits

    def requests(self, split: Split) -> Sequence[Request]:
        return [
            Request(
                item.id,
                item.group,
                item.prompt,
                (f" {item.matching_text}", f" {item.other_text}"),
            )
            for item in self.splits[split]
        ]

    def pairs(self, split: Split) -> tuple[Pair, ...]:
        return tuple(
            Pair(
                item.id,
                item.group,
                Text(item.prompt, f" {item.matching_text}"),
                Text(item.prompt, f" {item.other_text}"),
            )
            for item in self.splits[split]
        )

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return [
            Score(
                request.id,
                request.group,
                {
                    "open": answer.means[0] - answer.means[1],
                    "matching": answer.means[0],
                    "other": answer.means[1],
                },
            )
            for request, answer in zip(requests, answers, strict=True)
        ]

    def describe(self, item: Item) -> str:
        return f"{item.prompt} … {item.matching_text} / … {item.other_text}"
