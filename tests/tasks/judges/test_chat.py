"""Asking a server: every failure it can have, and nothing asked twice or lost."""

import email.utils
import json
import threading
import time

import pytest

from seatrial.errors import BadFile, BadOption, JudgeFault, StoreFault, Unreachable
from seatrial.tasks.judges import SpendingLimit
from seatrial.tasks.judges.chat import JudgeQuestion, ask_server

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def questions(n):
    return [
        JudgeQuestion(f"question {k}", "rubric 1", f"prompt {k}", f"text {k}")
        for k in range(n)
    ]


def echo(completion):
    """Answers each question with its own number."""

    def answer(body, number):
        return 200, {}, completion(f"Rating: {body['messages'][0]['content'].split()[-1]}")

    return answer


def files_of(server):
    return sorted(server.cache.rglob("*.json"))


def test_replies_come_in_the_order_of_the_questions(served, chat, completion):
    served.answer = echo(completion)

    replies = ask_server(chat(), questions(20))

    assert [reply.text for reply in replies] == [f"Rating: {k}" for k in range(20)]
    assert len(served.bodies) == 20


def test_what_is_sent_is_this(served, chat):
    server = chat(temperature=0.5, max_tokens=9, extra={"guided_choice": ["1", "2"]})

    ask_server(server, questions(1))

    assert served.paths == ["/v1/chat/completions"]
    assert served.bodies == [
        {
            "model": "judge-1",
            "messages": [{"role": "user", "content": "question 0"}],
            "temperature": 0.5,
            "max_tokens": 9,
            "guided_choice": ["1", "2"],
        }
    ]
    assert "Authorization" not in served.headers[0]


def test_a_slash_at_the_end_of_the_address_changes_nothing(served, chat):
    ask_server(chat(), questions(1))
    ask_server(chat(url=f"{served.url}/"), questions(1))

    assert served.paths == ["/v1/chat/completions"]


def test_requests_are_under_way_at_once(served, chat, completion):
    barrier = threading.Barrier(4, timeout=20)

    def answer(body, number):
        barrier.wait()  # Opens only when four requests stand here together.
        return 200, {}, completion("Rating: 5")

    served.answer = answer

    ask_server(chat(workers=4), questions(8))

    assert served.most == 4


def test_one_worker_asks_one_thing_at_a_time(served, chat):
    ask_server(chat(workers=1), questions(6))

    assert served.most == 1
    assert served.texts == [f"question {k}" for k in range(6)]


def test_what_was_answered_is_not_asked_again(served, chat):
    first, second = chat(), chat()

    before = ask_server(first, questions(5))
    after = ask_server(second, questions(5))

    assert after == before
    assert len(served.bodies) == 5
    assert (first.spending.requests, first.spending.from_cache) == (5, 0)
    assert (second.spending.requests, second.spending.from_cache) == (0, 5)


def test_the_same_question_twice_in_one_call_is_asked_once(served, chat):
    replies = ask_server(chat(), [*questions(1), *questions(1)])

    assert len(served.bodies) == 1
    assert replies[0] == replies[1]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "judge-2"},
        {"temperature": 0.1},
        {"max_tokens": 7},
        {"revision": "2026-01"},
        {"extra": {"seed": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_judge_does_not_answer_out_of_the_cache(served, chat, change):
    ask_server(chat(), questions(1))
    ask_server(chat(**change), questions(1))

    assert len(served.bodies) == 2
    assert chat().identity != chat(**change).identity


@pytest.mark.parametrize("part", ["text", "rubric", "prompt", "completion"])
def test_another_question_is_not_answered_out_of_the_cache(served, chat, part):
    [question] = questions(1)

    ask_server(chat(), [question])
    ask_server(chat(), [question._replace(**{part: "another"})])

    assert len(served.bodies) == 2


def test_how_patient_we_are_does_not_change_what_is_asked(chat):
    usual = chat().identity

    assert chat(workers=1, timeout=5.0, tries=1, limit=SpendingLimit(3)).identity == usual


def test_a_full_server_is_asked_again_no_sooner_than_it_says(served, chat, completion):
    served.answer = lambda body, number: (
        (429, {"Retry-After": "0.4"}, "slow down")
        if number == 0
        else (200, {}, completion("Rating: 7"))
    )

    [reply] = ask_server(chat(), questions(1))

    assert reply.text == "Rating: 7"
    assert served.times[1] - served.times[0] >= 0.4


def test_a_date_in_retry_after_is_understood(served, chat, completion):
    # Dates have whole seconds, so one 2 s ahead is at least 1 s ahead.
    served.answer = lambda body, number: (
        (503, {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)}, "")
        if number == 0
        else (200, {}, completion("Rating: 7"))
    )

    ask_server(chat(), questions(1))

    assert served.times[1] - served.times[0] >= 0.9


def test_a_server_that_asks_for_too_much_patience_is_given_up(served, chat):
    served.answer = lambda body, number: (429, {"Retry-After": "3600"}, "full")

    with pytest.raises(Unreachable, match=r"asks to wait 3600 seconds .* longest_wait, 60"):
        ask_server(chat(), questions(1))

    assert len(served.bodies) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 529])
