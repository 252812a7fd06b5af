"""Factual questions with one certain answer: does a steered model still know the facts?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

from seatrial.data.concepts import FOLDER
from seatrial.data.jsonl import check_texts, read_entries
from seatrial.errors import BadData

OPTIONS = 4
"""Answers to choose from; one in four is right by chance."""


@final
@dataclass(frozen=True)
class Fact:
    """One question with four options, and the same fact as a true and a false sentence.

    The two sentences differ in nothing but the answer: put one of the wrong options in the
    place of the right one, and the true sentence becomes the false one.
    """

    id: str
    domain: str
    """The field of knowledge, such as ``chemistry``."""
    group: str
    """Its topic within the domain; items of one topic never straddle two splits."""
    question: str
    options: tuple[str, ...]
    """Four answers that fit the question, one of them right."""
    correct: int
    """Index of the right option, 0 to 3."""
    true_statement: str
    false_statement: str

    @property
    def answer(self) -> str:
        """The right option."""
        return self.options[self.correct]


def load_facts() -> tuple[Fact, ...]:
    """The 300 facts that ship: 15 domains of 5 topics, each topic 4 items.

    Each of the four positions is right once in every topic, so any split by group leaves
    a constant answerer at exactly one in four. The right option is neither the longest nor
    the shortest more often than that.
    """
    lines = (FOLDER / "facts.jsonl").read_text("utf-8").split("\n")
    return parse_facts(lines, "facts.jsonl")


def parse_facts(lines: Sequence[str], name: str) -> tuple[Fact, ...]:
    """Read facts strictly, one JSON object a line.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    required = [part.name for part in fields(Fact)]
    facts = [_fact(place, entry) for place, entry in read_entries(lines, name, required)]
    if len(facts) > 1 and len({fact.correct for fact in facts}) == 1:
        raise BadData(
            f"{name} is one-sided: option {facts[0].correct} is right in all "
            f"{len(facts)} items, so choosing it always would look like knowledge; put "
            "the right option in other places, too"
        )
    return tuple(facts)


def _fact(place: str, entry: dict) -> Fact:
    check_texts(
        place,
        entry,
        ("id", "domain", "group", "question", "true_statement", "false_statement"),
    )
    options, correct = entry["options"], entry["correct"]
    if not isinstance(options, list) or len(options) != OPTIONS:
        raise BadData(f"{place}: options is {options!r}; write a list of {OPTIONS} texts")
    for k, option in enumerate(options):
        check_texts(f"{place}, option {k}", {"text": option}, ("text",))
    if len({option.casefold().strip() for option in options}) < OPTIONS:
        raise BadData(f"{place}: two options are the same; write {OPTIONS} different ones")
    # A bool is an int to Python, but `true` says nothing about a position.
    if type(correct) is not int or not 0 <= correct < OPTIONS:
        raise BadData(
            f"{place}: correct is {correct!r}; write the index of the right option, 0 to "
            f"{OPTIONS - 1}"
        )
    fact = Fact(**{**entry, "options": tuple(options)})
    if not _differ_in_the_answer(fact):
        raise BadData(
            f"{place}: the statements must differ in the answer only; write the true one "
            f"with {fact.answer!r} and the false one with another option in its place"
        )
    return fact


def _differ_in_the_answer(fact: Fact) -> bool:
    text, right = fact.true_statement, fact.answer
    return any(
        text[: match.start()] + wrong + text[match.end() :] == fact.false_statement
        for match in re.finditer(re.escape(right), text)
        for wrong in fact.options
        if wrong != right
    )
