"""Any task under other prompts: told for or against a behaviour, as system or as user.

The five conditions of Tan et al. 2024 (https://arxiv.org/abs/2407.12404), who fit a
vector in one and measure it in another. Other shifts need no wrapper: maps are asked in
several structures, contexts and languages by their own fields and sources.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

from seatrial.data import CONCEPTS, Concept
from seatrial.data.catalogue import load_concept
from seatrial.errors import BadData, BadOption, unknown
from seatrial.tasks.application import Application
from seatrial.tasks.base import Contrastive, Scored, Task, Written
from seatrial.tasks.generation import Generation, concept_of
from seatrial.tasks.map import Map
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


@dataclass(frozen=True)
class Shifted(Task):
    """A task whose prompts carry an instruction; all else is that of the task."""

    name: ClassVar[str] = "shifted"

    task: Task
    condition: Condition
    instruction: str
    """Empty for ``base``."""

    def __post_init__(self) -> None:
        # Class variables of every other task; of this one they depend on what it asks.
        own = ("summary", "about", "version", "sources")
        is_scored = isinstance(self.task, Scored)
        more = ("needs_kl", "needs_top") if is_scored else ("max_tokens", "temperature")
        for key in (*own, *more):
            object.__setattr__(self, key, getattr(self.task, key))
        object.__setattr__(self, "name", f"{self.task.name}@{self.condition}")

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Shifted":
        """Refused: a shifted task is made from another one.

        Raises:
            BadOption: always.
        """
        raise BadOption(
            f"a shifted task is not made from a source such as {source!r}; make the task "
            "itself, then shifted(task, condition, concept)"
        )

    def requests(self, split: Split) -> Sequence[Request]:
        return [
            replace(
                request,
                prompt=shift_prompt(request.prompt, self.condition, self.instruction),
            )
            for request in self.task.requests(split)
        ]


@final
@dataclass(frozen=True)
class ShiftedTask(Shifted, Scored):
    """``Shifted``, of a task that scores answers."""

    task: Scored

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return self.task.score(requests, answers)


@final
@dataclass(frozen=True)
class ShiftedWriting(Shifted, Written):
    """``Shifted``, of a task that scores what the model writes."""

    task: Written

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        return self.task.score(requests, completions)


def shifted(
    task: Task, condition: str, concept: Concept | FitData
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
    if isinstance(task, Shifted):
        raise BadOption(
            f"{task.name} is shifted already; shift {task.task.name} itself, so that its "
            "prompts carry one instruction"
        )
    instruction = _instruction(concept, condition)
    if isinstance(task, Written):
        return ShiftedWriting(task, condition, instruction)
    assert isinstance(task, Scored)
    return ShiftedTask(task, condition, instruction)


def told_about(task: Task, source: str) -> Concept | FitData:
    """What has the instructions for and against what a task is about.

    Args:
        task: on a concept or a map.
        source: what it was made of.

    Raises:
        BadOption: for a task that is about neither.
        SeatrialError: whatever ``load_concept`` raises.
    """
    if isinstance(task, Map):
        return task.fit_data(shots=0)
    if isinstance(task, Generation):
        return concept_of(source)
    if isinstance(task, Contrastive | Application):
        return load_concept(source)
    raise BadOption(
        f"{task.name} is about no concept, so nothing says what its prompts are to carry; "
        f"name a concept: {', '.join(CONCEPTS)}, a published set such as persona/openness, "
        "or a path to your own file"
    )


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
            'behaviour; name another concept, or add a line {"concept": {"encourage": ..., '
            '"discourage": ...}} to its .jsonl file, or those two keys to a .toml file'
        )
    return words
