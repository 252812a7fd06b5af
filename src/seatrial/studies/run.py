"""The only loop: measure what the store does not hold yet; stop and start as you like.

A batch (cells that differ only in how they are steered) is written whole. Its composition
follows from the plan alone, never from what happens to be stored, so that an interrupted
study ends with the same numbers as one that ran through.

Numbered checks are those of docs/hazards.md.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import final

from seatrial.errors import BadData, BadOption, SteeringFault
from seatrial.model import Model
from seatrial.store.store import PROGRESS, Store
from seatrial.studies.audit import Check, audit_ground, audit_model, audit_rows, plain
from seatrial.studies.behaviour import Ground
from seatrial.studies.jobs import CONTROL_GUARD_DOSES, Batch, Plan, at_doses
from seatrial.studies.study import Study
from seatrial.tasks import Task, Written
from seatrial.tasks.measure import measure
from seatrial.types import Split

AUDIT = "audit.json"

Progress = Callable[[str, float], None]
"""Told what is being measured and which share of the whole study is done."""


@final
class _Meter:
    """How much of a study is done, counted in scored tokens."""

    def __init__(
        self, study: Study, grounds: Sequence[Ground], model: Model, tell: Progress
    ) -> None:
        self.tell = tell
        self.done = 0.0
        self.inside = 0.0
        select, test, guarded = 1, 3, 3
        for number in range(len(study.methods)):
            layers = study.layers_of(number)
            method = study.candidate(number, layers[0])
            controls = len(study.controls_of(method))
            doses, *others = (
                len(at_doses(method, study.seed, some))
                for some in (study.doses, study.select_doses, CONTROL_GUARD_DOSES)
            )
            select += len(layers) * others[0]
            test += doses * (1 + controls)
            # How many layers the targets choose is not known yet; two is a fair guess.
            chosen = min(2, len(study.targets), len(layers))
            guarded += chosen * (doses + controls * others[1])
        self.whole = 0.0
        self._cost: dict[tuple[str, str, str], float] = {}
        for ground in grounds:
            for name in study.targets:
                task = ground.targets[name]
                self.whole += select * self._price(ground, task, "select", model)
                self.whole += test * self._price(ground, task, "test", model)
            for guard in ground.guards.values():
                self.whole += guarded * self._price(ground, guard, "test", model)

    def _price(self, ground: Ground, task: Task, split: Split, model: Model) -> float:
        """Tokens of one steering: what is scored and one more a request, or is written."""
        asked = task.requests(split)
        if isinstance(task, Written):
            cost = task.max_tokens * len(asked)
        else:
            texts = map(model.answer_tokens, asked)
            cost = len(asked) + sum(len(text.scored) - 1 for each in texts for text in each)
        self._cost[ground.concept.name, task.name, split] = float(cost)
        return float(cost)

    def _share(self, batch: Batch) -> float:
        return self._cost[batch.cells[0].concept, batch.task.name, batch.split]

    def add(self, batch: Batch, share: float) -> None:
        """Some share of a batch's steerings is done."""
        self.inside = share * len(batch.cells) * self._share(batch)
        self._say(batch)

    def finish(self, batch: Batch) -> None:
        """A batch is stored."""
        self.done += len(batch.cells) * self._share(batch)
        self.inside = 0.0
        self._say(batch)

    def _say(self, batch: Batch) -> None:
        self.tell(batch.name, min(1.0, (self.done + self.inside) / self.whole))


def run(
    study: Study,
    store: Store,
    *,
    model: Model | None = None,
    progress: Progress | None = None,
) -> None:
    """Measure every cell of a study that the store does not hold yet.

    Args:
        study: the plan.
        store: the results folder; taken for this study.
        model: loaded already; by default the study's model is loaded.
        progress: called as work proceeds.

    Raises:
        SeatrialError: for anything in the plan or folder that cannot be used, and for a
            check of the audit that fails; what was measured before stays stored.
    """
    grounds = [Ground(study, name) for name in study.concepts]
    if model is None:
        model = Model.load(study.model, dtype=study.dtype)
    for layer in study.layers:
        model.site(layer)
    if model.dtype != study.dtype:
        raise BadOption(f"the study asks for {study.dtype}, the model is in {model.dtype}")
    data = {ground.concept.name: ground.fingerprint for ground in grounds}
    store.open(study, {**model.header(), "data": data})
    store.write_json(PROGRESS, {"finished": False})
    meter = _Meter(study, grounds, model, progress or (lambda *_: None))
    planned: set[str] = set()
    checks: list[Check] = []
    with model.session(passes=False):
        for ground in grounds:
            planned |= _measure_concept(Plan(study, model, ground), store, meter, checks)
    _record(checks, audit_rows(store.frame(), planned), store)
    store.write_items([line for ground in grounds for line in _in_words(ground)])
    store.write_json(AUDIT, plain(checks))
    done = {
        "finished": True,
        "cells": len(planned),
        "concepts": [ground.concept.name for ground in grounds],
        "about": {ground.concept.name: _about(ground) for ground in grounds},
    }
    store.write_json(PROGRESS, done)


