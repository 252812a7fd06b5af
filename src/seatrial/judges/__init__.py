"""Who says what a text is worth: judges of what a model wrote, one file each."""

from seatrial.judges.agreement import (
    Agreement,
    Labelled,
    agree,
    agreement,
    labelled_items,
)
from seatrial.judges.base import Judge, Judged, Judgement, Scale
from seatrial.judges.classifier import Classifier
from seatrial.judges.endpoint import Endpoint
from seatrial.judges.lexicon import Lexicon
from seatrial.judges.likelihood import Likelihood
from seatrial.judges.pairwise import Contest, Duel, Outcome, compare, contest
from seatrial.judges.regex import Regex
from seatrial.judges.rubrics import RUBRICS, Aspect, Rubric
from seatrial.judges.server import ChatServer
from seatrial.judges.spending import Budget
from seatrial.judges.tally import Tally, tally

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
    "Budget",
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
    "Tally",
    "agree",
    "agreement",
    "compare",
    "contest",
    "labelled_items",
    "tally",
]
