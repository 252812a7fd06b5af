"""Edits that turn an activation and keep its length."""

from dataclasses import dataclass, replace
from math import inf, pi
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from seatrial.steering.edits.base import (
    Dose,
    Edit,
    check_orthonormal,
    per_position,
    widened,
)
from seatrial.steering.edits.drawing import Draw


@final
@dataclass(frozen=True, eq=False)
class AddKeepingNorm(Edit):
    """Add a vector to the direction of ``h`` and keep its length (in-context vectors).

        h <- |h| unit(unit(h) + dose * s * v)        s = 1 + max(0, -cos(h, v))

    Activations that point away from the vector are pushed up to twice as far. A negative
    dose is the edit of ``-v`` at the positive dose, so it is no straight line.
    """

    vector: Float[Tensor, " d_model"]
    """What dose 1 adds to an activation of length 1."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Turn ``h`` towards the vector, or away from it."""
        wide = widened(h)
        strength, vector = per_position(dose, wide), self.vector.to(wide)
        unit = normalize(wide, dim=-1)
        cosine = (unit * normalize(vector, dim=0)).sum(-1, keepdim=True)
        reluctance = 1 + (-strength.sign() * cosine).clamp(min=0)
        aim = normalize(unit + strength * reluctance * vector, dim=-1)
        edited = wide.norm(dim=-1, keepdim=True) * aim
        return torch.where(strength == 0, h, edited.to(h.dtype))

    def turned(self, draw: Draw) -> Edit:
        """A vector as long, in another direction."""
        return replace(self, vector=draw.vector(self.vector))

    @property
    def width(self) -> int:
        """Width of the vector."""
        return self.vector.shape[0]


