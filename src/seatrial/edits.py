"""What can be done to an activation: pure functions of one position, with a dose.

Laws that every edit obeys (``tests/test_edits.py``):

- ``edit(h, 0.0)`` is ``h``, bit for bit;
- positions are edited one by one: the result at a position depends on that position only;
- dtype and device follow ``h``, and ``h`` itself is left alone.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption

Dose = float | Float[Tensor, "*batch"]
"""One strength for all positions, or one for each."""


class Edit(ABC):
    """A change of an activation vector whose strength is a dose.

    Dose 0 changes nothing and dose 1 is the edit as fitted. In between and beyond, an edit
    moves along the straight line ``h + dose * (E(h) - h)`` unless its own docstring says
    otherwise.
    """

    @abstractmethod
    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Return the edited activations; ``h`` is not modified."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the activations that this edit applies to."""


def along(
    h: Float[Tensor, "*batch d_model"], step: Float[Tensor, "*#batch d_model"], dose: Dose
) -> Float[Tensor, "*batch d_model"]:
    """``h + dose * step``, and ``h`` bit for bit where the dose is 0.

    The ``where`` matters: ``-0.0 + 0.0`` is ``0.0`` and ``0 * inf`` is not a number.
    """
    strength = torch.as_tensor(dose, dtype=h.dtype, device=h.device)
    strength = strength.unsqueeze(-1) if strength.ndim else strength
    return torch.where(strength == 0, h, h + strength * step)


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
        strength = torch.as_tensor(dose, dtype=h.dtype, device=h.device)
        strength = strength.unsqueeze(-1) if strength.ndim else strength
        # h + (value - h) is not value in floating point, and "replaced" must mean replaced.
        return torch.where(strength == 1, value, along(h, value - h, dose))

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
        gram = self.basis.double().mT @ self.basis.double()
        if not torch.allclose(gram, torch.eye(gram.shape[0]).to(gram), atol=1e-3):
            raise BadOption(
                "the columns of a Project basis must be orthonormal; "
                "orthonormalise them first, for example with torch.linalg.qr(basis).Q"
            )

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Remove the share ``dose`` of the component inside the subspace."""
        basis = self.basis.to(h)
        return along(h, -(h @ basis) @ basis.mT, dose)

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

    @property
    def width(self) -> int:
        """Width of the bias."""
        return self.bias.shape[0]


EDITS: dict[str, type[Edit]] = {
    "add": Add,
    "replace": Replace,
    "project": Project,
    "affine": Affine,
}
"""The kinds that can be saved; the key is the name on disk."""
