"""What a report shows, as plain values: a summary, its trials, and what is in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from seatrial.analysis.confounds import Share
from seatrial.analysis.side_effects import Guarded
from seatrial.analysis.verdict import Price, Verdict
from seatrial.stats import DoseResponse
from seatrial.store.labels import Labels
from seatrial.types import Estimate

SHOWN_ITEMS = 5
"""How many items are shown at each end."""


@final
@dataclass(frozen=True)
class Point:
    """The mean change of the metric from the unsteered model at one dose."""

    dose: float
    change: Estimate
    band: Estimate | None
    """What the controls do at this dose; None where they were not measured."""


@final
@dataclass(frozen=True)
class Effect:
    """What steering did to one item."""

    item: str
    group: str
    text: str
    slope: float
    """Towards the behaviour, per unit of dose."""
    unsteered: float
    """The metric without steering."""
    steered: float
    """The metric at dose 1, or at the largest dose where that was not measured."""


@final
@dataclass(frozen=True)
class Control:
    """One control's mean slope."""

    method: str
    """Label of the control."""
    draw: int
    """Which draw, as its seed: unique over the seeds of a study."""
    slope: Estimate


@final
@dataclass(frozen=True)
class CandidateResult:
    """The mean slope of a candidate, on the select split."""

    settings: str
    """The options that were on trial, in words; those of a dose where doses were."""
    slope: Estimate
    is_chosen: bool


@final
@dataclass(frozen=True)
class Elsewhere:
    """The target in another condition, or at another point of its grid: no verdict."""

    point: str
    condition: str
    base: Estimate
    slope: Estimate
    effect: Estimate
    """Change at the chosen dose."""


@final
@dataclass(frozen=True)
class SeedResult:
    """What one seed chose, and what its fit does."""

    seed: int
    settings: Mapping[str, Any]
    dose: float
    is_within: bool
    """Whether the dose is within every budget, on select items."""
    slope: Estimate
    effect: Estimate
    """Change at the dose that this seed chose."""


@final
@dataclass(frozen=True)
class Refit:
    """The method fitted anew without one part of its data, at the chosen settings."""

    seed: int
    part: int
    """Which part was left out, counted from 0."""
    effect: Estimate
    """Change at the chosen dose."""


@final
@dataclass(frozen=True)
class Ceiling:
    """What the unsteered model reaches where it is shown how."""

    level: Estimate
    """The metric there."""
    recovery: Estimate | None
    """Which share of the way from the unsteered model to it steering goes at the chosen
    dose; None where it cannot be told that there is such a way."""


@final
@dataclass(frozen=True)
class Transferred:
    """A fit asked elsewhere: another behaviour's target, or fitted in another condition."""

    kind: str
    """``behaviour`` or ``condition``: of which matrix this is an entry."""
    fitted: str
    """The behaviour or condition of the fit."""
    place: str
    """The behaviour and target, or the condition, of the question."""
    effect: Estimate
    """Change at the chosen dose, towards the behaviour that is asked about."""


@final
@dataclass(frozen=True, repr=False)
class Trial:
    """One label on one target of one behaviour, with one model."""

    run: str
    model: str
    behaviour: str
    target: str
    label: str
    settings: Mapping[str, Any]
    """The options that were chosen, of the first seed."""
    dose: float
    """The dose that was chosen, of the first seed."""
    choices: tuple[Mapping[str, Any], ...]
    """One a seed, as select items decided it."""
    unit: str
    verdict: Verdict
    base: Estimate
    """The metric without steering."""
    effect: Estimate
    """Mean change at the chosen doses, towards the behaviour."""
    price: Price | None
    """At the chosen dose or its negative, whichever is worse; None if not measured."""
    response: DoseResponse
    """Towards the behaviour."""
    band: Estimate | None
    """The control band of the mean slope; None without controls."""
    controls: tuple[Control, ...]
    control_verdicts: dict[str, str]
    """For each kind of control: what its draws do together, in words."""
    baselines: dict[str, Estimate]
    """Effect of each baseline: half the difference between asking for and against, or its
    change at the chosen dose where it has one direction only."""
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
    """What controls and baselines cost, at the doses where it was measured."""
    candidates: tuple[CandidateResult, ...]
    labels: Labels
    """What the names of this behaviour's targets, guards and steerings mean."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the behaviour means, and how many items were used."""
    seeds: tuple[SeedResult, ...] = ()
    refits: tuple[Refit, ...] = ()
    ceiling: Ceiling | None = None
    elsewhere: tuple[Elsewhere, ...] = ()
    """Other conditions and points of a grid, with intervals and without a verdict."""
    transfers: tuple[Transferred, ...] = ()
    guards: tuple[Guarded, ...] = ()
    """What the guards without a budget say; the prices are those of the one with it."""
    left_out: int = 0
    """Items that lack the metric at some dose, and so are in no number."""

    def __repr__(self) -> str:
        return (
            f"<Trial of {self.label} for {self.behaviour!r} on {self.target}: "
            f"{self.verdict.label}, mean slope {self.response.steerability} {self.unit} "
            "per dose>"
        )


@final
@dataclass(frozen=True)
class ClaimResult:
    """A claim of the plan about one trial, and whether it holds."""

    run: str
    text: str
    holds: bool
    reason: str
    p: float | None
    """None where it cannot be judged."""
    adjusted_p: float | None
    """Holm's, over the claims that can be judged."""
    difference: Estimate | None = None
    """What it is about, where that is no verdict: a difference, slope or damage."""


@final
@dataclass(frozen=True)
class UnitSummary:
    """One unit of a run: what it ran on, and how far it is."""

    run: str
    model: str
    seed: int
    behaviour: str
    is_whole: bool
    cells_planned: int
    cells_stored: int
    header: Mapping[str, Any]


@final
@dataclass(frozen=True, repr=False)
class Summary:
    """Everything a report shows, of one run or several."""

    studies: tuple[Mapping[str, Any], ...]
    """The newest plan of each run, with ``run`` and ``id``."""
    units: tuple[UnitSummary, ...]
    trials: tuple[Trial, ...]
    claims: tuple[ClaimResult, ...] = ()
    not_applicable: tuple[Mapping[str, Any], ...] = ()
    failed: tuple[Mapping[str, Any], ...] = ()
    """Units, arms and trials that have no numbers, each with its reason in words."""
    audit: tuple[Mapping[str, Any], ...] = ()
    units_not_begun: int = 0
    """How many units the plans name at least of which nothing is stored."""

    @property
    def name(self) -> str:
        """What the runs are called."""
        return ", ".join(str(study["name"]) for study in self.studies)

    @property
    def cells_planned(self) -> int:
        """Of all units that were begun."""
        return sum(unit.cells_planned for unit in self.units)

    @property
    def cells_stored(self) -> int:
        """How many of those that are planned are stored."""
        return sum(unit.cells_stored for unit in self.units)

    @property
    def is_whole(self) -> bool:
        """Whether everything that was planned is measured."""
        return not self.units_not_begun and all(unit.is_whole for unit in self.units)

    def __repr__(self) -> str:
        return f"<Summary of {self.name!r}: {len(self.trials)} trials>"
