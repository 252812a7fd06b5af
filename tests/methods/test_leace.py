"""LEACE: no linear probe is left, at the least change of any affine map."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from seatrial.errors import BadData, BadOption
from seatrial.methods import LEACE
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance, eraser
from seatrial.testing import CHECKS
from seatrial.types import FitData, Pair, Site, Text

VARIANTS = [{}, {"shrinkage": 0.0}, {"shrinkage": 0.9}, {"projection": "orthogonal"}]


def fit(model, data, **options):
    [edit] = LEACE(layer=1, **options).fit(model, data, seed=0).edits.values()
    return edit


def labelled(model, data, read="last"):
    """All states, in float64, and their labels."""
    states = torch.cat(contrast(model, data.pairs, Site(1), read)).double()
    n = len(data.pairs)
    return states, torch.tensor([1.0] * n + [0.0] * n, dtype=torch.float64)


def erased(edit, states):
    """What the edit makes of states, computed in float64."""
    return states @ edit.matrix.double().mT + edit.bias.double()


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("n", [60, 4], ids=["more states than dimensions", "fewer"])
def test_no_linear_probe_is_left(tiny, many, options, n):
    model = tiny("gemma3")
    data = FitData("calm", many.pairs[:n])
    before, labels = labelled(model, data)

    after = erased(fit(model, data, **options), before)

    cross = (labels - labels.mean()) @ (after - after.mean(0)) / len(after)
    scale = float(before.std())
    assert float(cross.abs().max()) < 1e-5 * scale
    for probe in (
        LogisticRegression(C=1.0, tol=1e-8, max_iter=5000),
        LinearSVC(loss="squared_hinge", tol=1e-8, max_iter=100_000),
    ):
        read = probe.fit(before.numpy() / scale, labels.numpy())
        assert read.score(before.numpy() / scale, labels.numpy()) > 0.9
        blind = probe.fit(after.numpy() / scale, labels.numpy())
        assert float(abs(blind.coef_).max()) < 1e-3
        guess = torch.from_numpy(blind.decision_function(after.numpy() / scale))
        assert float(guess.std()) < 1e-2


def test_it_changes_states_less_than_any_other_eraser(tiny, many):
    """Among ``I - d w'`` with ``w . d = 1``, which are all that erase rank one."""
    model = tiny("gemma3")
    states, labels = labelled(model, many)
    d = states[labels == 1].mean(0) - states[labels == 0].mean(0)
    centred = states - states.mean(0)

    def cost(matrix):
        return float((centred - centred @ matrix.mT).square().sum(1).mean())

    best = cost(fit(model, many, shrinkage=0.0).matrix.double())

    generator = torch.Generator().manual_seed(0)
    others = [d / (d @ d)]
    for size in (0.01, 0.1, 1.0):
        for _ in range(5):
            w = d + size * d.norm() * torch.randn(32, generator=generator).double()
            others.append(w / (w @ d))
    costs = [cost(torch.eye(32).double() - torch.outer(d, w)) for w in others]
    assert best < 0.9 * min(costs)


def test_what_carries_no_class_keeps_its_mean_and_nothing_gains_variance(tiny, many):
    model = tiny("gemma3")
    states, _ = labelled(model, many)

    for options in VARIANTS[1:2] + VARIANTS[3:]:
        after = erased(fit(model, many, **options), states)
        torch.testing.assert_close(after.mean(0), states.mean(0), rtol=0, atol=1e-4)
        assert float(covariance(after).trace()) < float(covariance(states).trace())


def test_shrinkage_leads_from_the_oblique_to_the_orthogonal_eraser(tiny, many):
    model = tiny("gemma3")

    oblique, estimated, mostly, orthogonal = (
        fit(model, many, **options).matrix
        for options in (
            {"shrinkage": 0.0}, {}, {"shrinkage": 1.0}, {"projection": "orthogonal"},
        )
    )  # fmt: skip

    torch.testing.assert_close(orthogonal, orthogonal.mT, rtol=0, atol=1e-5)
    torch.testing.assert_close(mostly, orthogonal, rtol=0, atol=1e-5)
    gaps = [float((matrix - orthogonal).norm()) for matrix in (estimated, oblique)]
    assert 0.01 < gaps[0] < gaps[1]


def test_with_plenty_of_states_it_is_the_eraser_of_their_covariance(tiny, many):
    model = tiny("gemma3")
    states, labels = labelled(model, many)
    d = states[labels == 1].mean(0) - states[labels == 0].mean(0)

    matrix = fit(model, many, shrinkage=0.0).matrix

    torch.testing.assert_close(
        matrix.double(), eraser(covariance(states), d), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("options", [{}, {"projection": "orthogonal"}])
def test_it_erases_the_planted_direction(planted, planted_data, options):
    model, direction = planted

    edit = fit(model, planted_data, read="completion", **options)

    left, _, _ = torch.linalg.svd(torch.eye(len(direction)) - edit.matrix)
    assert abs(float(left[:, 0] @ direction)) > 0.99
    assert float((edit.matrix @ direction).norm()) < 0.2


def test_which_side_is_positive_does_not_matter(tiny, many, swap):
    model = tiny("gemma3")

    one, other = fit(model, many), fit(model, swap(many))

    torch.testing.assert_close(one.matrix, other.matrix)
    torch.testing.assert_close(one.bias, other.bias, rtol=1e-4, atol=1e-4)


def test_a_share_outside_0_to_1_is_refused(tiny, many):
    with pytest.raises(BadOption, match="shrinkage must lie between 0"):
        fit(tiny("gemma3"), many, shrinkage=2.0)


def test_pairs_without_any_difference_are_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        fit(tiny("llama"), FitData("calm", (pair,)), read="last_prompt")


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](LEACE(layer=1), tiny("gemma3"), example)
