"""What a worker does: one phase of one unit, from plain values in to records out."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, final

import torch

from seatrial.errors import SeatrialError
from seatrial.model import Model
from seatrial.steering import UNSTEERED, Intervention, Steering
from seatrial.store.records import (
    Begun,
    Checked,
    Chosen,
    Failed,
    Finished,
    Fitted,
    Items,
    JobProgress,
    Name,
    Phase,
    Planned,
    Record,
    Rows,
    Unit,
)
from seatrial.store.store import environment
from seatrial.studies.asked import Asked
from seatrial.studies.audit import (
    Check,
    audit_fit,
    audit_items,
    audit_reads,
    plain_checks,
    refuse,
)
from seatrial.studies.cells import cell_id
from seatrial.studies.described import described
from seatrial.studies.fitting import as_bytes, facts_of, from_bytes
from seatrial.studies.jobs import Job, content_of
from seatrial.studies.phases import Batch, Phases, Placed
from seatrial.studies.plan import Plan
from seatrial.tasks import Scored
from seatrial.types import Request, Score

Scores = list[list[Score]]
"""By steering and item."""

Texts = list[list[tuple[str, str]]]
"""By steering, item and what was written."""


@final
class Worker:
    """Does jobs, keeping the model and the readings of the unit it did last."""

    def __init__(self) -> None:
        self._model: tuple[str, Model] | None = None
        self._unit: UnitWork | None = None

    def perform(self, job: Job) -> Iterator[Record]:
        """The records of a job; what fails is a record, too."""
        try:
            yield from self._work(job).perform(job)
            yield Finished(job.unit, job.phase)
        except Exception as error:  # one unit that fails must not stop the others
            self.leave()
            is_defect = not isinstance(error, SeatrialError)
            reason = f"{type(error).__name__}: {error}" if is_defect else str(error)
            yield Failed(job.unit, job.phase, "", reason, is_defect)

    def leave(self) -> None:
        """Forget the unit and its readings."""
        if self._unit is not None:
            self._unit.close()
            self._unit = None

    def _work(self, job: Job) -> "UnitWork":
        if self._unit is None or self._unit.key != (job.unit, job.plan):
            self.leave()
            self._unit = UnitWork(self._loaded(job.plan), job.plan, job.unit)
        return self._unit

    def _loaded(self, plan: Plan) -> Model:
        named = plan.model
        if self._model is None or self._model[0] != repr(named):
            self._model = None  # before the next one is loaded, so that only one is held
            model = Model.load(
                named.name,
                dtype=named.dtype,
                device=named.device,
                revision=named.revision,
            )
            self._model = repr(named), model
        return self._model[1]


@final
class UnitWork:
    """One unit with its model, its fits and its readings."""

    def __init__(self, model: Model, plan: Plan, unit: Unit) -> None:
        self.key = unit, plan
        self.model, self.unit = model, unit
        self.phases = Phases(model, plan, unit)
        self._fits: dict[str, Intervention] = {}
        self._failed: set[str] = set()
        self._session = ExitStack()
        self._session.enter_context(model.session())

    def close(self) -> None:
        """Forget readings."""
        self._session.close()

    def perform(self, job: Job) -> Iterator[Record]:
        """The records of one phase."""
        self._failed |= job.lost
        yield Begun(self.unit, self._header())
        if job.choices:
            yield Chosen(self.unit, job.choices)
        batches = self.phases.batches(job.phase, job.choices, job.others)
        yield Planned(
            self.unit,
            job.phase,
            tuple(name for batch in batches for name in self._names(batch, job.phase)),
            tuple(each._asdict() for each in self.phases.not_applicable()),
        )
        if job.phase == "test" and not (job.is_audited and self._are_stored(batches, job)):
            yield from self._audited(job)
        yield from self._measured(batches, job)

    def _are_stored(self, batches: Sequence[Batch], job: Job) -> bool:
        cells = (self._cell(p, batch.ask) for batch in batches for p in batch.placed)
        return all(cell in job.stored for cell in cells)

    def _audited(self, job: Job) -> Iterator[Record]:
        """Check the items of every target, and every method as it was chosen.

        What is wrong with items loses the unit, and with a method that method alone.
        """
        label = self.unit.behaviour
        targets = self.phases.behaviour.targets
        tasks = {
            target.label: self.phases.behaviour.base_task(target) for target in targets
        }
        leak = self.phases.plan.split.leak
        shared: list[Check] = []
        for name, task in tasks.items():
            shared += audit_items(f"{label}, {name}", task, leak=leak)
        yield Checked(self.unit, tuple(plain_checks(shared)))
        refuse(shared)
        audited = set[tuple[str, float, tuple[Request, ...]]]()
        for target, placed in self.phases.chosen(job.choices):
            task, fit = tasks[target.label], placed.fit
            assert fit is not None
            if self._is_lost(placed.label) or not isinstance(task, Scored):
                continue
            # Targets that differ in their scoring alone ask the model the same.
            requests = tuple(task.requests("select") or task.requests("test"))
            if (fit.id, placed.dose, requests) in audited:
                continue
            audited.add((fit.id, placed.dose, requests))
            where = f"{label}, {target.label}, {placed.label}"
            what = f"audit of {placed.label} on {target.label}"
            yield JobProgress(self.unit, job.phase, what, 0.0, 1.0)
            try:
                yield from self._fit([placed], job)
                fitted = self._fits[fit.id]
                # The audit compares passes that must be made anew.
                with self.model.session(passes=False):
                    doses = fit.doses(placed.dose)
                    checks = audit_fit(self.model, where, task, fitted, doses)
                if fit.data is not None:
                    read = getattr(fit.method, "read", None)
                    checks += audit_reads(self.model, where, fit.data, read)
                yield Checked(self.unit, tuple(plain_checks(checks)))
                refuse(checks)
            except SeatrialError as error:
                self._failed.add(placed.label)
                yield Failed(self.unit, job.phase, placed.label, str(error))

    def _measured(self, batches: Sequence[Batch], job: Job) -> Iterator[Record]:
        whole = float(sum(batch.ask.tokens * len(batch.placed) for batch in batches))
        done, listed = 0.0, set[str]()
        stored = set(job.stored)
        for batch in batches:
            missing = {
                cell: placed
                for placed in batch.placed
                if (cell := self._cell(placed, batch.ask)) not in stored
            }
            if missing and not self._is_lost(batch.label):
                try:
                    yield from self._fit(missing.values(), job)
                    scores, texts = self._scores(batch, missing)
                    if batch.ask.id not in listed:
                        listed.add(batch.ask.id)
                        yield Items(self.unit, tuple(batch.ask.items(scores[0])))
                    yield self._rows(missing, scores, texts)
                    stored |= set(missing)
                except SeatrialError as error:
                    if not batch.label:
                        raise
                    self._failed.add(batch.label)
                    yield Failed(self.unit, job.phase, batch.label, str(error))
            done += batch.ask.tokens * len(batch.placed)
            yield JobProgress(self.unit, job.phase, str(batch), done, whole)

    def _is_lost(self, label: str) -> bool:
        """Whether an arm, or the arm that a control or refit stands beside, has failed."""
        return any(label == lost or label.startswith(f"{lost}, ") for lost in self._failed)

    def _fit(self, placed: Iterable[Placed], job: Job) -> Iterator[Record]:
        """Fit what is not fitted yet, or take it from where it was stored."""
        for one in placed:
            if one.fit is None or one.fit.id in self._fits:
                continue
            if one.fit.id in job.fits:
                self._fits[one.fit.id] = from_bytes(job.fits[one.fit.id])
                continue
            fitted = one.fit.make(self.model)
            self._fits[one.fit.id] = fitted
            drawn = f"{one.control}-{one.draw}" if one.control else ""
            name = ".".join(filter(None, (one.label, one.settings, drawn)))
            plain = re.sub(r"[^\w.=-]+", "-", name)[:80]
            content = as_bytes(fitted)
            yield Fitted(self.unit, one.fit.id, plain, content, facts_of(fitted))

    def _scores(self, batch: Batch, missing: Mapping[str, Placed]) -> tuple[Scores, Texts]:
        under = [
            Steering(self._fits[one.fit.id], one.dose) if one.fit else UNSTEERED
            for one in missing.values()
        ]
        return batch.ask.scores(self.model, under)

    def _rows(self, missing: Mapping[str, Placed], scores: Scores, texts: Texts) -> Rows:
        rows = [
            (cell, score.item, metric, float(value))
            for cell, line in zip(missing, scores, strict=True)
            for score in line
            for metric, value in score.metrics.items()
        ]
        written = [
            (cell, item, text)
            for cell, line in zip(missing, texts, strict=True)
            for item, text in line
        ]
        columns = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Rows(self.unit, *columns, cells=tuple(missing), texts=tuple(written))

    def _cell(self, placed: Placed, ask: Asked) -> str:
        fit = placed.fit.id if placed.fit else ""
        return cell_id(self.model.fingerprints, fit, placed.dose, ask.id)

    def _names(self, batch: Batch, phase: Phase) -> Iterator[Name]:
        for one in batch.placed:
            yield Name(
                cell=self._cell(one, batch.ask),
                ask=batch.ask.id,
                fit=one.fit.id if one.fit else "",
                phase=phase,
                label=one.label,
                kind=one.kind,
                control=one.control,
                draw=one.draw,
                settings=one.settings,
                dose=one.dose,
                role=batch.role,
                target=batch.target,
                point=batch.point,
                condition=batch.condition,
                fit_behaviour=one.fit.behaviour if one.fit else "",
                fit_condition=one.fit.condition.label if one.fit else "",
                split=batch.ask.split,
            )

    def _header(self) -> dict[str, Any]:
        return {
            **self.model.header(),
            "content": content_of(self.phases.plan, self.unit),
            "fingerprints": list(self.model.fingerprints),
            "environment": environment(torch.get_num_threads()),
            **described(self.phases),
        }
