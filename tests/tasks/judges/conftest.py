"""A real HTTP server on loopback that answers as a test tells it to."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def says(text, **more):
    """The body of a chat completion."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "model": "judge-1", "usage": {"total_tokens": 10}, **more}


class Served:
    """What was asked of the server, and what it answers."""

    def __init__(self):
        self.answer = lambda body, number: (200, {}, says("Rating: 5"))
        """(body, number of the request) -> (status, headers, dict, text or bytes)."""
        self.bodies, self.headers, self.paths, self.times = [], [], [], []
        self.now, self.most = 0, 0
        """Requests under way, and the most that ever were."""
        self.lock, self.released = threading.Lock(), threading.Event()

    @property
    def texts(self):
        """What the judge was asked, request by request."""
        return [body["messages"][0]["content"] for body in self.bodies]

    def take(self, handler):
        length = int(handler.headers["Content-Length"])
        body = json.loads(handler.rfile.read(length))
        with self.lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self.times.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.answer(body, number)
        finally:
            with self.lock:
                self.now -= 1


@pytest.fixture
def served():
    """A running server; its ``url`` and what it was asked."""
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            status, headers, content = state.take(self)
            if isinstance(content, dict):
                content = json.dumps(content)
            data = content if isinstance(content, bytes) else content.encode()
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # A client that lost patience.

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    state.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def chat(served, tmp_path):
    """Makes a ChatServer that asks the running server, with short waits."""
    from seatrial.tasks.judges import ChatServer

    def make(**options):
        usual = {"url": served.url, "model": "judge-1", "first_wait": 0.01}
        return ChatServer(**{**usual, "cache": tmp_path / "replies", **options})

    return make


@pytest.fixture
def completion():
    """The body of a chat completion with a text."""
    return says
