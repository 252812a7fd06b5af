"""What is fitted for a study: named by its content before it is made, and made once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from seatrial import steering
from seatrial.methods import Method, options_of
from seatrial.methods.base import doses_of
from seatrial.model import Model
from seatrial.steering import Intervention
from seatrial.store.unit import file_sum
from seatrial.studies.cells import Fit
from seatrial.types import FitData


@final
@dataclass(frozen=True, eq=False)
class Fitting:
    """A method with all that it reads; or a steering that was fitted before."""

    method: Method | None
    """``None``: a saved steering, whose file is ``path``."""
    data: FitData | None
    """``None``: the method needs none."""
    task: Mapping[str, object]
    """Identity of the fit task."""
    seed: int
    behaviour: str
    condition: str
    path: str = ""

    @cached_property
    def id(self) -> str:
        """Content hash of everything that can change what is fitted."""
        if self.method is None:
            return Fit({}, "", {"saved": file_sum(Path(self.path))}, "", 0).id
        options = {**options_of(self.method, brief=True), "version": self.method.version}
        read = self.data.fingerprint if self.data else ""
        return Fit(self.task, self.condition, options, read, self.seed).id

    def doses(self, dose: float) -> tuple[float, ...]:
        """A dose and its opposite, where the method has both."""
        known = None if self.method is None else doses_of(self.method)
        return tuple(d for d in (dose, -dose) if known is None or d in known)

    def make(self, model: Model) -> Intervention:
        """Fit, or read.

        Raises:
            SeatrialError: whatever the method or the file raises.
        """
        if self.method is None:
            return steering.load(self.path)
        data = self.data or FitData("", ())
        return self.method.fit(model, data, seed=self.seed)


def as_bytes(fitted: Intervention) -> bytes:
    """An intervention as the content of its file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fit.safetensors"
        steering.save(fitted, path)
        return path.read_bytes()


def from_bytes(content: bytes) -> Intervention:
    """What ``as_bytes`` gave.

    Raises:
        BadFile: for content that is none.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fit.safetensors"
        path.write_bytes(content)
        return steering.load(path)


def facts_of(fitted: Intervention) -> dict[str, float]:
    """What a fit has found out, as numbers by name: norms by site, and what it tells."""
    facts = {f"norm {site}": norm for site, norm in fitted.norms().items()}
    told = fitted.origin.options if fitted.origin else {}
    for name, value in told.items():
        if isinstance(value, Mapping):
            numbers = {k: v for k, v in value.items() if _is_number(v)}
            facts |= {f"{name} {key}": float(number) for key, number in numbers.items()}
        elif _is_number(value):
            facts[name] = float(value)  # pyright: ignore[reportArgumentType]
    return facts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
