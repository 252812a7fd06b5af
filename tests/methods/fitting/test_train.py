"""The loop that trains a method's own weights: it learns, and the seed decides."""

from itertools import chain

import torch

from seatrial.methods.fitting.train import train

X = torch.linspace(-1, 1, 12).double()[:, None]
Y = 3.0 * X[:, 0] - 0.5


def loss(weights, chosen):
    slope, offset = weights
    return ((X[chosen] @ slope + offset - Y[chosen]) ** 2).mean()


def learnt(*, seed=0, epochs=300, loss=loss, weight_decay=0.0):
    return train(
        [torch.zeros(1).double(), torch.zeros(()).double()],
        loss,
        len(X),
        epochs=epochs,
        batch=5,
        rate=0.05,
        weight_decay=weight_decay,
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_line_is_learnt():
    slope, offset = learnt()

    assert abs(float(slope) - 3.0) < 0.05
    assert abs(float(offset) + 0.5) < 0.05


def test_one_seed_gives_the_same_weights_bit_for_bit_and_another_another_order():
    first, second, other = (learnt(seed=k, epochs=5) for k in (4, 4, 5))

    assert all(map(torch.equal, first, second))
    assert not all(map(torch.equal, first, other))


def test_every_epoch_sees_each_item_once_in_an_order_of_its_own():
    seen = []

    def watched(weights, chosen):
        seen.append(chosen.tolist())
        return loss(weights, chosen)

    learnt(epochs=2, loss=watched)

    assert [len(batch) for batch in seen] == [5, 5, 2, 5, 5, 2]
    first, second = (list(chain(*seen[k : k + 3])) for k in (0, 3))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_weights_come_back_without_gradients():
    assert not any(weight.requires_grad for weight in learnt(epochs=1))


def test_weight_decay_keeps_weights_small():
    free, held = learnt()[0], learnt(weight_decay=1.0)[0]

    assert abs(float(held)) < abs(float(free))
