"""The method fitted on another concept: what any structured push of that size does."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

from seatrial.errors import BadOption
from seatrial.methods.base import (
    Method,
    check_fits,
    origin_of,
    other_data,
    recorded_norms,
    rescaled,
)
from seatrial.model import Model
from seatrial.steering.intervention import Intervention
from seatrial.types import DataOf, FitData

SHOTS = 10
"""Examples in the prompts of another map's pairs, as ``Map.fit_data`` has by default."""


@final
@dataclass(frozen=True)
class OtherTask(Method):
    """Fit the reference on another concept, and give its vectors the reference's norms.

    `random` is easy to beat, because models hardly notice isotropic noise; this control is
    a direction that means something, but something else. As many items of the other
    concept's fit split are drawn by seed as there are pairs. The other concept is an
    option, and so is chosen before any result is seen.

    A map is controlled by another map, on as many of its inputs, with ten examples in the
    prompts of its pairs, or none where the method's own have none. Edits that are not
    added have no length, and stay as they are fitted.
    """

    name: ClassVar[str] = "other-task"
    summary: ClassVar[str] = "control: the method fitted on another concept or map"
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    other: str = "next"
    """Built-in concept or your own .jsonl file; next: the one after this one. Of
    maps: another map; next: the sixth after, because neighbours in the list are akin."""
    fit_on: str = "open"
    """Which target task's pairs of the other concept the method is fitted on."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors."""

    def references(self, data: FitData) -> Mapping[str, DataOf]:
        """The other concept, or map, beside what the reference asks for."""
        source = "" if self.other == "next" else self.other
        if data.examples:
            is_shown = any(p.positive.prompt != p.negative.prompt for p in data.pairs)
            limit, shots = max(2, len(data.examples)), SHOTS if is_shown else 0
            other = DataOf(source, "map", limit, shots)
        else:
            other = DataOf(source, self.fit_on, max(2, len(data.pairs)))
        return {**self.reference.references(data), self.name: other}

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        elsewhere = self.elsewhere(data)
        fitted = self.reference.fit(model, elsewhere, seed=seed)
        if self.rescale:
            fitted = rescaled(
                fitted,
                self.reference.fit(model, data, seed=seed),
                f"{elsewhere.concept!r} gives a zero vector at site {{site}}; choose "
                "another concept, or read at a token where its texts differ",
            )
        facts = {"other": elsewhere.concept, "other_data": elsewhere.fingerprint}
        facts |= recorded_norms(fitted)
        return replace(fitted, origin=origin_of(self, model, data, seed, facts))

    def elsewhere(self, data: FitData) -> FitData:
        """What the reference is fitted on instead.

        Raises:
            BadData: if it has not been filled in.
            BadOption: if the other concept is this one.
        """
        other = other_data(self, data, self.name)
        if other.concept == data.concept:
            raise BadOption(
                f"'other-task' needs another concept than {data.concept!r}, on which the "
                "method itself is fitted; choose another one"
            )
        others = {key: each for key, each in data.others.items() if key != self.name}
        return replace(other, others=others)
