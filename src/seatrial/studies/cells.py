"""Cells: the smallest things with a name in the store, and that name."""

import json
from dataclasses import asdict, dataclass
from typing import Any, final

from seatrial.files import short_hash
from seatrial.store import Kind


@final
@dataclass(frozen=True)
class Cell:
    """One steering measured on one task."""

    model: str
    dtype: str
    concept: str
    task: str
    split: str
    content: str
    """Fingerprint of the items asked and of the fit data."""
    method: str
    """``unsteered``, a method's name, or a control's."""
    options: str
    """The method's hyperparameters as JSON."""
    reference: str
    """The method that a control stands beside; else the method itself."""
    layer: int
    """-1 where no layer is edited, or several are that the study does not choose."""
    seed: int
    dose: float
    kind: Kind = "method"
    """What it is there for; no part of its name."""

    @property
    def id(self) -> str:
        """Content hash of everything that can change a number, 12 hex digits."""
        content = asdict(self)
        del content["kind"]
        return content_hash(content)

    def row(self) -> dict[str, Any]:
        """Its columns in the store, and everything else that names it."""
        return {"cell": self.id, **asdict(self)}


def content_hash(content: object) -> str:
    """Of plain values, 12 hex digits."""
    text = json.dumps(content, sort_keys=True)
    return short_hash([text.encode()])
