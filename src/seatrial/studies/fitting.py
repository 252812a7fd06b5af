"""What is fitted for a study: named by its content before it is made, and made once."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, final

from seatrial import steering
from seatrial.errors import BadOption
from seatrial.methods import CAA, Method, all_methods, make_method, options_of
from seatrial.methods.base import Need, doses_of, place
from seatrial.model import Model
from seatrial.steering import Intervention
from seatrial.store.unit import file_sum
from seatrial.studies.cells import FitContent
from seatrial.studies.plan import ConditionPlan
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Saved(Method):
    """A steering that was fitted before, so that controls can stand beside it."""

    name: ClassVar[str] = "saved"
    summary: ClassVar[str] = "a steering that was fitted before"
    needs: ClassVar[tuple[Need, ...]] = ()

    content: str
    """Checksum of the file."""
    path: str = place()

    @classmethod
    def at(cls, path: str) -> "Saved":
        """The steering in a file.

        Raises:
            BadFile: if it is missing, or holds none.
        """
        steering.load(path)
        return cls(file_sum(Path(path)), path)

    @property
    def loaded(self) -> Intervention:
        """What the file holds."""
        return steering.load(self.path)

    @property
    def origin(self) -> Method:
        """The method that made it; CAA, read at the same place, where none can be had.

        So controls with other labels are of its own kind.
        """
        fitted = self.loaded
        if fitted.origin is not None:
            kind = all_methods().get(fitted.origin.method)
            if kind is not None and not kind.is_control:
                assert is_dataclass(kind)
                known = {part.name for part in fields(kind)}
                options = fitted.origin.options
                with suppress(BadOption):
                    return make_method(
                        kind.name, {k: options[k] for k in options if k in known}
                    )
        layers = [site.layer for part in fitted.parts for site in part.edits]
        return CAA(layer=layers[0] if layers else "middle")

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        """Nothing is fitted anew."""
        return self.loaded


@final
@dataclass(frozen=True, eq=False)
class Fitting:
    """A method with all that it reads."""

    method: Method
    data: FitData | None
    """``None``: the method needs none."""
    task: Mapping[str, object]
    """Identity of the fit task."""
    seed: int
    behaviour: str
    condition: ConditionPlan
    model: Sequence[str]
    """Fingerprints of what it is fitted on."""

    @cached_property
    def id(self) -> str:
        """Content hash of everything that can change what is fitted."""
        options = options_of(self.method, brief=True)
        read = self.data.fingerprint if self.data else ""
        condition = {"name": self.condition.name, **self.condition.options}
        return FitContent(self.model, self.task, condition, options, read, self.seed).id

    def doses(self, dose: float) -> tuple[float, ...]:
        """A dose and its opposite, where the method has both."""
        known = doses_of(self.method)
        return tuple(d for d in (dose, -dose) if known is None or d in known)

    def make(self, model: Model) -> Intervention:
        """Fit, or read.

        Raises:
            SeatrialError: whatever the method or the file raises.
        """
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
    described_by = fitted.origin.options if fitted.origin else {}
    for name, value in described_by.items():
        if isinstance(value, Mapping):
            numbers = {k: v for k, v in value.items() if _is_number(v)}
            facts |= {f"{name} {key}": float(number) for key, number in numbers.items()}
        elif _is_number(value):
            facts[name] = float(value)  # pyright: ignore[reportArgumentType]
    return facts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
