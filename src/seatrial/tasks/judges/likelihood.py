"""What a model itself answers when asked whether a text shows the concept."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import ClassVar, final

from seatrial.files import fingerprint
from seatrial.model import Model
from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale
from seatrial.types import Answer, Message, Request, as_text

SHOWS = (
    "Here is a text.\n\n{prompt}{gap}{completion}\n\n"
    'Does somebody who goes on like this show that he or she "{concept}"? '
    "Answer with yes or no."
)
LACKS = (
    "Here is a text.\n\n{prompt}{gap}{completion}\n\n"
    'Does somebody who goes on like this lack what is meant by "{concept}"? '
    "Answer with yes or no."
)
"""Asked beside ``SHOWS``, so that a model that always says yes scores 0.5."""


@final
@dataclass(frozen=True, eq=False)
class Likelihood(Judge):
    """How sure a model is of "Yes" against "No", asked both ways round.

        p = p(Yes) / (p(Yes) + p(No))
        score = (p(does it show the concept?) + 1 - p(does it lack it?)) / 2

    A taste for "Yes" cancels. Parts: ``shows`` and ``lacks`` are the two p, and ``mass`` is
    p(Yes) + p(No), averaged; where it is small the model would rather say something else,
    and the score means little. The model that judges is never steered; that it judges
    itself where it also wrote the text must be kept in mind.
    """

    name: ClassVar[str] = "likelihood"
    summary: ClassVar[str] = "a model's own yes against no, asked both ways round"

    model: Model

    @property
    def scale(self) -> Scale:
        return Scale(0.0, 1.0)

    @property
    def identity(self) -> str:
        return f"likelihood {fingerprint([self.model.identity, SHOWS, LACKS])}"

    def judge(self, texts: Sequence[Judged]) -> Sequence[Judgement]:
        requests = [
            _request(form, item, f"{number}-{kind}")
            for number, item in enumerate(texts)
            for kind, form in (("shows", SHOWS), ("lacks", LACKS))
        ]
        [answers] = self.model.log_probs(requests)
        return [
            weigh(shows, lacks)
            for shows, lacks in zip(answers[::2], answers[1::2], strict=True)
        ]


def _request(form: str, item: Judged, name: str) -> Request:
    prompt = as_text(item.prompt)
    text = form.format(
        prompt=prompt,
        gap="" if isinstance(item.prompt, str) else "\n\nAssistant: ",
        completion=item.completion,
        concept=item.concept,
    )
    return Request(name, name, (Message("user", text),), ("Yes", "No"))


def weigh(shows: Answer, lacks: Answer) -> Judgement:
    """The judgement that the answers (Yes, No) to the two questions make."""
    p_shows, p_lacks = _p_yes(shows), _p_yes(lacks)
    mass = sum(exp(total) for answer in (shows, lacks) for total in answer.sums) / 2
    parts = {"shows": p_shows, "lacks": p_lacks, "mass": mass}
    return Judgement((p_shows + 1 - p_lacks) / 2, "", parts)


def _p_yes(answer: Answer) -> float:
    yes, no = answer.sums
    # The sign decides the form, so that neither exponential can overflow.
    if yes < no:
        return exp(yes - no) / (1 + exp(yes - no))
    return 1 / (1 + exp(no - yes))
