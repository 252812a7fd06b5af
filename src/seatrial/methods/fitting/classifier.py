"""A small network that tells the classes of states, and the way up one of its scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from seatrial.methods.fitting.train import train
from seatrial.steering.edits import Ascend

States = Float[Tensor, "pair side d_model"]
"""Positive (side 0) and negative (side 1) activations."""
Labels = Float[Tensor, "pair side class"]
"""1 where a text belongs to a class, else 0; it may belong to several, or to none."""


@final
@dataclass(frozen=True, eq=False)
class StateClassifier:
    """Two hidden layers and a logit for every class, in float64."""

    first: Float[Tensor, "hidden d_model"]
    first_bias: Float[Tensor, " hidden"]
    second: Float[Tensor, "hidden_2 hidden"]
    second_bias: Float[Tensor, " hidden_2"]
    last: Float[Tensor, "class hidden_2"]
    last_bias: Float[Tensor, " class"]

    def logits(self, h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch class"]:
        """Of every class, at each position."""
        hidden = (h @ self.first.mT + self.first_bias).relu()
        hidden = (hidden @ self.second.mT + self.second_bias).relu()
        return hidden @ self.last.mT + self.last_bias

    def climb(self, target: Sequence[int], avoid: Sequence[int]) -> Ascend:
        """One step of size 1 towards some classes and away from others, in float32."""
        goal = self.last[list(target)].mean(0)
        if avoid:
            goal = goal - self.last[list(avoid)].mean(0)
        return Ascend(
            self.first.float(),
            self.first_bias.float(),
            self.second.float(),
            self.second_bias.float(),
            goal.float(),
            torch.ones(1),
        )


def trained(
    states: States,
    labels: Labels,
    *,
    hidden: int,
    epochs: int,
    batch: int,
    rate: float,
    weight_decay: float,
    seed: int,
) -> StateClassifier:
    """A classifier that has learnt the classes of some states.

    The hidden layers start at random and the last one at zero, so that swapped classes give
    the opposite.

    Args:
        states: what is told apart.
        labels: the classes of each.
        hidden: width of both hidden layers.
        epochs: how often each pair is learnt from.
        batch: pairs in one update.
        rate: learning rate of Adam.
        weight_decay: of Adam.
        seed: of the start and of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    # One scale for all coordinates, so that directions keep their angles.
    centre = states.mean((0, 1))
    scale = (states - centre).square().mean().sqrt()
    with torch.inference_mode(False), torch.enable_grad():
        # A clone, because nothing can be learnt from tensors of inference mode.
        x, classes = ((states - centre) / scale).clone(), labels.clone()

        def loss(weights: Sequence[Tensor], chosen: Tensor) -> Tensor:
            logits = StateClassifier(*weights).logits(x[chosen])
            return binary_cross_entropy_with_logits(logits, classes[chosen])

        first, first_bias, *rest = train(
            _start(x.shape[-1], hidden, classes.shape[-1], generator),
            loss,
            len(x),
            epochs=epochs,
            batch=batch,
            rate=rate,
            weight_decay=weight_decay,
            generator=generator,
        )
    first = first / scale
    return StateClassifier(first, first_bias - first @ centre, *rest)


def _start(
    width: int, hidden: int, classes: int, generator: torch.Generator
) -> list[Tensor]:
    """Random hidden layers, and zeros after them."""

    def normal(rows: int, columns: int) -> Tensor:
        drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        return drawn / sqrt(3 * columns)

    shapes = (hidden,), (hidden,), (classes, hidden), (classes,)
    zeros = [torch.zeros(*shape).double() for shape in shapes]
    return [normal(hidden, width), zeros[0], normal(hidden, hidden), *zeros[1:]]
