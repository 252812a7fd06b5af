"""Showing the behaviour: the baseline that uses the same texts as the fitted methods."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from seatrial.errors import BadData, BadOption
from seatrial.intervention import Intervention, PromptEdit
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData, Pair, Text


@final
@dataclass(frozen=True)
class FewShot(Method):
    """Put demonstrations of the behaviour (dose 1) or its opposite (-1) before the prompt.

    They are texts of the fit split, drawn by seed and each from the pair of its opposite.
    Where the pairs have few different answers (yes and no), each is shown equally often,
    so that the demonstrations do not teach an answer. Before plain text they are
    paragraphs, in a conversation finished exchanges.
    """

    name: ClassVar[str] = "few-shot"
    summary: ClassVar[str] = "baseline: demonstrations of the behaviour or its opposite"
    is_odd: ClassVar[bool] = True
    doses: ClassVar[tuple[float, ...] | None] = (-1.0, 0.0, 1.0)
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "prompt"

    shots: int = 5
    """How many demonstrations."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        if self.shots < 1:
            raise BadOption(f"shots must be at least 1, not {self.shots}")
        if self.shots > len(data.pairs):
            raise BadData(
                f"{self.shots} demonstrations need as many pairs, got {len(data.pairs)}; "
                "give more fit items or fewer shots"
            )
        pairs = drawn(data.pairs, self.shots, seed)
        positive = tuple(_told(pair, pair.positive) for pair in pairs)
        negative = tuple(_told(pair, pair.negative) for pair in pairs)
        edit = PromptEdit("", "", positive, negative)
        return Intervention(prompt=edit, origin=origin_of(self, model, data, seed))


def drawn(pairs: tuple[Pair, ...], n: int, seed: int) -> list[Pair]:
    """Pairs in random order, each combination of answers as often as the others."""
    # A stream of its own: drawn like the labels that `shuffled` swaps, with the same seed,
    # the demonstrations would be the very pairs that are swapped.
    generator = np.random.default_rng([seed, len(pairs), n])
    order = generator.permutation(len(pairs)).tolist()
    # Both answers name a kind, so that swapped pairs are dealt like straight ones.
    kinds: dict[tuple[str, str], list[Pair]] = {}
    for pair in [pairs[k] for k in order]:
        answers = (pair.positive.completion, pair.negative.completion)
        kinds.setdefault(answers, []).append(pair)
    rounds = max(map(len, kinds.values()))
    dealt = [kind[k] for k in range(rounds) for kind in kinds.values() if k < len(kind)]
    return [dealt[k] for k in generator.permutation(n).tolist()]


def _told(pair: Pair, text: Text) -> Text:
    if not text.completion.strip():
        raise BadData(
            f"pair {pair.id!r} has a text without a completion, so it demonstrates "
            "nothing; keep prompt and completion apart"
        )
    return text
