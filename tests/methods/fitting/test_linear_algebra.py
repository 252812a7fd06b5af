"""The linear algebra of the methods: each function against its definition."""

import pytest
import torch
from sklearn.covariance import ledoit_wolf

from seatrial.errors import BadData, BadOption
from seatrial.methods.fitting.linear_algebra import (
    covariance,
    difference,
    eraser,
    power,
    shrinkage_of,
    shrunk,
    unit,
)
from seatrial.types import Site


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    return torch.randn(50, 6, generator=generator, dtype=torch.float64) @ mix + 3


def test_the_difference_is_that_of_the_means_in_float64():
    big = torch.full((3, 2), 2.0**24)
    big[0, 0] += 2

    made = difference(big, torch.full((5, 2), 2.0**24))

    assert made.tolist() == pytest.approx([2 / 3, 0], abs=1e-8)


def test_a_unit_vector_has_length_one_and_the_same_direction():
    made = unit(torch.tensor([3.0, -4.0]), Site(1))

    assert made.dtype == torch.float64
    torch.testing.assert_close(made, torch.tensor([0.6, -0.8], dtype=torch.float64))


def test_a_zero_vector_has_no_direction_and_the_site_is_named():
    with pytest.raises(BadData, match=r"do not differ at site 1\.attn, .* read at a token"):
        unit(torch.zeros(3), Site(1, "attn"))


def test_the_covariance_is_the_one_of_all_points(points):
    torch.testing.assert_close(covariance(points), torch.cov(points.mT, correction=0))


def test_estimated_shrinkage_gives_the_covariance_of_ledoit_and_wolf(points):
    centred = points - points.mean(0)
    spread = covariance(points)

    share = shrinkage_of(centred, None)
    made = shrunk(spread, share, float(spread.trace()) / 6)

    wanted, wanted_share = ledoit_wolf(points.numpy())
    assert share == pytest.approx(wanted_share) and 0 < share < 1
    torch.testing.assert_close(made, torch.from_numpy(wanted))


def test_shrinkage_leaves_everything_off_the_diagonal_to_its_share(points):
    """Released code adds to every entry of the covariance (trap T31)."""
    spread = covariance(points)

    made = shrunk(spread, 0.25, 8.0)

    off = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(made[off], 0.75 * spread[off])
    torch.testing.assert_close(made.diagonal(), 0.75 * spread.diagonal() + 2)


@pytest.mark.parametrize("asked", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(points, asked):
    with pytest.raises(BadOption, match=r"shrinkage must lie between 0 .* and 1"):
        shrinkage_of(points, asked)


@pytest.mark.parametrize("asked", [0.0, 0.3, 1.0])
def test_an_asked_share_is_taken(points, asked):
    assert shrinkage_of(points, asked) == asked


def test_powers_multiply_and_are_symmetric(points):
    spread = covariance(points)

    root, inverse = power(spread, 0.5), power(spread, -1.0)

    torch.testing.assert_close(root @ root, spread)
    torch.testing.assert_close(inverse @ spread, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(root, root.mT)


def test_negative_powers_are_pseudo_inverses_where_points_are_few(points):
    spread = covariance(points[:3])

    torch.testing.assert_close(power(spread, -1.0), torch.linalg.pinv(spread))
    torch.testing.assert_close(
        power(spread, 0.0), torch.linalg.pinv(spread) @ spread, rtol=0, atol=1e-9
    )


def test_the_eraser_is_the_whitened_projection_of_the_paper(points):
    """``I - W^+ P W`` with ``W = S^(-1/2)`` and ``P`` on the range of ``W d``."""
    spread, direction = covariance(points), points[0] - points[1]

    made = eraser(spread, direction)

    w, back = power(spread, -0.5), power(spread, 0.5)
    q = (w @ direction)[:, None]
    wanted = torch.eye(6, dtype=torch.float64) - back @ (q @ q.mT / (q.mT @ q)) @ w
    torch.testing.assert_close(made, wanted)


def test_the_eraser_is_a_projection_that_kills_the_direction_and_never_adds_variance(
    points,
):
    spread, direction = covariance(points), points[0] - points[1]

    made = eraser(spread, direction)

    torch.testing.assert_close(made @ made, made)
    assert float((made @ direction).norm()) < 1e-9 * float(direction.norm())
    assert int(torch.linalg.matrix_rank(made)) == 5
    assert float((made @ spread @ made.mT).trace()) < float(spread.trace())
