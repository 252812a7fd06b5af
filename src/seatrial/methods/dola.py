"""DoLa: contrast what the last layer says with what an early one says already.

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from seatrial.errors import BadOption, unknown
from seatrial.methods.base import Method, Need, origin_of
from seatrial.model import Model
from seatrial.steering.intervention import Intervention
from seatrial.steering.readout import ContrastLayers, Divergence, Mask, Norm
from seatrial.types import FitData

Bucket = Literal["low", "middle", "high", "all"]
Scores = Literal["normalised", "published", "published-softmax"]
Embeddings = Literal["untied", "always", "never"]

WIDEST = 20
"""Most blocks that ``low`` and ``high`` span, as in the published settings of 60 and 80."""

_SHARES: dict[str, tuple[float, float]] = {
    "low": (0.0, 0.5),
    "middle": (0.25, 0.75),
    "high": (0.5, 1.0),
    "all": (0.0, 1.0),
}
_FORMS: dict[str, tuple[bool, Mask]] = {
    "normalised": (True, "before"),
    "published": (False, "before"),
    "published-softmax": (True, "after"),
}
"""Scores -> whether the contrast is normalised, and when tokens are ruled out."""
_EMBEDDINGS = ("untied", "always", "never")


@final
@dataclass(frozen=True)
class DoLa(Method):
    """Subtract an early layer's prediction from the final one.

        M = the candidate whose distribution is farthest from the final one (divergence)
        log p = log_softmax(log q_N - dose * log q_M)        at every token anew

    A dose of 1 is the method as published. Nothing is fitted, so the data is not read. The
    released code applies no final norm to early states, swaps the arguments of both KL
    terms of the divergence, and for TruthfulQA scores the difference itself, which is no
    log-probability and favours long answers (trap T14): ``norm``, ``divergence`` and
    ``scores`` name these forms, and the defaults are the sound ones.
    """

    name: ClassVar[str] = "dola"
    summary: ClassVar[str] = "contrast the final next-token distribution with an early one"
    paper: ClassVar[str] = "https://arxiv.org/abs/2309.03883"
    changes: ClassVar[Literal["activations", "prompt", "readout"]] = "readout"
    needs: ClassVar[tuple[Need, ...]] = ()

    layers: Bucket | tuple[int, ...] = "high"
    """Candidates: low, middle, high or all, which name every second state of that part of
    the depth without the last, or blocks counted from 0, with -1 for the embeddings. One
    block makes the choice static. Published lists count states, one more than blocks."""
    plausibility: float = 0.1
    """Tokens less likely than this share of the most likely one are ruled out; 0 rules
    nothing out, as published for multiple choice on TruthfulQA."""
    norm: Norm = "final"
    """What early states pass before the unembedding: final, none as published, or
    next_block, the norm that the block after them reads them through."""
    divergence: Divergence = "textbook"
    """How the candidate is chosen: the Jensen-Shannon divergence, or as published."""
    scores: Scores = "normalised"
    """normalised: log-probabilities; published: the difference itself; published-softmax:
    normalised before implausible tokens are ruled out, so that they sum to less than 1."""
    embeddings: Embeddings = "untied"
    """Whether named parts hold the embeddings: untied, always or never. Where they are the
    unembedding as well (tied), they only say the current token again."""

    @property
    def reads_labels(self) -> bool:
        """Never: nothing is fitted."""
        return False

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        if self.scores not in _FORMS:
            raise unknown("scores", self.scores, _FORMS)
        normalise, mask = _FORMS[self.scores]
        readout = ContrastLayers(
            self.candidates(model),
            self.plausibility,
            self.norm,
            self.divergence,
            normalise,
            mask,
        )
        return Intervention(readout=readout, origin=origin_of(self, model, data, seed))

    def candidates(self, model: Model) -> tuple[int, ...]:
        """The blocks that are contrasted, of which -1 is the embeddings.

        Raises:
            UnknownName: for a part of the depth or a rule for embeddings without meaning.
            BadOption: for a block that the model does not have, and for its last one.
        """
        if isinstance(self.layers, str):
            if self.embeddings not in _EMBEDDINGS:
                raise unknown("rule for embeddings", self.embeddings, _EMBEDDINGS)
            skip = self.embeddings == "never" or (
                self.embeddings == "untied" and model.is_tied
            )
            return bucket(self.layers, model.n_layers, skip_embeddings=skip)
        for layer in self.layers:
            if not -1 <= layer < model.n_layers - 1:
                raise BadOption(
                    f"layer {layer} cannot be contrasted with the last layer of "
                    f"{model.card.name!r}; choose from 0 to {model.n_layers - 2}, or -1 "
                    "for the embeddings"
                )
        return tuple(self.layers)


def bucket(name: str, n_layers: int, *, skip_embeddings: bool) -> tuple[int, ...]:
    """Every second state of a part of the depth, as blocks; state 0 is the embeddings.

    Of 32 blocks: low is the states 0, 2 ... 14, high 16, 18 ... 30 (each one less as a
    block). A model too shallow for a second state gets the middle one.

    Raises:
        UnknownName: for a part that does not exist.
    """
    if name not in _SHARES:
        raise unknown("part of the depth", name, [*_SHARES, "or a list of blocks"])
    first, last = (share * n_layers for share in _SHARES[name])
    if name == "low":
        last = min(last, WIDEST)
    if name == "high":
        first = max(first, n_layers - WIDEST)
    states = [
        state
        for state in range(2 if skip_embeddings else 0, n_layers, 2)
        if first <= state < last
    ]
    return tuple(state - 1 for state in states or [n_layers // 2])
