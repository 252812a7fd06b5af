"""The only loop: measure what the store does not hold yet; stop and start as you like.

A batch (cells that differ only in how they are steered) is written whole. Its composition
follows from the plan alone, never from what happens to be stored, so that an interrupted
study ends with the same numbers as one that ran through.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl

from seatrial.audit import Check, audit_ground, audit_model, audit_rows, plain
from seatrial.errors import BadData, BadOption, SteeringFault
from seatrial.intervention import UNSTEERED, Intervention, Steering
from seatrial.methods import Method, Prompt, options_of
from seatrial.model import Model
from seatrial.stats import slopes
from seatrial.store import PROGRESS, Store
from seatrial.study import Cell, Ground, Study
from seatrial.tasks import TASKS, Task, fit_data
from seatrial.types import FitData, Split

CONTROL_GUARD_DOSES = (-1.0, 1.0)
"""Doses at which controls meet the guard: enough to compare prices, a third of the time."""

AUDIT = "audit.json"

Progress = Callable[[str, float], None]
"""Told what is being measured and which share of the whole study is done."""


@final
@dataclass(frozen=True)
class Batch:
    """Cells that are measured together, with how each is steered."""

    name: str
    task: Task
    split: Split
    cells: tuple[Cell, ...]
    steer: Callable[[], list[Steering]]
    """Fits what is needed; called only if the batch is not stored."""

    @property
    def id(self) -> str:
        """File name: readable, and unique to the content of its cells."""
        ids = hashlib.sha256("".join(cell.id for cell in self.cells).encode()).hexdigest()
        return f"{self.name}.{ids[:12]}"


@final
class _Trial:
    """One concept of a study while it runs."""

    def __init__(self, study: Study, model: Model, ground: Ground) -> None:
        self.study = study
        self.model = model
        self.ground = ground
        self.data: FitData = fit_data(ground.concept, ground.targets[study.fit_on])
        self._fitted: dict[tuple[str, int], Intervention] = {}

    def fit(self, method: Method, seed: int) -> Intervention:
        """Fit once."""
        key = (json.dumps(options_of(method), sort_keys=True), seed)
        if key not in self._fitted:
            self._fitted[key] = method.fit(self.model, self.data, seed=seed)
        return self._fitted[key]

    def cell(
        self, task: Task, split: Split, method: Method | None, seed: int, dose: float
    ) -> Cell:
        """Name one steering on one task."""
        options = options_of(method) if method else {}
        inner = options.get("reference", options)
        asked = [repr(request) for request in task.requests(split)]
        content = hashlib.sha256(
            "".join([self.data.fingerprint, *asked]).encode()
        ).hexdigest()[:12]
        return Cell(
            model=self.model.identity,
            dtype=self.model.dtype,
            concept=self.ground.concept.name,
            task=task.name,
            split=split,
            content=f"{content} v{task.version}",
            method=method.name if method else "unsteered",
            options=json.dumps(options, sort_keys=True),
            reference=str(inner.get("name", "unsteered")),
            layer=int(inner.get("layer", -1)),
            seed=seed,
            dose=dose,
        )

    def batch(
        self,
        name: str,
        task: Task,
        split: Split,
        asked: Sequence[tuple[Method | None, int, float]],
    ) -> Batch:
        """Put steerings on a task."""
        return Batch(
            f"{self.ground.concept.name}.{name}",
            task,
            split,
            tuple(self.cell(task, split, *one) for one in asked),
            lambda: [
                Steering(self.fit(method, seed), dose) if method else UNSTEERED
                for method, seed, dose in asked
            ],
        )

    def select_batches(self) -> Iterator[Batch]:
        """Every method at every candidate layer, on the select split of each target."""
        study = self.study
        for target in study.targets:
            asked: list[tuple[Method | None, int, float]] = [(None, 0, 0.0)]
            for number in range(len(study.methods)):
                for layer in study.layers:
                    method = study.candidate(number, layer)
                    asked += [(method, study.seed, dose) for dose in study.select_doses]
            yield self.batch(
                f"{target}.select", self.ground.targets[target], "select", asked
            )

    def choose(self, store: Store) -> dict[tuple[str, int], int]:
        """The layer with the largest mean slope on the select split, by task and method."""
        chosen = {}
        batches = list(self.select_batches())
        for target, batch in zip(self.study.targets, batches, strict=True):
            ids = [cell.id for cell in batch.cells]
            rows = store.frame().filter(
                pl.col("cell").is_in(ids) & (pl.col("metric") == TASKS[target].metric)
            )
            doses = sorted({*self.study.select_doses, 0.0})
            for number, options in enumerate(self.study.methods):
                effects = {}
                for layer in self.study.layers:
                    columns = [
                        rows.filter(
                            (pl.col("dose") == dose)
                            & (
                                pl.col("method") == "unsteered"
                                if dose == 0
                                else (pl.col("method") == options["name"])
                                & (pl.col("layer") == layer)
                            )
                        ).sort("item")["value"]
                        for dose in doses
                    ]
                    curve = np.array([column.to_numpy() for column in columns]).T
                    effects[layer] = float(slopes(doses, curve).mean())
                chosen[target, number] = max(
                    effects, key=lambda layer: (effects[layer], -layer)
                )
        return chosen

    def test_batches(self, chosen: dict[tuple[str, int], int]) -> Iterator[Batch]:
        """Methods and controls at the chosen layers, on the test split and the guards."""
        study = self.study
        doses = [dose for dose in study.doses if dose != 0]
        prompted: list[tuple[Method | None, int, float]] = [
            (Prompt(), study.seed, dose) for dose in (-1.0, 1.0)
        ]
        for target in study.targets:
            methods = [
                study.candidate(number, chosen[target, number])
                for number in range(len(study.methods))
            ]
            task = self.ground.targets[target]
            own = [(method, study.seed, dose) for method in methods for dose in doses]
            yield self.batch(
                f"{target}.test", task, "test", [(None, 0, 0.0), *own, *prompted]
            )
            for method in methods:
                controls = [
                    (control, seed, dose)
                    for control, seed in study.controls_of(method)
                    for dose in doses
                ]
                name = f"{target}.test.controls-of-{method.name}"
                yield self.batch(name, task, "test", controls)
        distinct = dict.fromkeys(
            study.candidate(number, layer) for (_, number), layer in sorted(chosen.items())
        )
        for name, guard in self.ground.guards.items():
            asked: list[tuple[Method | None, int, float]] = [(None, 0, 0.0)]
            for method in distinct:
                asked += [(method, study.seed, dose) for dose in doses]
                asked += [
                    (control, seed, dose)
                    for control, seed in study.controls_of(method)
                    for dose in CONTROL_GUARD_DOSES
                ]
            yield self.batch(f"{name}.test", guard, "test", [*asked, *prompted])


@final
class _Meter:
    """How much of a study is done, counted in scored tokens."""

    def __init__(
        self, study: Study, grounds: Sequence[Ground], model: Model, tell: Progress
    ) -> None:
        self.tell = tell
        self.done = 0.0
        self.inside = 0.0
        n_methods = len(study.methods)
        doses = len(study.doses) - 1
        controls = study.controls.random + study.controls.shuffled
        select = 1 + n_methods * len(study.layers) * len(study.select_doses)
        test = 3 + n_methods * doses * (1 + controls)
        # How many distinct layers the targets choose is not known yet; two is a fair guess.
        guarded = 3 + n_methods * min(2, len(study.targets)) * (
            doses + controls * len(CONTROL_GUARD_DOSES)
        )
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
        """Tokens to replay for one steering: what is scored, and one more a request."""
        cost = sum(
            1
            + sum(
                len(text.scored) - 1 for text in model.encoder.encode(r.prompt, r.answers)
            )
            for r in task.requests(split)
        )
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
    for ground in grounds:
        trial = _Trial(study, model, ground)
        _record(checks, audit_ground(ground), store)
        planned |= _measure(trial.select_batches(), model, store, meter)
        chosen = trial.choose(store)
        _record(checks, _audit(trial, chosen, store), store)
        planned |= _measure(trial.test_batches(chosen), model, store, meter)
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


def _audit(trial: _Trial, chosen: dict[tuple[str, int], int], store: Store) -> list[Check]:
    """Check the fitted methods once, and keep them as files for `seatrial steer`."""
    name = trial.ground.concept.name
    path = f"audit/{name}.json"
    known = [Check(**check) for check in store.read_json(path) or []]
    if known and all(check.status != "failed" for check in known):
        return known
    checks = []
    for (target, number), layer in sorted(chosen.items()):
        method = trial.study.candidate(number, layer)
        fitted = trial.fit(method, trial.study.seed)
        store.write_vector(f"{name}.{method.name}.layer-{layer}", fitted)
        task = trial.ground.targets[target]
        read = getattr(method, "read", None) if target == trial.study.fit_on else None
        checks += audit_model(trial.model, name, task, fitted, read)
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
            requests = batch.task.requests(batch.split)
            answers = model.log_probs(
                requests,
                batch.steer(),
                kl=batch.task.needs_kl,
                progress=lambda share, batch=batch: meter.add(batch, share),
            )
            scores = [batch.task.score(requests, line) for line in answers]
            store.add(batch.id, batch.cells, scores)
        meter.finish(batch)
    return planned


def _about(ground: Ground) -> dict[str, str]:
    items = (f"{part} {len(items)}" for part, items in ground.parts.items())
    return {
        "category": ground.concept.category,
        "about": ground.concept.about,
        "items": ", ".join(items),
    }


def _in_words(ground: Ground) -> list[dict[str, str]]:
    return [
        {
            "concept": ground.concept.name,
            "task": target,
            "item": item.id,
            "group": item.group,
            "text": task.describe(item),
        }
        for target, task in ground.targets.items()
        for item in task.splits["test"]  # pyright: ignore[reportAttributeAccessIssue]
    ]
