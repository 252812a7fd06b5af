"""Loss and drift on what an assistant says, each reply after all that was said before."""

import math

import pytest

from seatrial.data import load_dialogues
from seatrial.errors import UnknownName
from seatrial.tasks import Dialogue
from seatrial.tasks.dialogue import Reply
from seatrial.tasks.measure import measure
from seatrial.types import Answer, Message

TASK = Dialogue.of("dialogues", seed=0)
TALKS = {talk.id: talk for talk in load_dialogues()}


@pytest.mark.parametrize("loss", [0.0, math.log(50), 7.0])
def test_who_knows_every_word_has_no_loss_and_a_guesser_that_of_guessing(
    loss, scores_of, mean_of
):
    scores = scores_of(TASK, lambda *_: -loss, kl=0.5)

    assert mean_of(scores, "loss") == pytest.approx(loss)
    assert mean_of(scores, "kl") == pytest.approx(0.5)
    assert [s.metrics["tokens"] for s in scores] == [
        len(reply.text.split()) for reply in TASK.splits["test"]
    ]


def test_the_inverted_pays_more_than_a_guesser_and_so_does_who_always_says_one_word():
    requests = TASK.requests("test")

    def loss(log_prob):
        lines = [tuple(map(log_prob, r.answers[0].lower().split())) for r in requests]
        answers = [Answer((x,), ((0.0,) * len(x),)) for x in lines]
        found = [score.metrics["loss"] for score in TASK.score(requests, answers)]
        return sum(found) / len(found)

    inverted = loss(lambda word: -2 * math.log(50))
    constant = loss(lambda word: math.log(0.9 if word == "the" else 0.1 / 49))
    assert inverted > constant > math.log(50) > loss(lambda word: -0.01)


def test_unequal_tokens_are_averaged_as_they_are():
    task = Dialogue({"test": TASK.splits["test"][:1]})

    [score] = task.score(
        task.requests("test"), [Answer(((-1.0, -2.0, -6.0),), ((0.0, 0.3, 0.6),))]
    )

    assert score.metrics == pytest.approx({"loss": 3.0, "kl": 0.3, "tokens": 3.0})


def test_every_reply_of_every_dialogue_is_asked_once_after_what_was_said_before():
    requests = [r for split in TASK.splits for r in TASK.requests(split)]

    assert len(requests) == len({r.id for r in requests}) == 180
    for request in requests:
        identity, _, turn = request.id.rpartition("/")
        talk, k = TALKS[identity], int(turn)
        assert request.answers == (talk.turns[k].assistant,)
        assert request.prompt == talk.before_reply(k)
        assert request.prompt[-1] == Message("user", talk.turns[k].user)
        assert len(request.prompt) == 2 * k + 1


def test_a_dialogue_never_straddles_two_splits():
    groups = [{r.group for r in TASK.requests(split)} for split in TASK.splits]

    assert sum(map(len, groups)) == len(set.union(*groups)) == 40


def test_a_limit_is_a_seeded_sample_of_replies():
    parts = [Dialogue.of("dialogues", seed=s, limit=15).splits["test"] for s in (0, 1)]

    assert [len(part) for part in parts] == [15, 15]
    assert parts[0] == Dialogue.of("dialogues", seed=0, limit=15).splits["test"] != parts[1]
    assert parts[0] != TASK.splits["test"][:15]
    assert len({reply.group for reply in parts[0]}) > 8


def test_a_foreign_source_is_refused():
    with pytest.raises(UnknownName, match="source of dialogues 'dialogue'"):
        Dialogue.of("dialogue", seed=0)


@pytest.mark.parametrize("chat", [False, True])
def test_a_tiny_model_is_measured_and_drifts_only_where_it_is_steered(chat, tiny, push):
    model = tiny("llama", chat=chat)
    talk = (
        Message("user", "Is it late?"),
        Message("assistant", "No."),
        Message("user", "!"),
    )
    replies = (Reply("t/0", "t", talk[:1], "No."), Reply("t/1", "t", talk, "It is noon."))
    task = Dialogue({"test": replies})

    plain, steered = measure(model, task, under=[push(model, dose=0.0), push(model)])

    assert [s.metrics["kl"] for s in plain] == [0.0, 0.0]
    assert all(s.metrics["kl"] > 0 for s in steered)
    [answer] = model.log_probs(task.requests("test")[1:])[0]
    assert plain[1].metrics["loss"] == pytest.approx(-answer.means[0], abs=1e-4)
    assert plain[1].metrics["tokens"] == len(answer.log_probs[0])
