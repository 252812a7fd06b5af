"""Whether what the model writes is still a text: repetition, variety, length, emptiness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data import load_dialogues
from seatrial.data.catalogue import load_records
from seatrial.data.records import Question
from seatrial.data.split import deal
from seatrial.errors import unknown
from seatrial.tasks.base import Written, shares
from seatrial.tasks.repetition import distinct, longest_loop, repetition, written_words
from seatrial.types import Completion, Message, Metric, Request, Score, Split


@final
@dataclass(frozen=True)
class Fluency(Written):
    """Share of a reply to an open prompt that is lost to repetition.

    Metrics of an item, over words and signs (``seatrial.tasks.repetition``):

    - ``degenerate``, the metric: the share of 4-grams that stood in the text before, 0 for
      a text too short to have one, 1 for an empty text, which is lost as a whole;
    - ``repetition``: the same share, only of texts that have 4-grams;
    - ``loop``: share of the text in its longest stretch that says the same twice or more;
    - ``distinct_1``, ``distinct_2``, ``distinct_3``: different n-grams divided by all. They
      fall with length, so compare them at equal ``words``;
    - ``words``, ``tokens``: the length;
    - ``empty``: whether nothing but white space was written;
    - ``ended``: whether the model stopped by itself before ``max_tokens``.

    An item lacks a metric that its text is too short for. None of this sees fluent
    nonsense: how likely the unsteered model finds the texts would, but takes a second pass
    that is not made here; ask ``Model.log_probs`` of the texts for it.
    """

    name: ClassVar[str] = "fluency"
    summary: ClassVar[str] = (
        "guard: repetition in replies to open prompts, and their length"
    )
    about: ClassVar[Metric] = Metric(
        "degenerate",
        "share of the text",
        "guard",
        bounds=shares(
            "degenerate", "repetition", "loop", "distinct_1", "distinct_2", "distinct_3"
        ),
    )
    sources: ClassVar[tuple[str, ...]] = ("dialogues", "alpaca-eval", "mt-bench")

    splits: Mapping[Split, Sequence[Question]]
    max_tokens: int = 100
    """How many tokens the model may write."""
    temperature: float = 0.0
    """0 takes the most likely token."""

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Fluency":
        """The guard on the openings of our own dialogues, or on published instructions.

        Raises:
            UnknownName: for a source that is not there.
            SeatrialError: whatever ``load_dataset`` raises where the source is published.
        """
        if source not in cls.sources:
            raise unknown("source of open prompts", source, cls.sources)
        own = source == "dialogues"
        questions = _openings() if own else load_records(Question, source)
        return cls(deal(questions, limit, seed=seed))

    def requests(self, split: Split) -> Sequence[Request]:
        """The first turn of each question."""
        return [
            Request(item.id, item.group, (Message("user", item.turns[0]),), ())
            for item in self.splits[split]
        ]

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        return [
            Score(request.id, request.group, _metrics(completion))
            for request, completion in zip(requests, completions, strict=True)
        ]


def _openings() -> tuple[Question, ...]:
    return tuple(
        Question(talk.id, talk.group, (talk.turns[0].user,)) for talk in load_dialogues()
    )


def _metrics(completion: Completion) -> dict[str, float]:
    words = written_words(completion.text)
    repeated = repetition(words)
    maybe = {
        "repetition": repeated,
        "loop": longest_loop(words) / len(words) if words else None,
        **{f"distinct_{n}": distinct(words, n) for n in (1, 2, 3)},
    }
    return {
        "degenerate": (repeated or 0.0) if words else 1.0,
        **{name: value for name, value in maybe.items() if value is not None},
        "words": float(len(words)),
        "tokens": float(len(completion.token_ids)),
        "empty": float(not completion.text.strip()),
        "ended": float(completion.finish != "length"),
    }
