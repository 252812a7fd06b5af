"""Any concept task where it would be used: late in a talk, or among documents and tools."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Literal, TypeVar, final

import numpy as np

from seatrial.data import CONCEPTS, load_contexts, load_dialogues
from seatrial.errors import BadOption
from seatrial.files import digest
from seatrial.tasks.base import Contrastive, Scored
from seatrial.tasks.propensity import Propensity
from seatrial.types import Answer, Message, Metric, Prompt, Request, Score, Split

Setting = Literal["dialogue", "system", "retrieval", "tools"]

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Application(Scored):
    """The items and scores of another task, with something neutral before each question.

    ``dialogue``: the question comes after ``size`` turns of an everyday conversation.
    ``system``: a system prompt for another job, of ``size`` such texts.
    ``retrieval``: ``size`` passages as a search would return them, before the question in
    the same message.
    ``tools``: after ``size`` requests that were carried out with tools.

    The question itself stays as it is, at the end, and so do its answers, so that scores
    can be compared with those of the inner task item by item; size 0 is the inner task.
    Which context an item gets follows from its id alone, and the first contexts of a size
    are those of the size below (of dialogues, where the same one is long enough). A
    question in plain text, as of ``open``, has the context before it as plain text. All
    contexts ship with the package; none shows a concept that ships.
    """

    name: ClassVar[str] = "application"
    summary: ClassVar[str] = (
        "a concept late in a dialogue, or behind a system prompt, search results or tools"
    )
    about: ClassVar[Metric] = replace(Propensity.about, role="transfer")
    sources: ClassVar[tuple[str, ...]] = CONCEPTS

    inner: Contrastive
    """What is asked: any concept task; its metric and unit are taken over."""
    condition: Setting = "dialogue"
    """What stands before the question."""
    size: int = 2
    """How many of them: turns, texts of a system prompt, passages, or transcripts."""

    def __post_init__(self) -> None:
        if self.condition not in LARGEST:
            raise BadOption(
                f"the condition is one of {', '.join(LARGEST)}, not {self.condition!r}"
            )
        largest = LARGEST[self.condition]()
        if not 0 <= self.size <= largest:
            raise BadOption(
                f"the size of the condition {self.condition!r} is 0 to {largest}, not "
                f"{self.size}"
            )
        # Class variables of other tasks; of this one they depend on what it asks.
        for key in ("needs_kl", "needs_top"):
            object.__setattr__(self, key, getattr(self.inner, key))
        about = replace(self.inner.about, role="transfer")
        object.__setattr__(self, "about", about)

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Application":
        """Agreement with statements, after two turns of a dialogue; see the fields.

        Args:
            source: a concept as ``Propensity.of`` takes it.
            seed: of the split and of the sample.
            limit: at most so many test items, as a seeded sample.

        Raises:
            UnknownName: for a concept that is not there.
            BadData: for items that cannot be split or used.
        """
        return cls(Propensity.of(source, seed=seed, limit=limit))

    def requests(self, split: Split) -> Sequence[Request]:
        return [
            replace(request, prompt=self._around(request.prompt, request.id))
            for request in self.inner.requests(split)
        ]

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return self.inner.score(requests, answers)

    def _around(self, prompt: Prompt, item: str) -> Prompt:
        if self.size == 0:
            return prompt
        if self.condition == "system":
            return _with_system(prompt, _system(item, self.size))
        if self.condition == "retrieval":
            return _with_passages(prompt, _passages(item, self.size))
        earlier = _talk if self.condition == "dialogue" else _tool_use
        return _with_messages(prompt, earlier(item, self.size))


def _with_system(prompt: Prompt, text: str) -> Prompt:
    if isinstance(prompt, str):
        return f"{text}\n\n{prompt}"
    if prompt[:1] and prompt[0].role == "system":
        # What the question itself tells the model stays nearest to it.
        return (Message("system", f"{text}\n\n{prompt[0].content}"), *prompt[1:])
    return (Message("system", text), *prompt)


def _with_passages(prompt: Prompt, text: str) -> Prompt:
    if isinstance(prompt, str):
        return f"{text}\n\n{prompt}"
    places = [k for k, message in enumerate(prompt) if message.role == "user"]
    if not places:
        raise BadOption(
            "passages stand in a message of the user, and this conversation has none; use "
            "another condition"
        )
    last = places[-1]
    asked = Message("user", f"{text}\n\n{prompt[last].content}")
    return (*prompt[:last], asked, *prompt[last + 1 :])


def _with_messages(prompt: Prompt, messages: tuple[Message, ...]) -> Prompt:
    if isinstance(prompt, str):
        said = [f"{message.role.title()}: {message.content}" for message in messages]
        return "\n\n".join([*said, prompt])
    start = 1 if prompt[:1] and prompt[0].role == "system" else 0
    return (*prompt[:start], *messages, *prompt[start:])


def _system(item: str, size: int) -> str:
    return "\n\n".join(text.text for text in _drawn(item, _contexts().system)[:size])


def _passages(item: str, size: int) -> str:
    found = enumerate(_drawn(item, _contexts().paragraphs)[:size], 1)
    listed = [f"[{k}] {passage.title}\n{passage.text}" for k, passage in found]
    return "\n\n".join(["Search results:", *listed])


def _talk(item: str, size: int) -> tuple[Message, ...]:
    dialogues = _drawn(item, _dialogues())
    long = next(dialogue for dialogue in dialogues if len(dialogue.turns) >= size)
    return long.history(size)


def _tool_use(item: str, size: int) -> tuple[Message, ...]:
    transcripts = _drawn(item, _contexts().transcripts)[:size]
    return tuple(message for one in transcripts for message in one.messages)


def _drawn(item: str, choices: Sequence[T]) -> list[T]:
    """The choices in an order that follows from the item's id."""
    seed = int.from_bytes(digest([item.encode()])[:8], "big")
    generator = np.random.default_rng(seed)
    return [choices[k] for k in generator.permutation(len(choices))]


_contexts = cache(load_contexts)
_dialogues = cache(load_dialogues)

LARGEST: dict[str, Callable[[], int]] = {
    "dialogue": lambda: max(len(dialogue.turns) for dialogue in _dialogues()),
    "system": lambda: len(_contexts().system),
    "retrieval": lambda: len(_contexts().paragraphs),
    "tools": lambda: len(_contexts().transcripts),
}
"""The largest size of each condition: what ships."""
