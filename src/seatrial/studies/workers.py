"""Who measures: this process, or several; a cluster would be one more class here.

Workers get jobs and deliver records; they write nothing. ``run`` asks the jobs for another
one only after every record that it delivered was kept, so jobs see what is stored.
"""

import multiprocessing
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, final

from seatrial.errors import BadOption
from seatrial.store.records import Failed, Finished, Record
from seatrial.studies.jobs import Job

W = TypeVar("W", bound="Workers")


class Workers(ABC):
    """A way to have jobs done; a context, at the end of which nothing is left running."""

    @abstractmethod
    def run(self, jobs: Iterable[Job | None]) -> Iterator[Record]:
        """The records of all jobs, as they come; ``None`` among jobs: wait for records."""

    def __enter__(self: W) -> W:
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
        from seatrial.studies.work import Worker

        worker = Worker()
        for job in jobs:
            if job is None:  # every record is kept already, so nothing will ever change
                return
            yield from worker.perform(job)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        pass


@final
class Processes(Workers):
    """Several processes of this machine, each with a model of its own.

    Each talks to the driver through a pipe of its own, so that one that is killed at any
    moment neither blocks another one nor leaves half a record; a new one takes its place.
    A script that uses this needs ``if __name__ == "__main__":``, as all that starts
    processes does.
    """

    def __init__(self, number: int, threads: int | None = None) -> None:
        """Ask for some; they are started where the context begins.

        Args:
            number: how many.
            threads: of each; unsaid, those of this process are divided among them.

        Raises:
            BadOption: for numbers below 1.
        """
        if number < 1 or (threads is not None and threads < 1):
            of_threads = "" if threads is None else f" with {threads} threads each"
            raise BadOption(f"{number} workers{of_threads} measure nothing; 1 is the least")
        self._number, self._threads = number, threads
        self._team: list[_Member] = []
        self.busy: dict[int, Job] = {}
        """What each is at, by its number."""

    @property
    def processes(self) -> list[BaseProcess]:
        """Those that measure now."""
        return [process for process, _ in self._team]

    def __enter__(self) -> "Processes":
        self._team = [self._started() for _ in range(self._number)]
        return self

    def run(self, jobs: Iterable[Job | None]) -> Iterator[Record]:
        """The records of all processes, as they come."""
        source, busy = iter(jobs), self.busy
        last: dict[int, Job] = {}
        while True:
            while len(busy) < len(self._team) and (job := next(source, None)):
                worker = _nearest(set(range(len(self._team))) - set(busy), last, job)
                busy[worker] = last[worker] = job
                with suppress(OSError):  # one that has ended is noticed when it is read
                    self._team[worker].line.send(job)
            if not busy:
                return
            lines = {self._team[worker].line: worker for worker in busy}
            for line in wait(list(lines)):
                worker = lines[line]  # pyright: ignore[reportArgumentType]
                try:
                    record = self._team[worker].line.recv()
                except (EOFError, OSError):
                    record = self._replaced(worker, busy[worker])
                    del last[worker]
                if ends_job(record):
                    del busy[worker]
                yield record

    def _replaced(self, worker: int, job: Job) -> Failed:
        """Start another process in place of one that has ended; what was lost by that."""
        process, line = self._team[worker]
        line.close()
        process.join()
        self._team[worker] = self._started()
        reason = (
            f"its worker process ended ({_ending(process.exitcode)}); the same command "
            "tries again"
        )
        return Failed(job.unit, job.phase, "", reason)

    def _started(self) -> "_Member":
        context = multiprocessing.get_context("spawn")  # forks of threaded programs hang
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._threads, self._number), daemon=True
        )
        process.start()
        theirs.close()  # or its end would never be seen
        return _Member(process, ours)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for process, line in self._team:
            line.close()  # who waits for a job ends by that
            if kind is not None:
                process.terminate()
        for process, _ in self._team:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
                process.join()


class _Member(NamedTuple):
    process: BaseProcess
    line: Any
    """The driver's end of its pipe."""


def ends_job(record: Record) -> bool:
    """Whether a record is the last one of its job."""
    return isinstance(record, Finished) or (isinstance(record, Failed) and not record.label)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _nearest(idle: set[int], last: dict[int, Job], job: Job) -> int:
    """The idle worker that has this unit's readings, or its model, or else the first."""

    def distance(worker: int) -> tuple[bool, bool, int]:
        before = last.get(worker)
        is_other_unit = before is None or before.unit != job.unit
        is_other_model = before is None or before.unit.model != job.unit.model
        return is_other_unit, is_other_model, worker

    return min(idle, key=distance)


def _serve(line: Any, threads: int | None, team: int) -> None:
    """What a worker process does until the driver hangs up, or is no more."""
    import torch

    from seatrial.model import keep_freed_memory
    from seatrial.studies.work import Worker

    # Ctrl-C reaches the whole group; the driver decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads or max(1, torch.get_num_threads() // team))
    keep_freed_memory()
    worker = Worker()
    with suppress(EOFError, OSError):
        while True:
            for record in worker.perform(line.recv()):
                line.send(record)
