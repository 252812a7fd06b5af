"""The only loop: measure what the store does not hold yet; stop and start as you like.

A batch (cells that differ only in how they are steered) is written whole. Its composition
follows from the plan alone, never from what happens to be stored, so that an interrupted
study ends with the same numbers as one that ran through.

Numbered checks are those of docs/hazards.md.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial

from seatrial.errors import BadData, BadOption, SteeringFault
from seatrial.model import Model
from seatrial.steering import saving
from seatrial.store import AUDIT, PROGRESS, Store
from seatrial.studies.audit import (
    Check,
    audit_behaviour,
    audit_model,
    audit_rows,
    plain_checks,
)
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.jobs import Batch, Plan
from seatrial.studies.progress import Progress, TokenMeter, silent
from seatrial.studies.study import Study
from seatrial.tasks.measure import measure


def run(
    study: Study,
    store: Store,
    *,
    model: Model | None = None,
    progress: Progress = silent,
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
    behaviours = [Behaviour(study, name) for name in study.concepts]
    if model is None:
        model = Model.load(study.model, dtype=study.dtype)
    for layer in study.layers:
        model.site(layer)
    if model.dtype != study.dtype:
        raise BadOption(f"the study asks for {study.dtype}, the model is in {model.dtype}")
    data = {each.concept.name: each.fingerprint for each in behaviours}
    plans = [Plan(study, model, behaviour) for behaviour in behaviours]
    header = {**model.header(), "data": data}
    store.open(study.id, asdict(study), plans[0].labels(), header)
    store.write_json(PROGRESS, {"finished": False})
    meter = TokenMeter(study, behaviours, model, progress)
    planned: set[str] = set()
    checks: list[Check] = []
    with model.session(passes=False):
        for plan in plans:
            planned |= _measure_concept(plan, store, meter, checks)
    _record(checks, audit_rows(store.frame(), planned), store)
    store.write_items([line for each in behaviours for line in _in_words(each)])
    store.write_json(AUDIT, plain_checks(checks))
    done = {
        "finished": True,
        "cells": len(planned),
        "concepts": [each.concept.name for each in behaviours],
        "about": {each.concept.name: _about(each) for each in behaviours},
    }
    store.write_json(PROGRESS, done)


def _measure_concept(
    plan: Plan, store: Store, meter: TokenMeter, checks: list[Check]
) -> set[str]:
    """Measure all cells of one concept, and audit what they rest on; the cells' ids."""
    model = plan.model
    _record(checks, audit_behaviour(plan.behaviour), store)
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
        store.write_json(AUDIT, plain_checks(checks))
        first = failed[0]
        kind = SteeringFault if first.id in ("H1", "H2", "H3", "H4", "H5") else BadData
        raise kind(
            f"check {first.id} of the audit failed ({first.question} {first.detail}), so "
            "the study stopped; what was measured is kept, and `seatrial audit "
            f"{store.root}` shows all checks"
        )


def _audit(plan: Plan, chosen: dict[tuple[str, int], int], store: Store) -> list[Check]:
    """Check the fitted methods once, and keep them as files for `seatrial steer`."""
    name = plan.behaviour.concept.name
    path = f"audit/{name}.json"
    known = [Check(**check) for check in store.read_json(path) or []]
    if known and all(check.status != "failed" for check in known):
        return known
    checks = []
    for (target, number), layer in sorted(chosen.items()):
        method = plan.study.candidate(number, layer)
        fitted = plan.fit(method, plan.study.seed)
        at = f".layer-{layer}" if layer >= 0 else ""
        vector = f"vectors/{name}.{method.name}{at}.safetensors"
        store.write(vector, partial(saving.save, fitted))
        task = plan.behaviour.targets[target]
        read = getattr(method, "read", None) if target == plan.study.fit_on else None
        checks += audit_model(plan.model, name, task, fitted, read)
    store.write_json(path, plain_checks(checks))
    return checks


def _measure(
    batches: Iterable[Batch], model: Model, store: Store, meter: TokenMeter
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
            store.add(batch.id, [cell.row() for cell in batch.cells], scores)
        meter.finish(batch)
    return planned


def _about(behaviour: Behaviour) -> dict[str, str]:
    tested = ", ".join(
        f"{len(behaviour.targets[name].requests('test'))} on {name}"
        for name in behaviour.study.targets
    )
    fitted, selected = len(behaviour.parts["fit"]), len(behaviour.parts["select"])
    return {
        "category": behaviour.concept.category,
        "about": behaviour.concept.about,
        "items": f"fit {fitted}, select {selected}, test {tested}",
    }


def _in_words(behaviour: Behaviour) -> list[dict[str, str]]:
    lines = []
    for task in behaviour.targets.values():
        factors = task.factors("test")
        lines += [
            {
                "concept": behaviour.concept.name,
                "task": task.name,
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
