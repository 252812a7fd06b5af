"""One request to a chat server: sent, tried again where that may help, read."""

import hashlib
import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, NamedTuple, final

import httpx2

from seatrial.errors import Unreachable, sentence
from seatrial.tasks.judges.secret import Secret
from seatrial.tasks.judges.server import ChatServer

_WORTH_ANOTHER_TRY = (408, 425, 429)
"""Beside all from 500 up."""

_CHARACTERS_PER_TOKEN = 3
"""For servers that do not count; most texts have more, so the estimate is on the safe
side."""


class Stopped(Exception):
    """No more requests may be sent: the budget is spent, or another one failed."""


class _Trouble(NamedTuple):
    """Why a request must be tried again."""

    why: str
    wait: float | None = None
    """Seconds that the server asks for."""
    raw: str | None = None
    """The body of an answer that is no chat completion."""


class Found(NamedTuple):
    """What a server answered."""

    message: str | None
    """None: it never came as a chat completion."""
    raw: str
    """The message, or else the whole body."""
    about: dict[str, Any]
    """What else is kept."""


@final
class Post:
    """Sends requests for one ``ChatServer``; shared by its threads."""

    def __init__(
        self, server: ChatServer, client: httpx2.Client, secret: Secret, stop: Event
    ) -> None:
        self.server, self.client, self.secret, self.stop = server, client, secret, stop

    def send(self, body: Mapping[str, Any]) -> Found:
        """The reply to one question.

        Raises:
            Stopped: if nothing more may be sent.
            Unreachable: if no try succeeded, or no other try could.
        """
        content = json.dumps(body).encode()
        trouble = _Trouble("")
        for number in range(self.server.tries):
            if number:
                self._rest(number, trouble, content)
            if self.stop.is_set() or not self.server.spending.take(self.server.budget):
                raise Stopped
            found = self._try(content)
            if not isinstance(found, _Trouble):
                return found
            trouble = found
        if trouble.raw is not None:
            return Found(None, trouble.raw, {})
        tries = "once" if self.server.tries == 1 else f"{self.server.tries} times"
        raise Unreachable(
            f"the judge at {self.server.url} was asked {tries} and did not answer "
            f"({trouble.why}); see whether it runs, or allow more tries or a longer timeout"
        )

    def _try(self, content: bytes) -> Found | _Trouble:
        url = f"{self.server.url}/chat/completions"
        headers = {"Content-Type": "application/json", **self.secret.headers}
        try:
            response = self.client.post(url, content=content, headers=headers)
            text = self.secret.hide(response.text)
        except httpx2.TimeoutException:
            return _Trouble(f"no sign of it for {self.server.timeout:g} seconds")
        except httpx2.HTTPError as error:
            return _Trouble(self.secret.hide(sentence(error)))
        status = response.status_code
        if status in _WORTH_ANOTHER_TRY or status >= 500:
            return _Trouble(_said(status, text), _asked_wait(response))
        if status != 200:
            raise Unreachable(
                f"the judge at {self.server.url} refuses the request "
                f"({_said(status, text)}); mend the address, the model's name or the key"
            )
        return self._read(text, content)

    def _read(self, text: str, content: bytes) -> Found | _Trouble:
        """What an answer says; null, as of a model that only thinks, is an empty text."""
        try:
            answer = json.loads(text)
            choice = answer["choices"][0]
            message = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            answer, choice, message = {}, {}, 0
        if not isinstance(message, str | None):
            self.server.spending.add(tokens=_estimate(content, text))
            return _Trouble(f"its answer {text[:60]!r} is no chat completion", raw=text)
        used = answer.get("usage") or {}
        tokens = used.get("total_tokens") if isinstance(used, dict) else None
        if not isinstance(tokens, int):
            tokens = _estimate(content, message or "")
        self.server.spending.add(tokens=tokens)
        about = {"finish": choice.get("finish_reason"), "answered by": answer.get("model")}
        return Found(message or "", message or text, about)

    def _rest(self, number: int, trouble: _Trouble, content: bytes) -> None:
        """Wait before another try, unless there will be none.

        Raises:
            Unreachable: if the server asks for more patience than there is.
        """
        longest = self.server.longest_wait
        if trouble.wait is not None and trouble.wait > longest:
            raise Unreachable(
                f"the judge at {self.server.url} asks to wait {trouble.wait:.0f} seconds "
                f"({trouble.why}), more than longest_wait, {longest:g}"
            )
        # Between half and all of it, or those who were refused together return together.
        digest = hashlib.sha256(content + bytes([number])).digest()
        jitter = (1 + digest[0] / 255) / 2
        wait = min(self.server.first_wait * 2 ** (number - 1), longest) * jitter
        self.stop.wait(max(wait, trouble.wait or 0.0))


def _said(status: int, text: str) -> str:
    return f"status {status}: {' '.join(text.split())[:200] or 'no reason given'}"


def _asked_wait(response: httpx2.Response) -> float | None:
    """What Retry-After asks for, in seconds or as a date."""
    asked = response.headers.get("Retry-After", "")
    try:
        return max(float(asked), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(asked).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _estimate(content: bytes, reply: str) -> int:
    return -(-(len(content) + len(reply)) // _CHARACTERS_PER_TOKEN)