def _measure_concept(
    plan: Plan, store: Store, meter: _Meter, checks: list[Check]
) -> set[str]:
    """Measure all cells of one concept, and audit what they rest on; the cells' ids."""
    model = plan.model
    _record(checks, audit_ground(plan.ground), store)
    with model.session():
        planned = _measure(plan.select_batches(), model, store, meter)
    chosen = plan.choose(store)
    # The audit compares passes that must be made anew.
    _record(checks, _audit(plan, chosen, store), store)
    with model.session():
        planned |= _measure(plan.test_batches(chosen), model, store, meter)
    return planned


def _record(checks: list[Check], new: Sequence[Check], store: Store) -> None:
    """Keep the answers of the audit; one that failed stops the study, losing nothing."""
    checks += new
    failed = [check for check in new if check.status == "failed"]
    if failed:
        store.write_json(AUDIT, plain(checks))
        first = failed[0]
        kind = SteeringFault if first.id in ("H1", "H2", "H3", "H4", "H5") else BadData
        raise kind(
            f"check {first.id} of the audit failed ({first.question} {first.detail}), so "
            "the study stopped; what was measured is kept, and `seatrial audit "
            f"{store.root}` shows all checks"
        )


def _audit(plan: Plan, chosen: dict[tuple[str, int], int], store: Store) -> list[Check]:
    """Check the fitted methods once, and keep them as files for `seatrial steer`."""
    name = plan.ground.concept.name
    path = f"audit/{name}.json"
    known = [Check(**check) for check in store.read_json(path) or []]
    if known and all(check.status != "failed" for check in known):
        return known
    checks = []
    for (target, number), layer in sorted(chosen.items()):
        method = plan.study.candidate(number, layer)
        fitted = plan.fit(method, plan.study.seed)
        at = f".layer-{layer}" if layer >= 0 else ""
        store.write_vector(f"{name}.{method.name}{at}", fitted)
        task = plan.ground.targets[target]
        read = getattr(method, "read", None) if target == plan.study.fit_on else None
        checks += audit_model(plan.model, name, task, fitted, read)
    store.write_json(path, plain(checks))
    return checks


def _measure(
    batches: Iterable[Batch], model: Model, store: Store, meter: "_Meter"
) -> set[str]:
    """Measure what is not stored yet; return the ids of all cells."""
    planned = set()
    for batch in batches:
        planned |= {cell.id for cell in batch.cells}
        if not store.has(batch.id):
            scores = measure(
                model,
                batch.task,
                batch.split,
                batch.steer(),
                progress=lambda share, batch=batch: meter.add(batch, share),
            )
            store.add(batch.id, batch.cells, scores)
        meter.finish(batch)
    return planned


def _about(ground: Ground) -> dict[str, str]:
    tested = ", ".join(
        f"{len(ground.targets[name].requests('test'))} on {name}"
        for name in ground.study.targets
    )
    fitted, selected = len(ground.parts["fit"]), len(ground.parts["select"])
    return {
        "category": ground.concept.category,
        "about": ground.concept.about,
        "items": f"fit {fitted}, select {selected}, test {tested}",
    }


def _in_words(ground: Ground) -> list[dict[str, str]]:
    lines = []
    for target, task in ground.targets.items():
        factors = task.factors("test")
        lines += [
            {
                "concept": ground.concept.name,
                "task": target,
                "item": item.id,
                "group": item.group,
                "text": task.describe(item),
                "factors": json.dumps(
                    {name: has[item.id] for name, has in factors.items() if item.id in has}
                ),
            }
            for item in task.splits["test"]  # pyright: ignore[reportAttributeAccessIssue]
        ]
    return lines
