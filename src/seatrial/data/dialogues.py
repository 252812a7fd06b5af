"""Neutral dialogues and contexts: does steering hold later in a talk, or among noise?"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

from seatrial.data.concepts import FOLDER
from seatrial.data.jsonl import check_fields, check_ids, check_texts, read_entries
from seatrial.errors import BadData, BadOption
from seatrial.types import Message


@final
@dataclass(frozen=True)
class Turn:
    """What the user says, and what the assistant replies."""

    user: str
    assistant: str


@final
@dataclass(frozen=True)
class Conversation:
    """An everyday conversation in which nothing is shown that a concept is about.

    Since a turn is both a question and its reply, roles always alternate and the last
    message is the assistant's.
    """

    id: str
    group: str
    """Its topic."""
    turns: tuple[Turn, ...]

    def history(self, turns: int) -> tuple[Message, ...]:
        """The first so many turns, to put a question of one's own behind them.

        Raises:
            BadOption: if the dialogue has fewer turns.
        """
        if not 0 <= turns <= len(self.turns):
            raise BadOption(
                f"{self.id} has {len(self.turns)} turns, so its history can hold 0 to "
                f"{len(self.turns)} of them, not {turns}"
            )
        return tuple(
            message
            for turn in self.turns[:turns]
            for message in (
                Message("user", turn.user),
                Message("assistant", turn.assistant),
            )
        )

    def before_reply(self, turn: int) -> tuple[Message, ...]:
        """All that stands before the reply of a turn, counted from 0.

        Raises:
            BadOption: if there is no such turn.
        """
        if not 0 <= turn < len(self.turns):
            raise BadOption(
                f"{self.id} has no turn {turn}; its turns are 0 to {len(self.turns) - 1}"
            )
        return (*self.history(turn), Message("user", self.turns[turn].user))


@final
@dataclass(frozen=True)
class SystemPrompt:
    """Instructions for a job that has nothing to do with what is measured."""

    id: str
    text: str


@final
@dataclass(frozen=True)
class Paragraph:
    """A passage as a search would return it."""

    id: str
    title: str
    text: str


@final
@dataclass(frozen=True)
class Step:
    """One use of a tool."""

    call: str
    """As in ``weather(place="Leeds")``."""
    result: str


@final
@dataclass(frozen=True)
class Transcript:
    """A request that was carried out with tools."""

    id: str
    request: str
    steps: tuple[Step, ...]
    reply: str
    """What the assistant says in the end."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The transcript in the two roles that every chat template knows.

        A call is an assistant's message that starts with ``Call:``, its result a user's
        that starts with ``Result:``.
        """
        return (
            Message("user", self.request),
            *(
                message
                for step in self.steps
                for message in (
                    Message("assistant", f"Call: {step.call}"),
                    Message("user", f"Result: {step.result}"),
                )
            ),
            Message("assistant", self.reply),
        )


@final
@dataclass(frozen=True)
class Contexts:
    """What may stand around a question without having to do with it."""

    system: tuple[SystemPrompt, ...]
    paragraphs: tuple[Paragraph, ...]
    transcripts: tuple[Transcript, ...]


def load_dialogues() -> tuple[Conversation, ...]:
    """The 40 dialogues that ship: 10 each of 3, 4, 5 and 6 turns."""
    lines = (FOLDER / "dialogues.jsonl").read_text("utf-8").split("\n")
    return parse_dialogues(lines, "dialogues.jsonl")


def parse_dialogues(lines: Sequence[str], name: str) -> tuple[Conversation, ...]:
    """Read dialogues strictly, one JSON object a line.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    required = [part.name for part in fields(Conversation)]
    dialogues = []
    for place, entry in read_entries(lines, name, required):
        check_texts(place, entry, ("id", "group"))
        turns = tuple(Turn(**part) for part in _parts(place, entry, "turns", Turn))
        dialogues.append(Conversation(entry["id"], entry["group"], turns))
    return tuple(dialogues)


def load_contexts() -> Contexts:
    """The contexts that ship: 12 system prompts, 12 paragraphs, 8 transcripts of tools."""
    return parse_contexts((FOLDER / "contexts.toml").read_text("utf-8"), "contexts.toml")


def parse_contexts(text: str, name: str) -> Contexts:
    """Read contexts strictly: tables ``system``, ``paragraph`` and ``transcript``.

    Raises:
        BadData: with the entry and what is wrong with it.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"{name} is no TOML ({error}); correct it there") from error
    check_fields(name, tables, ("system", "paragraph", "transcript"))
    system = _parts(name, tables, "system", SystemPrompt)
    paragraphs = _parts(name, tables, "paragraph", Paragraph)
    transcripts = _parts(name, tables, "transcript", Transcript, nested="steps")
    check_ids(name, [entry["id"] for entry in (*system, *paragraphs, *transcripts)])
    steps = [
        _parts(f"{name}, transcript {number}", entry, "steps", Step)
        for number, entry in enumerate(transcripts, 1)
    ]
    return Contexts(
        tuple(SystemPrompt(**entry) for entry in system),
        tuple(Paragraph(**entry) for entry in paragraphs),
        tuple(
            Transcript(**{**entry, "steps": tuple(Step(**step) for step in own)})
            for entry, own in zip(transcripts, steps, strict=True)
        ),
    )


def _parts(
    place: str, entry: dict, key: str, record: type, nested: str | None = None
) -> list[dict]:
    """Entries under a key, each with the fields of a record, all texts but the nested."""
    required = [part.name for part in fields(record)]
    parts = entry[key]
    if not isinstance(parts, list) or not parts:
        raise BadData(
            f"{place}: {key} is {parts!r}; write a list of entries with the fields "
            f"{', '.join(required)}"
        )
    for number, part in enumerate(parts, 1):
        where = f"{place}, {key} {number}"
        check_fields(where, part, required)
        check_texts(where, part, [name for name in required if name != nested])
    return parts
