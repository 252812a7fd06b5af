"""The small classifier tells planted classes, and one seed gives one network."""

import pytest
import torch

from seatrial.methods.fitting.classifier import trained

OPTIONS = dict(hidden=16, epochs=40, batch=8, rate=1e-2, weight_decay=0.01)
N, WIDTH = 24, 12


@pytest.fixture(scope="module")
def planted():
    """States whose sides differ along one direction, the labels, and the direction."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(N, 2, WIDTH, generator=generator).double()
    direction = torch.nn.functional.one_hot(torch.tensor(4), WIDTH).double()
    sides = torch.tensor([1.0, -1.0]).double()
    states = 5.0 + 0.3 * noise + 2.0 * sides[:, None] * direction
    labels = torch.eye(2).double().expand(N, 2, 2).clone()
    return states, labels, direction


def fields_of(classifier):
    return vars(classifier).values()


def test_planted_classes_are_learnt(planted):
    states, labels, _ = planted

    classifier = trained(states, labels, **OPTIONS, seed=0)

    assert torch.equal(classifier.logits(states) > 0, labels > 0)


def test_the_climb_goes_along_the_planted_direction(planted):
    states, labels, direction = planted

    climb = trained(states, labels, **OPTIONS, seed=0).climb([0], [1])

    step = climb.gradient(states).double().mean((0, 1))
    assert float(step @ direction / step.norm()) > 0.95


def test_classes_that_are_alike_are_not_told_apart(planted):
    states, labels, _ = planted
    alike = states.mean(1, keepdim=True).expand(-1, 2, -1).clone()

    logits = trained(alike, labels, **OPTIONS, seed=0).logits(alike)

    assert float(logits.abs().max()) < 0.5


def test_one_seed_gives_one_network_bit_for_bit_and_another_seed_another(planted):
    states, labels, _ = planted

    first, second, other = (trained(states, labels, **OPTIONS, seed=k) for k in (7, 7, 8))

    assert all(map(torch.equal, fields_of(first), fields_of(second)))
    assert not torch.equal(first.first, other.first)


def test_swapped_classes_give_the_opposite_climb(planted):
    states, labels, _ = planted

    straight = trained(states, labels, **OPTIONS, seed=0).climb([0], [1])
    swapped = trained(states, labels.flip(-1), **OPTIONS, seed=0).climb([0], [1])

    assert torch.allclose(straight.gradient(states), -swapped.gradient(states), atol=1e-6)


def test_states_and_labels_are_left_as_they_were(planted):
    states, labels, _ = planted
    before = states.clone(), labels.clone()

    trained(states, labels, **OPTIONS, seed=0)

    assert torch.equal(states, before[0])
    assert torch.equal(labels, before[1])
