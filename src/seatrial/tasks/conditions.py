"""Prompt conditions: any task, with something else in its prompts besides what it asks.

Four carry an instruction for or against a behaviour, as Tan et al. 2024 do
(https://arxiv.org/abs/2407.12404), who fit a vector in one condition and measure it in
another. Four put something neutral before each question, as it stands there in use: turns
of a conversation, a system prompt for another job, search results, the use of tools.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar, final, get_args

import numpy as np
from pydantic import TypeAdapter, ValidationError

from seatrial.data import CONCEPTS, load_contexts, load_dialogues
from seatrial.errors import BadData, BadOption, unknown
from seatrial.tasks.base import Instructions, Scored, Task, Written
from seatrial.types import (
    Answer,
    Completion,
    Message,
    Metric,
    Prompt,
    Request,
    Score,
    Split,
    as_text,
)

T = TypeVar("T")

Instructing = Literal[
    "system-positive", "system-negative", "user-positive", "user-negative"
]
Neutral = Literal["dialogue", "system", "retrieval", "tools"]

INSTRUCTING: tuple[Instructing, ...] = get_args(Instructing)
"""``system-...`` replaces the system message by the instruction for or against the
behaviour; ``user-...`` puts it, and a blank line, before the last message of the user.
Plain text knows no roles: both put it in front as a paragraph of its own."""

NEUTRAL: tuple[Neutral, ...] = get_args(Neutral)
"""What stands before each question, and what their size counts:

- ``dialogue``: turns of one everyday conversation;
- ``system``: texts of a system prompt for another job;
- ``retrieval``: passages as a search would return them, in the same message;
- ``tools``: requests that were carried out with tools.

