"""What is measured for one concept: batches of cells, and how each cell is steered.

Nothing here looks at which batches are stored, so that an interrupted study ends with the
same numbers as one that ran through. Test batches exist only once the layers are chosen.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl

from seatrial.files import short_hash
from seatrial.methods import Instruction, Method, options_of
from seatrial.methods.base import doses_of
from seatrial.model import Model
from seatrial.stats import slopes
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.store.store import Store
from seatrial.studies.behaviour import Ground
from seatrial.studies.study import Cell, Study
from seatrial.tasks import TASKS, Task, fit_data
from seatrial.types import FitData, Split

CONTROL_GUARD_DOSES = (-1.0, 1.0)
"""Doses at which controls meet guards: enough to compare prices, a third of the time."""

Asked = tuple[Method | None, int, float]
"""A method, or none, with its seed and dose."""


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
        content = short_hash(cell.id.encode() for cell in self.cells)
        return f"{self.name}.{content}"


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
        options = options_of(method, brief=True) if method else {}
        inner = options.get("reference", options)
        layer = inner.get("layer")
        asked = [repr(request) for request in task.requests(split)]
        content = short_hash([text.encode() for text in (self.data.fingerprint, *asked)])
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
            layer=layer if isinstance(layer, int) else -1,
            seed=seed,
            dose=dose,
        )

    def batch(
        self,
        name: str,
        task: Task,
        split: Split,
        asked: Sequence[Asked],
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
        asked: list[Asked] = [(None, 0, 0.0)]
        for number in range(len(study.methods)):
            for layer in study.layers_of(number):
                method = study.candidate(number, layer)
                asked += at_doses(method, study.seed, study.select_doses)
        for target in study.targets:
            yield self.batch(
                f"{target}.select", self.ground.targets[target], "select", asked
            )

    def choose(self, store: Store) -> dict[tuple[str, int], int]:
        """The layer with the largest mean slope on the select split, by task and method.

        It is -1 for a method without candidates.
        """
        chosen = {}
        for target, batch in zip(self.study.targets, self.select_batches(), strict=True):
            rows = store.frame().filter(
                pl.col("cell").is_in([cell.id for cell in batch.cells])
                & (pl.col("metric") == TASKS[target].about.metric)
            )
            for number in range(len(self.study.methods)):
                layers = self.study.layers_of(number)
                effects = {layers[0]: 0.0}
                if len(layers) > 1:
                    effects = {x: self._effect(rows, number, x) for x in layers}
                chosen[target, number] = max(
                    effects, key=lambda layer: (effects[layer], -layer)
                )
        return chosen

    def _effect(self, rows: pl.DataFrame, number: int, layer: int) -> float:
        """Mean slope of a method at a layer, from the rows of the select split."""
        method = self.study.candidate(number, layer)
        own = rows.filter((pl.col("method") == method.name) & (pl.col("layer") == layer))
        plain = rows.filter(pl.col("method") == "unsteered")
        wanted = at_doses(method, 0, self.study.select_doses)
        doses = sorted({*(dose for _, _, dose in wanted), 0.0})
        curve = [
            (own.filter(pl.col("dose") == dose) if dose else plain).sort("item")["value"]
            for dose in doses
        ]
        return float(slopes(doses, np.array([x.to_numpy() for x in curve]).T).mean())

    def test_batches(self, chosen: dict[tuple[str, int], int]) -> Iterator[Batch]:
        """Methods and controls at the chosen layers, on the test split and the guards."""
        study = self.study
        instructed = at_doses(Instruction(), study.seed, (-1.0, 1.0))
        for target in study.targets:
            methods = [
                study.candidate(number, chosen[target, number])
                for number in range(len(study.methods))
            ]
            task = self.ground.targets[target]
            own = [one for m in methods for one in at_doses(m, study.seed, study.doses)]
            yield self.batch(
                f"{target}.test", task, "test", [(None, 0, 0.0), *own, *instructed]
            )
            for method in methods:
                name = f"{target}.test.controls-of-{method.name}"
                yield self.batch(name, task, "test", self._controls(method, study.doses))
        distinct = dict.fromkeys(
            study.candidate(number, layer) for (_, number), layer in sorted(chosen.items())
        )
        for name, guard in self.ground.guards.items():
            asked: list[Asked] = [(None, 0, 0.0)]
            for method in distinct:
                asked += at_doses(method, study.seed, study.doses)
                asked += self._controls(method, CONTROL_GUARD_DOSES)
            yield self.batch(f"{name}.test", guard, "test", [*asked, *instructed])

    def _controls(self, method: Method, doses: Sequence[float]) -> list[Asked]:
        return [
            one
            for control, seed in self.study.controls_of(method)
            for one in at_doses(control, seed, doses)
        ]


def at_doses(method: Method, seed: int, doses: Sequence[float]) -> list[Asked]:
    """A method at those doses, but 0, that it has."""
    known = doses_of(method)
    return [
        (method, seed, dose)
        for dose in doses
        if dose != 0 and (known is None or dose in known)
    ]