def test_a_failing_server_is_asked_so_many_times_and_given_up(served, chat, status):
    served.answer = lambda body, number: (status, {}, "out of order")

    with pytest.raises(Unreachable) as raised:
        ask_server(chat(tries=3), questions(1))

    assert len(served.bodies) == 3
    assert f"was asked 3 times and did not answer (status {status}: out of order)" in str(
        raised.value
    )


def test_waits_grow_twofold(served, chat):
    served.answer = lambda body, number: (500, {}, "")

    with pytest.raises(Unreachable):
        ask_server(chat(tries=4, first_wait=0.1), questions(1))

    waits = [b - a for a, b in zip(served.times, served.times[1:], strict=False)]
    for wait, most in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert most / 2 <= wait  # No upper bound: the machine may be busy.


def test_after_a_failure_nothing_more_is_asked_and_what_is_done_is_kept(
    served, chat, completion
):
    served.answer = lambda body, number: (
        (500, {}, "") if number >= 3 else (200, {}, completion("Rating: 5"))
    )
    server = chat(workers=1, tries=2)

    with pytest.raises(
        Unreachable, match=r"3 of 10 questions were answered.*kept in .*again"
    ):
        ask_server(server, questions(10))

    assert len(served.bodies) == 3 + 2
    assert len(files_of(server)) == 3

    served.answer = echo(completion)
    replies = ask_server(server, questions(10))

    assert len(served.bodies) == 5 + 7
    assert [reply.text for reply in replies[3:]] == [f"Rating: {k}" for k in range(3, 10)]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_a_refusal_is_not_repeated(served, chat, status):
    served.answer = lambda body, number: (
        status, {"Location": f"{served.url}/elsewhere"}, "no such model",
    )  # fmt: skip

    with pytest.raises(Unreachable, match=f"refuses the request .status {status}: no such"):
        ask_server(chat(), questions(1))

    assert len(served.bodies) == 1


@pytest.mark.parametrize("attempt", range(5))
def test_a_refusal_in_one_of_many_threads_is_not_taken_for_a_limit_that_is_reached(
    served, chat, attempt
):
    served.answer = lambda body, number: (401 if number == 3 else 500, {}, "no")

    with pytest.raises(Unreachable, match="refuses the request"):
        ask_server(
            chat(workers=8, first_wait=0.2, limit=SpendingLimit(requests=100)),
            questions(20),
        )


def test_a_defect_of_ours_is_not_taken_for_a_fault_of_the_judge(
    served, chat, completion, monkeypatch
):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("seatrial.tasks.judges.cache.ReplyCache.put", fail)

    with pytest.raises(ZeroDivisionError):
        ask_server(chat(), questions(20))


def test_a_silent_server_is_waited_for_so_long_and_given_up(served, chat, completion):
    def answer(body, number):
        served.released.wait(20)
        return 200, {}, completion("Rating: 5")

    served.answer = answer
    start = time.monotonic()

    with pytest.raises(
        Unreachable, match=r"asked 2 times .*no sign of it for 0\.2 seconds"
    ):
        ask_server(chat(timeout=0.2, tries=2), questions(1))

    assert 0.4 <= time.monotonic() - start < 15


def test_a_timeout_can_be_followed_by_success(served, chat, completion):
    def answer(body, number):
        if number == 0:
            served.released.wait(20)
        return 200, {}, completion("Rating: 6")

    served.answer = answer

    [reply] = ask_server(chat(timeout=0.3), questions(1))

    assert reply.text == "Rating: 6"


def test_no_server_at_all_is_said(chat):
    with pytest.raises(Unreachable, match=r"asked 2 times and did not answer .*refused"):
        ask_server(chat(url="http://127.0.0.1:9/v1", tries=2), questions(1))


@pytest.mark.parametrize(
    "body", ["<html>Welcome to the hotel</html>", "{}", '{"choices": []}', "[1]", "null",
             '{"choices": [{"message": {"content": 7}}]}'],
)  # fmt: skip
def test_an_answer_that_is_no_completion_is_kept_to_be_read_and_asked_again(
    served, chat, completion, body
):
    served.answer = lambda _, number: (200, {}, body)
    server = chat(tries=2)

    [reply] = ask_server(server, questions(1))

    assert (reply.text, reply.raw) == (None, body)
    assert len(served.bodies) == 2
    [file] = files_of(server)
    assert json.loads(file.read_text("utf-8"))["raw"] == body

    served.answer = echo(completion)
    [reply] = ask_server(server, questions(1))

    assert reply.text == "Rating: 0"


def test_a_message_of_nothing_is_an_empty_text_and_is_not_asked_again(
    served, chat, completion
):
    served.answer = lambda body, number: (200, {}, completion(None))

    first = ask_server(chat(), questions(1))
    second = ask_server(chat(), questions(1))

    assert first == second
    assert first[0].text == ""
    assert '"content": null' in first[0].raw
    assert len(served.bodies) == 1


