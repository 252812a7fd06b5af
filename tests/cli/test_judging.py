"""Judges on the command line: chosen by name, asked over HTTP, and doubted in public."""

import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seatrial.data import load_concept, split
from seatrial.tasks.judges import Classifier, Lexicon, Likelihood, Regex

MIRROR = Path(__file__).parents[2] / ".." / "shared" / "data"
KEY = "sk-very-secret-key-of-the-judge"


@pytest.fixture
def asks(root, tmp_path, monkeypatch):
    """Arguments that measure a few passages, with replies kept in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def arguments(*more, source="positive-sentiment", options=()):
        few = ("--limit", "20", "--set", "max_tokens=4", *options)
        return ("measure", "generation", "--source", source, "--model", root / "model",
                *few, *more)  # fmt: skip

    return arguments


@pytest.fixture
def published(monkeypatch):
    """Published data sets load from a mirror, or the test is skipped."""
    folder = Path(os.environ.get("SEATRIAL_MIRROR") or MIRROR)
    if not (folder / "github").is_dir():
        pytest.skip(f"no mirror at {folder}; name one with SEATRIAL_MIRROR")
    monkeypatch.setenv("SEATRIAL_MIRROR", str(folder.resolve()))


@pytest.fixture
def server():
    """A judge on loopback: ``reply(number of the request, text it is asked)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            text = json.loads(self.rfile.read(length))["messages"][0]["content"]
            with state.lock:
                state.asked.append((text, self.headers.get("Authorization")))
                number = len(state.asked)
            said = {"message": {"content": state.reply(number, text)}}
            data = json.dumps({"choices": [said]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    state = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.asked, state.lock = [], threading.Lock()
    state.reply = lambda number, text: "Rating: 5"
    state.url = f"http://127.0.0.1:{state.server_port}/v1"
    thread = threading.Thread(target=state.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.shutdown()
    thread.join()
    state.server_close()


def at(server, *more):
    return ("--judge-url", server.url, "--judge-model", "judge-1", *more)


ENDPOINT = ("judge=endpoint",)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_one_malformed_reply_in_ten_is_counted_and_bounded(
    asks, server, call, tmp_path, monkeypatch
):
    """The judge knows the labelled texts, and says the key that must not be seen."""
    good = {item.matching_text for item in load_concept("positive-sentiment").items}
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def reply(number, text):
        if number in (3, 13):
            return f"I was sent {KEY} and cannot say."
        return f"Rating: {10 if any(one in text for one in good) else 2}"

    server.reply, out = reply, tmp_path / "scores.jsonl"
    more = at(server, "--judge-key", "JUDGE_KEY", "--out", out)

    code, said, err = call(*asks(*more, options=(*ENDPOINT, "max_unreadable=0.1")))

    assert code == 0, err
    assert "Replies that could not be read: 2 of 20" in said
    # 18 texts of 2 points each, and 2 that may be anything from 0 to 10.
    assert "generation, unsteered: 2 of 20, a share of 0.1" in said
    assert "the mean score lies from 1.8 to 2.8" in said
    assert "Agreement with the labels of 40 texts of the concept: kappa 1.0" in said
    assert "its scale is 0 to 10" in said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(line["metrics"] == {} for line in lines) == 2
    assert {line["metrics"].get("score") for line in lines} == {2.0, None}
    assert all("degenerate" in line["metrics"] for line in lines if line["metrics"])
    assert lines[0]["options"]["judge"].startswith("endpoint judge-1 ")
    assert {header for _, header in server.asked} == {f"Bearer {KEY}"}
    kept = [path.read_text() for path in (tmp_path / "cache").rglob("*.json")]
    assert len(kept) == len(server.asked) == 60
    assert not any(KEY in text for text in (said, err, out.read_text(), *kept))


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_too_many_malformed_replies_are_refused_and_a_rubric_can_be_named(
    asks, server, refused
):
    server.reply = lambda number, text: "Hm." if number % 3 == 0 else "Rating: 1"

    said = refused(*asks(*at(server, "--rubric", "axbench"), options=ENDPOINT))

    assert "replies of the judge hold no score" in said
    assert len(server.asked) == 3 * 20
    assert "unknown rubric 'best'; known: axbench, caa" in refused(
        *asks(*at(server, "--rubric", "best"), options=ENDPOINT)
    )


@pytest.mark.parametrize(
    ("source", "name", "kind"),
    [
        ("positive-sentiment", None, Lexicon),
        ("positive-sentiment", "vader", Lexicon),
        ("honesty", "regex:[aeiou]", Regex),
        ("honesty", "classifier", Classifier),
        ("honesty", "likelihood", Likelihood),
    ],
)
def test_judges_are_chosen_by_name_and_their_agreement_is_said(
    source, name, kind, asks, call
):
    options = () if name is None else (f"judge={name}",)

    code, said, err = call(*asks(source=source, options=options))

    assert code == 0, err
    assert f"Judge: {kind.name} " in said
    assert "Replies that could not be read: 0 of 20" in said
    assert "Agreement with the labels of 40 texts of the concept: kappa " in said


def test_a_classifier_has_not_learnt_from_the_texts_it_is_compared_on(
    asks, call, monkeypatch
):
    judged, real = [], Classifier.judge

    def seen(self, asked):
        judged.append((self, asked))
        return real(self, asked)

    monkeypatch.setattr(Classifier, "judge", seen)

    call(*asks(source="formality", options=("judge=classifier",)))

    parts = split(load_concept("formality").items, seed=0)
    judge, asked = judged[-1]
    texts = {one.completion.strip() for one in asked}
    assert set(judge.matching) == {item.matching_text for item in parts["select"]}
    fit = {t for i in parts["fit"] for t in (i.matching_text, i.other_text)}
    assert len(asked) == 40
    assert texts <= fit


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize(
    ("items", "said"),
    [(0, "was not measured (--agreement 0)"), (6, "of 12 texts of the concept: kappa ")],
)
def test_agreement_costs_the_requests_that_are_asked_for(items, said, asks, server, call):
    server.reply = lambda number, text: f"Rating: {number % 10}"

    code, out, err = call(*asks(*at(server, "--agreement", items), options=ENDPOINT))

    assert code == 0, err
    assert said in out
    assert len(server.asked) == 20 + 2 * items


def test_agreement_can_be_left_out_of_any_judge_and_of_no_other_task(
    asks, call, refused, root
):
    code, said, err = call(*asks("--agreement", "0"))

    assert code == 0, err
    assert "Agreement with labels was not measured (--agreement 0)" in said
    assert "--agreement must be 0 or at least 5 items, not 2" in refused(
        *asks("--agreement", "2")
    )
    said = refused("measure", "open", "--model", root / "model", "--agreement", "0")
    assert "--agreement is of judges, which only generation has" in said


@pytest.mark.usefixtures("published")
def test_questions_of_a_published_set_are_asked_and_judged(asks, call, refused):
    few = ("--set", "judge=regex:[aeiou]")
    code, said, err = call(*asks(*few, source="persona/openness"))

    assert code == 0, err
    assert "generation on persona/openness, test split: 20 items" in said
    assert "was not measured: persona/openness holds no texts that do and do not" in said
    for options in ((), ("judge=classifier",)):
        assert "no texts that a judge could learn from; give a judge, such as" in refused(
            *asks(source="persona/openness", options=options)
        )


def test_pairs_of_your_own_are_continued_judged_and_learnt_from(
    asks, call, refused, tmp_path
):
    items = load_concept("formality").items
    rows = [
        {"prompt": i.prompt, "positive": i.matching_text, "negative": i.other_text}
        for i in items
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    code, said, err = call(*asks(source=path, options=("judge=classifier",)))

    assert code == 0, err
    assert "Judge: classifier " in said
    kappa = re.search(r"40 texts of the concept: kappa (\S+) \[(\S+),", said)
    assert float(kappa[2]) > 0.3

    for row in rows:
        del row["prompt"]
    path.write_text("\n".join(map(json.dumps, rows)))
    said = refused(*asks(source=path, options=("judge=lexicon",)))
    assert "is a pair of texts without a prompt, so there is nothing to write on" in said


@pytest.mark.parametrize(
    ("option", "more", "sentence"),
    [
        ("form=chat", ("--judge-model", "m"), "of a judge behind a server; add --set jud"),
        ("judge=endpoint", (), "needs a server and a model: add --judge-url"),
        ("judge=oracle", (), "unknown judge 'oracle'; known: "),
        ("judge=regex", (), "judge=regex needs a pattern, such as"),
        ("judge=regex:(", (), "'(' is no regular expression"),
    ],
)
def test_what_names_no_judge_is_refused_before_a_model_is_loaded(
    option, more, sentence, asks, refused, monkeypatch
):
    monkeypatch.setattr("seatrial.model.Model.load", lambda *_: pytest.fail("loaded"))

    assert sentence in refused(*asks(*more, options=(option,)))


def test_a_key_on_the_command_line_is_refused_without_being_repeated(asks, refused):
    address = ("--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m")

    said = refused(*asks(*address, "--judge-key", KEY, options=ENDPOINT))

    assert "never the key itself" in said
    assert KEY not in said
