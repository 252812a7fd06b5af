"""Any task under other prompts: told for or against a behaviour, as system or as user.

The five conditions of Tan et al. 2024 (https://arxiv.org/abs/2407.12404), who fit a
vector in one and measure it in another. Other shifts need no wrapper: maps are asked in
several structures, contexts and languages by their own fields and sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NoReturn, final

from seatrial.data import Concept
from seatrial.errors import BadData, BadOption, unknown
from seatrial.tasks.base import Protocol, Task, Writing
from seatrial.types import (
    Answer,
    Completion,
    FitData,
    Message,
    Prompt,
    Request,
    Score,
    Split,
)

Condition = Literal[
    "base", "system-positive", "system-negative", "user-positive", "user-negative"
]
CONDITIONS: tuple[Condition, ...] = (
    "base",
    "system-positive",
    "system-negative",
    "user-positive",
    "user-negative",
)
"""``base`` asks as ever. ``system-...`` replaces the system message by the instruction for
or against the behaviour; ``user-...`` puts it, and a blank line, before the last message
of the user. Plain text knows no roles: both put it in front as a paragraph of its own, so
there are three different conditions of such a task, not five."""


@final
@dataclass(frozen=True)
class ShiftedTask(Task):
    """A task whose prompts carry an instruction; all else is that of the task."""

    name: ClassVar[str] = "shifted"

    task: Task
    condition: Condition
    instruction: str
    """Empty for ``base``."""

    def __post_init__(self) -> None:
        _take_over(self, self.task, self.condition)

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "ShiftedTask":
        """Refused: a shifted task is made from another one.

        Raises:
            BadOption: always.
        """
        _refuse(source)

    def requests(self, split: Split) -> Sequence[Request]:
        return _shifted_requests(self.task, split, self.condition, self.instruction)

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return self.task.score(requests, answers)


@final
@dataclass(frozen=True)
class ShiftedWriting(Writing):
    """The same for a task that scores what the model writes."""

    name: ClassVar[str] = "shifted"

    task: Writing
    condition: Condition
    instruction: str
    """Empty for ``base``."""
    max_tokens: int = field(init=False)
    temperature: float = field(init=False)

    def __post_init__(self) -> None:
        _take_over(self, self.task, self.condition, "max_tokens", "temperature")

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "ShiftedWriting":
        """Refused: a shifted task is made from another one.

        Raises:
            BadOption: always.
        """
        _refuse(source)

    def requests(self, split: Split) -> Sequence[Request]:
        return _shifted_requests(self.task, split, self.condition, self.instruction)

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        return self.task.score(requests, completions)


def shifted(
    task: Protocol, condition: str, concept: Concept | FitData
) -> ShiftedTask | ShiftedWriting:
    """A task under one of ``CONDITIONS``; its name is ``propensity@user-negative``.

    Args:
        task: any that scores answers or texts; it is not told.
        condition: what the prompts are to carry.
        concept: has the instruction for the behaviour and the one against it.

    Raises:
        UnknownName: for a condition that does not exist.
        BadData: if the concept has no such instruction.
        BadOption: for a task that is shifted already.
    """
    if condition not in CONDITIONS:
        raise unknown("condition", condition, CONDITIONS)
    if isinstance(task, ShiftedTask | ShiftedWriting):
        raise BadOption(
            f"{task.name} is shifted already; shift {task.task.name} itself, so that its "
            "prompts carry one instruction"
        )
    instruction = _instruction(concept, condition)
    if isinstance(task, Writing):
        return ShiftedWriting(task, condition, instruction)
    assert isinstance(task, Task)
    return ShiftedTask(task, condition, instruction)


def shift_prompt(prompt: Prompt, condition: Condition, instruction: str) -> Prompt:
    """A prompt under a condition.

    Raises:
        BadData: for a conversation in which the user says nothing, under ``user-...``.
    """
    if condition == "base":
        return prompt
    if isinstance(prompt, str):
        return f"{instruction}\n\n{prompt}"
    if condition.startswith("system"):
        turns = prompt[1:] if prompt and prompt[0].role == "system" else prompt
        return (Message("system", instruction), *turns)
    places = [k for k, message in enumerate(prompt) if message.role == "user"]
    if not places:
        raise BadData(
            f"the condition {condition!r} needs a message of the user, and this "
            "conversation has none; ask under base or a system condition"
        )
    last = places[-1]
    told = Message("user", f"{instruction}\n\n{prompt[last].content}")
    return (*prompt[:last], told, *prompt[last + 1 :])


def _instruction(concept: Concept | FitData, condition: Condition) -> str:
    if condition == "base":
        return ""
    is_positive = condition.endswith("positive")
    words = concept.encourage if is_positive else concept.discourage
    if not words.strip():
        name = concept.name if isinstance(concept, Concept) else concept.concept
        raise BadData(
            f"{name!r} has no instruction {'for' if is_positive else 'against'} the "
            'behaviour; add a line {"concept": {"encourage": ..., "discourage": ...}} to '
            "its file"
        )
    return words


def _shifted_requests(
    task: Protocol, split: Split, condition: Condition, instruction: str
) -> list[Request]:
    return [
        replace(request, prompt=shift_prompt(request.prompt, condition, instruction))
        for request in task.requests(split)
    ]


def _take_over(
    shift: ShiftedTask | ShiftedWriting, task: Protocol, condition: str, *more: str
) -> None:
    """Give a shifted task what its task says about itself, under a name that tells both.

    They are class variables of every other task, and of this one they depend on the task.
    """
    own = ("summary", "role", "metric", "unit", "version", "sources")
    needs = ("needs_kl", "needs_top") if isinstance(task, Task) else ()
    for key in (*own, *needs, *more):
        object.__setattr__(shift, key, getattr(task, key))
    object.__setattr__(shift, "name", f"{task.name}@{condition}")


def _refuse(source: str) -> NoReturn:
    raise BadOption(
        f"a shifted task is not made from a source such as {source!r}; make the task "
        "itself, then shifted(task, condition, concept)"
    )
