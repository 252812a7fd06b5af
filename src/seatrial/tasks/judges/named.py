"""Judges that a few words name, for command lines and files of plain values."""

from seatrial.errors import BadOption, unknown
from seatrial.tasks.judges.base import Judge
from seatrial.tasks.judges.lexicon import Lexicon
from seatrial.tasks.judges.regex import Regex

PLAIN = ("lexicon", "regex:PATTERN")
"""Those that need nothing else; ``vader`` is another name of ``lexicon``."""
MADE = ("classifier", "likelihood", "endpoint")
"""Those that are made of texts, a model or a server."""


def plain_judge(text: str) -> Judge:
    """One of ``PLAIN``.

    Raises:
        UnknownName: if there is none of this name.
        BadOption: for a pattern that is none, or a judge that more than its name makes.
    """
    name, colon, pattern = text.partition(":")
    if name == "regex" and colon:
        return Regex(pattern)
    if text in ("lexicon", "vader"):
        return Lexicon()
    if text == "regex":
        raise BadOption("judge=regex needs a pattern, such as judge='regex:I am sorry'")
    if text in MADE:
        raise BadOption(
            f"the judge {text!r} needs more than its name; give it to `seatrial measure "
            f"generation`, or make it in Python"
        )
    raise unknown("judge", text, [*PLAIN, *MADE])
