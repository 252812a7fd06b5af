"""Which of two texts shows the concept more, asked in both orders.

Numbered traps are those of docs/hazards.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from seatrial.errors import BadData
from seatrial.files import fingerprint
from seatrial.stats import cluster_mean, cluster_share
from seatrial.tasks.judges.base import MAX_UNREADABLE, check_bound, check_readable
from seatrial.tasks.judges.chat import JudgeQuestion, JudgeReply, ask_server
from seatrial.tasks.judges.server import ChatServer
from seatrial.types import Estimate, Prompt, as_text

Pick = Literal["first", "second", "tie"]

_QUESTION = """
Two writers were given the same beginning. Which of them shows a property more?

Property: the writer {concept}

What both were given:
<<<
{prompt}
>>>

Text A:
<<<
{a}
>>>

Text B:
<<<
{b}
>>>

Whether a text is long, true or well written does not count, nor which one stands first.
Give your reason in one sentence. Then end with one line of the form "Verdict: X", where X
is A, B or, if neither shows it more, tie.
"""


@final
@dataclass(frozen=True)
class Duel:
    """Two texts after one prompt."""

    prompt: Prompt
    first: str
    second: str
    concept: str
    """As in ``Judged``."""
    group: str
    """Duels of one group are no independent evidence."""


@final
@dataclass(frozen=True)
class Outcome:
    """What a judge says of a duel, once with each text in front."""

    winner: Pick | None
    """A text only if it wins in both orders, else a tie. None: a reply cannot be read."""
    picks: tuple[Pick | None, Pick | None]
    """The text that was picked with the first text in front, and with the second."""
    replies: tuple[str, str]
    """What the judge said, word for word."""

    @property
    def followed(self) -> Literal["A", "B"] | None:
        """The place that won in both orders, whatever stood there."""
        return {("first", "second"): "A", ("second", "first"): "B"}.get(self.picks)  # pyright: ignore


@final
@dataclass(frozen=True)
class Contest:
    """What many duels add up to."""

    share: Estimate
    """Of the points that the first texts won: a win is 1, a tie a half."""
    wins: int
    ties: int
    losses: int
    unreadable: int
    position_bias: Estimate
    """Share of readable duels in which a place won in both orders."""
    prefers_a: int
    """How many of these went to the place in front."""


def judge_duels(
    server: ChatServer, duels: Sequence[Duel], *, max_unreadable: float = MAX_UNREADABLE
) -> list[Outcome]:
    """Ask a judge about each duel twice, with the texts swapped (trap T50).

    Args:
        server: the judge.
        duels: of texts that may be in any relation to each other.
        max_unreadable: the largest share of replies without a verdict that is tolerated.

    Raises:
        BadOption: for a bound that is no share.
        JudgeFault: if there are more such replies, or the spending limit is reached.
        Unreachable: if the judge does not answer.
    """
    check_bound(max_unreadable)
    version = fingerprint([_QUESTION])
    questions = [
        _question(duel, a, b, f"pairwise {version}")
        for duel in duels
        for a, b in ((duel.first, duel.second), (duel.second, duel.first))
    ]
    replies = ask_server(server, questions)
    lost = [reply.raw for reply in replies if read_verdict(reply.text or "") is None]
    check_readable(lost, total=len(replies), bound=max_unreadable, kept=str(server.cache))
    pairs = zip(replies[::2], replies[1::2], strict=True)
    return [_outcome(straight, swapped) for straight, swapped in pairs]


def contest(outcomes: Sequence[Outcome], duels: Sequence[Duel]) -> Contest:
    """Sum up the outcomes of duels.

    Raises:
        BadData: if no outcome can be read, or those that can are of one group.
    """
    read = [
        (outcome, duel.group)
        for outcome, duel in zip(outcomes, duels, strict=True)
        if outcome.winner is not None
    ]
    if not read:
        raise BadData(
            f"none of the {len(outcomes)} duels has a verdict in both orders; read what "
            "the judge replied"
        )
    groups = [group for _, group in read]
    winners = [outcome.winner for outcome, _ in read]
    points = {"first": 1.0, "tie": 0.5, "second": 0.0}
    followed = [outcome.followed for outcome, _ in read]
    return Contest(
        cluster_mean([points[str(winner)] for winner in winners], groups),
        winners.count("first"),
        winners.count("tie"),
        winners.count("second"),
        len(outcomes) - len(read),
        cluster_share([place is not None for place in followed], groups),
        followed.count("A"),
    )


_WORD = r"(?:(A|B)\b(?!\s+(?:text|tie)\b)|(?i:a\s+)?(?i:(tie))\b)"
_VERDICT = re.compile(rf"\b(?i:verdict)\b\W{{0,9}}(?:(?i:text\s+)?{_WORD})?")
_BARE = re.compile(rf"\W*(?i:text\s+)?{_WORD}\W*")


def read_verdict(reply: str) -> Literal["A", "B", "tie"] | None:
    """The word behind the last "Verdict", or a reply of one such word; else None."""
    text = reply.rpartition("</think>")[2].partition("<think>")[0]
    marked = list(_VERDICT.finditer(text))
    match = marked[-1] if marked else _BARE.fullmatch(text)
    if match is None:
        return None
    return "tie" if match[2] else match[1]  # pyright: ignore[reportReturnType]


def _question(duel: Duel, a: str, b: str, rubric: str) -> JudgeQuestion:
    prompt = as_text(duel.prompt)
    text = _QUESTION.format(concept=duel.concept, prompt=prompt, a=a, b=b).strip()
    return JudgeQuestion(text, rubric, prompt, f"A: {a}\n\nB: {b}")


def _outcome(straight: JudgeReply, swapped: JudgeReply) -> Outcome:
    names: tuple[dict[str, Pick], dict[str, Pick]] = (
        {"A": "first", "B": "second", "tie": "tie"},
        {"A": "second", "B": "first", "tie": "tie"},
    )
    picks = tuple(
        name.get(read_verdict(reply.text or "") or "")
        for name, reply in zip(names, (straight, swapped), strict=True)
    )
    winner = None if None in picks else picks[0] if picks[0] == picks[1] else "tie"
    return Outcome(winner, picks, (straight.raw, swapped.raw))  # pyright: ignore