The question itself stays as it is, at the end, so that scores can be compared item by item.
Which context an item gets follows from its id alone, and the first contexts of a size are
those of the size below (of dialogues, where the same one is long enough). A question in
plain text has the context before it as plain text. All contexts ship with the package;
none shows a concept that ships."""

CONDITIONS: tuple[str, ...] = ("base", *INSTRUCTING, *NEUTRAL)
"""``base`` asks as ever."""

TAN: tuple[str, ...] = ("base", *INSTRUCTING)
"""The five conditions of Tan et al.; of plain text there are three, because it knows no
roles."""

SIZE = 2
"""Of a neutral condition, unless said otherwise."""


@final
@dataclass(frozen=True)
class Condition:
    """What prompts carry besides what is asked.

    Raises:
        UnknownName: for a condition that does not exist.
        BadOption: for a size that it does not have.
    """

    name: str = "base"
    size: int | None = None
    """Of a neutral condition, how many contexts; None: ``SIZE``. Others have none."""

    def __post_init__(self) -> None:
        if self.name not in CONDITIONS:
            raise unknown("condition", self.name, CONDITIONS)
        if self.size is None:
            return
        if self.name not in NEUTRAL:
            raise BadOption(
                f"the condition {self.name!r} has no size; {', '.join(NEUTRAL)} have one"
            )
        largest = largest_size(self.name)
        if not 0 <= self.size <= largest:
            raise BadOption(
                f"the size of the condition {self.name!r} is 0 to {largest}, not "
                f"{self.size}"
            )

    @property
    def needs_instructions(self) -> bool:
        """Whether the behaviour must have instructions for and against it."""
        return self.name in INSTRUCTING

    @property
    def label(self) -> str:
        """Its name, and its size where that is not the usual one."""
        size = "" if self.size in (None, SIZE) else f" size={self.size}"
        return f"{self.name}{size}"

    def around(self, prompt: Prompt, item: str, instruction: str) -> Prompt:
        """A prompt in this condition.

        Args:
            prompt: what is asked.
            item: the id of the item that it asks about; decides which context it gets.
            instruction: what an instructing condition says.

        Raises:
            BadData: for a conversation without a message of the user, where one is needed.
        """
        if self.name == "base":
            return prompt
        if self.name.startswith("system-"):
            return _with_system(prompt, instruction)
        if self.name.startswith("user-"):
            return self._before_question(prompt, instruction)
        size = SIZE if self.size is None else self.size
        if size == 0:
            return prompt
        if self.name == "system":
            return _with_system(prompt, _jobs(item, size), keep=True)
        if self.name == "retrieval":
            return self._before_question(prompt, _passages(item, size))
        earlier = _turns if self.name == "dialogue" else _tool_use
        return _with_messages(prompt, earlier(item, size))

    def _before_question(self, prompt: Prompt, text: str) -> Prompt:
        """A text, and a blank line, before the last message of the user."""
        if isinstance(prompt, str):
            return f"{text}\n\n{prompt}"
        places = [k for k, message in enumerate(prompt) if message.role == "user"]
        if not places:
            raise BadData(
                f"the condition {self.name!r} needs a message of the user, and this "
                "conversation has none; ask under base or a system condition"
            )
        last = places[-1]
        question = Message("user", f"{text}\n\n{prompt[last].content}")
        return (*prompt[:last], question, *prompt[last + 1 :])


def read_condition(value: str | Mapping[str, Any] | Condition) -> Condition:
    """A condition from a plain value: its name, or ``{"name": "tools", "size": 2}``.

    Raises:
        UnknownName: for a condition that does not exist.
        BadOption: for another key, or a size that it does not have.
    """
    if isinstance(value, Condition):
        return value
    if isinstance(value, str):
        return Condition(value)
    for key in value:
        if key not in ("name", "size"):
            raise unknown("key of a condition", key, ("name", "size"))
    try:
        size = TypeAdapter(int | None).validate_python(value.get("size"), strict=True)
    except ValidationError as error:
        raise BadOption(
            f"the size of a condition is a whole number, not {value['size']!r}"
        ) from error
    return Condition(str(value.get("name", "base")), size)


def largest_size(name: str) -> int:
    """How many contexts of a neutral condition ship with the package."""
    match name:
        case "dialogue":
            return max(len(dialogue.turns) for dialogue in _dialogues())
        case "system":
            return len(_contexts().system)
        case "retrieval":
            return len(_contexts().paragraphs)
        case _:
            return len(_contexts().transcripts)


@dataclass(frozen=True)
class Conditioned(Task):
    """A task whose prompts carry something else besides; all else is that of the task."""

    task: Task
    condition: Condition
    instruction: str = ""
    """What an instructing condition says; else empty."""

    # One task says here what kinds of task say of all of theirs.
    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"{self.task.name}@{self.condition.label}"

    @property
    def summary(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.summary

    @property
    def about(self) -> Metric:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.about

    @property
    def version(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.version

    @property
    def sources(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.sources

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Conditioned":
        """Refused: it is made from another task.

        Raises:
            BadOption: always.
        """
        raise BadOption(
            f"a task in a condition is not made from a source such as {source!r}; make the "
            "task itself, then in_condition(task, condition, instructions)"
        )

    def requests(self, split: Split) -> Sequence[Request]:
        around = self.condition.around
        return [
            replace(request, prompt=around(request.prompt, request.id, self.instruction))
            for request in self.task.requests(split)
        ]

    def factors(self, split: Split) -> dict[str, dict[str, bool]]:
        return self.task.factors(split)


@final
@dataclass(frozen=True)
class ConditionedScored(Conditioned, Scored):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``Conditioned``, of a task that scores answers."""

    task: Scored

    @property
    def needs_kl(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.needs_kl

    @property
    def needs_top(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.needs_top

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return self.task.score(requests, answers)


@final
@dataclass(frozen=True)
class ConditionedWritten(Conditioned, Written):  # pyright: ignore[reportIncompatibleVariableOverride]
    """``Conditioned``, of a task that scores what the model writes."""

    task: Written

    @property
    def max_tokens(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.max_tokens

    @property
    def temperature(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.task.temperature

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        return self.task.score(requests, completions)


def in_condition(
    task: Task,
    condition: str | Mapping[str, Any] | Condition,
    instructions: Instructions | None = None,
) -> ConditionedScored | ConditionedWritten:
    """A task in a prompt condition; its name is ``propensity@user-negative``.

    Args:
        task: any that scores answers or texts; it is not told.
        condition: as ``read_condition`` takes it.
        instructions: of the behaviour; only what instructs needs them. Those of a source
            are ``kind.instructions(source)``.

    Raises:
        UnknownName: for a condition that does not exist.
        BadData: if there is no instruction where one is needed.
        BadOption: for a size that the condition does not have, or a task that is in a
            condition already.
    """
    condition = read_condition(condition)
    if isinstance(task, Conditioned):
        raise BadOption(
            f"{task.name} is in a condition already; take {task.task.name} itself, so that "
            "its prompts carry one thing besides what it asks"
        )
    instruction = _instruction(task, condition, instructions)
    if isinstance(task, Written):
        return ConditionedWritten(task, condition, instruction)
    assert isinstance(task, Scored)
    return ConditionedScored(task, condition, instruction)


def _instruction(
    task: Task, condition: Condition, instructions: Instructions | None
) -> str:
    if not condition.needs_instructions:
        return ""
    if instructions is None:
        raise BadOption(
            f"{task.name} is about no concept, so nothing says what its prompts are to "
            f"carry; name a concept: {', '.join(CONCEPTS)}, a published set such as "
            "persona/openness, or a path to your own file"
        )
    is_positive = condition.name.endswith("positive")
    words = instructions.encourage if is_positive else instructions.discourage
    if not words.strip():
        raise BadData(
            f"{instructions.behaviour!r} has no instruction "
            f"{'for' if is_positive else 'against'} the "
            'behaviour; name another concept, or add a line {"concept": {"encourage": ..., '
            '"discourage": ...}} to its .jsonl file, or those two keys to a .toml file'
        )
    return words


def _with_system(prompt: Prompt, text: str, *, keep: bool = False) -> Prompt:
    """A system message in front, in place of the one that is there or before its text."""
    if isinstance(prompt, str):
        return f"{text}\n\n{prompt}"
    if prompt[:1] and prompt[0].role == "system":
        # What the question itself tells the model stays nearest to it.
        text = f"{text}\n\n{prompt[0].content}" if keep else text
        prompt = prompt[1:]
    return (Message("system", text), *prompt)


def _with_messages(prompt: Prompt, messages: tuple[Message, ...]) -> Prompt:
    """Messages before the question, and behind its system message."""
    if isinstance(prompt, str):
        return "\n\n".join([as_text(messages), prompt])
    start = 1 if prompt[:1] and prompt[0].role == "system" else 0
    return (*prompt[:start], *messages, *prompt[start:])


def _jobs(item: str, size: int) -> str:
    return "\n\n".join(text.text for text in _drawn(item, _contexts().system)[:size])


def _passages(item: str, size: int) -> str:
    drawn = enumerate(_drawn(item, _contexts().paragraphs)[:size], 1)
    listed = [f"[{k}] {passage.title}\n{passage.text}" for k, passage in drawn]
    return "\n\n".join(["Search results:", *listed])


def _turns(item: str, size: int) -> tuple[Message, ...]:
    dialogues = _drawn(item, _dialogues())
    long = next(dialogue for dialogue in dialogues if len(dialogue.turns) >= size)
    return long.history(size)


def _tool_use(item: str, size: int) -> tuple[Message, ...]:
    transcripts = _drawn(item, _contexts().transcripts)[:size]
    return tuple(message for one in transcripts for message in one.messages)


def _drawn(item: str, choices: Sequence[T]) -> list[T]:
    """The choices in an order that follows from the item's id."""
    digest = hashlib.sha256(item.encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return [choices[k] for k in generator.permutation(len(choices))]


_contexts = cache(load_contexts)
_dialogues = cache(load_dialogues)
