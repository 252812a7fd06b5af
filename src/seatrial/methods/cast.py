"""Conditional steering: a vector that is added only to prompts that a gate picks.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.methods.base import (
    Layer,
    Method,
    check_fits,
    origin_of,
    other_data,
    state_norms,
)
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Add
from seatrial.steering.gate import Cut, Gate, Reading, Similarity, best_cut, similarity
from seatrial.steering.intervention import Intervention
from seatrial.types import DataOf, FitData, Pair, Site

Direction = Literal["pca", "mean"]

_GATE = "gate"
"""The key of the gate's texts among the data of others."""


@final
@dataclass(frozen=True)
class CAST(Method):
    """Add a vector where the prompt is like what the gate's positive texts have.

        v = direction of h+ - h- at the behaviour's blocks
        c = direction of h+ - h- at the gate's block, h the mean over a text's tokens
        s = cos(h, c) of the prompt             h <- h + dose * v where s > threshold

    Decided once for each prompt, by the unsteered model and whatever the dose; elsewhere
    the model is the unsteered one, bit for bit. Block and threshold of the gate are
    those with the largest F1 on its texts (of equally good ones, the widest gap, then the
    earliest block); the origin records both and the share of negative texts that are
    picked. The gate sees whole texts when it is fitted and prompts when it is used.
    Departures from the paper: its similarity, cos(h, tanh(P h)) with P the projection on c,
    depends on the scale of the states and hardly tells a text from its opposite, so it is
    an option (`similarity`); block outputs are read and edited and not inputs; every gap
    between two texts is tried as threshold, not a fixed grid; a dose of 1 moves the mean
    negative projection on the direction onto the mean positive one (there the factor is
    free, 1.5 in the released settings).
    """

    name: ClassVar[str] = "cast"
    summary: ClassVar[str] = "add a vector, but only to prompts that a gate picks"
    paper: ClassVar[str] = "https://arxiv.org/abs/2409.05907"

    layer: Layer = "middle"
    """Decoder block whose output is edited, counted from 0."""
    blocks: int = 1
    """How many blocks, counted on from `layer`, get a vector each."""
    direction: Direction = "pca"
    """pca: first principal component of the differences, not centred (as of all states
    with their pair's mean taken off); mean: their mean. For both vectors."""
    read: TokenSelector = "last"
    """Which token of each text is read for the behaviour: last, second_last, last_prompt,
    completion, mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""
    gate_layer: Layer | Literal["best"] = "best"
    """Decoder block whose output the gate reads; best: of all blocks."""
    gate_read: Reading = "mean"
    """What of a prompt is read: mean, over its tokens but the beginning-of-sequence token,
    or last, its last token."""
    similarity: Similarity = "cosine"
    """cosine: cos(h, c); published: cos(h, tanh(P h))."""
    gate_on: str = ""
    """Another concept whose texts the gate is fitted on: built-in, published, or your
    own file; its fit split is used. Empty: the pairs of the behaviour."""
    gate_task: str = "open"
    """Which target task's pairs of the other concept are read."""

    @property
    def reads_labels(self) -> bool:
        """Unless directions are principal components: labels only give their signs."""
        return self.direction != "pca"

    def references(self, data: FitData) -> Mapping[str, DataOf]:
        """The texts of its gate, where they are another concept's."""
        if not self.gate_on:
            return {}
        return {_GATE: DataOf(self.gate_on, self.gate_task, is_apart=False)}

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.blocks < 1:
            raise BadOption(f"blocks must be at least 1, not {self.blocks}")
        first = model.site(self.layer).layer
        edits, read = {}, {}
        for site in [model.site(first + k) for k in range(self.blocks)]:
            read[site] = states = contrast(model, data.pairs, site, self.read)
            u = signed_direction(*states, site, self.direction)
            edits[site] = Add(((difference(*states) @ u) * u).float())
        texts = self._texts(data)
        gate, cut = self._gate(model, texts.pairs)
        facts = {
            "gate": str(gate.site),
            "threshold": cut.threshold,
            "fires": cut.fires,
            "f1": cut.f1,
            "false_positives": self._picked(model, gate, texts.pairs),
            "gate_data": texts.fingerprint,
            **state_norms(read),
        }
        origin = origin_of(self, model, data, seed, facts)
        return Intervention(edits, self.tokens, origin=origin, gate=gate)

    def _texts(self, data: FitData) -> FitData:
        """What the gate is fitted on."""
        if not self.gate_on:
            return data
        texts = other_data(self, data, _GATE)
        if texts.concept == data.concept:
            raise BadOption(
                f"the behaviour is fitted on {texts.concept!r} itself; leave gate_on "
                "empty to fit the gate on the same pairs, or name another concept"
            )
        return texts

    def _gate(self, model: Model, pairs: Sequence[Pair]) -> tuple[Gate, Cut]:
        """The best cut of the best block."""
        everywhere: list[Layer] = list(range(model.n_layers))
        one = self.gate_layer
        layers: list[Layer] = everywhere if one == "best" else [one]
        best: tuple[Gate, Cut] | None = None
        for site in [model.site(layer) for layer in layers]:
            positive, negative = contrast(model, pairs, site, self.gate_read)
            vector = signed_direction(positive, negative, site, self.direction).float()
            cut = best_cut(
                similarity(positive, vector, self.similarity),
                similarity(negative, vector, self.similarity),
            )
            if best is None or cut[:2] > best[1][:2]:
                gate = Gate(
                    site,
                    vector,
                    cut.threshold,
                    cut.fires,
                    self.gate_read,
                    self.similarity,
                )
                best = gate, cut
        assert best is not None
        return best

    def _picked(self, model: Model, gate: Gate, pairs: Sequence[Pair]) -> float:
        """The share of negative texts for which a gate opens."""
        _, negative = contrast(model, pairs, gate.site, gate.read)
        return float(gate.opens(negative).double().mean())


def signed_direction(
    positive: Float[Tensor, "pair width"],
    negative: Float[Tensor, "pair width"],
    site: Site,
    direction: Direction,
) -> Float[Tensor, " width"]:
    """Unit direction of the differences, from negative to positive, in float64."""
    mean = difference(positive, negative)
    if direction == "mean":
        return unit(mean, site)
    deltas = positive.double() - negative.double()
    # By an exact solver (trap T68); scaled, so that it is 0 where nothing differs.
    _, values, rows = torch.linalg.svd(deltas, full_matrices=False)
    u = unit(values[0] * rows[0], site)
    return u if float(mean @ u) >= 0 else -u
