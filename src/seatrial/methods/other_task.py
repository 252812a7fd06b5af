"""The method fitted on another concept: what any structured push of that size does."""

from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar, final

from seatrial.data import CONCEPTS, load_concept, sample_balanced
from seatrial.edits import Add, Edit
from seatrial.errors import BadData, BadOption, unknown
from seatrial.intervention import Intervention
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.tasks import TARGETS, fit_data
from seatrial.types import FitData, Pair, Site

_ROUNDING = 1e-6
"""A vector this much shorter than the reference's is what rounding left of 0."""


@final
@dataclass(frozen=True)
class OtherTask(Method):
    """Fit the reference on another concept, and give its vectors the reference's norms.

    `random` is easy to beat, because models hardly notice isotropic noise; this control is
    a direction that means something, but something else. As many items of the other
    concept are drawn by seed as there are pairs. The other concept is an option, and so is
    chosen before any result is seen.
    """

    name: ClassVar[str] = "other-task"
    summary: ClassVar[str] = "control: the method fitted on another concept"
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    other: str = "next"
    """Built-in concept or your own .jsonl file; next: the built-in one after this one."""
    fit_on: str = "open"
    """Which target task's pairs of the other concept the method is fitted on."""
    rescale: bool = True
    """Whether added vectors get the norm of the reference's vectors."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        elsewhere = self.other_data(data, seed=seed)
        fitted = self.reference.fit(model, elsewhere, seed=seed)
        edits = fitted.edits
        if self.rescale and fitted.norms():
            goal = self.reference.fit(model, data, seed=seed)
            edits = rescaled(fitted, goal, elsewhere.concept)
        origin = origin_of(self, model, data, seed)
        found = {"other": elsewhere.concept, "other_data": elsewhere.fingerprint}
        origin = replace(origin, options={**origin.options, **found})
        return Intervention(edits, fitted.tokens, fitted.prompt, origin)

    def other_data(self, data: FitData, *, seed: int) -> FitData:
        """What the reference is fitted on instead.

        Raises:
            UnknownName: if the other concept or the task does not exist.
            BadOption: if the other concept is this one.
            BadData: if both share a text.
        """
        if self.fit_on not in TARGETS:
            raise unknown("target task", self.fit_on, TARGETS)
        concept = load_concept(_after(data.concept) if self.other == "next" else self.other)
        if concept.name == data.concept:
            raise BadOption(
                f"'other-task' needs another concept than {data.concept!r}, on which the "
                "method itself is fitted; choose another one"
            )
        n = max(2, len(data.pairs))
        task = TARGETS[self.fit_on]({"fit": sample_balanced(concept.items, n, seed=seed)})  # pyright: ignore[reportCallIssue]
        elsewhere = fit_data(concept, task)
        if shared := _texts(data.pairs) & _texts(elsewhere.pairs):
            raise BadData(
                f"{concept.name!r} and {data.concept!r} share the text {min(shared)!r}, so "
                "one is no control for the other; choose another concept"
            )
        return elsewhere


def rescaled(fitted: Intervention, goal: Intervention, concept: str) -> dict[Site, Edit]:
    """Edits whose added vectors are as long as those of another intervention.

    Site by site; where the two add at different sites (a method that chooses its heads),
    all vectors are scaled alike, so that together they are as long.

    Raises:
        BadData: if there is nothing to scale.
    """
    found, wanted = fitted.norms(), goal.norms()
    if set(found) != set(wanted):
        wanted = dict.fromkeys(found, sqrt(sum(norm**2 for norm in wanted.values())))
        found = dict.fromkeys(found, sqrt(sum(norm**2 for norm in found.values())))
    edits = dict(fitted.edits)
    for site, edit in fitted.edits.items():
        if isinstance(edit, Add):
            if found[site] <= _ROUNDING * wanted[site]:
                raise BadData(
                    f"{concept!r} gives a zero vector at site {site}; choose another "
                    "concept, or read at a token where its texts differ"
                )
            edits[site] = Add(edit.vector * (wanted[site] / found[site]))
    return edits


def _after(concept: str) -> str:
    """The built-in concept after this one; the first, after the last and after others."""
    place = CONCEPTS.index(concept) + 1 if concept in CONCEPTS else 0
    return CONCEPTS[place % len(CONCEPTS)]


def _texts(pairs: tuple[Pair, ...]) -> set[str]:
    return {repr(tuple(text)) for pair in pairs for text in (pair.positive, pair.negative)}
