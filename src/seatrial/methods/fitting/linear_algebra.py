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


def shrinkage_of(centred: Float[Tensor, "point width"], asked: float | None) -> float:
    """The share of a covariance that a multiple of the identity takes over.

    Args:
        centred: points with their mean, or the means of their classes, taken off.
        asked: what the user wants; ``None`` is the estimate of Ledoit and Wolf (2004).

    Raises:
        BadOption: for a share outside 0 to 1.
    """
    if asked is None:
        from sklearn.covariance import ledoit_wolf_shrinkage  # slow to import

        return float(ledoit_wolf_shrinkage(centred.double().numpy(), assume_centered=True))
    if not 0 <= asked <= 1:
        raise BadOption(
            f"shrinkage must lie between 0 (none) and 1 (only the identity), not {asked}; "
            "leave it out to have it estimated"
        )
    return asked


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


def conceptor_not(c: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    """What a conceptor leaves out: ``I - C``, in float64."""
    return torch.eye(len(c)).to(c.double()) - c.double()


def conceptor_and(
    a: Float[Tensor, "width width"], b: Float[Tensor, "width width"]
) -> Float[Tensor, "width width"]:
    """What both conceptors let through: ``(A^-1 + B^-1 - I)^-1``, in float64.

    It is taken within the directions that both reach at all, and is 0 elsewhere (Jaeger
    2014, https://arxiv.org/abs/1403.3369, definition 4).
    """
    one = torch.eye(len(a)).to(a.double())
    outside = 2 * one - power(a, 0.0) - power(b, 0.0)
    values, vectors = torch.linalg.eigh(outside)
    # A direction that both reach has the eigenvalue 0 there.
    shared = vectors[:, values < 1e-8]
    both = shared.mT @ (power(a, -1.0) + power(b, -1.0) - one) @ shared
    return shared @ torch.linalg.inv(both) @ shared.mT


def conceptor_or(
    a: Float[Tensor, "width width"], b: Float[Tensor, "width width"]
) -> Float[Tensor, "width width"]:
    """What either conceptor lets through: not (not A and not B), in float64.

    Of two sets of states at one aperture it is the conceptor of both sets' correlation
    matrices added up.
    """
    return conceptor_not(conceptor_and(conceptor_not(a), conceptor_not(b)))


def conceptor_aperture(
    c: Float[Tensor, "width width"], factor: float
) -> Float[Tensor, "width width"]:
    """The conceptor of the same states at ``factor`` times its aperture, in float64.

    ``C (C + factor^-2 (I - C))^-1``.

    Raises:
        BadOption: for a factor that is not above 0.
    """
    if not factor > 0:
        raise BadOption(f"an aperture can only grow by a factor above 0, not {factor}")
    c = c.double()
    changed = c @ torch.linalg.inv(c + conceptor_not(c) / factor**2)
    return (changed + changed.mT) / 2
