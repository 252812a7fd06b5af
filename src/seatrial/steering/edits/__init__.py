"""What can be done to an activation: pure functions of one position, with a dose.

Laws that every edit obeys (``tests/test_edits.py``):

- ``edit(h, 0.0)`` is ``h``, bit for bit;
- positions are edited one by one: the result at a position depends on that position only;
- dtype and device follow ``h``, and ``h`` itself is left alone.
"""

from seatrial.steering.edits.base import (
    Dose,
    Edit,
    along,
    check_orthonormal,
    per_position,
    widened,
)
from seatrial.steering.edits.climbing import Ascend
from seatrial.steering.edits.drawing import Draw
from seatrial.steering.edits.linear import Add, AddBySide, Affine, Patch, Project, Replace
from seatrial.steering.edits.turning import AddKeepingNorm, Rotate, RotateTo, Slerp, rotated

EDITS: dict[str, type[Edit]] = {
    "add": Add,
    "add-by-side": AddBySide,
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

__all__ = [
    "EDITS",
    "Add",
    "AddBySide",
    "AddKeepingNorm",
    "Affine",
    "Ascend",
    "Dose",
    "Draw",
    "Edit",
    "Patch",
    "Project",
    "Replace",
    "Rotate",
    "RotateTo",
    "Slerp",
    "along",
    "check_orthonormal",
    "per_position",
    "rotated",
    "widened",
]
