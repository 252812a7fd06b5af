"""Multiple choice: does a steered model still know what the unsteered one knew?"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp
from statistics import fmean
from typing import ClassVar, Literal, final

import numpy as np

from seatrial.data import Fact, load_facts
from seatrial.data.catalogue import load_records
from seatrial.data.records import ChoiceItem
from seatrial.data.sources import clean_prompt, find_datasets
from seatrial.data.split import deal
from seatrial.errors import BadOption, unknown
from seatrial.tasks.base import Scored, shares
from seatrial.types import Answer, Message, Metric, Request, Score, Split

_WORDS = ("true", "false")


@dataclass(frozen=True)
class Choice(Scored):
    """Share of questions whose right option is not the likeliest.

    ``letters`` shows the options and scores their letters, ``texts`` shows the question
    alone and scores each option as its answer. ``true_false`` asks of two statements, one
    true and one false, whether they are (only the facts that ship have them): two requests,
    ``ID/true`` and ``ID/false``, and one score, ``ID``, the mean of both; "true" is offered
    first for half of the items. Metrics of an item:

    - ``accuracy``: 1 if the right option is the likeliest, 1/k if it is one of k that tie,
      else 0; of texts by the mean log-probability per token. ``error`` is 1 minus it, and
      the metric, because a guard's metric grows with the damage.
    - ``margin``: log-probability of the right option minus that of the likeliest other one,
      in nats (of texts: per token). It moves before the accuracy does.
    - ``mass`` (letters, true_false): the probability of all letters, or of both words,
      together. Where it is low, the model was about to say something else and the accuracy
      means little.
    - ``called_true`` (true_false): the share of the two statements that are called true, a
      tie as half of one; 0.5 of who knows, 1 of who always agrees.
    - ``accuracy_of_sums`` (texts): accuracy by the total log-probability, which favours
      short options.

    Letters are dealt so that the right option stands at each of its n positions equally
    often (within one) in what is asked of a split; who likes one letter is right in 1 of n.
    """

    about: ClassVar[Metric] = Metric(
        "error",
        "share of questions",
        "guard",
        bounds=shares("error", "accuracy", "accuracy_of_sums", "called_true", "mass"),
    )

    splits: Mapping[Split, Sequence[ChoiceItem]]
    form: Literal["letters", "texts", "true_false"] = "letters"
    """Whether options are shown and their letters scored, or each is scored as an answer,
    or statements are to be called true or false."""
    order: Literal["balanced", "published"] = "balanced"
    """Whether positions are dealt anew by the seed, or are those of the source."""
    seed: int = 0
    """Of the positions, and of which word is offered first."""

    def __post_init__(self) -> None:
        if self.form != "true_false":
            return
        ids = {item.id for part in self.splits.values() for item in part}
        if unknown_ids := sorted(ids - _statements().keys()):
            raise BadOption(
                f"{unknown_ids[0]} has no true and false statement; form=true_false is for "
                "the facts that ship, others have letters or texts"
            )

    @classmethod
    @abstractmethod
    def items(cls, source: str) -> tuple[ChoiceItem, ...]:
        """All items of one of ``sources``."""

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Choice":
        """The task on a source, or on the items that your own ``.toml`` file describes.

        Raises:
            UnknownName: for a source that is not there.
            BadData: for items of another kind, or too few groups to split.
            SeatrialError: whatever ``load_dataset`` raises where the source is published.
        """
        if source.endswith(".toml"):
            items = load_records(ChoiceItem, source)
        elif source in cls.sources:
            items = cls.items(source)
        else:
            known = [*cls.sources, "or a path to your own .toml file"]
            raise unknown(f"source of {cls.name}", source, known)
        return cls(deal(items, limit, seed=seed), seed=seed)

    def requests(self, split: Split) -> Sequence[Request]:
        """The right option is the first answer; of statements, the right word."""
        items = self.splits[split]
        if self.form == "true_false":
            firsts = _halves(len(items), self.seed)
            return [
                _as_statement(item, first, side)
                for item, first in zip(items, firsts, strict=True)
                for side in _WORDS
            ]
        if self.form == "texts":
            return [_as_texts(item) for item in items]
        if self.order == "published":
            return [_as_letters(item, tuple(range(len(item.options)))) for item in items]
        orders = balanced_orders(items, self.seed)
        return [_as_letters(*each) for each in zip(items, orders, strict=True)]

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        if self.form == "true_false":
            return _of_statements(requests, answers)
        metrics = _of_letters if self.form == "letters" else _of_texts
        return [
            Score(request.id, request.group, metrics(answer))
            for request, answer in zip(requests, answers, strict=True)
        ]


def balanced_orders(items: Sequence[ChoiceItem], seed: int) -> list[tuple[int, ...]]:
    """Options as shown, by item: the right one at each position equally often, within one.

    Items with different numbers of options are balanced apart.
    """
    orders: dict[int, tuple[int, ...]] = {}
    for n in sorted({len(item.options) for item in items}):
        places = [k for k, item in enumerate(items) if len(item.options) == n]
        generator = np.random.default_rng([seed, n, len(places)])
        # Which positions are there once more is chance too, else (A) would always be.
        cycle = np.resize(generator.permutation(n), len(places))
        for k, position in zip(places, generator.permutation(cycle), strict=True):
            right = items[k].correct
            order = [other for other in generator.permutation(n).tolist() if other != right]
            order.insert(int(position), right)
            orders[k] = tuple(order)
    return [orders[k] for k in range(len(items))]


def credit(scores: Sequence[float]) -> float:
    """What the first of several options earns: 1 if it is the largest; ties share."""
    best = max(scores)
    return (scores[0] == best) / sum(score == best for score in scores)


def _as_letters(item: ChoiceItem, order: tuple[int, ...]) -> Request:
    shown = clean_prompt(item, order)
    return Request(item.id, item.group, (Message("user", shown.prompt),), shown.answers)


@cache
def _statements() -> dict[str, Fact]:
    return {fact.id: fact for fact in load_facts()}


def _halves(n: int, seed: int) -> list[str]:
    """Which word is offered first, by item: each equally often, within one."""
    generator = np.random.default_rng([seed, 2, n])
    cycle = np.resize(generator.permutation(2), n)
    return [_WORDS[k] for k in generator.permutation(cycle).tolist()]


def _as_statement(item: ChoiceItem, first: str, side: str) -> Request:
    fact = _statements()[item.id]
    text = fact.true_statement if side == "true" else fact.false_statement
    other = _WORDS[1 - _WORDS.index(first)]
    words = f"{first} or {other}"
    question = f"Is this statement {words}?\n{text}\nAnswer with {words}."
    answers = ("True", "False") if side == "true" else ("False", "True")
    return Request(f"{item.id}/{side}", item.group, (Message("user", question),), answers)


def _as_texts(item: ChoiceItem) -> Request:
    others = [text for k, text in enumerate(item.options) if k != item.correct]
    prompt = (Message("user", item.question),)
    return Request(item.id, item.group, prompt, (item.options[item.correct], *others))


def _of_statements(requests: Sequence[Request], answers: Sequence[Answer]) -> list[Score]:
    """One score for each two requests, ``ID/true`` and ``ID/false``."""
    by_item: dict[tuple[str, str], list[dict[str, float]]] = {}
    for request, answer in zip(requests, answers, strict=True):
        item, _, side = request.id.rpartition("/")
        metrics = _of_letters(answer)
        right = metrics["accuracy"]
        metrics["called_true"] = right if side == "true" else 1 - right
        by_item.setdefault((item, request.group), []).append(metrics)
    return [
        Score(item, group, {name: fmean(m[name] for m in both) for name in both[0]})
        for (item, group), both in by_item.items()
    ]


def _of_letters(answer: Answer) -> dict[str, float]:
    return {**_of(answer.sums), "mass": sum(map(exp, answer.sums))}


def _of_texts(answer: Answer) -> dict[str, float]:
    return {**_of(answer.means), "accuracy_of_sums": credit(answer.sums)}


def _of(scores: Sequence[float]) -> dict[str, float]:
    accuracy = credit(scores)
    return {
        "error": 1 - accuracy,
        "accuracy": accuracy,
        "margin": scores[0] - max(scores[1:]),
    }


@final
@dataclass(frozen=True)
class Facts(Choice):
    """``Choice`` on the facts that ship: four options, 1 in 4 is right by chance.

    Called true or false, 1 in 2 is. Their statements differ in the answer alone.
    """

    name: ClassVar[str] = "facts"
    summary: ClassVar[str] = "guard: errors in plain facts, four options each"
    sources: ClassVar[tuple[str, ...]] = ("facts",)

    @classmethod
    def items(cls, source: str) -> tuple[ChoiceItem, ...]:
        return tuple(
            ChoiceItem(
                fact.id,
                fact.group,
                fact.question,
                fact.options,
                fact.correct,
                category=fact.domain,
            )
            for fact in load_facts()
        )


@final
@dataclass(frozen=True)
class Mmlu(Choice):
    """``Choice`` on exam questions (Hendrycks et al. 2021), cut to two options for CAA.

    Ten questions in each of 57 subjects; one in two is right by chance. CAA's own numbers
    come from ``order="published"``.
    """

    name: ClassVar[str] = "mmlu"
    summary: ClassVar[str] = "guard: errors in exam questions of 57 subjects, two options"
    sources: ClassVar[tuple[str, ...]] = ("mmlu-two-option",)

    @classmethod
    def items(cls, source: str) -> tuple[ChoiceItem, ...]:
        return load_records(ChoiceItem, source)


@final
@dataclass(frozen=True)
class Bbh(Choice):
    """``Choice`` on the letter tasks of BIG-Bench Hard (Suzgun et al. 2022), zero-shot.

    ``bbh`` is all eight tasks together. Options are 2 to 6 by question, so the error by
    chance is the mean of 1 - 1/n over the questions asked. Published numbers are of three
    worked examples and generated answers, and not comparable.
    """

    name: ClassVar[str] = "bbh"
    summary: ClassVar[str] = "guard: errors in reasoning tasks that a letter answers"
    sources: ClassVar[tuple[str, ...]] = (
        "bbh",
        *(entry.name for entry in find_datasets("bbh")),
    )

    @classmethod
    def items(cls, source: str) -> tuple[ChoiceItem, ...]:
        names = cls.sources[1:] if source == "bbh" else (source,)
        return tuple(item for name in names for item in load_records(ChoiceItem, name))
