"""What asking a judge has cost, and where it must stop."""

from dataclasses import dataclass
from threading import Lock
from typing import final

from seatrial.errors import BadOption


@final
@dataclass(frozen=True)
class SpendingLimit:
    """The most that may be asked of a server, by all who share its ``ChatServer``."""

    requests: int | None = None
    """HTTP requests, tried-again ones included."""
    tokens: int | None = None
    """Read and written by the judge. Requests that are under way when they are spent are
    finished, so up to one request a worker may come on top."""

    def __post_init__(self) -> None:
        for name in ("requests", "tokens"):
            most = getattr(self, name)
            if most is not None and most < 1:
                raise BadOption(
                    f"a limit of {name} must be at least 1, not {most}; leave it out for "
                    "no limit"
                )

    def __str__(self) -> str:
        limits = {"requests": self.requests, "tokens": self.tokens}
        named = [f"{most} {name}" for name, most in limits.items() if most is not None]
        return " and ".join(named) or "no limit"


@final
class Spending:
    """Counts what is asked; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.requests = 0
        """HTTP requests that were sent."""
        self.tokens = 0
        """Read and written by the judge, as it says, else as estimated."""
        self.from_cache = 0
        """Questions that were answered without a request."""

    def take(self, limit: SpendingLimit) -> bool:
        """Count one more request if the limit allows it, and say whether it does."""
        with self._lock:
            if limit.requests is not None and self.requests >= limit.requests:
                return False
            if limit.tokens is not None and self.tokens >= limit.tokens:
                return False
            self.requests += 1
            return True

    def add(self, *, tokens: int = 0, from_cache: int = 0) -> None:
        """Count tokens and replies out of the cache."""
        with self._lock:
            self.tokens += tokens
            self.from_cache += from_cache
