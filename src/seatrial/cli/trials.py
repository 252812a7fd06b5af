"""`seatrial run`, `report` and `audit`: studies."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table

from seatrial.cli.changes import Lines
from seatrial.cli.screen import ERR, OUT, progress, say
from seatrial.errors import BadData, BadOption

if TYPE_CHECKING:
    from seatrial.analysis.records import ClaimResult
    from seatrial.studies.dry_run import DryRun
    from seatrial.studies.outcome import RunOutcome
    from seatrial.studies.progress import Screen
    from seatrial.studies.study import Study


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is under way is left as Ctrl-C leaves it."""


def run(
    study: tyro.conf.Positional[str],
    out: Path | None = None,
    scale: str = "small",
    dry_run: bool = False,
    workers: int = 1,
    changes: Lines = (),
    as_published: str = "",
) -> None:
    """Run a study: measure every cell that is not stored yet. Stop and start as you like.

    Args:
        study: Built-in study by name (see `seatrial list studies`), or a TOML file.
        out: Results folder; runs/NAME by default. A finished one grows: what it holds of
            the plan is not measured again.
        scale: small is the plan as written; smoke tries all of it in seconds on a random
            model; others are those of the plan.
        dry_run: Only print the plan as completed, and how much there is to be measured.
        workers: Processes that measure, each with a model of its own.
        changes: Laid over the plan, as lines of TOML: --set 'limit.test = 40'.
        as_published: Known defects of a paper to repeat, of those that the plan has; with
            commas between them.
    """
    from seatrial.model import keep_freed_memory
    from seatrial.store import Store
    from seatrial.studies.outcome import outcome
    from seatrial.studies.progress import RunMeter
    from seatrial.studies.run import run as run_study
    from seatrial.studies.study import read_study
    from seatrial.studies.workers import Local, Processes

    defects = [name.strip() for name in as_published.split(",") if name.strip()]
    lines = [line for several in changes for line in several]
    plan = read_study(study, scale=scale, defects=defects, changes=lines)
    keep_freed_memory()
    if dry_run:
        _preview(plan)
        return
    if workers < 1:
        raise BadOption(f"--workers is {workers}; write 1, or how many processes measure")
    store = Store(out or Path("runs") / plan.run_name)
    team = Local() if workers == 1 else Processes(workers)
    with _stopped_by_sigterm(), _screen() as show:
        run_study(plan, store, team, RunMeter(plan.plans, show))
    _conclude(outcome(plan, store), store.root)


def _preview(study: "Study") -> None:
    from seatrial.studies import dry_run
    from seatrial.studies.toml import as_toml

    counted = dry_run.dry_run(study, seconds=dry_run.CALIBRATION)
    say(OUT, f"# {study.run_name}, as completed with defaults and changes")
    say(OUT, as_toml(study.completed))
    shown = Table("model", "phase", "units", "fits", "asks", "cells", "tokens", box=None)
    for row in dry_run.count_table(counted):
        shown.add_row(*row)
    OUT.print(shown)
    for each in counted:
        for line in _about(each):
            say(OUT, line)


def _about(counted: "DryRun") -> Iterator[str]:
    for combination in counted.not_applicable:
        yield f"{counted.model}: not applicable: {combination.what}: {combination.reason}"
    if counted.outline:
        yield (
            f"{counted.model} is not on this machine: counted by {counted.outline}, with "
            "tokens by the length of texts; how long it takes is not known"
        )
    elif counted.seconds is not None:
        yield (
            f"{counted.model}: {duration(counted.seconds)} by one process here, and what "
            f"fits take ({counted.tokens_per_second:,.0f} tokens a second)"
        )


def duration(seconds: float) -> str:
    """A length of time in words: ``about 3 min``."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.0f} {unit}"
    return f"about {seconds:.0f} s"


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _screen() -> Iterator["Screen"]:
    """A bar on a terminal that can show one; else a plain line now and then."""
    from seatrial.studies.progress import plainly

    if not ERR.is_terminal or ERR.is_dumb_terminal or ERR.no_color:
        yield plainly(lambda line: say(ERR, line))
        return
    with progress() as bar:
        task = bar.add_task("loading the model", total=1.0)

        def show(what: str, share: float, left: float | None) -> None:
            bar.update(task, description=what, completed=share)
            if what.endswith(("done", "failed")):
                bar.console.print(what, markup=False, highlight=False)

        yield show


def _conclude(outcome: "RunOutcome", root: Path) -> None:
    """Say how it ended; a run without one whole unit has failed itself."""
    sentences = list(outcome.sentences())
    if not outcome.whole and not outcome.is_defect:
        raise BadData(f"{outcome}: {'; '.join(sentences)}")
    for line in sentences:
        say(ERR, f"failed: {line}")
    for change in outcome.changes:
        say(ERR, f"since it was begun, {change}; what is stored stays as it was measured")
    if not outcome.whole:
        raise SystemExit(1)
    say(OUT, f"Measured: {outcome}. Now: seatrial report {root}")


def report(
    folders: tyro.conf.Positional[tuple[Path, ...]],
    out: Path | None = None,
    check: bool = False,
    json: bool = False,
) -> None:
    """Print the verdicts of studies and write report.html, report.md and results.json.

    Args:
        folders: Results folders; several make one report.
        out: Where to write; of one study by default its own folder.
        check: End with exit code 3 if a claim of the plan does not hold.
        json: Print results.json instead of tables.
    """
    from seatrial.report import make_report, verdict_table, write
    from seatrial.store import Store

    if not folders:
        raise BadOption("report needs a results folder: seatrial report runs/NAME")
    if out is None and len(folders) > 1:
        raise BadOption("a report of several studies needs its own folder: --out FOLDER")
    made = make_report(*map(Store, folders))
    path = write(made, out or next(iter(folders)))
    if json:
        say(OUT, made.json.rstrip())
    else:
        OUT.print(verdict_table(made.summary, OUT.width))
        say(OUT, f"Report: {path}")
    if check:
        _demand(made.summary.claims)


def _demand(claims: Sequence["ClaimResult"]) -> None:
    if not claims:
        raise BadOption(
            "there is no claim to check: the plan makes none, and no trial has controls "
            "that could decide whether it works; name claims in the plan, or measure "
            "random and shuffled controls"
        )
    broken = [claim for claim in claims if not claim.holds]
    for claim in broken:
        say(ERR, f"does not hold: {claim.text}: {claim.reason}")
    if broken:
        raise SystemExit(3)
    say(ERR, f"All {len(claims)} claims hold.")


def audit(folder: tyro.conf.Positional[Path]) -> None:
    """Print the hazard audit that a study made of itself.

    Args:
        folder: Results folder of a finished study, or of one that the audit stopped.
    """
    from seatrial.analysis.summary import summarise
    from seatrial.report.terminal import audit_line, audit_table
    from seatrial.store import Store

    store = Store(folder)
    name, checks = str(store.plan["name"]), summarise(store).audit
    OUT.print(audit_table(checks))
    say(OUT, audit_line(name, checks))