def rotated(
    h: Float[Tensor, "*batch d_model"], basis: Float[Tensor, "d_model 2"], angle: Tensor
) -> Float[Tensor, "*batch d_model"]:
    """``h`` rotated in a plane by an angle in radians, from the first column to the second.

    The angle is one for all positions, or ``*batch 1``.
    """
    inside = h @ basis
    x, y = inside[..., :1], inside[..., 1:]
    after = torch.cat(
        [angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=-1
    )
    # Only the difference is added, so that what lies outside the plane is not rounded.
    return h + (after - inside) @ basis.mT


@final
@dataclass(frozen=True, eq=False)
class Rotate(Edit):
    """Rotate in a plane by ``dose * angle``: the length is kept, and doses add up."""

    basis: Float[Tensor, "d_model 2"]
    """Orthonormal columns; a positive angle turns the first towards the second."""
    angle: Float[Tensor, ""]
    """In radians."""

    def __post_init__(self) -> None:
        check_orthonormal(self.basis, "a Rotate")

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Turn the part of ``h`` that lies in the plane."""
        wide = widened(h)
        strength = per_position(dose, wide)
        edited = rotated(wide, self.basis.to(wide), strength * self.angle.to(wide))
        return torch.where(strength == 0, h, edited.to(h.dtype))

    def turned(self, draw: Draw) -> Edit:
        """Another plane; the angle stays."""
        draw.only(self, "even", "beside")
        return replace(self, basis=draw.basis(self.basis))

    @property
    def width(self) -> int:
        """Width of the space that the plane lies in."""
        return self.basis.shape[0]


@final
@dataclass(frozen=True, eq=False)
class RotateTo(Edit):
    """Rotate in a plane towards one angle: the length is kept.

    Dose s turns each position by the share s of the way from its own angle, the shorter way
    round; dose 1 brings all of them to the angle.
    """

    basis: Float[Tensor, "d_model 2"]
    """Orthonormal columns; angles are counted from the first towards the second."""
    angle: Float[Tensor, ""]
    """In radians."""
    floor: Float[Tensor, ""]
    """Only positions whose component along the first column is above it are turned; minus
    infinity turns all."""

    def __post_init__(self) -> None:
        check_orthonormal(self.basis, "a RotateTo")

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Turn the part of ``h`` that lies in the plane towards the angle."""
        wide = widened(h)
        strength, basis = per_position(dose, wide), self.basis.to(wide)
        inside = wide @ basis
        own = torch.atan2(inside[..., 1:], inside[..., :1])
        way = torch.remainder(self.angle.to(wide) - own + pi, 2 * pi) - pi
        chosen = (strength != 0) & (inside[..., :1] > self.floor.to(wide))
        edited = rotated(wide, basis, strength * way)
        return torch.where(chosen, edited.to(h.dtype), h)

    def turned(self, draw: Draw) -> Edit:
        """Another plane; angle and floor stay."""
        draw.only(self, "even", "beside")
        return replace(self, basis=draw.basis(self.basis))

    @property
    def width(self) -> int:
        """Width of the space that the plane lies in."""
        return self.basis.shape[0]

    @property
    def is_gated(self) -> bool:
        """Whether the floor can leave positions alone."""
        return float(self.floor) > -inf


@final
@dataclass(frozen=True, eq=False)
class Slerp(Edit):
    """Move along the sphere of its length towards a pole, where ``h`` is far from it.

        lack = -tanh(kappa * cos(h, m))                       in [-1, 1], 1: at the antipode
        t = min(1, dose * min(1, alpha (lack - beta) / (1 - beta)))     0 if lack <= beta
        angle to the pole <- (1 - t) * angle

    A negative dose is the edit with the pole ``-m`` at the positive dose.
    """

    pole: Float[Tensor, " d_model"]
    """``m``, of any length but 0."""
    kappa: Float[Tensor, ""]
    """How sharply the lack depends on the angle."""
    alpha: Float[Tensor, ""]
    """Share of the way that the antipode goes at dose 1."""
    beta: Float[Tensor, ""]
    """Positions that lack no more than this are left alone; below 1."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Move ``h`` along the great circle through the pole."""
        wide = widened(h)
        strength = per_position(dose, wide)
        kappa, alpha, beta = (x.to(wide) for x in (self.kappa, self.alpha, self.beta))
        pole = strength.sign() * normalize(self.pole.to(wide), dim=0)
        length = wide.norm(dim=-1, keepdim=True)
        along_pole = (wide * pole).sum(-1, keepdim=True)
        lack = -(kappa * along_pole / length).tanh()
        share = (alpha * (lack - beta) / (1 - beta)).clamp(0, 1)
        share = (strength.abs() * share).clamp(max=1)
        aside, across = _beside(wide, pole)
        angle = (1 - share) * torch.atan2(across, along_pole)
        edited = length * (angle.cos() * pole + angle.sin() * aside)
        # Not a number is not above beta, so what has no direction stays as it is.
        return torch.where((lack > beta) & (strength != 0), edited.to(h.dtype), h)

    def turned(self, draw: Draw) -> Edit:
        """A pole as long, in another direction."""
        return replace(self, pole=draw.vector(self.pole))

    @property
    def width(self) -> int:
        """Width of the pole."""
        return self.pole.shape[0]

    @property
    def is_gated(self) -> bool:
        """Always: what is near the pole stays where it is."""
        return True


def _beside(h: Tensor, pole: Tensor) -> tuple[Tensor, Tensor]:
    """The direction of what is at right angles to a unit vector, and its length."""
    across = h - (h * pole).sum(-1, keepdim=True) * pole
    across = across - (across * pole).sum(-1, keepdim=True) * pole  # rounding, once more
    length = across.norm(dim=-1, keepdim=True)
    # At the poles every way is as short; take the one through the smallest coordinate.
    axis = torch.zeros_like(pole).scatter(-1, pole.abs().argmin(-1, keepdim=True), 1.0)
    axis = normalize(axis - (axis * pole).sum(-1, keepdim=True) * pole, dim=-1)
    is_pole = length <= 1e-6 * h.norm(dim=-1, keepdim=True)
    return torch.where(is_pole, axis, across / length), length
