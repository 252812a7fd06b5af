"""Showing the behaviour: the baseline that uses the same texts as the fitted methods."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, final

import numpy as np

from seatrial.data.templates import generator_for, template_named, with_labels_moved
from seatrial.errors import BadData, BadOption
from seatrial.methods.base import Method, Need, check_fits, later, origin_of
from seatrial.model import Model
from seatrial.steering.intervention import Intervention, PromptEdit
from seatrial.types import FitData, Pair, Text

Thing = TypeVar("Thing")


@final
@dataclass(frozen=True)
class FewShot(Method):
    """Put demonstrations of the behaviour (dose 1) or its opposite (-1) before the prompt.

    They are texts of the fit split, drawn by seed and each from the pair of its opposite.
    Where the pairs have few different answers (yes and no), each is shown equally often,
    so that the demonstrations do not teach an answer. Before plain text they are
    paragraphs, in a conversation finished exchanges.

    Of a map they are examples with right outputs, and the opposite is the same examples
    with every output at another input. The same ones stand before every query, so where
    a map is its own opposite (hot to cold, cold to hot) one may tell an answer.
    """

    name: ClassVar[str] = "few-shot"
    summary: ClassVar[str] = "baseline: demonstrations of the behaviour or its opposite"
    is_odd: ClassVar[bool] = True
    doses: ClassVar[tuple[float, ...] | None] = (-1.0, 0.0, 1.0)
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "prompt"
    needs: ClassVar[tuple[Need, ...]] = ("pairs", "examples")

    shots: int = 5
    """How many demonstrations."""
    template: str = later("qa")
    """Of a map, how examples are written: qa, bare, arrow, or a sentence of yours that
    holds {x}; use the one that is asked with."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.shots < 1:
            raise BadOption(f"shots must be at least 1, not {self.shots}")
        sides = self._examples(data, seed) if data.examples else self._texts(data, seed)
        edit = PromptEdit("", "", *sides)
        return Intervention(prompt_edit=edit, origin=origin_of(self, model, data, seed))

    def _texts(self, data: FitData, seed: int) -> tuple[tuple[Text, ...], tuple[Text, ...]]:
        def answers(pair: Pair) -> Hashable:
            # Both name a kind, so that swapped pairs are dealt like straight ones.
            return pair.positive.completion, pair.negative.completion

        pairs = dealt(data.pairs, answers, self.shots, seed)
        positive = tuple(_demonstration(pair, pair.positive) for pair in pairs)
        return positive, tuple(_demonstration(pair, pair.negative) for pair in pairs)

    def _examples(
        self, data: FitData, seed: int
    ) -> tuple[tuple[Text, ...], tuple[Text, ...]]:
        template = template_named(self.template)
        right = dealt(data.examples, lambda example: example.output, self.shots, seed)
        moved = with_labels_moved(right, generator_for(seed, self.name, "labels"))
        positive, negative = (
            tuple(
                Text(template.prompt((), each.input), template.answer(each.output))
                for each in shown
            )
            for shown in (right, moved)
        )
        return positive, negative


def dealt(
    things: Sequence[Thing], kind: Callable[[Thing], Hashable], n: int, seed: int
) -> list[Thing]:
    """Some of them in random order, each kind as often as the others.

    Raises:
        BadData: if there are fewer.
    """
    if n > len(things):
        raise BadData(
            f"{n} demonstrations need as many fit items, got {len(things)}; "
            "give more fit items or fewer shots"
        )
    # A stream of its own: drawn like the labels that `shuffled` swaps, with the same seed,
    # the demonstrations would be the very pairs that are swapped.
    generator = np.random.default_rng([seed, len(things), n])
    order = generator.permutation(len(things)).tolist()
    kinds: dict[Hashable, list[Thing]] = {}
    for thing in [things[k] for k in order]:
        kinds.setdefault(kind(thing), []).append(thing)
    rounds = max(map(len, kinds.values()))
    in_turn = [same[k] for k in range(rounds) for same in kinds.values() if k < len(same)]
    return [in_turn[k] for k in generator.permutation(n).tolist()]


def _demonstration(pair: Pair, text: Text) -> Text:
    if not text.completion.strip():
        raise BadData(
            f"pair {pair.id!r} has a text without a completion, so it demonstrates "
            "nothing; keep prompt and completion apart"
        )
    return text
