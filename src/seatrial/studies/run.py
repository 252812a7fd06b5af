"""The whole loop: what can be asked next is asked, and what comes back is kept."""

from collections.abc import Callable

from seatrial.store import Store
from seatrial.store.records import Record
from seatrial.studies.arms import arms_of, draws_of
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.expand import Shape
from seatrial.studies.jobs import content_of, jobs, phases_of, units_of
from seatrial.studies.study import Study
from seatrial.studies.workers import Local, Workers
from seatrial.tasks import task_named


def silent(record: Record) -> None:
    """Say nothing."""


LARGE = Shape(128, 8192)
"""Stands for a model that is not loaded yet."""


def check(study: Study) -> None:
    """Find what no model could make right, before anything is loaded or written.

    Raises:
        SeatrialError: for a method, an option, a source or a task that is not there.
    """
    for plan in study.plans:
        for arm in arms_of(plan, LARGE):
            draws_of(arm, arm.candidates[0], 0)
        tasks = [guard.task for guard in plan.guards]
        for each in plan.behaviours:
            behaviour = Behaviour(plan, each, plan.seeds[0], LARGE)
            tasks += [target.task for target in behaviour.targets]
        for task in dict.fromkeys(tasks):
            task_named(task)


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
    check(study)
    store.open(study.plain)
    units = units_of(study.plans)
    store.adopt({unit: content_of(plan, unit) for plan, unit in units})
    for plan, unit in units:
        store.unit(unit).begin_again(phases_of(plan))
    with workers or Local() as team:
        for record in team.run(jobs(study.plans, store)):
            store.keep(record)
            progress(record)
