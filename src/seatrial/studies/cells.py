"""Identity: what is hashed into the name of a fit, an ask and a cell.

Ids are content only. What a cell is called (label, kind, draw) stands beside it in a table,
so renaming a label, or the same arm under two labels, measures nothing again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from seatrial.files import fingerprint


@final
@dataclass(frozen=True)
class FitContent:
    """Everything that can change what is fitted."""

    model: Sequence[str]
    """Its fingerprints."""
    task: Mapping[str, Any]
    """Identity of the fit task, with its options; empty for a saved steering."""
    condition: Mapping[str, Any]
    """Name and options."""
    method: Mapping[str, Any]
    """Name, resolved options and version, of what it stands beside, too."""
    data: str
    """Fingerprint of all data read."""
    seed: int

    @property
    def id(self) -> str:
        """12 hex digits."""
        content = [self.task, self.condition, self.method, self.data, self.seed]
        return fingerprint([*self.model, *content])


@final
@dataclass(frozen=True)
class Ask:
    """Everything that can change what is asked and how it is scored."""

    task: Mapping[str, Any]
    """Identity with every option, judge, version and condition."""
    split: str
    seed: int
    """Of the sampling, where the model writes; else 0."""
    requests: str
    """Content hash of the rendered requests."""

    @property
    def id(self) -> str:
        """12 hex digits."""
        return fingerprint([self.task, self.split, self.seed, self.requests])


def cell_id(model: Sequence[str], fit: str, dose: float, ask: str) -> str:
    """The id of one steering measured on one ask.

    Args:
        model: fingerprints of weights, tokenizer and template, and the dtype.
        fit: id of the fit; empty for the unsteered model.
        dose: 0 for the unsteered model.
        ask: id of the ask.
    """
    return fingerprint([*model, fit, dose, ask])
