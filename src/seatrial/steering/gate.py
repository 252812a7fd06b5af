"""A gate on the prompt: whether an intervention acts on it at all (CAST).

Numbered traps are those of docs/hazards.md.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, final, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seatrial.errors import BadData, BadOption
from seatrial.types import Site

Fires = Literal["above", "below"]
Reading = Literal["mean", "last"]
Similarity = Literal["cosine", "published"]
_WORDS = (Fires, Reading, Similarity)


def similarity(
    h: Float[Tensor, "*batch width"], vector: Float[Tensor, " width"], form: Similarity
) -> Float[Tensor, "*batch"]:
    """How much states are like a vector, in float64 and at most 1 in size.

    ``cosine`` is ``cos(h, c)``. ``published`` is ``cos(h, tanh(c (c . h) / (c . c)))``
    (CAST, arXiv:2409.05907): it depends on the scale of the states and hardly tells a
    state from its opposite. A state of zeros is like nothing: 0.
    """
    h, c = h.double(), vector.double().to(h.device)
    if form == "cosine":
        return cosine_similarity(h, c.expand_as(h), dim=-1)
    inside = ((h * c).sum(-1, keepdim=True) / (c * c).sum()) * c
    return cosine_similarity(h, inside.tanh(), dim=-1)


def check_words(fires: str, read: str, similarity: str) -> None:
    """Refuse words that a gate does not know: a wrong one must not mean its opposite.

    Raises:
        BadOption: with the choices.
    """
    words = {"fires": fires, "read": read, "similarity": similarity}
    for (name, word), choices in zip(words.items(), _WORDS, strict=True):
        if word not in get_args(choices):
            raise BadOption(
                f"{word!r} is no {name!r} of a gate; choose "
                f"{' or '.join(get_args(choices))}"
            )


@final
@dataclass(frozen=True, eq=False)
class Gate:
    """Says of each prompt, from what the unsteered model makes of it, whether to act.

    Decided once, prompt by prompt, whatever the dose and whatever else is in the batch; the
    answer does not count. Where it stays shut the model is the unsteered one, bit for bit.
    """

    site: Site
    """Where the prompt's states are read."""
    vector: Float[Tensor, " width"]
    """What they are compared with; of any length but 0."""
    threshold: float
    """Of the similarity."""
    fires: Fires = "above"
    """Whether it opens where the similarity is larger than the threshold, or smaller (the
    published code has the words the other way round, trap T24)."""
    read: Reading = "mean"
    """mean: over the prompt's tokens but the beginning-of-sequence token; last: its last
    token."""
    similarity: Similarity = "cosine"
    """The function of that name."""

    def __post_init__(self) -> None:
        check_words(self.fires, self.read, self.similarity)
        if not (isfinite(self.threshold) and float(self.vector.double().norm()) > 0):
            raise BadOption(
                "a gate needs a finite threshold and a vector that is not 0, not "
                f"{self.threshold} and a vector of length {float(self.vector.norm()):g}"
            )

    @property
    def width(self) -> int:
        """Width of the states that it reads."""
        return self.vector.shape[0]

    def distance(self, h: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch"]:
        """By how much the similarity of states is on the side that fires."""
        beyond = similarity(h, self.vector, self.similarity) - self.threshold
        return beyond if self.fires == "above" else -beyond

    def opens(self, h: Float[Tensor, "*batch width"]) -> Bool[Tensor, "*batch"]:
        """Whether it opens for states, each the reading of one prompt."""
        return self.distance(h) > 0


class Cut(NamedTuple):
    """The best single threshold between two sets of numbers."""

    f1: float
    """2 TP / (2 TP + FP + FN), where it fires on the positive set."""
    margin: float
    """Width of the gap that the threshold halves, as a share of all numbers' range."""
    threshold: float
    fires: Fires


def best_cut(
    positive: Float[Tensor, " positive"], negative: Float[Tensor, " negative"]
) -> Cut:
    """The threshold with the largest F1, of all that there are.

    Only halves of the gaps between neighbouring numbers are tried: all other thresholds do
    the same as one of them, or tell nothing apart. Of equally good ones the widest gap is
    taken, then "above", then the smallest.

    Raises:
        BadData: if all numbers are equal.
    """
    values = torch.cat([positive, negative]).double().unique()
    if len(values) < 2:
        raise BadData(
            "the gate's texts are all alike at the place that is read, so nothing "
            "tells them apart; read at another layer or give other texts"
        )
    middles, gaps = (values[1:] + values[:-1]) / 2, values.diff()
    cuts: list[Cut] = []
    sides: tuple[tuple[float, Fires], ...] = ((1.0, "above"), (-1.0, "below"))
    for sign, fires in sides:
        right, wrong = (
            (sign * points.double() > sign * middles[:, None]).sum(1)
            for points in (positive, negative)
        )
        scores = (2 * right / (right + wrong + len(positive))).tolist()
        margins = (gaps / (values[-1] - values[0])).tolist()
        cuts += [
            Cut(f1, margin, threshold, fires)
            for f1, margin, threshold in zip(scores, margins, middles.tolist(), strict=True)
        ]
    return max(
        cuts, key=lambda cut: (cut.f1, cut.margin, cut.fires == "above", -cut.threshold)
    )
