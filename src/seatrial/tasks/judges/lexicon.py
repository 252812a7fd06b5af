"""Sentiment by counting words that people have rated: VADER."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar, final

from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale


@final
@dataclass(frozen=True)
class Lexicon(Judge):
    """VADER's compound score: -1 is all bad, 1 all good (Hutto and Gilbert 2014).

    It looks at the completion only and takes the concept for positive sentiment, whatever
    its words. A text without rated words, and an empty one, is neutral: 0. Made for
    sentences; a long text drifts to an end of the scale. Parts are the shares of the text
    that are ``positive`` and ``negative``.
    """

    name: ClassVar[str] = "lexicon"
    summary: ClassVar[str] = "sentiment by rated words (VADER), from -1 to 1"

    @property
    def scale(self) -> Scale:
        return Scale(-1.0, 1.0)

    @property
    def identity(self) -> str:
        return f"lexicon vader {version('vaderSentiment')}"

    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        return [_judge(item.completion) for item in texts]


def _judge(text: str) -> Judgement:
    polarity = _vader().polarity_scores(text)
    parts = {"positive": polarity["pos"], "negative": polarity["neg"]}
    return Judgement(
        float(polarity["compound"]), "", {k: float(v) for k, v in parts.items()}
    )


@cache
def _vader() -> Any:
    # Loading takes as long as judging thousands of texts, so it waits for the first.
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
