"""What a report shows, as plain values: a summary, its trials, and what is in them."""

from dataclasses import dataclass
from typing import Any, final

from seatrial.analysis.confounds import Share
from seatrial.analysis.side_effects import Guarded
from seatrial.analysis.verdict import Price, Verdict
from seatrial.stats import DoseResponse
from seatrial.store import Labels
from seatrial.types import Estimate

SHOWN_ITEMS = 5
"""How many items are shown at each end."""


@final
@dataclass(frozen=True)
class Point:
    """The mean change of the metric from the unsteered model at one dose."""

    dose: float
    change: Estimate
    band: Estimate
    """What the controls do at this dose."""


@final
@dataclass(frozen=True)
class Effect:
    """What steering did to one item."""

    item: str
    group: str
    text: str
    slope: float
    unsteered: float
    """The metric without steering."""
    steered: float
    """The metric at dose 1."""


@final
@dataclass(frozen=True)
class Control:
    """One control's mean slope."""

    method: str
    seed: int
    slope: Estimate


@final
@dataclass(frozen=True)
class LayerPoint:
    """The mean slope at a candidate layer, on the select split."""

    layer: int
    slope: Estimate


@final
@dataclass(frozen=True, repr=False)
class Trial:
    """One method on one concept and one target task."""

    concept: str
    task: str
    unit: str
    method: str
    layer: int
    verdict: Verdict
    base: Estimate
    """The metric without steering."""
    response: DoseResponse
    band: Estimate
    """The control band of the mean slope."""
    controls: tuple[Control, ...]
    control_verdicts: dict[str, str]
    """For each kind of control: what its seeds do together, in words."""
    instruction: Estimate | None
    """The effect of asking in words: half the difference between asking for and against."""
    parts: dict[str, Estimate]
    """Mean slope of log p(matching) and of log p(other), by the metric's name: promoting
    and suppressing, apart."""
    curve: tuple[Point, ...]
    effects: tuple[Effect, ...]
    """Every item, the one that moved most in the right direction first."""
    spread: tuple[Share, ...]
    """Of the variance of the items' slopes: what the letter, the word or the order of the
    matching answer is."""
    prices: tuple[Price, ...]
    control_prices: dict[str, tuple[Price, ...]]
    """What the controls and the instruction cost, at the doses where it was measured."""
    layers: tuple[LayerPoint, ...]
    guards: tuple[Guarded, ...] = ()
    """What the guards without a budget say; the prices are those of the one with it."""

    def __repr__(self) -> str:
        return (
            f"<Trial of {self.method} for {self.concept!r} on {self.task}: "
            f"{self.verdict.label}, mean slope {self.response.steerability} {self.unit} "
            "per dose>"
        )


@final
@dataclass(frozen=True, repr=False)
class Summary:
    """Everything a report shows."""

    study: dict[str, Any]
    study_id: str
    labels: Labels
    """What the names of targets, guards, metrics and steerings mean."""
    header: dict[str, Any]
    concepts: dict[str, dict[str, str]]
    """What each concept means, and how many items of each split were used."""
    trials: tuple[Trial, ...]
    audit: tuple[dict[str, Any], ...]
    cells_planned: int
    cells_stored: int

    def __repr__(self) -> str:
        return f"<Summary of {self.study['name']!r}: {len(self.trials)} trials>"