def test_a_limit_of_requests_is_kept_to_the_last_one(served, chat, completion):
    served.answer = echo(completion)
    server = chat(limit=SpendingLimit(requests=7), workers=3)

    with pytest.raises(
        JudgeFault,
        match=r"limit, 7 requests, is reached; 7 of 20 .*kept in .*larger",
    ):
        ask_server(server, questions(20))

    assert len(served.bodies) == 7
    assert len(files_of(server)) == 7

    replies = ask_server(chat(limit=SpendingLimit(requests=13)), questions(20))

    assert len(served.bodies) == 20
    assert [reply.text for reply in replies] == [f"Rating: {k}" for k in range(20)]


def test_a_limit_is_shared_by_all_calls_and_counts_second_tries(served, chat, completion):
    served.answer = lambda body, number: (
        (500, {}, "") if number % 2 == 0 else (200, {}, completion("Rating: 5"))
    )
    server = chat(limit=SpendingLimit(requests=4), workers=1)

    ask_server(server, questions(2))
    with pytest.raises(JudgeFault, match="0 of 1"):
        ask_server(server, questions(3))

    assert len(served.bodies) == 4


def test_what_is_in_the_cache_counts_towards_no_limit(served, chat):
    ask_server(chat(), questions(5))

    ask_server(chat(limit=SpendingLimit(requests=1)), questions(6))

    assert len(served.bodies) == 6


def test_a_limit_of_tokens_ends_the_asking(served, chat):
    server = chat(limit=SpendingLimit(tokens=35), workers=1)

    with pytest.raises(JudgeFault, match="35 tokens, is reached; 4 of 9"):
        ask_server(server, questions(9))

    assert server.spending.tokens == 40


def test_tokens_are_estimated_where_the_server_does_not_count(served, chat, completion):
    served.answer = lambda body, number: (200, {}, completion("x" * 300, usage=None))
    server = chat()

    ask_server(server, questions(1))

    assert server.spending.tokens > 100


@pytest.mark.parametrize(
    ("options", "match"),
    [({"requests": 0}, "requests must be at least 1, not 0"),
     ({"tokens": -1}, "tokens must be at least 1, not -1")],
)  # fmt: skip
def test_a_limit_of_nothing_is_refused(options, match):
    with pytest.raises(BadOption, match=match):
        SpendingLimit(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"tries": 0}, "tries must be at least 1"),
        ({"timeout": 0.0}, "timeout must be at least 0.001, not 0"),
        ({"temperature": float("nan")}, "temperature must be at least 0, not nan"),
        ({"url": "judge.example/v1"}, "is no address of a server"),
        ({"url": "ftp://judge.example"}, "is no address of a server"),
        ({"url": "http://judge.example:http/v1"}, "is no address of a server"),
        ({"extra": {"a": {1, 2}}}, "extra holds what JSON cannot say"),
    ],
)
def test_options_out_of_range_are_refused(chat, options, match):
    with pytest.raises(BadOption, match=match):
        chat(**options)


def test_a_file_of_the_cache_says_what_was_asked_and_answered(served, chat):
    server = chat()

    ask_server(server, questions(1))

    [file] = files_of(server)
    record = json.loads(file.read_text("utf-8"))
    assert record["reply"] == record["raw"] == "Rating: 5"
    assert record["asked"]["prompt"] == "prompt 0"
    assert record["asked"]["completion"] == "text 0"
    assert record["asked"]["body"]["model"] == "judge-1"
    assert record["answered by"] == "judge-1"


def test_a_damaged_file_of_the_cache_is_named(served, chat):
    server = chat()
    ask_server(server, questions(1))
    [file] = files_of(server)

    for damage in (b'{"format": 1, "rep', b"[]", b'{"format": 99}', b"\xff"):
        file.write_bytes(damage)
        with pytest.raises(BadFile, match=f"{file.name}.*delete it"):
            ask_server(server, questions(1))


def test_a_reply_that_cannot_be_written_leaves_no_half_file(served, chat, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", fail)
    server = chat()

    with pytest.raises(StoreFault, match=r"cannot keep a reply .*No space left"):
        ask_server(server, questions(1))

    assert [path for path in server.cache.rglob("*") if path.is_file()] == []


def test_texts_with_any_sign_are_asked_and_kept(served, chat, completion):
    odd = "\ud800 half a pair, {braces}, \u2028, \x00, 漢字"
    served.answer = lambda body, number: (
        200, {}, completion(body["messages"][0]["content"]),
    )  # fmt: skip
    question = JudgeQuestion(odd, "rubric 1", odd, odd)

    first = ask_server(chat(), [question])
    second = ask_server(chat(), [question])

    assert first[0].text == second[0].text == odd
    assert len(served.bodies) == 1


def test_a_proxy_of_the_surroundings_is_not_asked_for_loopback(served, chat, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    ask_server(chat(), questions(1))

    assert len(served.bodies) == 1


def test_nothing_to_ask_asks_nothing(served, chat):
    assert ask_server(chat(), []) == []
    assert served.bodies == []
