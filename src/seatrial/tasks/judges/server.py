"""Where a judge is reached and how it may be asked: all of it but the asking."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit

from seatrial.errors import BadOption
from seatrial.files import fingerprint
from seatrial.tasks.judges.cache import default_folder
from seatrial.tasks.judges.secret import check_variable
from seatrial.tasks.judges.spending import Spending, SpendingLimit
from seatrial.web import Patience

_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


@final
@dataclass(frozen=True)
class ChatServer:
    """A server with ``POST {url}/chat/completions``, and how it is asked.

    Each question is a conversation of one user message. Replies are kept in ``cache`` as
    they arrive, so that nothing is asked twice and an interrupted run goes on where it
    stopped. A request that meets a full or failing server (408, 425, 429, 500 and above, a
    timeout, a broken connection, an answer that is no chat completion) is tried again after
    ``first_wait`` seconds, then after twice that, and so on, or after what the server asks
    for in Retry-After.
    """

    url: str
    """Without ``/chat/completions``, such as ``http://127.0.0.1:8080/v1``."""
    model: str
    key_variable: str = field(default="", repr=False)
    """The environment variable that holds the key; empty: no key is sent."""
    temperature: float = 0.0
    max_tokens: int = 256
    """The most that one reply may have."""
    revision: str = ""
    """Your own mark for the version of the model, where its name does not tell."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as what restricts the form of a reply."""
    workers: int = 8
    """How many requests are under way at once."""
    timeout: float = 60.0
    """Seconds without a sign of the server."""
    tries: int = 5
    first_wait: float = 1.0
    """Seconds."""
    longest_wait: float = 60.0
    """Seconds; a server that asks for more is given up."""
    limit: SpendingLimit = field(default_factory=SpendingLimit)
    cache: Path = field(default_factory=default_folder)
    spending: Spending = field(default_factory=Spending, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_variable(self.key_variable)
        _check_url(self.url)
        try:
            json.dumps(self.extra)
        except (TypeError, ValueError) as error:
            raise BadOption(
                f"extra holds what JSON cannot say ({error}); give texts, numbers, lists "
                "and tables"
            ) from error
        object.__setattr__(self, "url", self.url.rstrip("/"))
        for name, least in (
            ("temperature", 0), ("max_tokens", 1), ("workers", 1), ("timeout", 1e-3),
            ("tries", 1), ("first_wait", 0), ("longest_wait", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise BadOption(
                    f"{name} must be at least {least:g}, not {getattr(self, name)}"
                )

    @property
    def identity(self) -> str:
        """Changes with everything that can change a reply; names no key."""
        settings = [self.url, self.revision, self.temperature, self.max_tokens, self.extra]
        return f"{self.model} {fingerprint(settings)}"

    @property
    def patience(self) -> Patience:
        """How often it is tried, and how long it is waited for."""
        return Patience(self.timeout, self.tries, self.first_wait, self.longest_wait)

    @property
    def is_loopback(self) -> bool:
        """Whether it runs on this machine."""
        return bool(_LOOPBACK.fullmatch(urlsplit(self.url).hostname or ""))

    def body(self, text: str) -> dict[str, Any]:
        """What is sent to ask one question."""
        return {
            **self.extra,
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }


def _check_url(url: str) -> None:
    """Refuse addresses that cannot be asked, and those that may hold a secret."""
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        raise BadOption(
            "the judge's address must have no user name, question mark or hash (it is not "
            "repeated here, because it may hold a key); a key belongs into an environment "
            "variable that key_variable names"
        )
    try:
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_place = False  # The port is no number, or too large a one.
    if parts.scheme not in ("http", "https") or not has_place:
        raise BadOption(
            f"{url!r} is no address of a server; give one such as "
            "http://127.0.0.1:8080/v1, without /chat/completions"
        )
