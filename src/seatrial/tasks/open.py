"""How likely free continuations are that show the behaviour (after Pres et al.)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

from seatrial.data import CONCEPTS, Item
from seatrial.data.catalogue import PUBLISHED_PAIRS, asks
from seatrial.data.records import ChoiceItem, ContrastiveItem, TextPair
from seatrial.errors import BadData
from seatrial.tasks.base import Contrastive, Splits
from seatrial.types import (
    Answer,
    Completion,
    Message,
    Metric,
    Pair,
    Prompt,
    Request,
    Score,
    Split,
    Text,
)


@final
@dataclass(frozen=True)
class Open(Contrastive):
    """Mean log-probability per token of the matching continuation minus the other one.

    Both parts are kept, because promoting the behaviour and suppressing its opposite are
    different successes; ``stats.promotion`` takes them apart, by how likely a continuation
    was before steering, and ``stats.on_one_scale`` puts several behaviours side by side.

    Somebody else's continuations may be unlike anything that a model would write;
    ``with_texts`` takes the model's own in their place.

    Pairs are asked like items: their texts after what both continue, or alone. A question
    with two answers is asked without showing them, and each is scored as a reply; answers
    that are yes and no are no free text and refused.
    """

    name: ClassVar[str] = "open"
    summary: ClassVar[str] = (
        "free text: log-prob per token of the matching minus the other continuation"
    )
    about: ClassVar[Metric] = Metric("open", "nats per token", "target")
    sources: ClassVar[tuple[str, ...]] = (*CONCEPTS, *PUBLISHED_PAIRS)

    splits: Splits

    def __post_init__(self) -> None:
        for part in self.splits.values():
            for item in part:
                if isinstance(item, ChoiceItem) and item.word:
                    raise BadData(
                        f"{item.id} is answered by yes or no, and 'open' asks free texts; "
                        "use the task 'propensity', also to fit on (in a study: targets "
                        'and fit_on = "propensity")'
                    )

    def requests(self, split: Split) -> Sequence[Request]:
        return [
            Request(item.id, item.group, *_asked(item))
            for item in self.splits[split]
            if asks(item)
        ]

    def pairs(self, split: Split) -> tuple[Pair, ...]:
        questions = [(item, *_asked(item)) for item in self.splits[split] if asks(item)]
        return tuple(
            Pair(item.id, item.group, *(Text(prompt, answer) for answer in answers))
            for item, prompt, answers in questions
        )

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return [
            Score(
                request.id,
                request.group,
                {
                    "open": answer.means[0] - answer.means[1],
                    "matching": answer.means[0],
                    "other": answer.means[1],
                },
            )
            for request, answer in zip(requests, answers, strict=True)
        ]

    def describe(self, item: ContrastiveItem) -> str:
        match item:
            case Item():
                return f"{item.prompt} … {item.matching_text} / … {item.other_text}"
            case TextPair():
                prompt, (matching, other) = item.prompt, (item.positive, item.negative)
            case ChoiceItem():
                prompt, (matching, other) = item.question, item.sides
        return f"{prompt} … {matching} / … {other}".lstrip(" …")


def _asked(item: ContrastiveItem) -> tuple[Prompt, tuple[str, str]]:
    match item:
        case Item():
            return item.prompt, (f" {item.matching_text}", f" {item.other_text}")
        case TextPair():
            # Texts are joined verbatim, so a space must stand on one side.
            is_apart = not item.prompt or item.prompt[-1:].isspace()
            sides = (item.positive, item.negative)
            joined = (x if is_apart or x[:1].isspace() else f" {x}" for x in sides)
            matching, other = joined
            return item.prompt, (matching, other)
        case ChoiceItem():
            return (Message("user", item.question.strip()),), item.sides


def with_texts(
    items: Sequence[Item], matching: Sequence[Completion], other: Sequence[Completion]
) -> tuple[Item, ...]:
    """The items with continuations that a model wrote in place of their own.

    Such texts come of ``Model.generate`` on the items' prompts, under an instruction for
    the behaviour and against it (the method ``prompt`` at doses 1 and -1). Items whose two
    texts are alike, or of which one is blank, are left out: they show no difference.

    Args:
        items: in the order of the texts.
        matching: what was written for the behaviour.
        other: what was written against it.

    Raises:
        BadData: if no item is left.
    """
    kept = []
    for item, for_it, against in zip(items, matching, other, strict=True):
        # The task puts a space between the prompt and its continuation.
        texts = for_it.text.strip(), against.text.strip()
        if all(texts) and texts[0] != texts[1]:
            kept.append(replace(item, matching_text=texts[0], other_text=texts[1]))
    if not kept:
        raise BadData(
            f"none of {len(items)} items has two different texts; write them under "
            "stronger instructions, at a temperature above 0, or with more tokens"
        )
    return tuple(kept)
