"""Edits that are linear in the activation: add, replace, project, map, patch."""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seatrial.steering.edits.base import Dose, Edit, along, check_orthonormal, per_position
from seatrial.steering.edits.drawing import Draw, random_turn


@final
@dataclass(frozen=True, eq=False)
class Add(Edit):
    """Add a vector: ``h + dose * v``."""

    vector: Float[Tensor, " d_model"]
    """The direction, in natural units: dose 1 adds exactly this."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Shift ``h`` by ``dose`` vectors."""
        return along(h, self.vector.to(h), dose)

    def turned(self, draw: Draw) -> Edit:
        """A vector as long, in another direction."""
        return replace(self, vector=draw.vector(self.vector))

    @property
    def width(self) -> int:
        """Width of the vector."""
        return self.vector.shape[0]


@final
@dataclass(frozen=True, eq=False)
class AddBySide(Edit):
    """Push each state further to its own side: ``h + dose * sign(h . v) * v``.

    The piecewise form of representation engineering (https://arxiv.org/abs/2310.01405);
    the opposite vector does the same, and a negative dose pulls to the middle.
    """

    vector: Float[Tensor, " d_model"]
    """The direction, in natural units."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Shift ``h`` by ``dose`` vectors, forth or back; at right angles not at all."""
        vector = self.vector.to(h)
        return along(h, (h @ vector).sign()[..., None] * vector, dose)

    def turned(self, draw: Draw) -> Edit:
        """A vector as long, in another direction."""
        return replace(self, vector=draw.vector(self.vector))

    @property
    def width(self) -> int:
        """Width of the vector."""
        return self.vector.shape[0]


@final
@dataclass(frozen=True, eq=False)
class Replace(Edit):
    """Put a fixed state in place (task vectors): ``(1 - dose) * h + dose * value``."""

    value: Float[Tensor, " d_model"]
    """The state that dose 1 leaves at every edited position."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Move ``h`` the share ``dose`` of the way to ``value``; dose 1 lands on it."""
        value = self.value.to(h).expand_as(h)
        strength = per_position(dose, h)
        # h + (value - h) is not value in floating point, and "replaced" must mean replaced.
        return torch.where(strength == 1, value, along(h, value - h, dose))

    def turned(self, draw: Draw) -> Edit:
        """A state as far from the mean one: ``m + Q (s - m)``."""
        draw.only(self, "even", "states")
        return replace(self, value=draw.state(self.value))

    @property
    def width(self) -> int:
        """Width of the value."""
        return self.value.shape[0]


@final
@dataclass(frozen=True, eq=False)
class Project(Edit):
    """Remove what lies in a subspace: ``h - dose * (h B) B'`` (directional ablation).

    Dose 1 removes it, dose 2 reflects it, negative doses amplify it.
    """

    basis: Float[Tensor, "d_model rank"]
    """Orthonormal columns."""

    def __post_init__(self) -> None:
        check_orthonormal(self.basis, "a Project")

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Remove the share ``dose`` of the component inside the subspace."""
        basis = self.basis.to(h)
        return along(h, -(h @ basis) @ basis.mT, dose)

    def turned(self, draw: Draw) -> Edit:
        """A subspace of the same rank."""
        draw.only(self, "even", "beside")
        return replace(self, basis=draw.basis(self.basis))

    @property
    def width(self) -> int:
        """Width of the space that the subspace lies in."""
        return self.basis.shape[0]


@final
@dataclass(frozen=True, eq=False)
class Affine(Edit):
    """Apply an affine map: ``h + dose * (A h + b - h)``; dose 1 is the map itself."""

    matrix: Float[Tensor, "d_model d_model"]
    """``A``, acting on column vectors."""
    bias: Float[Tensor, " d_model"]
    """``b``."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Move ``h`` the share ``dose`` of the way to its image."""
        return along(h, h @ self.matrix.to(h).mT + self.bias.to(h) - h, dose)

    def turned(self, draw: Draw) -> Edit:
        """The map whose steps are turned: those from the mean state, and that of the mean.

        ``h + Q (A - I) Q' (h - m) + Q (E(m) - m)``.
        """
        draw.only(self, "even")
        q, mean = draw.rotation(self.width), draw.states().double().mean(0)
        matrix, one = self.matrix.double(), torch.eye(self.width).to(q)
        step = q @ (matrix - one) @ q.mT
        shift = q @ (matrix @ mean + self.bias.double() - mean)
        return replace(
            self, matrix=(one + step).float(), bias=(shift - step @ mean).float()
        )

    @property
    def width(self) -> int:
        """Width of the bias."""
        return self.bias.shape[0]


@final
@dataclass(frozen=True, eq=False)
class Patch(Edit):
    """Put some coordinates in place, one head's for example; the others stay as they are.

    Activation patching is this at dose 1: ``h[where] <- value[where]``.
    """

    value: Float[Tensor, " d_model"]
    """What dose 1 leaves at the chosen coordinates; elsewhere it is not looked at."""
    where: Bool[Tensor, " d_model"]
    """The chosen coordinates."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Move the chosen coordinates the share ``dose`` of the way to ``value``."""
        return torch.where(self.where.to(h.device), Replace(self.value)(h, dose), h)

    def turned(self, draw: Draw) -> Edit:
        """Values as far from the mean ones, in the chosen coordinates only."""
        draw.only(self, "even")
        mean = draw.mean()
        value = mean.clone()
        coordinates = torch.arange(self.width).chunk(draw.parts)
        for chosen in [place[self.where[place]] for place in coordinates]:
            offset = (self.value - mean)[chosen, None]
            value[chosen] += random_turn(offset, draw.generator)[:, 0].float()
        return replace(self, value=value)

    @property
    def width(self) -> int:
        """Width of the value."""
        return self.value.shape[0]

    @property
    def is_gated(self) -> bool:
        """Always: it may find its value in place, for some heads hold a constant."""
        return True
