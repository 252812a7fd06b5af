"""What can be done to a next-token distribution: contrasts of layers, as pure functions.

A readout sees the log-probabilities that the model ends with, and those that earlier states
of the same forward pass would give. Dose 0 is the model's own distribution bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption

Norm = Literal["none", "final"]
Divergence = Literal["textbook", "published"]
Mask = Literal["before", "after"]
_CHOICES = {
    "norm": get_args(Norm), "divergence": get_args(Divergence), "mask": get_args(Mask),
}  # fmt: skip

FLOOR = -1000.0
"""Log-probability of a token that a readout rules out: finite, so that sums compare."""


@final
@dataclass(frozen=True, eq=False)
class Depths:
    """The distributions of one pass at several depths, for some rows."""

    final: Float[Tensor, "row vocabulary"]
    """Log-probabilities that the model ends with."""
    early: Mapping[int, Float[Tensor, "row vocabulary"]]
    """Log-probabilities after each block that was asked for; -1 is the embeddings."""
    _known: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def divergence(self, layer: int, form: Divergence) -> Float[Tensor, " row"]:
        """How far an early distribution is from the final one; shared by all readouts.

        ``textbook`` is the Jensen-Shannon divergence; ``published`` has the arguments of
        both KL terms exchanged, as the code released with DoLa does.
        """
        if (layer, form) not in self._known:
            p, q = self.final, self.early[layer]
            mixture = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0))
            if form == "textbook":
                terms = p.exp() * (p - mixture) + q.exp() * (q - mixture)
            else:
                terms = mixture.exp() * (2 * mixture - p - q)
            self._known[layer, form] = terms.sum(-1) / 2
        return self._known[layer, form]


class Readout(ABC):
    """A change of the next-token distribution whose strength is a dose."""

    layers: tuple[int, ...]
    """The blocks whose outputs it looks at; -1 is the embeddings."""
    norm: Norm
    """Whether early states pass the final norm before the unembedding."""

    @abstractmethod
    def __call__(self, depths: Depths, dose: float) -> Float[Tensor, "row vocabulary"]:
        """The changed log-probabilities; dose 0 returns ``depths.final`` itself."""


@final
@dataclass(frozen=True)
class ContrastLayers(Readout):
    """Take away what an early layer knows already (DoLa, arXiv:2309.03883, eq. 3 to 6).

        M = the layer of ``layers`` whose distribution is farthest from the final one
        F = log q_N - dose * log q_M        log-probabilities: log_softmax(F)

    Tokens less likely than ``plausibility`` times the most likely one are ruled out: they
    get ``FLOOR``, and the others are normalised among themselves (``mask`` says otherwise).
    """

    layers: tuple[int, ...]
    """Candidates for ``M``; a single one makes it static. Dose 1 is the method."""
    plausibility: float = 0.1
    """``alpha`` of the paper; 0 rules nothing out."""
    norm: Norm = "final"
    """The released code applies ``none``; most recent models then give a nearly uniform
    ``q_M``, and the contrast equals the baseline (trap T17)."""
    divergence: Divergence = "textbook"
    """How ``M`` is chosen."""
    normalise: bool = True
    """``False`` is the released form: ``F`` itself, which is no log-probability and can be
    positive (trap T14); only for comparison with published numbers."""
    mask: Mask = "before"
    """When implausible tokens are ruled out: before the others are normalised, or, as in
    the released code, after, so that probabilities sum to less than 1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise BadOption(
                f"layers must name at least one block, each once, not {self.layers}"
            )
        if not 0 <= self.plausibility < 1:
            raise BadOption(
                "plausibility must be at least 0 (rules nothing out) and below 1, not "
                f"{self.plausibility}"
            )
        for option, choices in _CHOICES.items():
            if (value := getattr(self, option)) not in choices:
                raise BadOption(
                    f"{option} must be one of {', '.join(choices)}, not {value!r}"
                )

    def __call__(self, depths: Depths, dose: float) -> Float[Tensor, "row vocabulary"]:
        """Contrast every row with the layer that is farthest away there."""
        if dose == 0:
            return depths.final
        far = self.chosen(depths)
        premature = torch.zeros_like(depths.final)
        for number, layer in enumerate(self.layers):
            rows = far == number
            premature[rows] = depths.early[layer][rows]
        contrast = depths.final - dose * premature
        if not self.plausibility:
            return contrast.log_softmax(-1) if self.normalise else contrast
        top = depths.final.amax(-1, keepdim=True)
        bound = top + torch.log(torch.tensor(self.plausibility))
        implausible = depths.final < bound
        if self.normalise:
            if self.mask == "before":
                contrast = contrast.masked_fill(implausible, -torch.inf)
            contrast = contrast.log_softmax(-1)
        return contrast.masked_fill(implausible, FLOOR)

    def chosen(self, depths: Depths) -> Tensor:
        """Which of the layers is contrasted, by row; the first of equals."""
        distances = [depths.divergence(layer, self.divergence) for layer in self.layers]
        return torch.stack(distances).argmax(0)


READOUTS: dict[str, type[ContrastLayers]] = {"contrast-layers": ContrastLayers}
"""The kinds that can be saved; the key is the name on disk."""
