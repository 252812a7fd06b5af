"""From the final states of a pass to the table of scores, with readouts applied."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.model.engine.depths import Reader
from seatrial.model.engine.replay import Early
from seatrial.model.engine.scores import Base, Table
from seatrial.model.engine.tree import Grove
from seatrial.model.engine.unembed import TokenScores
from seatrial.steering.intervention import Steering
from seatrial.steering.readout import Readout


@final
class Delivery:
    """Scores what passes bring, for one call of ``Engine.answer``."""

    def __init__(self, under: Sequence[Steering], table: Table, reader: Reader) -> None:
        self.under = under
        self.table = table
        self.reader = reader

    def __call__(
        self,
        grove: Grove,
        numbers: Sequence[int],
        h: Float[Tensor, "steering row d_model"],
        early: Early,
        base: Base | None,
        *,
        is_unsteered: bool = False,
    ) -> None:
        """Read scores off final states and put them where they belong.

        Args:
            grove: what was read.
            numbers: the steerings of the states; one line of them serves all alike.
            h: final states of the grove's target rows.
            early: states at the same rows that readouts look at.
            base: the unsteered final states, if KL is asked for.
            is_unsteered: whether the states are the unsteered ones themselves.
        """
        under, table = self.under, self.table
        rows, tokens, slots = grove.targets
        reference = None if base is None else base.states(grove)
        readouts = [
            under[s].intervention.readout if under[s].dose else None for s in numbers
        ]
        plain = [k for k, readout in enumerate(readouts) if readout is None]
        states = h.expand(len(numbers), -1, -1)

        def put(places: Sequence[int], scored: TokenScores) -> None:
            if table.kl is not None:
                drift = (
                    torch.zeros(1, len(rows)) if scored.kl is None else scored.kl[:, rows]
                )
                scored = scored._replace(kl=drift)
            table.put([numbers[k] for k in places], slots, scored, h.dtype)

        top = table.is_top is not None
        if plain:
            # Without steering all rows are one, and scored once.
            one = h if len(h) == 1 else states[plain]
            # The unsteered model's distance from itself is 0, not its rounding.
            other = None if is_unsteered else reference
            put(plain, self.reader.unembedding.score(one, rows, tokens, other, top=top))
        for places, group in self._by_states(h, readouts):
            dosed = [(readout, float(under[numbers[k]].dose)) for k, readout in group]
            part = {layer: states_[places] for layer, states_ in early.items()}
            scored = self.reader.score(
                h[places], part, dosed, rows, tokens, reference, top=top
            )
            put([k for k, _ in group], scored)

    def _by_states(
        self, h: Tensor, readouts: Sequence[Readout | None]
    ) -> list[tuple[int, list[tuple[int, Readout]]]]:
        """Readouts by the states that they look at: all share those of one pass."""
        mine = [(k, readout) for k, readout in enumerate(readouts) if readout is not None]
        if len(h) == 1:
            return [(0, mine)] if mine else []
        return [(k, [(k, readout)]) for k, readout in mine]
