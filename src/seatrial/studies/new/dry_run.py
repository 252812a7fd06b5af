"""What a plan would measure, counted by phase, and how long it may take."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from seatrial.model import Model
from seatrial.runs.records import Phase, Unit
from seatrial.steering import UNSTEERED
from seatrial.studies.new.jobs import phases_of, units_of
from seatrial.studies.new.phases import Batch, NotApplicable, Phases
from seatrial.studies.plan import Plan
from seatrial.types import Request

CALIBRATION = 10.0
"""Seconds that are spent on finding out how fast this machine is."""


@final
@dataclass
class Count:
    """How much a phase is."""

    phase: Phase
    fits: set[str] = field(default_factory=set)
    asks: set[str] = field(default_factory=set)
    cells: int = 0
    tokens: int = 0
    """Tokens that are scored or written, over all steerings."""


@final
@dataclass(frozen=True)
class DryRun:
    """What would be measured with one model."""

    model: str
    units: tuple[Unit, ...]
    counts: tuple[Count, ...]
    not_applicable: tuple[NotApplicable, ...]
    tokens_per_second: float | None
    """``None``: not found out."""

    @property
    def seconds(self) -> float | None:
        """How long it may take on this machine, by one process."""
        if not self.tokens_per_second:
            return None
        return sum(count.tokens for count in self.counts) / self.tokens_per_second


def dry_run(plan: Plan, model: Model, *, calibrate: bool = True) -> DryRun:
    """Count what a plan asks of a model.

    Options and doses that select items will decide are counted as if the first ones were
    taken; their number is the same.

    Raises:
        SeatrialError: for anything in the plan that cannot be measured.
    """
    counts = {phase: Count(phase) for phase in phases_of(plan)}
    missing: dict[NotApplicable, None] = {}
    units = [unit for _, unit in units_of([plan])]
    for unit in units:
        phases = Phases(model, plan, unit)
        missing |= dict.fromkeys(phases.not_applicable())
        for phase, count in counts.items():
            _add(count, phases.batches(phase))
    speed = tokens_per_second(model) if calibrate else None
    return DryRun(
        plan.model.label, tuple(units), tuple(counts.values()), tuple(missing), speed
    )


def _add(count: Count, batches: Iterable[Batch]) -> None:
    for batch in batches:
        count.asks.add(batch.asked.id)
        count.fits |= {placed.fit.id for placed in batch.placed if placed.fit}
        count.cells += len(batch.placed)
        count.tokens += batch.asked.tokens * len(batch.placed)


def tokens_per_second(model: Model, seconds: float = CALIBRATION) -> float:
    """How many scored tokens a second the unsteered model answers on this machine."""
    words = " and so on" * 10
    requests = [Request(str(k), "g", f"Case {k}:", (words,)) for k in range(16)]
    tokens = sum(len(text.scored) for r in requests for text in model.answer_tokens(r))
    model.log_probs(requests[:1], [UNSTEERED])
    begun, rounds = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds or not rounds:
        model.log_probs(requests, [UNSTEERED])
        rounds += 1
    return rounds * tokens / passed if passed else 0.0


def table(runs: Sequence[DryRun]) -> list[tuple[str, ...]]:
    """The counts as text: model, phase, fits, asks, cells, tokens."""
    return [
        (
            run.model,
            count.phase,
            str(len(count.fits)),
            str(len(count.asks)),
            str(count.cells),
            f"{count.tokens:,}",
        )
        for run in runs
        for count in run.counts
    ]
