"""How far a study is, from the records that its workers deliver."""

import time
from collections.abc import Callable, Sequence
from typing import final

from seatrial.store.records import Failed, Finished, JobProgress, Phase, Record, Unit
from seatrial.studies.jobs import phases_of, units_of
from seatrial.studies.plan import Plan

WEIGHTS: dict[Phase, float] = {
    "select": 0.25,
    "price": 0.05,
    "test": 0.7,
    "more": 0.2,
    "transfer": 0.2,
}
"""About how much of a unit's time each phase takes; the bar needs no more than that."""


Screen = Callable[[str, float, float | None], None]
"""Shows what is measured, which share is done, and how many seconds are left, if known."""


@final
class RunMeter:
    """Adds up what records say, and tells a screen now and then."""

    def __init__(
        self,
        plans: Sequence[Plan],
        screen: Screen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at nothing.

        Args:
            plans: of the whole study.
            screen: is told.
            clock: gives seconds; for tests.
        """
        self.screen, self.clock = screen, clock
        self.begun = clock()
        self.shares: dict[tuple[Unit, Phase], float] = {
            (unit, phase): 0.0
            for plan, unit in units_of(plans)
            for phase in phases_of(plan)
        }
        self.finished = 0
        self.failed: list[Failed] = []

    @property
    def share(self) -> float:
        """Which share of the study is done."""
        whole = sum(WEIGHTS[phase] for _, phase in self.shares)
        done = sum(WEIGHTS[phase] * x for (_, phase), x in self.shares.items())
        return done / whole if whole else 1.0

    @property
    def left(self) -> float | None:
        """Seconds left at the pace so far; ``None`` before that can be said."""
        share, passed = self.share, self.clock() - self.begun
        return passed * (1 - share) / share if share > 0.01 else None

    def __call__(self, record: Record) -> None:
        """Take note of a record."""
        match record:
            case JobProgress(unit, phase, what, done, whole):
                self.shares[unit, phase] = done / whole if whole else 1.0
                self.screen(f"{unit}: {what}", self.share, self.left)
            case Finished(unit, phase):
                self.shares[unit, phase] = 1.0
                self.finished += 1
                self.screen(f"{unit}: {phase} done", self.share, self.left)
            case Failed():
                self.failed.append(record)
                if not record.label:
                    for key in self.shares:
                        if key[0] == record.unit:
                            self.shares[key] = 1.0
                what = f"{record.unit}, {record.label or 'whole unit'} failed"
                self.screen(what, self.share, self.left)


def plainly(write: Callable[[str], object], every: float = 30.0) -> Screen:
    """A screen for logs: one plain line now and then, and each failure at once."""
    last = -every

    def show(what: str, share: float, left: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every or what.endswith("failed") or share >= 1:
            last = now
            write(f"{share:4.0%} {what}{_told(left)}")

    return show


def _told(left: float | None) -> str:
    if left is None:
        return ""
    minutes, seconds = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02}:{seconds:02} left"
