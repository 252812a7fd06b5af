"""What a task is: requests to ask and scores to give, steered or not.

Numbered traps are those of docs/hazards.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import ConfigDict

from seatrial.data import CONCEPTS, DEFAULT_SHARES, Concept, sample, sample_balanced, split
from seatrial.data.catalogue import load_concept
from seatrial.data.records import ContrastiveItem
from seatrial.files import fingerprint
from seatrial.types import (
    Answer,
    Bounds,
    Completion,
    FitData,
    Metric,
    Pair,
    Request,
    Score,
    Split,
)

T = TypeVar("T", bound="Task")

Splits = Mapping[Split, Sequence[ContrastiveItem]]
"""What a concept task asks: items of a concept, questions with two answers, or pairs."""


def is_log_probability(score: float) -> bool:
    """Whether a score can be one, but for rounding; readouts may give others (T14)."""
    return score <= 1e-3


def shares(*metrics: str) -> Bounds:
    """Bounds of metrics that lie between 0 and 1."""
    return dict.fromkeys(metrics, (0.0, 1.0))


class Instructions(NamedTuple):
    """What asks a model for a behaviour, and what asks it for the opposite."""

    behaviour: str
    """Its name."""
    encourage: str
    """Empty where nobody has written it."""
    discourage: str


class Task(ABC):
    """What all tasks have: a frozen dataclass with the items of each split.

    Fields with defaults are its options, and the first sentence under each is what
    `seatrial list options` says of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {
        "use_attribute_docstrings": True,
        "arbitrary_types_allowed": True,
    }

    name: ClassVar[str]
    summary: ClassVar[str]
    """One honest line for `seatrial list tasks`."""
    about: ClassVar[Metric]
    """The number that verdicts are about. One task may say it more exactly than its kind:
    with a judge on another scale, or around another task."""
    version: ClassVar[int] = 1
    """Raised whenever a change could move a number; part of every cell's id."""
    sources: ClassVar[tuple[str, ...]]
    """Names of the items that it can be asked on; the first is the default of `measure`."""

    @classmethod
    @abstractmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Task":
        """The task on the items of a source, split by group and seed.

        Args:
            source: one of ``sources``, or a file of the user's own where the task says so.
            seed: of the split and of the sample.
            limit: at most so many test items, as a seeded sample.

        Raises:
            UnknownName: for a source that is not there.
            BadData: for items that cannot be split or used.
        """

    def narrowed(
        self: T, limits: Mapping[Split, int | None], seeds: Mapping[Split, int]
    ) -> T:
        """The task with at most so many items of each split, as seeded samples.

        Args:
            limits: by split; ``None``: all.
            seeds: of the samples, by split.
        """
        assert is_dataclass(self)
        parts = getattr(self, "splits")  # noqa: B009  who has no such field overrides this
        fewer = {
            name: self.sampled(items, limits.get(name), seed=seeds[name])
            for name, items in parts.items()
        }
        return replace(self, splits=fewer)

    def leaking(self: T) -> T:
        """The task with its test items among those of fit: a published defect."""
        assert is_dataclass(self)
        parts = getattr(self, "splits")  # noqa: B009
        return replace(self, splits={**parts, "fit": (*parts["fit"], *parts["test"])})

    @staticmethod
    def sampled(items: Sequence[Any], limit: int | None, *, seed: int) -> tuple[Any, ...]:
        """At most so many of some items, as a seeded sample."""
        return sample(items, limit, seed=seed)

    @classmethod
    def instructions(cls, source: str) -> Instructions | None:
        """Those for and against the behaviour of a source; None where it is about none.

        Raises:
            SeatrialError: as ``of`` does for the source.
        """
        return None

    @abstractmethod
    def requests(self, split: Split) -> Sequence[Request]:
        """What is asked, item by item."""

    def factors(self, split: Split) -> dict[str, dict[str, bool]]:
        """What should not decide an answer, for every item that is asked, by its id.

        By name, whether it is the matching answer; of most tasks there is nothing.
        """
        return {}


class Scored(Task):
    """A task that scores how likely given answers are."""

    needs_kl: ClassVar[bool] = False
    """Whether answers must carry the KL divergence to the unsteered model."""
    needs_top: ClassVar[bool] = False
    """Whether answers must say which of their tokens are the most likely ones."""

    @abstractmethod
    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        """What the answers are worth, item by item."""


class Written(Task):
    """A task that scores what the model writes; its requests have no answers."""

    max_tokens: int
    """How many tokens the model may write; make it a field, so that it is an option."""
    temperature: float
    """0 takes the most likely token; make it a field, too."""

    @abstractmethod
    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        """What the texts are worth, item by item; an unscorable text has no metrics."""


class Contrastive(Scored):
    """A task that is about a concept, and that can also supply pairs to fit on."""

    sources: ClassVar[tuple[str, ...]] = CONCEPTS
    splits: Splits

    @classmethod
    def of(
        cls,
        source: str,
        *,
        seed: int,
        limit: int | None = None,
        shares: Mapping[Split, float] = DEFAULT_SHARES,
    ) -> "Contrastive":
        """The task on a concept: one that ships, a published set, or your own file.

        Args:
            source: as ``load_concept`` takes it.
            seed: of the split and of the sample.
            limit: at most so many test items, as a seeded and balanced sample.
            shares: of the groups, by split.

        Raises:
            UnknownName, BadData, BadOption, BadFile, Unreachable, StoreFault: as
                ``load_concept``.
            BadData: for items that cannot be split, or that this task cannot ask.
        """
        parts = split(load_concept(source).items, shares, seed=seed)
        parts["test"] = sample_balanced(parts["test"], limit, seed=seed)
        return cls(parts)  # pyright: ignore[reportCallIssue]

    @staticmethod
    def sampled(items: Sequence[Any], limit: int | None, *, seed: int) -> tuple[Any, ...]:
        return sample_balanced(items, limit, seed=seed)

    @classmethod
    def instructions(cls, source: str) -> Instructions:
        return instructions_of(load_concept(source))

    @abstractmethod
    def pairs(self, split: Split) -> tuple[Pair, ...]:
        """Contrastive texts of a split, in this task's own format."""

    @abstractmethod
    def describe(self, item: ContrastiveItem) -> str:
        """The item in words, for people who read a report."""


def instructions_of(concept: Concept) -> Instructions:
    """Those for and against a concept."""
    return Instructions(concept.name, concept.encourage, concept.discourage)


def fit_data(concept: Concept, task: Contrastive) -> FitData:
    """What a method may look at: the fit split of a task."""
    pairs = task.pairs("fit")
    content = [concept.encourage, concept.discourage, *map(repr, pairs)]
    return FitData(
        concept.name, pairs, concept.encourage, concept.discourage, fingerprint(content)
    )
