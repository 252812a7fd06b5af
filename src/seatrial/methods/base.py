"""What a method is: hyperparameters as fields, and one verb."""

from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Literal

from seatrial.intervention import Intervention
from seatrial.model import Model
from seatrial.types import FitData, Origin

Layer = int | Literal["first", "middle", "last"]


class Method(ABC):
    """A way to steer: a frozen dataclass whose fields are its hyperparameters.

    Controls are methods too and keep the same promises (``seatrial.testing.CHECKS``).
    """

    name: ClassVar[str]
    """What users type."""
    summary: ClassVar[str]
    """One honest line for `seatrial list methods`."""
    paper: ClassVar[str] = ""
    is_control: ClassVar[bool] = False
    """Whether it is there to be beaten."""
    is_odd: ClassVar[bool] = False
    """Whether swapping positive and negative flips its sign."""
    doses: ClassVar[tuple[float, ...] | None] = None
    """The only doses it has, or ``None`` for all."""

    @abstractmethod
    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        """Make an intervention from the fit split; the model is left as it was."""


def options_of(method: Method) -> dict[str, Any]:
    """A method's name and hyperparameters as plain values, nested methods included."""
    assert is_dataclass(method)
    plain: dict[str, Any] = {"name": method.name}
    for field in fields(method):
        value = getattr(method, field.name)
        plain[field.name] = options_of(value) if isinstance(value, Method) else value
    return plain


def origin_of(method: Method, model: Model, data: FitData, seed: int) -> Origin:
    """The record of where a fitted intervention comes from."""
    options = options_of(method)
    return Origin(
        model.identity, model.d_model, options.pop("name"), options, data.fingerprint, seed
    )
