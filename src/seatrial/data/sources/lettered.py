"""Options with letters: taken out of a published question, and written down cleanly."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from seatrial.data.records import ChoiceItem, LetteredPrompt
from seatrial.errors import BadData, BadOption

_OPTION = re.compile(r"(?:^|\n)[ \t]*\(([A-Z])\)")
"""Where an option begins: a line with a letter in brackets."""


def split_options(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    """A published question as (what comes before the options, the options).

    The options are the last run of lines (A), (B), ... to the end of the text: questions
    may hold such lines themselves. White space around them is dropped.

    Raises:
        BadData: if the text does not end in at least two options in order.
    """
    matches = list(_OPTION.finditer(text))
    starts = [k for k, match in enumerate(matches) if match[1] == "A"]
    run = matches[starts[-1] :] if starts else []
    letters = "".join(match[1] for match in run)
    if len(run) < 2 or letters != ascii_uppercase[: len(run)]:
        raise BadData(
            f"{where} does not end in options (A), (B), ... on lines of their own; write "
            "at least two, in order"
        )
    ends = [match.start() for match in run[1:]] + [len(text)]
    options = (
        text[match.end() : end].strip() for match, end in zip(run, ends, strict=True)
    )
    return text[: run[0].start()].rstrip(), tuple(options)


def letter_index(answer: str, n: int, where: str) -> int:
    """The index of an answer such as " (B)" among ``n`` options.

    Raises:
        BadData: if it is not a letter in brackets of one of them.
    """
    match = re.fullmatch(r" ?\(([A-Z])\)", answer)
    index = ascii_uppercase.index(match[1]) if match else n
    if index >= n:
        raise BadData(
            f"{where}: the answer {answer!r} is none of (A) to ({ascii_uppercase[n - 1]})"
        )
    return index


def clean_prompt(item: ChoiceItem, order: Sequence[int] | None = None) -> LetteredPrompt:
    """A choice as one plain text: one space after a letter, nothing doubled or left over.

    ::

        QUESTION

        Choices:
         (A) FIRST
         (B) SECOND

    Args:
        item: What is asked.
        order: The options to show, as indices; all, as published, by default. Give
            ``(item.correct, item.other)`` and the reverse to ask both ways round.

    Raises:
        BadOption: if the order repeats an option, lacks the correct one, or has others.
    """
    shown = tuple(range(len(item.options))) if order is None else tuple(order)
    if (
        len(set(shown) & set(range(len(item.options)))) < max(2, len(shown))
        or item.correct not in shown
    ):
        raise BadOption(
            f"the order {shown} does not fit {item.id}: name two or more different options "
            f"of 0 to {len(item.options) - 1}, the correct one ({item.correct}) among them"
        )
    letters = [f"({letter})" for letter in ascii_uppercase[: len(shown)]]
    lines = [
        f" {letter} {' '.join(item.options[k].split())}"
        for letter, k in zip(letters, shown, strict=True)
    ]
    prompt = f"{item.question.strip()}\n\nChoices:".lstrip()
    correct = letters.pop(shown.index(item.correct))
    return LetteredPrompt(
        item.id, item.group, "\n".join([prompt, *lines]), (correct, *letters)
    )
