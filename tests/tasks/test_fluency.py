"""Texts that decay, by repeating themselves or by ending, are told from those that hold."""

import pytest

from seatrial.data import load_dialogues
from seatrial.data.records import Question
from seatrial.errors import UnknownName, Unreachable
from seatrial.tasks import Fluency
from seatrial.tasks.measure import measure
from seatrial.types import Completion, Message

TASK = Fluency.of("dialogues", seed=0)
GOOD = "Take the tube out, pump it up a little, and hold it under water until you see where"


def scores_of(text, finish="end", task=TASK):
    requests = task.requests("test")
    tokens = tuple(range(len(text.split())))
    written = Completion(text, tokens, (-1.0,) * len(tokens), finish)
    return task.score(requests, [written] * len(requests))


WRITERS = {
    # name: (text, degenerate, loop)
    "varied": (GOOD, 0.0, 0.0),
    "parrot": ("Wait, hold on. " * 10, 42 / 47, 1.0),
    "stuck on a word": ("no " * 40, 36 / 37, 1.0),
    "stuck at the end": (f"{GOOD} {'on ' * 10}", 6 / 27, 10 / 30),
    "twice the same": (f"{GOOD}. {GOOD}.", 18 / 39, 1.0),
    "short": ("Yes, sure.", 0.0, 0.0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_known_writers_get_the_scores_they_deserve(name):
    text, degenerate, loop = WRITERS[name]

    for score in scores_of(text):
        assert score.metrics["degenerate"] == pytest.approx(degenerate)
        assert score.metrics["loop"] == pytest.approx(loop)
        assert score.metrics["empty"] == 0.0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_lost_as_a_whole_and_has_nothing_to_repeat(text):
    for score in scores_of(text):
        assert score.metrics == {
            "degenerate": 1.0, "words": 0.0, "tokens": 0.0, "empty": 1.0, "ended": 1.0,
        }  # fmt: skip


def test_a_text_lacks_the_metrics_it_is_too_short_for():
    one, two = scores_of("Yes")[0].metrics, scores_of("Yes, yes, yes")[0].metrics

    assert "distinct_2" not in one and "repetition" not in one
    assert (one["distinct_1"], one["degenerate"], one["words"]) == (1.0, 0.0, 1.0)
    assert two["distinct_1"] == 2 / 5
    assert two["distinct_2"] == 2 / 4
    assert two["distinct_3"] == 2 / 3
    assert two["repetition"] == two["degenerate"] == 0


def test_length_is_in_words_and_tokens_and_running_out_of_tokens_shows():
    done, cut = scores_of("So it is.")[0].metrics, scores_of("So it", "length")[0].metrics

    assert (done["words"], done["tokens"], done["ended"]) == (4, 3, 1)
    assert (cut["words"], cut["tokens"], cut["ended"]) == (2, 2, 0)


def test_the_openings_of_our_dialogues_are_asked_once_each():
    openings = {talk.id: talk.turns[0].user for talk in load_dialogues()}
    requests = [r for split in TASK.splits for r in TASK.requests(split)]

    assert {r.id: r.prompt for r in requests} == {
        key: (Message("user", text),) for key, text in openings.items()
    }
    assert all(request.answers == () for request in requests)


def test_a_limit_is_a_seeded_sample():
    parts = [Fluency.of("dialogues", seed=s, limit=9).splits["test"] for s in (0, 1)]

    assert [len(part) for part in parts] == [9, 9]
    assert parts[0] == Fluency.of("dialogues", seed=0, limit=9).splits["test"] != parts[1]
    assert parts[0] != TASK.splits["test"][:9]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_tiny_model_writes_steered_and_not(temperature, tiny, push):
    model = tiny("llama", chat=True)
    questions = tuple(Question(f"q{k}", f"g{k}", (f"Say {k}.",)) for k in range(3))
    task = Fluency({"test": questions}, max_tokens=12, temperature=temperature)

    plain, steered = measure(
        model, task, under=[push(model, dose=0.0), push(model, dose=9)]
    )

    assert [s.item for s in plain] == ["q0", "q1", "q2"]
    assert plain != steered
    assert all(0 <= s.metrics["degenerate"] <= 1 for s in [*plain, *steered])
    assert all(1 <= s.metrics["tokens"] <= 12 for s in [*plain, *steered])


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("source", "n"), [("alpaca-eval", 805), ("mt-bench", 80)])
def test_published_prompts_are_all_dealt_and_their_first_turn_is_asked(source, n):
    task = Fluency.of(source, seed=0)
    requests = [r for split in task.splits for r in task.requests(split)]
    items = [item for part in task.splits.values() for item in part]

    assert len(requests) == len({r.id for r in requests}) == n
    assert [r.prompt[0].content for r in requests] == [item.turns[0] for item in items]
    assert all(len(request.prompt) == 1 for request in requests)


@pytest.mark.usefixtures("offline")
def test_without_the_file_the_sentence_says_what_to_do():
    with pytest.raises(Unreachable, match=r"cannot fetch mt-bench: .* Go online, or"):
        Fluency.of("mt-bench", seed=0)
    with pytest.raises(UnknownName, match=r"source of open prompts 'dialogue'; .* mean"):
        Fluency.of("dialogue", seed=0)
