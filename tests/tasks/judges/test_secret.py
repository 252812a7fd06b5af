"""The key of a server reaches the server, and nobody else."""

import json
import logging
import traceback

import pytest

from seatrial.errors import BadOption, Unreachable
from seatrial.tasks.judges import Endpoint, Judged
from seatrial.tasks.judges.chat import JudgeQuestion, ask_server
from seatrial.tasks.judges.secret import Secret

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KEY = 'sk-planted/"key"\\0123456789'
ESCAPED = json.dumps(KEY)[1:-1]
VARIABLE = "PLANTED_JUDGE_KEY"
QUESTIONS = [JudgeQuestion(f"question {k}", "rubric 1", "", f"text {k}") for k in range(3)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)


def assert_clean(text):
    assert KEY not in text
    assert ESCAPED not in text
    assert "planted/" not in text


def test_the_server_gets_the_key(served, chat):
    ask_server(chat(key_variable=VARIABLE), QUESTIONS)

    assert {headers["Authorization"] for headers in served.headers} == {f"Bearer {KEY}"}


def test_no_repr_and_no_identity_holds_the_key(chat):
    server = chat(key_variable=VARIABLE)

    for thing in (server, Endpoint(server), Secret(VARIABLE), server.spending):
        assert_clean(repr(thing))
        assert_clean(str(thing))
    assert_clean(server.identity)
    assert server.identity == chat().identity


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, f"Incorrect key: {KEY}"),
        (401, json.dumps({"error": {"message": f"Incorrect key: {KEY}"}})),
        (500, f"Traceback: headers = {{'Authorization': 'Bearer {KEY}'}}"),
        (429, f"the quota of {KEY} is spent"),
    ],
)
def test_a_server_that_says_the_key_aloud_is_not_repeated(
    served, chat, caplog, capfd, status, body
):
    caplog.set_level(logging.DEBUG)
    served.answer = lambda *_: (status, {"X-Echo": KEY}, body)

    with pytest.raises(Unreachable) as raised:
        ask_server(chat(key_variable=VARIABLE, tries=2), QUESTIONS)

    assert "[key]" in str(raised.value)
    lines = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    # The test's own frame knows the key as its body.
    for frame in list(lines.stack):
        if frame.filename == __file__:
            lines.stack.remove(frame)
    assert_clean("".join(lines.format(chain=True)))
    out, err = capfd.readouterr()
    assert_clean(out + err)


def test_logs_at_their_most_talkative_do_not_hold_the_key(served, chat, caplog):
    caplog.set_level(logging.DEBUG)
    served.answer = lambda *_: (500, {}, "")

    with pytest.raises(Unreachable):
        ask_server(chat(key_variable=VARIABLE, tries=2), QUESTIONS)

    assert caplog.records, "the client logs nothing, so this test proves nothing"
    assert_clean(caplog.text)
    assert_clean("".join(str(vars(record)) for record in caplog.records))


def test_replies_and_files_that_repeat_the_key_are_cleaned(served, chat, completion):
    bodies = [
        completion(f"Your key is {KEY}. Rating: 5", model=KEY),
        f"no JSON, but {KEY} and {ESCAPED}",
        json.dumps({"error": KEY}),
    ]
    served.answer = lambda body, _: (
        200,
        {},
        bodies[int(body["messages"][0]["content"][-1])],
    )
    server = chat(key_variable=VARIABLE, tries=1)

    replies = ask_server(server, QUESTIONS)

    assert replies[0].text == "Your key is [key]. Rating: 5"
    assert [reply.text for reply in replies[1:]] == [None, None]
    for reply in replies:
        assert "[key]" in reply.raw
        assert_clean(reply.raw)
    files = [path for path in server.cache.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert_clean(path.read_text("utf-8"))


def test_judgements_that_repeat_the_key_are_cleaned(served, chat, completion):
    served.answer = lambda *_: (200, {}, completion(f"{KEY} Rating: 5"))

    [found] = Endpoint(chat(key_variable=VARIABLE)).judge([Judged("a", "b", "likes c")])

    assert (found.score, found.reply) == (5.0, "[key] Rating: 5")


def test_a_redirection_does_not_carry_the_key_elsewhere(served, chat):
    served.answer = lambda *_: (307, {"Location": f"{served.url}/chat/completions"}, "")

    with pytest.raises(Unreachable, match="status 307"):
        ask_server(chat(key_variable=VARIABLE), QUESTIONS[:1])

    assert len(served.headers) == 1


def test_a_missing_key_is_said_before_anything_is_sent(served, chat, monkeypatch):
    monkeypatch.delenv(VARIABLE)

    with pytest.raises(BadOption, match="is not set; export it"):
        ask_server(chat(key_variable=VARIABLE), QUESTIONS)

    assert served.headers == []


@pytest.mark.parametrize("odd", ["two words 12345678", "line\nline 12345678", "schlüssel1"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(
    chat, monkeypatch, odd
):
    monkeypatch.setenv(VARIABLE, odd)

    with pytest.raises(BadOption, match="signs that no key has") as raised:
        ask_server(chat(key_variable=VARIABLE), QUESTIONS)

    assert odd not in str(raised.value)


def test_white_space_around_a_key_is_forgiven(served, chat, monkeypatch):
    monkeypatch.setenv(VARIABLE, "  abcdefgh12345\n")

    ask_server(chat(key_variable=VARIABLE), QUESTIONS[:1])

    assert served.headers[0]["Authorization"] == "Bearer abcdefgh12345"


def test_the_key_itself_is_no_name_of_a_variable_and_is_not_repeated(chat):
    with pytest.raises(BadOption, match="never the key itself") as raised:
        chat(key_variable="sk-0123456789abcdef")

    assert "sk-0123" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["http://me:hunter2-secret@judge.example/v1", "https://judge.example/v1?key=hunter2-secret",
     "https://judge.example/v1#hunter2-secret"],
)  # fmt: skip
def test_an_address_that_may_hold_a_key_is_refused_and_not_repeated(chat, url):
    with pytest.raises(BadOption, match="no user name, question mark or hash") as raised:
        chat(url=url)

    assert "hunter2" not in str(raised.value)


def test_a_placeholder_for_a_key_does_not_garble_replies(
    served, chat, completion, monkeypatch
):
    monkeypatch.setenv(VARIABLE, "5")
    served.answer = lambda *_: (200, {}, completion("Rating: 5"))

    [reply] = ask_server(chat(key_variable=VARIABLE), QUESTIONS[:1])

    assert reply.text == "Rating: 5"
