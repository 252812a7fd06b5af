"""The loop in which a method learns its own weights; the model's are left alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def train(
    weights: Sequence[Tensor],
    loss: Callable[[Sequence[Tensor], Tensor], Tensor],
    n: int,
    *,
    epochs: int,
    batch: int,
    rate: float,
    weight_decay: float,
    generator: torch.Generator,
) -> list[Tensor]:
    """Weights after some epochs of Adam, each over all items in another order.

    Gradients must be enabled, and inference mode left.

    Args:
        weights: where it starts; they are changed in place.
        loss: of the weights on the items with some indices.
        n: how many items there are.
        epochs: how often each is learnt from.
        batch: how many in one update.
        rate: learning rate.
        weight_decay: of Adam.
        generator: the order is drawn from it.
    """
    learnt = [weight.requires_grad_() for weight in weights]
    optimiser = torch.optim.Adam(learnt, lr=rate, weight_decay=weight_decay)
    for _ in range(epochs):
        for chosen in torch.randperm(n, generator=generator).split(batch):
            optimiser.zero_grad()
            loss(learnt, chosen).backward()
            optimiser.step()
    return [weight.detach() for weight in learnt]
