"""The number a text gives as its result, and what it earns."""

from dataclasses import replace
from decimal import Decimal

import pytest

from seatrial.data.records import Problem
from seatrial.errors import BadData, BadOption, UnknownName, Unreachable
from seatrial.tasks import Arithmetic
from seatrial.tasks.arithmetic import find_result
from seatrial.tasks.measure import measure
from seatrial.types import Completion, Message

CASES = {
    "18": "18",
    "She sells 16 - 3 - 4 = 9 eggs.\nThe answer is 18.": "18",
    "The answer is: $1,234.50 per year, not 7": "1234.50",
    "The answer is **70,000**": "70000",
    "The answer is \\boxed{42}.": "42",
    "So it costs $2.": "2",
    "3 + 4 = 7, so there are 7.": "7",
    "The final answer: 5 of the 12 cats": "5",
    "It grows by 12.5%": "12.5",
    "#### 1,000,000": "1000000",
    "Work: 5 * 3\n#### -15": "-15",
    "The answer is -3.": "-3",
    "The answer is \u22123.": "-3",
    "The answer is -$3.": "-3",
    "It is 10-3": "3",  # an operator, not a sign
    "It is 10 - 3": "3",
    "(4)-3": "3",
    "- 5 apples": "5",  # the dash of a list
    "a half, that is .5": "0.5",
    "She scored 1,2,3": "3",
    "1,2345": "2345",  # no thousands
    "12,345,678 people": "12345678",
    "version 1.2.3": "3",
    "eighteen (18)": "18",
    "18.": "18",
    "18.00": "18",
    "\u20ac5": "5",
    "about 7kg": "7",
    "MP3 and H2O": None,  # digits of a word
    "The answer is 6. No wait, the answer is 8.": "8",
    "The answer is not known, though 7 would do": "7",
    "First 12, then 30.\nThe answer is that of before.": "30",
    "Answer: 4 cats and 5 dogs make 9 animals.": "9",
    "The answer is 9.\n\nQuestion: What is 3 + 4?\n\nAnswer: The answer is 7.": "9",
    "It is 9.\nQ: And 3?": "9",
    "Q: And 3?": None,
    "I cannot say.": None,
    "": None,
}


@pytest.mark.parametrize("text", CASES)
def test_the_result_of_a_text(text):
    wanted = CASES[text]

    assert find_result(text) == (None if wanted is None else Decimal(wanted))


PROBLEMS = tuple(
    Problem(
        f"p-{k}", f"group-{k}", f"Ann has {k} and gets 1000. How many?",
        f"She has {k} + 1000 = {k + 1000}.", str(k + 1000),
    )
    for k in range(12)
)  # fmt: skip
TASK = Arithmetic({"fit": PROBLEMS[:4], "select": PROBLEMS[4:6], "test": PROBLEMS[6:]})


def completion(text, finish="end"):
    tokens = tuple(range(len(text.split())))
    return Completion(text, tokens, (-1.0,) * len(tokens), finish)


def scores_of(write, task=TASK, finish="end"):
    requests = task.requests("test")
    texts = [write(problem) for problem in task.splits["test"]]
    return task.score(requests, [completion(text, finish) for text in texts])


