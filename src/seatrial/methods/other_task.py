"""The method fitted on another concept: what any structured push of that size does."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

from seatrial.data import CONCEPTS, MAPS, load_concept, load_map, sample, sample_balanced
from seatrial.errors import BadData, BadOption, unknown
from seatrial.methods.base import Method, norms_beside, origin_of, rescaled
from seatrial.model import Model
from seatrial.steering.intervention import Intervention
from seatrial.tasks import TARGETS, fit_data
from seatrial.tasks.map import Map
from seatrial.types import FitData, Pair

SHOTS = 10
"""Examples in the prompts of another map's pairs, as ``Map.fit_data`` has by default."""

_APART = 6
"""How far down the list a map's other one stands: neighbours are akin (translations)."""


@final
@dataclass(frozen=True)
class OtherTask(Method):
    """Fit the reference on another concept, and give its vectors the reference's norms.

    `random` is easy to beat, because models hardly notice isotropic noise; this control is
    a direction that means something, but something else. As many items of the other
    concept are drawn by seed as there are pairs. The other concept is an option, and so is
    chosen before any result is seen.

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
    """Built-in concept or your own .jsonl file; next: the built-in one after this one. Of
    maps: another map; next: the sixth after, because neighbours in the list are akin."""
    fit_on: str = "open"
    """Which target task's pairs of the other concept the method is fitted on."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        elsewhere = self.other_data(data, seed=seed)
        fitted = self.reference.fit(model, elsewhere, seed=seed)
        if self.rescale:
            fitted = rescaled(
                fitted,
                self.reference.fit(model, data, seed=seed),
                f"{elsewhere.concept!r} gives a zero vector at site {{site}}; choose "
                "another concept, or read at a token where its texts differ",
            )
        found = {"other": elsewhere.concept, "other_data": elsewhere.fingerprint}
        found |= norms_beside(fitted)
        return replace(fitted, origin=origin_of(self, model, data, seed, found))

    def other_data(self, data: FitData, *, seed: int) -> FitData:
        """What the reference is fitted on instead.

        Raises:
            UnknownName: if the other concept, map or task does not exist.
            BadOption: if the other concept is this one.
            BadData: if both share a text, or two maps nearly all examples.
        """
        if data.examples:
            return self._other_map(data, seed)
        if self.fit_on not in TARGETS:
            raise unknown("target task", self.fit_on, TARGETS)
        other = self.other
        concept = load_concept(
            _after(data.concept, CONCEPTS, 1) if other == "next" else other
        )
        _check_other(concept.name, data)
        n = max(2, len(data.pairs))
        task = TARGETS[self.fit_on]({"fit": sample_balanced(concept.items, n, seed=seed)})  # pyright: ignore[reportCallIssue]
        elsewhere = fit_data(concept, task)
        if shared := _texts(data.pairs) & _texts(elsewhere.pairs):
            raise BadData(
                f"{concept.name!r} and {data.concept!r} share the text {min(shared)!r}, so "
                "one is no control for the other; choose another concept"
            )
        return elsewhere

    def _other_map(self, data: FitData, seed: int) -> FitData:
        other = load_map(
            _after(data.concept, MAPS, _APART) if self.other == "next" else self.other
        )
        _check_other(other.name, data)
        # Translations into two languages have a word or two alike, copies all of them.
        known = set(data.examples)
        pool = [pair for pair in other.pairs if (pair.input, pair.output) not in known]
        if len(pool) < len(other.pairs) / 2:
            raise BadData(
                f"{len(other.pairs) - len(pool)} of the {len(other.pairs)} examples of "
                f"{other.name!r} are examples of {data.concept!r} too, so one is no "
                "control for the other; choose another map"
            )
        task = Map(
            other, {"fit": sample(pool, max(2, len(data.examples)), seed=seed)}, seed
        )
        is_shown = any(pair.positive.prompt != pair.negative.prompt for pair in data.pairs)
        return task.fit_data(shots=10 if is_shown else 0)


def _check_other(other: str, data: FitData) -> None:
    if other == data.concept:
        raise BadOption(
            f"'other-task' needs another concept than {data.concept!r}, on which the "
            "method itself is fitted; choose another one"
        )


def _after(name: str, known: tuple[str, ...], steps: int) -> str:
    """The built-in one so many steps on, round and round; the first after any other."""
    return known[(known.index(name) + steps) % len(known)] if name in known else known[0]


def _texts(pairs: tuple[Pair, ...]) -> set[str]:
    return {repr(tuple(text)) for pair in pairs for text in (pair.positive, pair.negative)}
