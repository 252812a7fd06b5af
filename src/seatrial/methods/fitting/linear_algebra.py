"""Directions, covariances and maps: the linear algebra that several methods share.

Numbered traps are those of docs/hazards.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, BadOption
from seatrial.types import Site


def difference(
    positive: Float[Tensor, "positive width"], negative: Float[Tensor, "negative width"]
) -> Float[Tensor, " width"]:
    """Mean of the positive points minus mean of the negative ones, in float64."""
    return positive.double().mean(0) - negative.double().mean(0)


def unit(vector: Float[Tensor, " width"], site: Site) -> Float[Tensor, " width"]:
    """The vector at length 1, in float64.

    Raises:
        BadData: for a vector of zeros, which has no direction.
    """
    length = vector.double().norm()
    if length == 0:
        raise BadData(
            f"positive and negative texts do not differ at site {site}, so there is no "
            "direction to fit; read at a token where they differ, or give other texts"
        )
    return vector.double() / length


def covariance(points: Float[Tensor, "point width"]) -> Float[Tensor, "width width"]:
    """Covariance about the points' own mean, divided by their number, in float64."""
    centred = points.double() - points.double().mean(0)
    return centred.mT @ centred / len(points)


def shrinkage_of(centred: Float[Tensor, "point width"], share: float | None) -> float:
    """The share of a covariance that a multiple of the identity takes over.

    Args:
        centred: points with their mean, or the means of their classes, taken off.
        share: what the user wants; ``None`` is the estimate of Ledoit and Wolf (2004).

    Raises:
        BadOption: for a share outside 0 to 1.
    """
    if share is None:
        from sklearn.covariance import ledoit_wolf_shrinkage  # slow to import

        return float(ledoit_wolf_shrinkage(centred.double().numpy(), assume_centered=True))
    if not 0 <= share <= 1:
        raise BadOption(
            f"shrinkage must lie between 0 (none) and 1 (only the identity), not {share}; "
            "leave it out to have it estimated"
        )
    return share


def shrunk(
    matrix: Float[Tensor, "width width"], share: float, level: float
) -> Float[Tensor, "width width"]:
    """``(1 - share) * matrix + share * level * I``: only the diagonal grows (trap T31)."""
    return (1 - share) * matrix + share * level * torch.eye(len(matrix)).to(matrix)


def power(
    matrix: Float[Tensor, "width width"], exponent: float
) -> Float[Tensor, "width width"]:
    """A power of a symmetric positive matrix, where null directions stay null.

    The power -1 is the pseudo-inverse, and 0 the projector on what is not null.
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    kept = values > values.abs().max() * len(matrix) * torch.finfo(torch.float64).eps
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].mT


def eraser(
    spread: Float[Tensor, "width width"], direction: Float[Tensor, " width"]
) -> Float[Tensor, "width width"]:
    """The projection that erases the difference of two classes with the least change.

    ``A = I - d (S^+ d)' / (d' S^+ d)``, which is ``I - W^+ P W`` of LEACE
    (https://arxiv.org/abs/2306.03819, theorem 4.2) for two classes, with ``W = S^(-1/2)``
    and ``P`` the projector on ``W d``.

    Args:
        spread: covariance ``S`` of all points.
        direction: difference of the class means, ``d``; not 0.
    """
    d = direction.double()
    weighted = power(spread, -1.0) @ d
    return torch.eye(len(d)).to(d) - torch.outer(d, weighted) / (d @ weighted)
