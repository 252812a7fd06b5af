"""What a study would measure, counted by phase, and how long it may take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from seatrial.errors import UnknownName
from seatrial.model import Model, Outline, is_fetched, is_here, outline_of
from seatrial.steering import UNSTEERED
from seatrial.store.records import Phase, Unit
from seatrial.studies.jobs import phases_of, units_of
from seatrial.studies.phases import NotApplicable, Phases
from seatrial.studies.plan import ModelPlan, Plan
from seatrial.studies.study import Study
from seatrial.types import Request

CALIBRATION = 10.0
"""Seconds that are spent on finding out how fast this machine is."""


@final
@dataclass
class Count:
    """How much a phase is, over all units of a model."""

    phase: Phase
    fits: int = 0
    """Fits that no earlier phase of their unit needs ..."""
    asks: int = 0
    """... asks ..."""
    cells: int = 0
    """... and cells."""
    tokens: int = 0
    """Tokens that are scored or written in these cells."""


@final
@dataclass
class _Seen:
    """What the phases of a unit have counted already: it is measured once."""

    fits: set[str] = field(default_factory=set)
    asks: set[str] = field(default_factory=set)
    cells: set[tuple[str, float, str]] = field(default_factory=set)


@final
@dataclass(frozen=True)
class DryRun:
    """What would be measured with one model."""

    model: str
    units: tuple[Unit, ...]
    counts: tuple[Count, ...]
    not_applicable: tuple[NotApplicable, ...]
    tokens_per_second: float | None = None
    """``None``: not found out."""
    outline: str = ""
    """Where the shape of a model is from that is not on this machine."""

    @property
    def tokens(self) -> int:
        """Tokens that are scored or written, over all phases."""
        return sum(count.tokens for count in self.counts)

    @property
    def seconds(self) -> float | None:
        """How long that takes here, about, by one process; fitting is not in it."""
        return self.tokens / self.tokens_per_second if self.tokens_per_second else None


def dry_run(study: Study, *, seconds: float = CALIBRATION) -> list[DryRun]:
    """Count what a study asks of each of its models.

    Options and doses that select items will decide are counted as if the first options and
    the largest doses were taken, so counts are those of a run but for what choices share.

    Args:
        study: the plan.
        seconds: spent on each model, to find out how fast it answers here; 0: nothing is.

    Raises:
        UnknownName: for a model of which neither weights, nor config, nor shape are here.
        SeatrialError: for anything in the plan that cannot be measured.
    """
    return [_counted(plan, seconds) for plan in study.plans]


def _counted(plan: Plan, seconds: float) -> DryRun:
    model = _model_of(plan.model)
    counts = {phase: Count(phase) for phase in phases_of(plan)}
    missing: dict[NotApplicable, None] = {}
    units = [unit for _, unit in units_of([plan])]
    for unit in units:
        phases, seen = Phases(model, plan, unit), _Seen()
        missing |= dict.fromkeys(phases.not_applicable())
        for phase in counts:
            _add(phases, counts[phase], seen)
    many = tuple(units), tuple(counts.values()), tuple(missing)
    if isinstance(model, Outline):
        return DryRun(plan.model.label, *many, outline=model.origin)
    speed = tokens_per_second(model, seconds) if seconds else None
    return DryRun(plan.model.label, *many, tokens_per_second=speed)


def _model_of(plan: ModelPlan) -> Model | Outline:
    if is_here(plan.name, plan.revision) or not is_fetched(plan.name):
        return Model.load(
            plan.name, dtype=plan.dtype, device=plan.device, revision=plan.revision
        )
    outline = outline_of(plan.name, plan.revision)
    if outline is None:
        raise UnknownName(
            f"{plan.name} is not on this machine, and nothing here tells how many blocks "
            "and heads it has; go online (without HF_HUB_OFFLINE), so that its config can "
            "be read, or name a folder that holds it"
        )
    return outline


def _add(phases: Phases, count: Count, seen: _Seen) -> None:
    for batch in phases.batches(count.phase):
        if batch.ask.id not in seen.asks:
            seen.asks.add(batch.ask.id)
            count.asks += 1
        for placed in batch.placed:
            fit = placed.fit.id if placed.fit else ""
            if fit and fit not in seen.fits:
                seen.fits.add(fit)
                count.fits += 1
            cell = fit, placed.dose, batch.ask.id
            if cell not in seen.cells:
                seen.cells.add(cell)
                count.cells += 1
                count.tokens += batch.ask.tokens


def tokens_per_second(model: Model, seconds: float = CALIBRATION) -> float:
    """How many scored tokens a second the unsteered model answers on this machine."""
    words = " and so on" * 10
    requests = [Request(str(k), "g", f"Case {k}:", (words,)) for k in range(16)]
    tokens = sum(len(text.scored) for r in requests for text in model.answer_tokens(r))
    model.log_probs(requests[:1], [UNSTEERED])
    begun, rounds = time.perf_counter(), 0
    while not rounds or time.perf_counter() - begun < seconds:
        model.log_probs(requests, [UNSTEERED])
        rounds += 1
    return rounds * tokens / (time.perf_counter() - begun)


def count_table(runs: Sequence[DryRun]) -> list[tuple[str, ...]]:
    """The counts as text: model, phase, units, fits, asks, cells, tokens."""
    return [
        (
            run.model,
            count.phase,
            f"{len(run.units):,}",
            f"{count.fits:,}",
            f"{count.asks:,}",
            f"{count.cells:,}",
            f"{count.tokens:,}",
        )
        for run in runs
        for count in run.counts
    ]
