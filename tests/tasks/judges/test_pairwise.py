"""Duels in both orders: only a text that wins wherever it stands has won."""

import pytest

from seatrial.errors import BadData, BadOption, JudgeFault
from seatrial.tasks.judges import Duel, contest, judge_duels
from seatrial.tasks.judges.pairwise import read_verdict
from seatrial.types import Message

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

DUELS = [
    Duel(f"Prompt {k}", f" joy {k}", f" gloom {k}", "is glad", f"g{k}") for k in range(8)
]


def judge_by(served, completion, verdict):
    """A judge whose verdict is a function of text A, text B and the request's number."""

    def answer(body, number):
        said = body["messages"][0]["content"]
        a, b = said.split("Text A:")[1].split("Text B:")
        b = b.split("Whether a text")[0]
        return 200, {}, completion(f"A reason.\nVerdict: {verdict(a, b, number)}")

    served.answer = answer


def perfect(a, b, number):
    return "A" if "joy" in a else "B"


KNOWN = {
    "perfect": (perfect, (8, 0, 0), 1.0, 0.0),
    "inverted": (lambda a, b, n: "B" if "joy" in a else "A", (0, 0, 8), 0.0, 0.0),
    "always A": (lambda a, b, n: "A", (0, 8, 0), 0.5, 1.0),
    "always B": (lambda a, b, n: "B", (0, 8, 0), 0.5, 1.0),
    "undecided": (lambda a, b, n: "tie", (0, 8, 0), 0.5, 0.0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_judges_give_the_results_they_should(served, chat, completion, name):
    verdict, counts, share, bias = KNOWN[name]
    judge_by(served, completion, verdict)

    found = contest(judge_duels(chat(), DUELS), DUELS)

    assert (found.wins, found.ties, found.losses) == counts
    assert found.share.value == share
    assert found.position_bias.value == bias
    assert found.prefers_a == (8 if name == "always A" else 0)
    assert found.unreadable == 0


def test_each_duel_is_asked_in_both_orders(served, chat, completion):
    judge_by(served, completion, perfect)

    judge_duels(chat(workers=1), DUELS[:1])

    orders = [text.index("joy") < text.index("gloom") for text in served.texts]
    assert orders == [True, False]
    for text in served.texts:
        for part in ("Prompt 0", "the writer is glad"):
            assert part in text
        assert read_verdict(text) is None, "an echo would be a verdict"


def test_a_win_in_one_order_and_a_tie_in_the_other_is_a_tie(served, chat, completion):
    judge_by(served, completion, lambda a, b, n: "A" if "joy" in a else "tie")

    [outcome] = judge_duels(chat(), DUELS[:1])

    assert outcome.picks == ("first", "tie")
    assert outcome.winner == "tie"
    assert outcome.followed is None


def test_a_duel_without_a_verdict_in_one_order_is_neither_won_nor_tied(
    served, chat, completion
):
    judge_by(served, completion, lambda a, b, n: "?" if n == 3 else perfect(a, b, n))

    outcomes = judge_duels(chat(workers=1), DUELS, max_unreadable=0.1)
    found = contest(outcomes, DUELS)

    assert outcomes[1].winner is None
    assert outcomes[1].picks == ("first", None)
    assert (found.wins, found.unreadable, found.share.value) == (7, 1, 1.0)


def test_too_many_replies_without_a_verdict_are_refused(served, chat, completion):
    judge_by(served, completion, lambda a, b, n: "?" if n % 4 == 0 else "A")

    with pytest.raises(JudgeFault, match=r"4 of 16 replies .*25%; 5% are tolerated"):
        judge_duels(chat(workers=1), DUELS)
    with pytest.raises(BadOption, match="must lie in"):
        judge_duels(chat(), DUELS, max_unreadable=2.0)


def test_duels_of_which_none_can_be_read_cannot_be_summed_up(served, chat, completion):
    judge_by(served, completion, lambda a, b, n: "?" if n % 2 else "A")
    outcomes = judge_duels(chat(workers=1), DUELS, max_unreadable=0.6)

    with pytest.raises(BadData, match="none of the 8 duels has a verdict in both orders"):
        contest(outcomes, DUELS)


def test_duels_are_answered_out_of_the_cache(served, chat, completion):
    judge_by(served, completion, perfect)

    first = judge_duels(chat(), DUELS)
    second = judge_duels(chat(), DUELS)

    assert first == second
    assert len(served.bodies) == 16


def test_a_conversation_can_be_the_prompt(served, chat, completion):
    judge_by(served, completion, perfect)
    duel = Duel((Message("user", "How was it?"),), "joy", "gloom", "is glad", "g")

    [outcome] = judge_duels(chat(), [duel])

    assert outcome.winner == "first"
    assert "User: How was it?" in served.texts[0]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: A", "A"), ("**Verdict:** B", "B"), ("verdict: tie", "tie"),
        ("Verdict: a tie", "tie"), ("Verdict: Text B", "B"), ("Verdict: [[A]]", "A"),
        ("A", "A"), ("Tie.", "tie"), ("Text A", "A"), ("Verdict: A\nVerdict: B", "B"),
        ("<think>Verdict: A</think>Verdict: B", "B"), ("Verdict: A, since it sings.", "A"),
        ("Verdict: neither", None), ("Verdict: a text that", None), ("A is better", None),
        ("", None), ("Verdict:", None), ("<think>Verdict: A", None),
        ("Verdict: A\nVerdict: I am not sure", None),
    ],
)  # fmt: skip
def test_a_verdict_is_read_or_not(reply, verdict):
    assert read_verdict(reply) == verdict
