"""`seatrial run`, `report` and `audit`: studies."""

from pathlib import Path

import tyro

from seatrial.cli.changes import Changes, changed
from seatrial.cli.screen import OUT, progress, say


def run(
    study: tyro.conf.Positional[str], out: Path | None = None, changes: Changes = ()
) -> None:
    """Run a study: measure every cell that is not stored yet. Stop and start as you like.

    Args:
        study: Built-in study by name, or a TOML file.
        out: Results folder; runs/NAME by default.
        changes: Replace top-level keys of the study, such as doses=[-1,0,1].
    """
    from seatrial.model import keep_freed_memory
    from seatrial.store import Store
    from seatrial.studies import read_study
    from seatrial.studies.run import run as run_study

    keep_freed_memory()
    plan = read_study(study, changed(changes))
    store = Store(out or Path("runs") / plan.name)
    with progress() as bar:
        task = bar.add_task("loading the model", total=1.0)

        def tell(name: str, share: float) -> None:
            bar.update(task, description=name, completed=share)

        run_study(plan, store, progress=tell)
        tell("done", 1.0)
    say(OUT, f"Measured. Now: seatrial report {store.root}")


def report(folder: tyro.conf.Positional[Path]) -> None:
    """Print the verdict table of a study and write report.html, report.md and results.json.

    Args:
        folder: Results folder of a finished study.
    """
    from seatrial.report import make_report, verdict_table, write
    from seatrial.store import Store

    store = Store(folder)
    made = make_report(store)
    path = write(store, made)
    OUT.print(verdict_table(made.summary, OUT.width))
    say(OUT, f"Report: {path}")


def audit(folder: tyro.conf.Positional[Path]) -> None:
    """Print the hazard audit that a study made of itself.

    Args:
        folder: Results folder of a finished study, or of one that the audit stopped.
    """
    from seatrial.report.terminal import audit_line, audit_table
    from seatrial.store import Store

    store = Store(folder)
    checks = store.audit()
    OUT.print(audit_table(checks))
    say(OUT, audit_line(str(store.plan()["study"]["name"]), checks))
