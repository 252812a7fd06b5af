"""What a task is: requests to ask and scores to give, steered or not."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from seatrial.data import Concept, Item
from seatrial.data.core import fingerprint
from seatrial.types import Answer, FitData, Pair, Request, Role, Score, Split

Splits = Mapping[Split, Sequence[Item]]


class Task(ABC):
    """A protocol on given items: a frozen dataclass with the items of each split."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One honest line for `seatrial list tasks`."""
    role: ClassVar[Role]
    """target: should move; guard: must not move."""
    metric: ClassVar[str]
    """The metric that verdicts are about; larger means more of the behaviour (or more
    damage)."""
    unit: ClassVar[str]
    needs_kl: ClassVar[bool] = False
    """Whether answers must carry the KL divergence to the unsteered model."""
    version: ClassVar[int] = 1
    """Raised whenever a change could move a number; part of every cell's id."""

    @abstractmethod
    def requests(self, split: Split) -> Sequence[Request]:
        """What is asked, item by item."""

    @abstractmethod
    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        """What the answers are worth, item by item."""


class Target(Task):
    """A task that is about a concept, and that can also supply pairs to fit on."""

    role: ClassVar[Role] = "target"

    @abstractmethod
    def pairs(self, split: Split) -> tuple[Pair, ...]:
        """Contrastive texts of a split, in this task's own format."""

    @abstractmethod
    def describe(self, item: Item) -> str:
        """The item in words, for people who read a report."""


def fit_data(concept: Concept, task: Target) -> FitData:
    """What a method may look at: the fit split of a task."""
    pairs = task.pairs("fit")
    content = [concept.encourage, concept.discourage, *map(repr, pairs)]
    return FitData(
        concept.name, pairs, concept.encourage, concept.discourage, fingerprint(content)
    )
