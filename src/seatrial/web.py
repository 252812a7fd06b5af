"""One HTTP client: what is worth another try, how long to wait, and checked downloads."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, final

from seatrial.errors import sentence
from seatrial.files import digest

if TYPE_CHECKING:
    import httpx2

_WORTH_ANOTHER_TRY = (408, 425, 429)
"""Answers that may be better another time, beside all from 500 up."""


class Trouble(NamedTuple):
    """Why a request should be tried again."""

    why: str
    wait: float | None = None
    """Seconds that the server asks for."""


@final
@dataclass(frozen=True)
class Patience:
    """How often a server is tried, and how long it is waited for."""

    timeout: float = 20.0
    """Seconds without a sign of the server."""
    tries: int = 3
    first_wait: float = 0.5
    """Seconds before the second try; before each further one it is twice as long."""
    longest_wait: float = 60.0
    """Seconds; a server that asks for more is given up."""

    def is_over(self, trouble: Trouble) -> bool:
        """Whether the server asks to wait longer than we would."""
        return trouble.wait is not None and trouble.wait > self.longest_wait

    def wait(self, number: int, trouble: Trouble, salt: bytes) -> float:
        """Seconds before another try, at least what the server asks for.

        Args:
            number: of tries that were made.
            trouble: of the last one.
            salt: tells requests apart: each waits between half and all of its time, or
                those who were refused together would return together.
        """
        jitter = (1 + digest([salt, bytes([number])])[0] / 255) / 2
        wait = min(self.first_wait * 2 ** (number - 1), self.longest_wait) * jitter
        return max(wait, trouble.wait or 0.0)


def open_client(
    patience: Patience, *, connections: int = 1, use_proxy: bool = True
) -> "httpx2.Client":
    """A client to be closed after use.

    Args:
        patience: its timeout.
        connections: at most so many at once.
        use_proxy: as the environment names it; false for servers on this machine.
    """
    import httpx2

    return httpx2.Client(
        timeout=patience.timeout,
        limits=httpx2.Limits(max_connections=connections),
        trust_env=use_proxy,
    )


def trouble_of(response: "httpx2.Response", text: str) -> Trouble | None:
    """Why a request should be tried again, given its answer; None: it need not be.

    Args:
        response: the answer.
        text: of its body, for the reason.
    """
    status = response.status_code
    if status in _WORTH_ANOTHER_TRY or status >= 500:
        return Trouble(status_line(status, text), _requested_wait(response))
    return None


def status_line(status: int, text: str) -> str:
    """An answer that is no success, in a few words."""
    return f"status {status}: {' '.join(text.split())[:200] or 'no reason given'}"


def download(
    url: str,
    take: Callable[[Iterator[bytes]], None],
    patience: Patience,
    rest: Callable[[float], object] = time.sleep,
) -> str:
    """Hand the content of an address to a function, from its beginning at every try.

    Args:
        url: where it is.
        take: reads the pieces; what it raises ends the download.
        patience: for the server.
        rest: waits some seconds.

    Returns:
        Why the server did not give it; empty: it did.
    """
    import httpx2

    trouble = Trouble("")
    with open_client(patience) as client:
        for number in range(patience.tries):
            if number:
                rest(patience.wait(number, trouble, url.encode()))
            # Sizes are those of the file, not of what a server makes of it.
            headers = {"Accept-Encoding": "identity"}
            asking = client.stream("GET", url, headers=headers, follow_redirects=True)
            try:
                with asking as response:
                    if response.status_code == 200:
                        take(response.iter_bytes())
                        return ""
                    reason = response.reason_phrase
                    again = trouble_of(response, reason)
                    if again is None:
                        return status_line(response.status_code, reason)
                    trouble = again
            except httpx2.HTTPError as error:
                trouble = Trouble(sentence(error))
            if patience.is_over(trouble):
                break
    return trouble.why


def _requested_wait(response: "httpx2.Response") -> float | None:
    """What Retry-After asks for, in seconds or as a date."""
    header = response.headers.get("Retry-After", "")
    try:
        return max(float(header), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
