"""One request to a chat server: sent, tried again where that may help, read."""

import json
from collections.abc import Mapping
from threading import Event
from typing import Any, NamedTuple, final

import httpx2

from seatrial.errors import Unreachable, sentence
from seatrial.tasks.judges.secret import Secret
from seatrial.tasks.judges.server import ChatServer
from seatrial.web import Trouble, status_line, trouble_of

_CHARACTERS_PER_TOKEN = 3
"""For servers that do not count; most texts have more, so the estimate is on the safe
side."""


class Stopped(Exception):
    """No more may be sent: the spending limit is reached, or another request failed."""


class Received(NamedTuple):
    """What a server answered."""

    message: str | None
    """None: it never came as a chat completion."""
    raw: str
    """The message, or else the whole body."""
    about: dict[str, Any]
    """What else is kept."""


Outcome = tuple[Received | None, Trouble | None]
"""What came, if anything, and why to try again; an answer that is no chat completion is
both."""


@final
class Post:
    """Sends requests for one ``ChatServer``; shared by its threads."""

    def __init__(
        self, server: ChatServer, client: httpx2.Client, secret: Secret, stop: Event
    ) -> None:
        self.server, self.client, self.secret, self.stop = server, client, secret, stop

    def send(self, body: Mapping[str, Any]) -> Received:
        """The reply to one question.

        Raises:
            Stopped: if nothing more may be sent.
            Unreachable: if no try succeeded, or no other try could.
        """
        content = json.dumps(body).encode()
        received, last = None, Trouble("")
        for number in range(self.server.tries):
            if number:
                self._rest(number, last, content)
            if self.stop.is_set() or not self.server.spending.take(self.server.limit):
                raise Stopped
            received, trouble = self._try(content)
            if trouble is None:
                break
            last = trouble
        if received is not None:
            return received
        tries = "once" if self.server.tries == 1 else f"{self.server.tries} times"
        raise Unreachable(
            f"the judge at {self.server.url} was asked {tries} and did not answer "
            f"({last.why}); see whether it runs, or allow more tries or a longer timeout"
        )

    def _try(self, content: bytes) -> Outcome:
        """Send it once."""
        url = f"{self.server.url}/chat/completions"
        headers = {"Content-Type": "application/json", **self.secret.headers}
        try:
            response = self.client.post(url, content=content, headers=headers)
            text = self.secret.hide(response.text)
        except httpx2.TimeoutException:
            return None, Trouble(f"no sign of it for {self.server.timeout:g} seconds")
        except httpx2.HTTPError as error:
            return None, Trouble(self.secret.hide(sentence(error)))
        if trouble := trouble_of(response, text):
            return None, trouble
        if response.status_code != 200:
            raise Unreachable(
                f"the judge at {self.server.url} refuses the request "
                f"({status_line(response.status_code, text)}); mend the address, the "
                "model's name or the key"
            )
        return self._read(text, content)

    def _read(self, text: str, content: bytes) -> Outcome:
        """What an answer says; null, as of a model that only thinks, is an empty text."""
        try:
            answer = json.loads(text)
            choice = answer["choices"][0]
            message = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            answer, choice, message = {}, {}, 0
        if not isinstance(message, str | None):
            self.server.spending.add(tokens=_estimate(content, text))
            trouble = Trouble(f"its answer {text[:60]!r} is no chat completion")
            return Received(None, text, {}), trouble
        used = answer.get("usage") or {}
        tokens = used.get("total_tokens") if isinstance(used, dict) else None
        if not isinstance(tokens, int):
            tokens = _estimate(content, message or "")
        self.server.spending.add(tokens=tokens)
        about = {"finish": choice.get("finish_reason"), "answered by": answer.get("model")}
        return Received(message or "", message or text, about), None

    def _rest(self, number: int, trouble: Trouble, content: bytes) -> None:
        """Wait before another try, unless there will be none.

        Raises:
            Unreachable: if the server asks for more patience than there is.
        """
        patience = self.server.patience
        if patience.is_over(trouble):
            raise Unreachable(
                f"the judge at {self.server.url} asks to wait {trouble.wait:.0f} seconds "
                f"({trouble.why}), more than longest_wait, {patience.longest_wait:g}"
            )
        # A failure of another thread ends the wait.
        self.stop.wait(patience.wait(number, trouble, content))


def _estimate(content: bytes, reply: str) -> int:
    return -(-(len(content) + len(reply)) // _CHARACTERS_PER_TOKEN)
