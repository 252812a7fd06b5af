"""What has become of a study: which units are whole, and what failed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from seatrial.store import Store
from seatrial.store.records import Failed, Unit
from seatrial.studies.jobs import phases_of, units_of
from seatrial.studies.study import Study


@final
@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    whole: tuple[Unit, ...]
    """Units of which every phase is measured; arms may have failed in them."""
    units: int
    """How many there are."""
    failed: tuple[Failed, ...]
    changes: tuple[str, ...] = ()
    """What changed since the units were begun, each once."""

    @property
    def is_defect(self) -> bool:
        """Whether anything failed by a fault of ours rather than the user's."""
        return any(failure.is_defect for failure in self.failed)

    def sentences(self) -> Iterator[str]:
        """Every reason once, with how much it lost."""
        lost: dict[str, list[Failed]] = {}
        for failure in self.failed:
            lost.setdefault(_first_sentence(failure.reason), []).append(failure)
        for failures in lost.values():
            first, more = failures[0], len(failures) - 1
            where = f"{first.unit}, {first.label}" if first.label else str(first.unit)
            others = f" and {more} more" if more else ""
            yield f"{where}{others}: {first.reason}"

    def __str__(self) -> str:
        units = len({f.unit for f in self.failed if not f.label})
        arms = sum(bool(f.label) for f in self.failed)
        counts = [_counted(units, "unit"), _counted(arms, "arm")]
        failed = " and ".join(filter(None, counts))
        whole = f"{len(self.whole)} of {_counted(self.units, 'unit')} whole"
        return f"{whole}, {failed} failed" if failed else whole


def outcome(study: Study, store: Store) -> RunOutcome:
    """How the newest run of a study in a store ended."""
    whole, failed, units = [], [], units_of(study.plans)
    changes: dict[str, None] = {}
    for plan, unit in units:
        folder = store.unit(unit)
        failures = [
            Failed(unit, f["phase"], f["label"], f["reason"], f["is_defect"])
            for f in folder.header.get("failed", ())
        ]
        failed += failures
        changes |= dict.fromkeys(folder.header.get("changes", ()))
        if {*phases_of(plan)} <= {*folder.finished} and all(f.label for f in failures):
            whole.append(unit)
    return RunOutcome(tuple(whole), len(units), tuple(failed), tuple(changes))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}" if number else ""


def _first_sentence(reason: str) -> str:
    return re.split(r"(?<=[.!?])\s", reason, maxsplit=1)[0].rstrip(".")
