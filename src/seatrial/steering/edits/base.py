"""What an edit is: a change of one activation vector, with a dose."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption
from seatrial.steering.edits.drawing import Draw

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

    @abstractmethod
    def turned(self, draw: Draw) -> "Edit":
        """The same kind of edit, as large, in directions drawn at random: its control.

        What is no direction (angles, ranks, eigenvalues, lengths, thresholds) stays, and
        so does, as far as that can be, how far the states that it was fitted on are moved
        on average. All randomness comes from ``draw``; the edit itself is left alone.

        Raises:
            BadOption: where it cannot be drawn in that manner (``draw.only``,
                ``draw.refusal``).
            BadData: where the states leave nothing to draw.
        """

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
