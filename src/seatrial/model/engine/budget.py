"""How much is held at once, and what happens when that was too much."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from seatrial.errors import OutOfMemory

_CPU_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")


@final
@dataclass(frozen=True)
class MemoryBudget:
    """Upper limits of what is held at once; they bound memory and never change results."""

    tokens: int | None = None
    """Tokens in one forward call. By default what suits the device; halved whenever memory
    runs out."""
    cache_bytes: int = 2**29
    """Bytes of keys, values and states that are kept of the unsteered model."""
    weight_bytes: int = 2**30
    """Bytes of weights that ``reordering`` may keep a second time, on a processor."""
    reading_bytes: int = 2**29
    """Bytes of activations that are kept for methods that ask for them again."""

    def tokens_on(self, device: torch.device) -> int:
        """The limit, or what suits a device."""
        if self.tokens is not None:
            return self.tokens
        # On a processor more would only push activations out of its caches.
        return 1024 if device.type == "cpu" else 2**14


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error).lower() for sign in _CPU_SIGNS
    )


CALM = 64
"""How many full calls in a row must fit before a lowered limit is doubled again."""


@final
class Meter:
    """The token limit in force: the budget's at first, halved on every out-of-memory.

    Memory may have run out because of something else on the machine, so after a while the
    limit rises again; where it was right, one call in many fails and is done in halves.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = self._most = tokens
        self._calm = 0

    def attempt(
        self,
        work: Callable[[Sequence[int], Sequence[int]], None],
        rows: Sequence[int],
        columns: Sequence[int],
        size: int,
    ) -> None:
        """Do some work over ``rows x columns``; where memory runs out, do it in halves.

        Whatever finished before stays finished: only the part that failed is done again.

        Args:
            work: must be repeatable: a failed attempt leaves nothing that counts.
            rows: what it goes over.
            columns: what else it goes over.
            size: tokens in all of it; what failed bounds what is tried from now on.

        Raises:
            OutOfMemory: if not even one row and column fit.
        """
        try:
            work(rows, columns)
            self._rise(size)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == len(columns) == 1:
                raise OutOfMemory(
                    "memory ran out over a single sequence; use shorter texts, a smaller "
                    "model, half precision, or a machine with more memory"
                ) from error
        # Outside of the handler, so that the failed attempt's tensors are free already.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        size = max(1, size // 2)
        self.tokens = min(self.tokens, size)
        self._calm = 0
        if len(rows) >= len(columns):
            half = (len(rows) + 1) // 2
            parts = [(rows[:half], columns), (rows[half:], columns)]
        else:
            half = (len(columns) + 1) // 2
            parts = [(rows, columns[:half]), (rows, columns[half:])]
        for part in parts:
            self.attempt(work, *part, size)

    def _rise(self, size: int) -> None:
        """Count a call that fitted, if it was large enough to prove something."""
        if self.tokens == self._most or 2 * size < self.tokens:
            return
        self._calm += 1
        if self._calm == CALM:
            self.tokens, self._calm = min(self._most, 2 * self.tokens), 0
