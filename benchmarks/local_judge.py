"""A judge behind a server on this machine, one of whose replies in ten is malformed.

    .venv/bin/python -m benchmarks.local_judge          # SmolLM2-135M writes and judges
    .venv/bin/python -m benchmarks.local_judge --tiny   # a random model, to try it

A model continues the openings of one concept, unsteered and under CAA at doses -1 and 1.
The same model, unsteered, rates the texts behind an OpenAI-compatible
``/v1/chat/completions`` on loopback, by the 0-10 rubric. Such a small model hardly follows
a form, so requests carry ``guided_choice`` (as vLLM has it), and the server replies with
the likeliest of the choices. That the ratings mean something is not claimed: the agreement
with labelled texts is printed first.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from seatrial.data import load_concept, sample, split
from seatrial.methods import CAA
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import Generation, Open, fit_data
from seatrial.tasks.judges import (
    ChatServer,
    Endpoint,
    Judge,
    Lexicon,
    agreement,
    labelled_items,
    tally,
)
from seatrial.tasks.measure import measure
from seatrial.testing import tiny_model
from seatrial.types import Message, Request

CHOICES = [f"Rating: {number}" for number in range(11)]
MALFORMED = "I would rather not put a number on this."
EVERY = 10
"""Each so many-th reply is malformed."""


class Replies:
    """What the server answers; the model takes one question at a time."""

    def __init__(self, model: Model, longest: int) -> None:
        self.model, self.longest = model, longest
        self.lock = threading.Lock()
        self.asked = 0

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a chat completion."""
        with self.lock:
            self.asked += 1
            is_malformed = self.asked % EVERY == 0
            text = MALFORMED if is_malformed else self._reply(body)
        message = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "model": self.model.identity,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }

    def _reply(self, body: dict[str, Any]) -> str:
        messages = tuple(
            Message(entry["role"], entry["content"][-self.longest :])
            for entry in body["messages"]
        )
        choices = body.get("guided_choice")
        if not choices:
            [[text]] = self.model.generate(
                [messages], max_tokens=body["max_tokens"], temperature=body["temperature"]
            )
            return text.text
        request = Request("asked", "asked", messages, tuple(choices))
        [[answer]] = self.model.log_probs([request])
        return max(zip(answer.sums, choices, strict=True))[1]


@contextmanager
def serving(replies: Replies) -> Iterator[str]:
    """Run the server; gives the address of its API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(replies.completion(body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def report(
    model: Model, task: Generation, under: list[Steering], names: list[str], seed: int
) -> None:
    """Print the scores of one judge under each steering."""
    judge = task.judge
    print(f"\n{judge.name}, scale {judge.scale.low:g} to {judge.scale.high:g}")
    print(f"{'steering':12}{'mean score':>26}{'unreadable':>12}{'bounds of the mean':>22}")
    for name, scores in zip(
        names, measure(model, task, under=under, seed=seed), strict=True
    ):
        found = tally(scores, judge.scale)
        lost = f"{found.unreadable} of {found.n}"
        bounds = f"{found.lowest:.2f} to {found.highest:.2f}"
        print(f"{name:12}{found.mean!s:>26}{lost:>12}{bounds:>22}")


def main() -> None:
    """Read the command line, serve, judge, and judge again out of the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--concept", default="positive-sentiment")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    model = tiny_model(chat=True) if options.tiny else Model.load(options.model)
    layer, items = (1, 10) if options.tiny else (options.layer, options.items)
    concept = load_concept(options.concept)
    parts = split(concept.items, seed=0)
    data = fit_data(concept, Open(parts))
    fitted = CAA(layer, read="completion").fit(model, data, seed=0)
    parts["test"] = sample(parts["test"], items, seed=0)
    under = [Steering(fitted, -1.0), UNSTEERED, Steering(fitted, 1.0)]
    names = ["caa -1", "unsteered", "caa 1"]
    replies = Replies(model, longest=100 if options.tiny else 100_000)
    with serving(replies) as url, tempfile.TemporaryDirectory() as folder:
        server = ChatServer(
            url, model.card.name, extra={"guided_choice": CHOICES}, cache=Path(folder)
        )
        judge: Judge = Endpoint(server)
        labelled = labelled_items(parts["select"], concept.about, judge.scale)
        found = agreement(judge, labelled[: 2 * items])
        print(f"{model.identity} judges {concept.name} at {url}")
        print(f"agreement on {found.n} labelled texts ({found.unreadable} unreadable):")
        print(f"  kappa {found.kappa}, rank correlation {found.rank}")
        judges: list[Judge] = [judge, judge, Lexicon()]
        for number, asked in enumerate(judges):
            spent, start = server.spending, time.time()
            before = spent.requests, spent.from_cache
            task = Generation(
                parts, concept.about, asked, max_tokens=options.tokens, max_unreadable=0.25
            )
            report(model, task, under, names, seed=0)
            sent, kept = spent.requests - before[0], spent.from_cache - before[1]
            if number < 2:
                print(
                    f"{sent} requests, {kept} cache hits, {spent.tokens} tokens "
                    f"so far, {time.time() - start:.0f} s"
                )


if __name__ == "__main__":
    main()
