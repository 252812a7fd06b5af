"""Who says what a text is worth: judges of what a model wrote, one file each."""

from seatrial.tasks.judges.agreement import (
    Agreement,
    Labelled,
    agree,
    agreement,
    labelled_items,
)
from seatrial.tasks.judges.base import Judge, Judged, Judgement, Scale
from seatrial.tasks.judges.classifier import Classifier
from seatrial.tasks.judges.endpoint import Endpoint
from seatrial.tasks.judges.lexicon import Lexicon
from seatrial.tasks.judges.likelihood import Likelihood
from seatrial.tasks.judges.pairwise import Contest, Duel, Outcome, contest, judge_duels
from seatrial.tasks.judges.regex import Regex
from seatrial.tasks.judges.rubrics import RUBRICS, Aspect, Rubric
from seatrial.tasks.judges.server import ChatServer
from seatrial.tasks.judges.spending import SpendingLimit
from seatrial.tasks.judges.tally import Tally, tally

JUDGES: dict[str, type[Judge]] = {
    "lexicon": Lexicon,
    "classifier": Classifier,
    "regex": Regex,
    "likelihood": Likelihood,
    "endpoint": Endpoint,
}

__all__ = [
    "JUDGES",
    "RUBRICS",
    "Agreement",
    "Aspect",
    "ChatServer",
    "Classifier",
    "Contest",
    "Duel",
    "Endpoint",
    "Judge",
    "Judged",
    "Judgement",
    "Labelled",
    "Lexicon",
    "Likelihood",
    "Outcome",
    "Regex",
    "Rubric",
    "Scale",
    "SpendingLimit",
    "Tally",
    "agree",
    "agreement",
    "contest",
    "judge_duels",
    "labelled_items",
    "tally",
]
