"""The whole loop: what can be asked next is asked, and what comes back is kept."""

from collections.abc import Callable

from seatrial.store import Store
from seatrial.store.records import Record
from seatrial.studies.jobs import jobs, phases_of, units_of
from seatrial.studies.study import Study
from seatrial.studies.workers import Local, Workers


def silent(record: Record) -> None:
    """Say nothing."""


def run(
    study: Study,
    store: Store,
    workers: Workers | None = None,
    progress: Callable[[Record], None] = silent,
) -> None:
    """Measure every cell of a study that the store does not hold yet.

    Args:
        study: the plan.
        store: only this function writes to it.
        workers: who measures; unsaid, this process.
        progress: told every record, as it is kept.

    Raises:
        SeatrialError: for a plan or folder that cannot be used. What fails while it is
            measured is stored as failed, and everything else goes on.
    """
    store.open(study.plain)
    for plan, unit in units_of(study.plans):
        store.unit(unit).begin_again(phases_of(plan))
    with workers or Local() as team:
        for record in team.run(jobs(study.plans, store)):
            store.keep(record)
            progress(record)
