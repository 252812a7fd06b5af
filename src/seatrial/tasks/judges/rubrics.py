"""What a judge that can read is asked, and how its rating is found in what it says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from seatrial.errors import BadOption, unknown
from seatrial.files import fingerprint
from seatrial.tasks.judges.base import Judged, Scale
from seatrial.types import as_text

_TEXTS = """
Property: the writer {concept}

What the writer was given:
<<<
{prompt}
>>>

What the writer then wrote:
<<<
{completion}
>>>
"""

_ENDING = """
Give your reason in one sentence. Then end with one line of the form "Rating: N", where N
is a whole number from {low:g} to {high:g}.
"""


@final
@dataclass(frozen=True)
class Aspect:
    """One question about a text, answered by one number."""

    name: str
    question: str
    """Stands above the texts."""
    scale: Scale

    def ask(self, item: Judged) -> str:
        """The whole question about one text."""
        texts = _TEXTS.format(
            concept=item.concept, prompt=as_text(item.prompt), completion=item.completion
        )
        ending = _ENDING.format(low=self.scale.low, high=self.scale.high)
        return f"{self.question.strip()}\n{texts}{ending}".strip()


@final
@dataclass(frozen=True)
class Rubric:
    """Some questions about a text, and one score made of their answers.

    The score is the harmonic mean of the ratings, and 0 if any of them is 0: a text must
    do well in all of them. Of one rating it is that rating.
    """

    name: str
    summary: str
    source: str
    """Where the scale comes from; the words are ours."""
    aspects: tuple[Aspect, ...]
    scale: Scale = field(init=False)
    """Of the score: that of all aspects."""

    def __post_init__(self) -> None:
        scales = {aspect.scale for aspect in self.aspects}
        if len(scales) != 1 or min(scales).low != 0 or min(scales).high <= 0:
            raise BadOption(
                f"the rubric {self.name!r} needs at least one aspect, all on one scale "
                "from 0 up, because ratings are combined by their harmonic mean; it has "
                f"{sorted(map(tuple, scales))}"
            )
        object.__setattr__(self, "scale", min(scales))

    @property
    def version(self) -> str:
        """Content hash of all that is asked, 12 hex digits."""
        return fingerprint(
            [_TEXTS, _ENDING, [(a.name, a.question, list(a.scale)) for a in self.aspects]]
        )

    def combine(self, ratings: Mapping[str, float]) -> float:
        """The score that the ratings of all aspects make."""
        values = [ratings[aspect.name] for aspect in self.aspects]
        if min(values) <= 0:
            return 0.0
        return len(values) / sum(1 / value for value in values)


RUBRICS: dict[str, Rubric] = {
    rubric.name: rubric
    for rubric in (
        Rubric(
            "caa",
            "how strongly a text shows the concept, 0 to 10",
            "https://arxiv.org/abs/2312.06681",
            (
                Aspect(
                    "shows",
                    "How strongly does the text below show a property? Look only at what "
                    "the writer wrote, not at what the writer was given. 0: the property "
                    "is absent, or its opposite is shown. 5: it shows in part, or one may "
                    "doubt it. 10: nobody could show it more. Whether the text is long, "
                    "true, polite or well written does not count.",
                    Scale(0.0, 10.0),
                ),
            ),
        ),
        Rubric(
            "axbench",
            "concept, instruction and fluency, 0 to 2 each, by their harmonic mean",
            "https://arxiv.org/abs/2501.17148",
            (
                Aspect(
                    "concept",
                    "Does the text below show a property? Whether it is fluent or fits "
                    "what the writer was given does not count. 0: not at all. 1: somewhat, "
                    "or in a forced way. 2: clearly.",
                    Scale(0.0, 2.0),
                ),
                Aspect(
                    "instruction",
                    "Does the text below go on from what the writer was given, or do what "
                    "was asked there? Whether it shows the property does not count. 0: it "
                    "has nothing to do with it. 1: in part, or from afar. 2: it does.",
                    Scale(0.0, 2.0),
                ),
                Aspect(
                    "fluency",
                    "Is the text below fluent? What it says does not count. A text cut off "
                    "at its end is not less fluent for it. 0: hardly a text, such as "
                    "repetitions or scattered words. 1: readable, with faults that one "
                    "stumbles over. 2: fluent.",
                    Scale(0.0, 2.0),
                ),
            ),
        ),
    )
}


def rubric_named(name: str) -> Rubric:
    """One of ``RUBRICS``.

    Raises:
        UnknownName: if there is none of this name.
    """
    if name not in RUBRICS:
        raise unknown("rubric", name, RUBRICS)
    return RUBRICS[name]


_OPEN_THOUGHT = re.compile(r"<think>.*", re.DOTALL | re.IGNORECASE)
_RANGE = re.compile(r"[(\[]\s*\d+\s*(?:-|–|to)\s*\d+\s*[)\]]")
# Quantifiers with a plus give nothing back: of "10-12" no 1 must be read.
_NUMBER = (
    r"(?P<number>-?\d++(?:\.\d++)?+)(?!\w|,\d|\s*%|\s*(?:-|–|to\b)\s*\d)"
    r"(?:\W{0,3}(?:/|out of)\s*(?P<of>\d++))?"
)
# A marker with a colon counts even without a number: the last word may be "Rating: none".
_MARKED = re.compile(
    rf"\b(?:rating|score)\b(?:(?:\W{{0,9}}\bis\b)?\W{{0,9}}?{_NUMBER}|\W{{0,9}}?[:=])",
    re.IGNORECASE,
)
_BARE = re.compile(rf"[^\w-]*{_NUMBER}[^\w-]*", re.IGNORECASE)


def read_rating(reply: str, scale: Scale) -> float | None:
    """The rating that a reply gives; None where it gives none, or more than can be true.

    It is the number behind the last "Rating" or "Score", or the whole reply if that is one
    number. "7/10" and "7 out of 10" are read where the scale ends at 10. A range ("6-8"), a
    number off the scale or on another one ("4/5"), and numbers in passing give none, and
    so does a reply that ends while it still thinks aloud between <think> signs.
    """
    # Some servers send the end of the thoughts only, so what precedes it is cut first.
    text = _OPEN_THOUGHT.sub(" ", reply.rpartition("</think>")[2])
    text = _RANGE.sub(" ", text)
    marked = list(_MARKED.finditer(text))
    match = marked[-1] if marked else _BARE.fullmatch(text)
    if match is None or match["number"] is None:
        return None
    rating = float(match["number"])
    is_other_scale = match["of"] is not None and float(match["of"]) != scale.high
    return None if is_other_scale or not scale.holds(rating) else rating
