"""What can be done to a next-token distribution: contrasts of layers, as pure functions.

A readout sees the log-probabilities that the model ends with, and those that earlier states
of the same forward pass would give. Dose 0 is the model's own distribution bit for bit.

Numbered traps are those of docs/hazards.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import Literal, NamedTuple, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seatrial.errors import BadData, BadOption

Norm = Literal["none", "final", "next_block"]
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
    _known: dict[tuple[int | None, str], Tensor] = field(default_factory=dict)

    def divergence(self, layer: int, form: Divergence) -> Float[Tensor, " row"]:
        """How far an early distribution is from the final one; shared by all readouts.

        ``textbook`` is the Jensen-Shannon divergence; ``published`` has the arguments of
        both KL terms exchanged, as the code released with DoLa does.
        """
        if (layer, form) not in self._known:
            p, q, mixture = self.final, self.early[layer], self._likely(layer)
            log_mixture = mixture.clamp_min(torch.finfo(mixture.dtype).tiny).log_()
            if form == "textbook":
                terms = (p - log_mixture).mul_(self._likely())
                terms += (q - log_mixture).mul_(_exp(q))
            else:
                terms = log_mixture.mul_(2).sub_(p).sub_(q).mul_(mixture)
            self._known[layer, form] = terms.sum(-1) / 2
        return self._known[layer, form]

    def _likely(self, layer: int | None = None) -> Float[Tensor, "row vocabulary"]:
        """Final probabilities, or their mean with those after a block."""
        if (None, "") not in self._known:
            self._known[None, ""] = _exp(self.final)
        p = self._known[None, ""]
        return p if layer is None else _exp(self.early[layer]).add_(p).div_(2)


def _exp(log_probs: Tensor) -> Tensor:
    """Probabilities of at least 1e-38: smaller ones make a processor ten times slower."""
    return log_probs.clamp_min(-87.0).exp_()


class Readout(ABC):
    """A change of the next-token distribution whose strength is a dose."""

    layers: tuple[int, ...]
    """The blocks whose outputs it looks at; -1 is the embeddings."""
    norm: Norm
    """What early states pass before the unembedding: the final norm, the norm at the input
    of the block after them, or none."""

    @abstractmethod
    def __call__(self, depths: Depths, dose: float) -> Float[Tensor, "row vocabulary"]:
        """The changed log-probabilities; dose 0 returns ``depths.final`` itself."""

    def at(
        self,
        depths: Depths,
        dose: float,
        rows: Int[Tensor, " target"],
        tokens: Int[Tensor, " target"],
    ) -> Float[Tensor, " target"]:
        """The same of some tokens only, which can be had for less."""
        return self(depths, dose)[rows, tokens]


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
        contrast = depths.final - dose * self._premature(depths)
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

    def at(
        self,
        depths: Depths,
        dose: float,
        rows: Int[Tensor, " target"],
        tokens: Int[Tensor, " target"],
    ) -> Float[Tensor, " target"]:
        """The same of some tokens only: the released form needs no other token at all."""
        if self.normalise or self.plausibility or dose == 0:
            return super().at(depths, dose, rows, tokens)
        far = self.chosen(depths)[rows]
        contrast = depths.final[rows, tokens]
        for number, layer in enumerate(self.layers):
            mine = far == number
            contrast[mine] -= dose * depths.early[layer][rows[mine], tokens[mine]]
        return contrast

    def _premature(self, depths: Depths) -> Float[Tensor, "row vocabulary"]:
        """Log-probabilities after the layer that is contrasted, row by row."""
        if len(self.layers) == 1:
            return depths.early[self.layers[0]]
        far = self.chosen(depths).tolist()
        return torch.stack([depths.early[self.layers[j]][k] for k, j in enumerate(far)])

    def chosen(self, depths: Depths) -> Tensor:
        """Which of the layers is contrasted, by row; the first of equals."""
        distances = [depths.divergence(layer, self.divergence) for layer in self.layers]
        return torch.stack(distances).argmax(0)


class LayerChoice(NamedTuple):
    """What the choice of layers looks like over many rows (trap T17)."""

    shares: dict[int, float]
    """Share of the rows where each candidate is contrasted; they sum to 1."""
    top_share: float
    """Share of the most used one: 1 where the dynamic choice is a static one in truth."""
    entropy: float
    """Of the shares, in nats; between 0 and the logarithm of the number of candidates."""
    early_entropy: float
    """Mean entropy of the distribution that is contrasted, as a share of that of a uniform
    one: near 1, taking it away changes nothing and the contrast is the baseline."""


def choice_of(readout: ContrastLayers, depths: Depths) -> LayerChoice:
    """Which layers a readout contrasts on some rows, and whether they say anything.

    Raises:
        BadData: without rows.
    """
    chosen = readout.chosen(depths)
    if not len(chosen):
        raise BadData("there are no rows to choose layers for; give some text")
    counts = torch.bincount(chosen, minlength=len(readout.layers)).double()
    shares = counts / counts.sum()
    early = torch.stack([depths.early[layer] for layer in readout.layers])
    q = early[chosen, torch.arange(len(chosen), device=chosen.device)].double()
    spread = -(q.exp() * q.clamp_min(-1e4)).sum(-1).mean()
    return LayerChoice(
        dict(zip(readout.layers, shares.tolist(), strict=True)),
        float(shares.max()),
        float(torch.special.entr(shares).sum()),
        float(spread) / log(q.shape[-1]),
    )


@final
@dataclass(frozen=True)
class Offset(Readout):
    """Add one constant to the log-probability of every token.

    It knows nothing of any token, and still favours long answers wherever scores are sums
    over tokens: what scores that are no log-probabilities gain beyond it is their own
    (traps T14, T19).
    """

    constant: float
    """In nats, at dose 1."""
    layers: tuple[int, ...] = ()
    norm: Norm = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))

    def __call__(self, depths: Depths, dose: float) -> Float[Tensor, "row vocabulary"]:
        """Every log-probability moved alike."""
        return depths.final + dose * self.constant if dose else depths.final


READOUTS: dict[str, type[ContrastLayers] | type[Offset]] = {
    "contrast-layers": ContrastLayers,
    "offset": Offset,
}
"""The kinds that can be saved; the key is the name on disk."""
