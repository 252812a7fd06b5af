"""Where scores come together: by steering and scored token, whatever order they come in."""

import math
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import SteeringFault
from seatrial.model.engine.tree import Grove
from seatrial.model.engine.unembed import TokenScores
from seatrial.model.tokens import Encoded
from seatrial.types import Answer


@final
class Table:
    """Scores of all steerings and scored tokens as they come in."""

    def __init__(
        self,
        encoded: Sequence[tuple[Encoded, ...]],
        steerings: int,
        *,
        kl: bool,
        top: bool = False,
    ) -> None:
        self.lengths = [[len(text.scored) for text in answers] for answers in encoded]
        self.firsts: list[list[int]] = []
        total = 0
        for line in self.lengths:
            self.firsts.append([])
            for n in line:
                self.firsts[-1].append(total)
                total += n
        self.slots = total
        self.log_probs = np.full((steerings, total), math.nan)
        self.kl = np.full((steerings, total), math.nan) if kl else None
        self.is_top = np.zeros((steerings, total), dtype=bool) if top else None

    def put(
        self, numbers: Sequence[int], slots: Tensor, scored: TokenScores, dtype: torch.dtype
    ) -> None:
        """Take the scores of some slots under some steerings; one line serves them all.

        Raises:
            SteeringFault: if a score is not finite.
        """
        if not bool(scored.log_probs.isfinite().all()):
            raise overflow(dtype)
        where = np.ix_(np.asarray(numbers), slots.numpy())
        n = len(numbers)
        self.log_probs[where] = scored.log_probs.expand(n, -1).numpy()
        if self.kl is not None and scored.kl is not None:
            self.kl[where] = scored.kl.expand(n, -1).numpy()
        if self.is_top is not None and scored.is_top is not None:
            self.is_top[where] = scored.is_top.expand(n, -1).numpy()

    def answers(self) -> list[list[Answer]]:
        """All answers, complete."""
        assert not np.isnan(self.log_probs).any()
        return [
            [
                Answer(
                    self._cut(self.log_probs[s], request),
                    None if self.kl is None else self._cut(self.kl[s], request),
                    None if self.is_top is None else self._cut(self.is_top[s], request),
                )
                for request in range(len(self.lengths))
            ]
            for s in range(len(self.log_probs))
        ]

    def _cut(self, line: np.ndarray, request: int) -> tuple[tuple, ...]:
        return tuple(
            tuple(line[first : first + n].tolist())
            for first, n in zip(self.firsts[request], self.lengths[request], strict=True)
        )


@final
class Progress:
    """Which share of the work is done, in units of one steering of one request."""

    def __init__(self, tell: Callable[[float], None] | None, requests: int) -> None:
        self._tell = tell
        self._requests = requests
        self._before = self._share = self._inside = 0.0
        self._expected = 1

    def begin(self, requests: int) -> None:
        """A chunk begins."""
        self._share, self._inside = requests / self._requests, 0.0

    def expect(self, passes: int) -> None:
        """How many passes over the chunk there will be."""
        self._expected = passes

    def advance(self, passes: float) -> None:
        """Some passes, or a part of one, are done."""
        self._inside += passes / self._expected
        self._say(self._before + self._share * min(1.0, self._inside))

    def end(self) -> None:
        """A chunk is done."""
        self._before += self._share
        self._say(self._before)

    def _say(self, share: float) -> None:
        if self._tell is not None:
            self._tell(min(1.0, share))


@final
class Base:
    """Unsteered final states by scored token, to which steered ones are compared."""

    def __init__(self, slots: int) -> None:
        self._row = torch.full((slots,), -1)
        self._states: list[Tensor] = []
        self._count = 0

    def fill(self, grove: Grove, h: Float[Tensor, "row d_model"]) -> None:
        """Keep the unsteered states of a grove's target rows."""
        rows, _, slots = grove.targets
        self._row[slots] = rows + self._count
        self._states.append(h)
        self._count += len(h)

    def states(self, grove: Grove) -> Float[Tensor, "row d_model"]:
        """The unsteered states that belong to a grove's target rows."""
        if len(self._states) > 1:
            self._states = [torch.cat(self._states)]
        rows, _, slots = grove.targets
        places = torch.zeros(len(grove.target_rows), dtype=torch.long)
        places[rows] = self._row[slots]
        return self._states[0][places.to(self._states[0].device)]


def overflow(dtype: torch.dtype) -> SteeringFault:
    """The one sentence for activations that an edit drove out of range."""
    return SteeringFault(
        f"a score is not finite: the edited activations overflowed {dtype}; use a smaller "
        "dose or load the model in float32"
    )
