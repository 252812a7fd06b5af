"""What is measured for one concept: batches of cells, and how each cell is steered.

Nothing here looks at which batches are stored, so that an interrupted study ends with the
same numbers as one that ran through. Test batches exist only once the layers are chosen.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl

from seatrial.intervention import UNSTEERED, Intervention, Steering
from seatrial.methods import Method, Prompt, options_of
from seatrial.model import Model
from seatrial.stats import slopes
from seatrial.store import Store
from seatrial.study import Cell, Ground, Study
from seatrial.tasks import TASKS, Task, fit_data
from seatrial.types import FitData, Split

CONTROL_GUARD_DOSES = (-1.0, 1.0)
"""Doses at which controls meet the guard: enough to compare prices, a third of the time."""


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
class Plan:
    """One concept of a study: its batches, in the order in which they are measured."""

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
