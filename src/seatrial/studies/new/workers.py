"""Who measures: this process, or several; a cluster would be one more class here.

Workers get jobs and deliver records; they write nothing. ``run`` asks the jobs for another
one only after every record that it delivered was kept, so jobs see what is stored.
"""

import multiprocessing
import queue
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, final

from seatrial.runs.records import Failed, Record
from seatrial.studies.new.jobs import Job


class Workers(ABC):
    """A way to have jobs done; a context, at the end of which nothing is left running."""

    @abstractmethod
    def run(self, jobs: Iterable[Job | None]) -> Iterator[Record]:
        """The records of all jobs, as they come; ``None`` among jobs: wait for records."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@final
class Local(Workers):
    """This process, one job after the other."""

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Record]:
        """The records of each job, before the next one is asked for."""
        from seatrial.studies.new.work import Worker

        worker = Worker()
        for job in jobs:
            if job is None:  # every record is kept already, so nothing will ever change
                return
            yield from worker.perform(job)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        pass


@final
class Processes(Workers):
    """Several processes of this machine, each with a model of its own."""

    def __init__(self, number: int, threads: int | None = None) -> None:
        """Start them.

        Args:
            number: how many, at least 1.
            threads: of each; unsaid, the processor's are divided among them.
        """
        context = multiprocessing.get_context("spawn")  # forks of threaded programs hang
        self._answers: Any = context.Queue()
        self._orders = [context.Queue() for _ in range(number)]
        self._team = [
            context.Process(
                target=_serve, args=(k, orders, self._answers, threads, number), daemon=True
            )
            for k, orders in enumerate(self._orders)
        ]
        for process in self._team:
            process.start()

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Record]:
        """The records of all processes, as they come."""
        source = iter(jobs)
        idle = set(range(len(self._team)))
        busy: dict[int, Job] = {}
        last: dict[int, Job] = {}
        ended = False
        while True:
            while idle and not ended:
                job = next(source, _END)
                if job is _END:
                    ended = True
                elif job is None:
                    break
                else:
                    assert isinstance(job, Job)
                    worker = _nearest(idle, last, job)
                    idle.discard(worker)
                    busy[worker] = last[worker] = job
                    self._orders[worker].put(job)
            if not busy:
                return
            worker, record = self._next_answer(busy)
            if record is None:
                del busy[worker]
                if self._team[worker].is_alive():
                    idle.add(worker)
            else:
                yield record

    def _next_answer(self, busy: dict[int, Job]) -> tuple[int, Record | None]:
        while True:
            try:
                return self._answers.get(timeout=1.0)
            except queue.Empty:
                for worker, job in busy.items():
                    if not self._team[worker].is_alive():
                        return self._lost(worker, job)

    def _lost(self, worker: int, job: Job) -> tuple[int, Record | None]:
        if worker in self._told:
            return worker, None
        self._told.add(worker)
        code = self._team[worker].exitcode
        reason = f"its worker process ended with code {code}; run the same command again"
        return worker, Failed(job.unit, job.phase, "", reason)

    @property
    def _told(self) -> set[int]:
        return self.__dict__.setdefault("told", set())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for orders in self._orders:
            orders.put(None)
        for process in self._team:
            if error is not None:
                process.terminate()
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


_END = object()


def _nearest(idle: set[int], last: dict[int, Job], job: Job) -> int:
    """The idle worker that has this unit's readings, or its model, or else the first."""

    def distance(worker: int) -> tuple[bool, bool, int]:
        before = last.get(worker)
        is_other_unit = before is None or before.unit != job.unit
        is_other_model = before is None or before.unit.model != job.unit.model
        return is_other_unit, is_other_model, worker

    return min(idle, key=distance)


def _serve(number: int, orders: Any, answers: Any, threads: int | None, team: int) -> None:
    """What a worker process does until it is given ``None``."""
    import os
    import signal

    import torch

    from seatrial.studies.new.work import Worker

    # Ctrl-C reaches the whole group; the driver decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // team))
    worker = Worker()
    while (job := orders.get()) is not None:
        for record in worker.perform(job):
            answers.put((number, record))
        answers.put((number, None))
