"""A judge behind a server: perfect, useless, inverted, constant, and hard to read."""

import pytest

from seatrial.errors import JudgeFault
from seatrial.tasks import Generation
from seatrial.tasks.judges import RUBRICS, Endpoint, Judged, tally
from seatrial.types import Completion, Request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def judged(n):
    """Every second text shows the concept."""
    return [
        Judged(f"Prompt {k}", " joy" if k % 2 == 0 else " gloom", "is glad")
        for k in range(n)
    ]


def rates(served, completion, rating):
    """A judge that gives the rating of a function of the text that is judged."""

    def answer(body, number):
        written = body["messages"][0]["content"].split("then wrote:")[1]
        return 200, {}, completion(f"A reason.\nRating: {rating(written)}")

    served.answer = answer


@pytest.mark.parametrize(
    ("rating", "expected"),
    [
        (lambda text: 10 if "joy" in text else 0, [10, 0, 10, 0]),
        (lambda text: 0 if "joy" in text else 10, [0, 10, 0, 10]),
        (lambda text: 5, [5, 5, 5, 5]),
        (lambda text: "none", [None] * 4),
    ],
    ids=["perfect", "inverted", "constant", "useless"],
)
def test_known_judges_give_the_scores_they_would(
    served, chat, completion, rating, expected
):
    rates(served, completion, rating)

    found = Endpoint(chat()).judge(judged(4))

    assert [one.score for one in found] == expected


def test_axbench_asks_three_questions_and_combines_them(served, chat, completion):
    def answer(body, number):
        text = body["messages"][0]["content"]
        rating = 2 if "fluent?" in text else 1
        return 200, {}, completion(f"Rating: {rating}")

    served.answer = answer

    [found] = Endpoint(chat(), RUBRICS["axbench"]).judge(judged(1))

    assert found.parts == {"concept": 1, "instruction": 1, "fluency": 2}
    assert found.score == pytest.approx(3 / (1 + 1 + 1 / 2))
    assert len(served.bodies) == 3


def test_a_score_needs_every_aspect(served, chat, completion):
    served.answer = lambda body, number: (
        200, {}, completion("Rating: ?" if "fluent?" in str(body) else "Rating: 2"),
    )  # fmt: skip

    [found] = Endpoint(chat(), RUBRICS["axbench"]).judge(judged(1))

    assert found.score is None
    assert found.parts == {"concept": 2, "instruction": 2}
    assert "Rating: ?" in found.reply


def test_rubrics_do_not_share_replies(served, chat, completion):
    rates(served, completion, lambda text: 1)
    caa, axbench = Endpoint(chat()), Endpoint(chat(), RUBRICS["axbench"])

    caa.judge(judged(1))
    axbench.judge(judged(1))

    assert len(served.bodies) == 1 + 3
    assert caa.identity != axbench.identity


TEXTS = [Completion(f" text {k}", (1, 2, 3), (-1.0,) * 3, "length") for k in range(20)]
REQUESTS = [Request(f"item-{k}", f"group-{k // 2}", f"Prompt {k}", ()) for k in range(20)]


def malformed(served, completion, numbers, rating=8):
    served.answer = lambda body, number: (
        200, {}, completion("Hard to say." if number in numbers else f"Rating: {rating}"),
    )  # fmt: skip


def test_one_malformed_reply_in_ten_is_counted_and_not_scored_zero(
    served, chat, completion
):
    malformed(served, completion, {3, 13})
    judge = Endpoint(chat(workers=1))

    scores = Generation({}, "is glad", judge, max_unreadable=0.1).score(REQUESTS, TEXTS)

    assert [k for k, score in enumerate(scores) if not score.metrics] == [3, 13]
    assert {score.metrics["score"] for score in scores if score.metrics} == {8}
    found = tally(scores, judge.scale)
    assert (found.n, found.unreadable, found.share.value) == (20, 2, 0.1)
    assert found.mean.value == 8, "2 of 20 replies at 0 would make 7.2"
    assert (found.lowest, found.highest) == pytest.approx((7.2, 8.2))


def test_more_malformed_replies_than_the_bound_stop_it_and_say_where_they_are(
    served, chat, completion
):
    malformed(served, completion, {3, 13})
    server = chat(workers=1)

    with pytest.raises(
        JudgeFault, match=r"2 of 20 replies .*5% are tolerated.*such as 'Hard to say\.'"
    ) as raised:
        Generation({}, "is glad", Endpoint(server)).score(REQUESTS, TEXTS)

    assert f"Raw replies are kept in {server.cache}." in str(raised.value)
    kept = [path.read_text("utf-8") for path in server.cache.rglob("*.json")]
    assert len(kept) == 20
    assert sum("Hard to say." in text for text in kept) == 2


def test_one_malformed_reply_in_twenty_is_tolerated(served, chat, completion):
    """The bound of the trap that it guards against, T49."""
    malformed(served, completion, {3})

    scores = Generation({}, "is glad", Endpoint(chat(workers=1))).score(REQUESTS, TEXTS)

    assert sum(not score.metrics for score in scores) == 1


def test_the_bound_can_be_moved(served, chat, completion):
    malformed(served, completion, {3, 7, 13})
    judge = Endpoint(chat(workers=1))

    scores = Generation({}, "is glad", judge, max_unreadable=0.15).score(REQUESTS, TEXTS)

    assert sum(not score.metrics for score in scores) == 3


def test_parts_of_a_score_stand_beside_it(served, chat, completion):
    rates(served, completion, lambda text: 2)
    judge = Endpoint(chat(), RUBRICS["axbench"])

    [score] = Generation({}, "is glad", judge).score(REQUESTS[:1], TEXTS[:1])

    assert score.metrics == {
        "concept": 2, "instruction": 2, "fluency": 2, "score": 2, "tokens": 3,
        "degenerate": 0.0, "distinct_2": 1.0,
    }  # fmt: skip
