"""What can be done to a prompt: an instruction and demonstrations in front of it."""

from dataclasses import dataclass
from typing import final

from seatrial.errors import BadOption
from seatrial.types import Message, Prompt, Text, as_questions


@final
@dataclass(frozen=True)
class PromptEdit:
    """A change of the input: words for a behaviour (dose 1) or against it (dose -1)."""

    encourage: str
    """An instruction that asks for the behaviour; may be empty."""
    discourage: str
    """Its opposite."""
    positive: tuple[Text, ...] = ()
    """Demonstrations of the behaviour."""
    negative: tuple[Text, ...] = ()
    """Demonstrations of its absence or opposite."""

    def __call__(self, prompt: Prompt, dose: float) -> Prompt:
        """The prompt with instruction and demonstrations where its form has them.

        A conversation gets the instruction as system message (before the text of an
        existing one) and each demonstration as a finished exchange before its first turn;
        plain text gets them as paragraphs in front. A demonstration of the other form is
        put into this one, and its system message is left out.

        Raises:
            BadOption: for any dose but -1, 0 and 1: half an instruction means nothing.
        """
        if dose == 0:
            return prompt
        if dose not in (-1, 1):
            raise BadOption(f"a prompt can only have the doses -1, 0 and 1, not {dose}")
        instruction = self.encourage if dose == 1 else self.discourage
        shown = self.positive if dose == 1 else self.negative
        if isinstance(prompt, str):
            opening = (instruction,) if instruction else ()
            return "\n\n".join((*opening, *map(_as_paragraphs, shown), prompt))
        system, turns = prompt[:1], prompt[1:]
        if not system or system[0].role != "system":
            system, turns = (), prompt
        if instruction:
            joined = "\n\n".join((instruction, *(message.content for message in system)))
            system = (Message("system", joined),)
        exchanges = [message for text in shown for message in _as_exchange(text)]
        return (*system, *exchanges, *turns)


def _as_exchange(text: Text) -> tuple[Message, ...]:
    """A demonstration as finished turns of a conversation."""
    prompt, completion = text
    if isinstance(prompt, str):
        return Message("user", prompt), Message("assistant", completion.strip())
    turns = [message for message in prompt if message.role != "system"]
    if turns and turns[-1].role == "assistant":
        begun = turns.pop()
        completion = begun.content + completion
    return (*turns, Message("assistant", completion))


def _as_paragraphs(text: Text) -> str:
    """A demonstration as plain text."""
    if isinstance(text.prompt, str):
        return text.prompt + text.completion
    return as_questions(_as_exchange(text))
