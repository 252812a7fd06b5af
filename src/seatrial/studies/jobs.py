"""What is measured for one concept: batches of cells, and how each cell is steered.

Nothing here looks at which batches are stored, so that an interrupted study ends with the
same numbers as one that ran through. Test batches exist only once the layers are chosen.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import polars as pl

from seatrial.files import short_hash
from seatrial.methods import Instruction, Method, options_of
from seatrial.methods.base import doses_of
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.store import Labels, Store
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.cells import Cell
from seatrial.studies.choose import choose
from seatrial.studies.labels import NO_METHOD, kind_of, labels_of
from seatrial.studies.study import Study
from seatrial.tasks import Task, fit_data
from seatrial.tasks.others import with_others
from seatrial.types import FitData, Split

CONTROL_GUARD_DOSES = (-1.0, 1.0)
"""Doses at which controls meet guards: enough to compare prices, a third of the time."""

Arm = tuple[Method | None, int, float]
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

    def __init__(self, study: Study, model: Model, behaviour: Behaviour) -> None:
        self.study = study
        self.model = model
        self.behaviour = behaviour
        self.data: FitData = fit_data(behaviour.concept, behaviour.targets[study.fit_on])
        self._data: dict[tuple[str, int], FitData] = {}
        self._fitted: dict[tuple[str, int], Intervention] = {}

    def data_for(self, method: Method, seed: int) -> FitData:
        """What a method is fitted on, with what it reads of others."""
        key = (json.dumps(options_of(method), sort_keys=True), seed)
        if key not in self._data:
            self._data[key] = with_others(
                self.data,
                method.references(self.data),
                seed=seed,
                split_seed=self.study.seed,
                shares=self.study.shares,
                behaviours=self.study.concepts,
            )
        return self._data[key]

    def fit(self, method: Method, seed: int) -> Intervention:
        """Fit once."""
        key = (json.dumps(options_of(method), sort_keys=True), seed)
        if key not in self._fitted:
            data = self.data_for(method, seed)
            self._fitted[key] = method.fit(self.model, data, seed=seed)
        return self._fitted[key]

    def cell(
        self, task: Task, split: Split, method: Method | None, seed: int, dose: float
    ) -> Cell:
        """Name one steering on one task."""
        options = options_of(method, brief=True) if method else {}
        inner = options.get("reference", options)
        layer = inner.get("layer")
        requests = [repr(request) for request in task.requests(split)]
        data = self.data_for(method, seed) if method else self.data
        parts = (data.fingerprint, *requests)
        content = short_hash([text.encode() for text in parts])
        return Cell(
            model=self.model.identity,
            dtype=self.model.dtype,
            concept=self.behaviour.concept.name,
            task=task.name,
            split=split,
            content=f"{content} v{task.version}",
            method=method.name if method else NO_METHOD,
            options=json.dumps(options, sort_keys=True),
            reference=str(inner.get("name", NO_METHOD)),
            layer=layer if isinstance(layer, int) else -1,
            seed=seed,
            dose=dose,
            kind=kind_of(method),
        )

    def batch(self, name: str, task: Task, split: Split, arms: Sequence[Arm]) -> Batch:
        """Put steerings on a task."""
        return Batch(
            f"{self.behaviour.concept.name}.{name}",
            task,
            split,
            tuple(self.cell(task, split, *arm) for arm in arms),
            lambda: self._steer(arms),
        )

    def _steer(self, arms: Sequence[Arm]) -> list[Steering]:
        """Fit what is needed, draw by draw: what one layer read of it serves the others."""
        for method, seed, _ in sorted(arms, key=lambda arm: arm[1]):
            if method:
                self.fit(method, seed)
        return [
            Steering(self.fit(method, seed), dose) if method else UNSTEERED
            for method, seed, dose in arms
        ]

    def select_batches(self) -> Iterator[Batch]:
        """Every method at every candidate layer, on the select split of each target."""
        study = self.study
        arms: list[Arm] = [(None, 0, 0.0)]
        for number in range(len(study.methods)):
            for layer in study.layers_of(number):
                method = study.candidate(number, layer)
                arms += at_doses(method, study.seed, study.select_doses)
        for target in study.targets:
            task = self.behaviour.targets[target]
            yield self.batch(f"{task.name}.select", task, "select", arms)

    def labels(self) -> Labels:
        """What the names in the store mean."""
        targets = [self.behaviour.targets[name] for name in self.study.targets]
        return labels_of(self.study, targets, list(self.behaviour.guards.values()))

    def choose(self, store: Store) -> dict[tuple[str, int], int]:
        """The layer that the select split chooses, by target and number of the method.

        It is -1 for a method without candidates.
        """
        study = self.study
        cells = {cell.id for batch in self.select_batches() for cell in batch.cells}
        rows = store.frame().filter(pl.col("cell").is_in(list(cells)))
        candidates = [study.layers_of(number) for number in range(len(study.methods))]
        names = [
            study.candidate(number, layers[0]).name
            for number, layers in enumerate(candidates)
        ]
        chosen = choose(rows, self.labels(), dict(zip(names, candidates, strict=True)))
        return {
            (target, number): chosen[self.behaviour.targets[target].name, name]
            for target in study.targets
            for number, name in enumerate(names)
        }

    def test_batches(self, chosen: dict[tuple[str, int], int]) -> Iterator[Batch]:
        """Methods and controls at the chosen layers, on the test split and the guards."""
        study = self.study
        instructed = at_doses(Instruction(), study.seed, (-1.0, 1.0))
        for target in study.targets:
            methods = [
                study.candidate(number, chosen[target, number])
                for number in range(len(study.methods))
            ]
            task = self.behaviour.targets[target]
            own = [arm for m in methods for arm in at_doses(m, study.seed, study.doses)]
            yield self.batch(
                f"{task.name}.test", task, "test", [(None, 0, 0.0), *own, *instructed]
            )
            for method in methods:
                name = f"{task.name}.test.controls-of-{method.name}"
                yield self.batch(name, task, "test", self._controls(method, study.doses))
        distinct = dict.fromkeys(
            study.candidate(number, layer) for (_, number), layer in sorted(chosen.items())
        )
        for guard in self.behaviour.guards.values():
            arms: list[Arm] = [(None, 0, 0.0)]
            for method in distinct:
                arms += at_doses(method, study.seed, study.doses)
                arms += self._controls(method, CONTROL_GUARD_DOSES)
            yield self.batch(f"{guard.name}.test", guard, "test", [*arms, *instructed])

    def _controls(self, method: Method, doses: Sequence[float]) -> list[Arm]:
        return [
            arm
            for control, seed in self.study.controls_of(method)
            for arm in at_doses(control, seed, doses)
        ]


def at_doses(method: Method, seed: int, doses: Sequence[float]) -> list[Arm]:
    """A method at those doses, but 0, that it has."""
    known = doses_of(method)
    return [
        (method, seed, dose)
        for dose in doses
        if dose != 0 and (known is None or dose in known)
    ]
