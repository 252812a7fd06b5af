"""Neutral sentences to stand around a query, none of which gives its answer away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import final

import numpy as np

from seatrial.data import MapPair, load_contexts, load_facts, load_prose
from seatrial.data.texts import plain
from seatrial.errors import BadOption


@final
@dataclass(frozen=True)
class Sentence:
    """A neutral sentence."""

    text: str
    passage: int
    """Sentences of one passage belong together, in their order."""
    plain: str
    """Its words in small letters with a space around each."""

    @property
    def words(self) -> int:
        """How long it is, in words."""
        return len(self.text.split())


@final
@dataclass(frozen=True)
class Distractors:
    """Sentences of which none shows a map at work: no input beside its own answer."""

    prose: tuple[Sentence, ...]
    facts: tuple[Sentence, ...]

    def context(
        self, words: int, avoid: Sequence[str], generator: np.random.Generator
    ) -> str:
        """Paragraphs of that many words, of whole sentences; empty for 0.

        The length is met within 3 words or 5 %, whichever is more.

        Args:
            words: the budget.
            avoid: texts that must not be named: an input and its answers.
            generator: draws the passages.

        Raises:
            BadOption: if there is not that much prose.
        """
        if not words:
            return ""
        usable = _without(self.prose, avoid)
        passages = sorted({sentence.passage for sentence in usable})
        rank = {
            passage: int(place)
            for passage, place in zip(
                passages, generator.permutation(len(passages)), strict=True
            )
        }
        usable = sorted(usable, key=lambda sentence: rank[sentence.passage])
        chosen: list[Sentence] = []
        total = 0
        for sentence in usable:
            if total + sentence.words > words:
                break
            chosen.append(sentence)
            total += sentence.words
        # The last one is chosen by its length, so that budgets are met, not undercut.
        rest = usable[len(chosen) :]
        last = min(rest, key=lambda s: abs(words - total - s.words), default=None)
        if last is not None and abs(words - total - last.words) < words - total:
            chosen.append(last)
            total += last.words
        if not chosen or abs(words - total) > max(3, words // 20):
            raise BadOption(
                f"a context of {words} words cannot be made, the nearest has {total}; "
                "ask for more than a few words and fewer than there are, such as 50 to "
                f"{sum(sentence.words for sentence in usable) // 100 * 100}"
            )
        return "\n\n".join(
            " ".join(sentence.text for sentence in paragraph)
            for _, paragraph in groupby(chosen, lambda sentence: sentence.passage)
        )

    def between(
        self, count: int, avoid: Sequence[str], generator: np.random.Generator
    ) -> tuple[str, ...]:
        """So many true statements.

        Args:
            count: how many.
            avoid: texts that must not be named: an input and its answers.
            generator: draws them; fewer are the first ones of more.

        Raises:
            BadOption: if there are not so many.
        """
        if not count:
            return ()
        usable = _without(self.facts, avoid)
        if count > len(usable):
            raise BadOption(
                f"{count} facts are too many, there are {len(usable)} that do not name "
                f"{avoid[0]!r} or its answer"
            )
        order = generator.permutation(len(usable))[:count]
        return tuple(usable[k].text for k in order)


@lru_cache(maxsize=32)  # one map is asked in many conditions
def distractors_for(pairs: tuple[MapPair, ...]) -> Distractors:
    """The sentences that ship, without those that show the map at work.

    A sentence does where it names an input and one of its answers, as "The capital of
    Greece is Athens" does for countries and capitals: it would be a demonstration.
    """
    shown = []
    for pair in pairs:
        query = _plain(pair.input)
        # A letter, and a word that is its own answer, are in any sentence by accident.
        long_answers = [text for text in map(_plain, pair.answers) if len(text) > 3]
        shown.append((query, [text for text in long_answers if text != query]))

    def is_neutral(sentence: Sentence) -> bool:
        text = sentence.plain
        return not any(
            query in text and any(answer in text for answer in answers)
            for query, answers in shown
        )

    prose, facts = _sentences()
    return Distractors(tuple(filter(is_neutral, prose)), tuple(filter(is_neutral, facts)))


@cache
def _sentences() -> tuple[tuple[Sentence, ...], tuple[Sentence, ...]]:
    passages = [text for _, text in load_prose()]
    passages += [paragraph.text for paragraph in load_contexts().paragraphs]
    prose = [
        Sentence(text, number, _plain(text))
        for number, passage in enumerate(passages)
        for text in re.split(r"(?<=[.!?])\s+", passage)
    ]
    facts = [
        Sentence(fact.true_statement, number, _plain(fact.true_statement))
        for number, fact in enumerate(load_facts())
    ]
    return tuple(prose), tuple(facts)


def _without(sentences: Sequence[Sentence], avoid: Sequence[str]) -> list[Sentence]:
    names = [_plain(text) for text in avoid]
    return [
        sentence
        for sentence in sentences
        if not any(name in sentence.plain for name in names)
    ]


def _plain(text: str) -> str:
    """Its words in small letters with a space around each, so that whole words match."""
    return f" {plain(text)} "
