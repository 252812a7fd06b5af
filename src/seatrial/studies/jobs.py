"""What can be asked next, given what is stored: one job after the other, lazily.

A job is one phase of one unit, as plain values. The driver hands out *select* of a unit,
chooses from what is stored then, and hands out *price* and *test*; *transfer* waits for the
other units of its model and seed. There is no other barrier.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from seatrial.files import fingerprint
from seatrial.store import Store
from seatrial.store.records import Phase, Unit
from seatrial.studies.decide import doses_chosen, options_chosen
from seatrial.studies.plan import Plan


@final
@dataclass(frozen=True)
class Job:
    """One phase of one unit, for a worker that may know nothing else."""

    unit: Unit
    phase: Phase
    plan: Plan
    choices: tuple[Mapping[str, Any], ...] = ()
    """What select items decided so far, by arm and target."""
    stored: frozenset[str] = frozenset()
    """Ids of the cells that need not be measured."""
    fits: Mapping[str, bytes] = field(default_factory=dict)
    """Interventions that are fitted already, by the id of their fit."""
    lost: frozenset[str] = frozenset()
    """Labels of arms and controls that failed in this run, and are not tried again."""
    is_audited: bool = False
    """Whether every check was made before, and none failed."""
    others: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """For *transfer*: the choices of the other behaviours, by label."""


def units_of(plans: Sequence[Plan]) -> list[tuple[Plan, Unit]]:
    """All units of a study: what shares a model and its readings stands together."""
    return [
        (plan, Unit(plan.model.label, seed, behaviour.label))
        for plan in plans
        for seed in plan.seeds
        for behaviour in plan.behaviours
    ]


def content_of(plan: Plan, unit: Unit) -> str:
    """What a unit is, whatever it is called: hash of its model, seed and source."""
    [own] = [each for each in plan.behaviours if each.label == unit.behaviour]
    model = plan.model
    content = [model.name, model.revision, model.dtype, unit.seed, own.source]
    return fingerprint(content)


def phases_of(plan: Plan) -> tuple[Phase, ...]:
    """The phases of a plan's units, in their order."""
    return ("select", "price", "test", *(("transfer",) if plan.transfer else ()))


def jobs(plans: Sequence[Plan], store: Store) -> Iterator[Job | None]:
    """Every job in turn; ``None`` while nothing can be asked before more is kept.

    A job is handed out once. One that failed is not handed out again in this run, and
    what would follow it is not handed out at all.
    """
    waiting = [(plan, unit, list(phases_of(plan))) for plan, unit in units_of(plans)]
    handed: set[tuple[Unit, Phase]] = set()
    while waiting:
        was_idle = True
        for entry in list(waiting):
            plan, unit, phases = entry
            folder = store.unit(unit)
            while phases and phases[0] in folder.finished:
                phases.pop(0)
            if not phases or _has_failed(folder.header):
                waiting.remove(entry)
                was_idle = False
                continue
            phase = phases[0]
            if (unit, phase) in handed:
                continue
            if phase == "transfer" and not _are_tested(plan, unit, store):
                continue
            handed.add((unit, phase))
            was_idle = False
            yield _job(plan, unit, phase, store)
            # The worker that has this unit's model and readings is asked to go on with it.
            if phases and phases[0] in folder.finished:
                break
        if was_idle:
            yield None


def _job(plan: Plan, unit: Unit, phase: Phase, store: Store) -> Job:
    folder = store.unit(unit)
    choices = folder.choices
    if phase == "price":
        choices = options_chosen(plan, folder)
    elif phase == "test":
        choices = doses_chosen(folder)
    others = {}
    if phase == "transfer":
        others = {
            each.label: tuple(store.unit(unit._replace(behaviour=each.label)).choices)
            for each in plan.behaviours
        }
    stored, fits = frozenset(folder.cells), folder.fits()
    checks = folder.header.get("audit", ())
    is_audited = bool(checks) and all(check["status"] != "failed" for check in checks)
    failures = folder.header.get("failed", ())
    lost = frozenset(each["label"] for each in failures if each["label"])
    return Job(unit, phase, plan, tuple(choices), stored, fits, lost, is_audited, others)


def _are_tested(plan: Plan, unit: Unit, store: Store) -> bool:
    """Whether the other units of this model and seed are measured, or never will be."""
    for behaviour in plan.behaviours:
        folder = store.unit(unit._replace(behaviour=behaviour.label))
        if "test" not in folder.finished and not _has_failed(folder.header):
            return False
    return True


def _has_failed(header: Mapping[str, Any]) -> bool:
    return any(not failure["label"] for failure in header.get("failed", ()))