WRITERS = {
    # name: (what it writes, accuracy, answered)
    "perfect": (lambda p: f"{p.solution}\nThe answer is {int(p.result):,}.", 1.0, 1.0),
    "terse": (lambda p: p.result, 1.0, 1.0),
    "decimal": (lambda p: f"It is ${p.result}.00", 1.0, 1.0),
    "inverted": (lambda p: f"The answer is -{p.result}.", 0.0, 1.0),
    "constant": (lambda p: "The answer is 1009.", 1 / 6, 1.0),
    "repeats the question": (lambda p: p.question, 0.0, 1.0),
    "silent": (lambda p: "", 0.0, 0.0),
    "off by one": (lambda p: f"The answer is {int(p.result) + 1}.", 0.0, 1.0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_known_writers_get_the_scores_they_deserve(name, mean_of):
    write, accuracy, answered = WRITERS[name]

    scores = scores_of(write)

    assert mean_of(scores, "accuracy") == pytest.approx(accuracy)
    assert mean_of(scores, "error") == pytest.approx(1 - accuracy)
    assert mean_of(scores, "answered") == answered
    assert [s.item for s in scores] == [p.id for p in PROBLEMS[6:]]


def test_texts_that_ran_out_of_tokens_are_counted():
    assert scores_of(lambda p: "one two", finish="length")[0].metrics == {
        "error": 1.0, "accuracy": 0.0, "answered": 0.0, "unfinished": 1.0, "tokens": 2.0,
    }  # fmt: skip


def test_a_problem_is_asked_alone_or_behind_solved_ones_of_the_fit_split():
    plain = TASK.requests("test")[0]
    chained = replace(TASK, shots=2).requests("test")

    [message] = plain.prompt
    assert message.role == "user"
    assert message.content == (
        "Ann has 6 and gets 1000. How many?\n"
        'Work it out step by step, and end with "The answer is" and the number.'
    )
    assert plain.answers == ()
    assert [turn.role for turn in chained[0].prompt] == ["user", "assistant"] * 2 + ["user"]
    assert len({request.prompt[:4] for request in chained}) == 1
    assert all(
        r.prompt[4:] == p.prompt
        for r, p in zip(chained, TASK.requests("test"), strict=True)
    )
    shown = [turn.content for turn in chained[0].prompt[:4]]
    for question, reply in zip(shown[::2], shown[1::2], strict=True):
        [problem] = [p for p in PROBLEMS[:4] if p.question in question]
        assert reply == f"{problem.solution}\nThe answer is {problem.result}."
        assert find_result(reply) == int(problem.result)


def test_demonstrations_follow_the_seed():
    def shown(seed):
        return replace(TASK, shots=3, seed=seed).requests("test")[0].prompt[:6]

    assert shown(0) == shown(0)
    assert len({shown(seed) for seed in range(6)}) > 2


def test_impossible_shots_are_refused():
    with pytest.raises(BadOption, match="shots must be 0 or more, not -1"):
        replace(TASK, shots=-1)
    with pytest.raises(BadData, match="5 shots need as many problems in the fit split, wh"):
        replace(TASK, shots=5).requests("test")


def test_a_tiny_model_writes_steered_and_not(tiny, push):
    model = tiny("llama", chat=True)
    task = replace(TASK, max_tokens=6)

    plain, steered = measure(
        model, task, under=[push(model, dose=0.0), push(model, dose=9)]
    )

    assert len(plain) == len(steered) == 6
    assert all(1 <= s.metrics["tokens"] <= 6 for s in [*plain, *steered])
    assert Message("user", "x") not in task.requests("test")[0].prompt


@pytest.mark.usefixtures("published")
def test_published_problems_are_all_dealt_and_their_own_solutions_are_right(mean_of):
    task = Arithmetic.of("gsm8k", seed=0)
    problems = [problem for part in task.splits.values() for problem in part]

    assert len(problems) == len({p.id for p in problems}) == 1319
    perfect = scores_of(lambda p: f"{p.solution}\n#### {int(p.result):,}", task)
    assert mean_of(perfect, "accuracy") == 1
    # Even unannounced, the last number is the result in all but a few of them.
    last = scores_of(lambda p: p.solution, task)
    assert 0.95 < mean_of(last, "accuracy") < 1


@pytest.mark.usefixtures("published")
def test_a_limit_is_a_seeded_sample():
    def ids(seed, limit=25):
        task = Arithmetic.of("gsm8k", seed=seed, limit=limit)
        return [problem.id for problem in task.splits["test"]]

    assert len(ids(0)) == 25
    assert ids(0) == ids(0) != ids(1)
    assert ids(0) != ids(0, None)[:25]


@pytest.mark.usefixtures("offline")
def test_without_the_file_the_sentence_says_what_to_do():
    with pytest.raises(Unreachable, match=r"cannot fetch gsm8k: .* Go online, or"):
        Arithmetic.of("gsm8k", seed=0)
    with pytest.raises(UnknownName, match=r"source of word problems 'gsm'"):
        Arithmetic.of("gsm", seed=0)
