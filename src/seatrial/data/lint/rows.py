"""Takes items of every form apart into the rows that checks look at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from seatrial.data.dialogues import Contexts, Conversation
from seatrial.data.facts import Fact
from seatrial.data.lint.sheet import SheetRow
from seatrial.data.records import ChoiceItem, Item, MapPair, TextPair
from seatrial.data.texts import plain
from seatrial.data.values import ValuePair

FEW_ANSWERS = 5
"""Up to so many different matching answers are choices; more are free texts."""

_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[).:]+[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"\s*\(?([A-Z])\)?[.:]?\s*")


def concept_row(line: int, item: Item) -> SheetRow:
    """A contrastive item; its statement and both passages must stand in one group."""
    texts = asdict(item)
    return SheetRow(
        line,
        item.id,
        item.group,
        {k: texts[k] for k in ("statement", "prompt", "matching_text", "other_text")},
        item.prompt,
        item.matching_text,
        (item.other_text,),
        item.matching,
        (
            item.statement,
            f"{item.prompt} {item.matching_text}",
            f"{item.prompt} {item.other_text}",
        ),
        (item.prompt,),
    )


def map_row(line: int, pair: MapPair) -> SheetRow:
    """A pair of a map; its right side is the output, and nothing is set against it."""
    also = {f"also {k}": text for k, text in enumerate(pair.also, 1)}
    texts = {"input": pair.input, "output": pair.output, **also}
    return SheetRow(
        line,
        pair.id,
        pair.group,
        texts,
        pair.input,
        pair.output,
        label=pair.output,
        contents=(pair.input,),
    )


def pair_row(line: int, pair: TextPair) -> SheetRow:
    """Two texts, with what both continue if there is anything."""
    texts = {"positive": pair.positive, "negative": pair.negative}
    if pair.prompt:
        texts["prompt"] = pair.prompt
    return SheetRow(
        line,
        pair.id,
        pair.group,
        texts,
        pair.prompt,
        pair.positive,
        (pair.negative,),
        contents=tuple(f"{pair.prompt}\n{text}" for text in (pair.positive, pair.negative)),
        shared=(pair.prompt,) if pair.prompt else (),
    )


def item_rows(lines: Sequence[int], items: Sequence[ChoiceItem]) -> list[SheetRow]:
    """Questions with two answers: free texts, a few words, or letters of options."""
    rows = [_item_row(line, item) for line, item in zip(lines, items, strict=True)]
    if len({row.cell[1] for row in rows if row.cell}) > FEW_ANSWERS:
        rows = [replace(row, cell=()) for row in rows]
    answers = {plain(item.options[0]) for item in items}
    if len(answers) > FEW_ANSWERS or 2 * len(answers) > len(items):
        return rows
    labelled = []
    for row, item in zip(rows, items, strict=True):
        row = replace(row, label=item.options[0].strip())
        is_choice = len({plain(text) for text in item.options}) > 1
        if is_choice and (row.cell or not _LETTER.fullmatch(item.options[0])):
            # The answers are the same few words everywhere: only their shares matter.
            row = replace(row, right="", wrong=())
        labelled.append(row)
    return labelled


def _item_row(line: int, item: ChoiceItem) -> SheetRow:
    matching, other = item.options
    row = SheetRow(
        line,
        item.id,
        item.group,
        {"question": item.question, "matching": matching, "not_matching": other},
        item.question,
        matching,
        (other,),
        contents=("\n".join((item.question, *sorted(item.options))),),
        shared=(item.question,),
    )
    options = {letter: text for letter, text in _OPTION.findall(item.question)}
    chosen = [_LETTER.fullmatch(text) for text in item.options]
    if not all(match and match[1] in options for match in chosen):
        return row
    letters = [match[1] for match in chosen if match]
    right, wrong = (options[letter] for letter in letters)
    # The options stand in the question, so what they share with it says nothing.
    stem = _OPTION.sub("", item.question)
    return replace(
        row, prompt=stem, right=right, wrong=(wrong,), cell=(letters[0], plain(right))
    )


def fact_row(line: int, fact: Fact) -> SheetRow:
    """A question with four options."""
    options = {f"option {k}": text for k, text in enumerate(fact.options)}
    return SheetRow(
        line,
        fact.id,
        fact.group,
        {
            "question": fact.question,
            "true_statement": fact.true_statement,
            "false_statement": fact.false_statement,
            **options,
        },
        fact.question,
        fact.answer,
        tuple(text for text in fact.options if text != fact.answer),
        f"option {fact.correct}",
        (fact.question, fact.true_statement, fact.false_statement),
    )


def value_row(line: int, pair: ValuePair) -> SheetRow:
    """Two sentences about two groups of people; the ending is the same on both sides."""
    texts = {"a": pair.a, "b": pair.b, "ending": pair.ending}
    return SheetRow(line, pair.id, pair.group, texts, contents=pair.sentences)


def dialogue_row(line: int, dialogue: Conversation) -> SheetRow:
    """A dialogue, message by message."""
    messages = [
        (f"turn {k} {side}", text)
        for k, turn in enumerate(dialogue.turns)
        for side, text in (("user", turn.user), ("assistant", turn.assistant))
    ]
    spoken = tuple(text for _, text in messages)
    return SheetRow(
        line,
        dialogue.id,
        dialogue.group,
        dict(messages),
        contents=("\n".join(spoken),),
        shared=spoken,
    )


def prose_row(line: int, entry: Mapping[str, Any]) -> SheetRow:
    """A neutral passage; it is its own group unless it says another."""
    identity, text = entry["id"], entry["text"]
    group = entry.get("group", identity)
    return SheetRow(line, identity, group, {"text": text}, contents=(text,))


def context_rows(contexts: Contexts) -> list[SheetRow]:
    """System prompts, paragraphs and transcripts, each its own group."""
    texts: dict[str, dict[str, str]] = {}
    for prompt in contexts.system:
        texts[prompt.id] = {"text": prompt.text}
    for paragraph in contexts.paragraphs:
        texts[paragraph.id] = {"title": paragraph.title, "text": paragraph.text}
    for transcript in contexts.transcripts:
        numbered = enumerate(transcript.messages)
        texts[transcript.id] = {f"message {k}": part.content for k, part in numbered}
    return [
        SheetRow(k, identity, identity, own, contents=tuple(own.values()))
        for k, (identity, own) in enumerate(texts.items(), 1)
    ]
