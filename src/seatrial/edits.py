"""What can be done to an activation: pure functions of one position, with a dose.

Laws that every edit obeys (``tests/test_edits.py``):

- ``edit(h, 0.0)`` is ``h``, bit for bit;
- positions are edited one by one: the result at a position depends on that position only;
- dtype and device follow ``h``, and ``h`` itself is left alone.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, pi
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

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

    @property
    def is_gated(self) -> bool:
        """Whether it may rightly leave every position alone at a dose other than 0."""
        return False


def per_position(dose: Dose, h: Float[Tensor, "*batch d_model"]) -> Tensor:
    """The dose as a tensor that multiplies ``h``, in its dtype and on its device."""
    strength = torch.as_tensor(dose, dtype=h.dtype, device=h.device)
    return strength.unsqueeze(-1) if strength.ndim else strength


def widened(h: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """``h`` in float32 or, if it is, in float64: angles need more digits than bfloat16."""
    return h.to(torch.promote_types(h.dtype, torch.float32))


def along(
    h: Float[Tensor, "*batch d_model"], step: Float[Tensor, "*#batch d_model"], dose: Dose
) -> Float[Tensor, "*batch d_model"]:
    """``h + dose * step``, and ``h`` bit for bit where the dose is 0.

    The ``where`` matters: ``-0.0 + 0.0`` is ``0.0`` and ``0 * inf`` is not a number.
    """
    strength = per_position(dose, h)
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
        strength = per_position(dose, h)
        # h + (value - h) is not value in floating point, and "replaced" must mean replaced.
        return torch.where(strength == 1, value, along(h, value - h, dose))

    @property
    def width(self) -> int:
        """Width of the value."""
        return self.value.shape[0]


def check_orthonormal(basis: Float[Tensor, "d_model rank"], what: str) -> None:
    """Refuse columns that are not unit and at right angles, up to half precision.

    Raises:
        BadOption: naming the edit.
    """
    gram = basis.double().mT @ basis.double()
    if not torch.allclose(gram, torch.eye(gram.shape[0]).to(gram), atol=1e-3):
        raise BadOption(
            f"the columns of {what} basis must be orthonormal; "
            "orthonormalise them first, for example with torch.linalg.qr(basis).Q"
        )


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

    @property
    def width(self) -> int:
        """Width of the vector."""
        return self.vector.shape[0]


def turned(
    h: Float[Tensor, "*batch d_model"], basis: Float[Tensor, "d_model 2"], angle: Tensor
) -> Float[Tensor, "*batch d_model"]:
    """``h`` rotated in a plane by an angle in radians, from the first column to the second.

    The angle is one for all positions, or ``*batch 1``.
    """
    inside = h @ basis
    x, y = inside[..., :1], inside[..., 1:]
    rotated = torch.cat(
        [angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=-1
    )
    # Only the difference is added, so that what lies outside the plane is not rounded.
    return h + (rotated - inside) @ basis.mT


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
        edited = turned(wide, self.basis.to(wide), strength * self.angle.to(wide))
        return torch.where(strength == 0, h, edited.to(h.dtype))

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
        edited = turned(wide, basis, strength * way)
        return torch.where(chosen, edited.to(h.dtype), h)

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


@final
@dataclass(frozen=True, eq=False)
class Ascend(Edit):
    """Climb a score that a small network gives to an activation (K-Steering).

        f(h) = goal . relu(B relu(A h + a) + b)        h <- h + dose * step * grad f(h)

    once for each step, so that with several of them a dose is no straight line. The
    gradient is written out, because models run without gradients, and is taken at each
    position on its own (trap T26).
    """

    first: Float[Tensor, "hidden d_model"]
    """``A``."""
    first_bias: Float[Tensor, " hidden"]
    """``a``."""
    second: Float[Tensor, "hidden_2 hidden"]
    """``B``."""
    second_bias: Float[Tensor, " hidden_2"]
    """``b``."""
    goal: Float[Tensor, " hidden_2"]
    """Wanted minus unwanted logits as a function of the last hidden layer."""
    steps: Float[Tensor, " step"]
    """Size of each step at dose 1, in units of the gradient."""

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], dose: Dose
    ) -> Float[Tensor, "*batch d_model"]:
        """Take the steps."""
        wide = widened(h)
        strength, edited = per_position(dose, wide), wide
        for step in self.steps.to(wide):
            edited = edited + strength * step * self.gradient(edited)
        return torch.where(strength == 0, h, edited.to(h.dtype))

    def gradient(
        self, h: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Of the score, at each position."""
        first, second, goal = (x.to(h) for x in (self.first, self.second, self.goal))
        hidden = h @ first.mT + self.first_bias.to(h)
        last = hidden.relu() @ second.mT + self.second_bias.to(h)
        back = (goal * (last > 0)) @ second
        return (back * (hidden > 0)) @ first

    @property
    def width(self) -> int:
        """Width of what the network reads."""
        return self.first.shape[1]


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

    @property
    def width(self) -> int:
        """Width of the value."""
        return self.value.shape[0]


EDITS: dict[str, type[Edit]] = {
    "add": Add,
    "replace": Replace,
    "project": Project,
    "affine": Affine,
    "add-keeping-norm": AddKeepingNorm,
    "rotate": Rotate,
    "rotate-to": RotateTo,
    "slerp": Slerp,
    "ascend": Ascend,
    "patch": Patch,
}
"""The kinds that can be saved; the key is the name on disk."""
