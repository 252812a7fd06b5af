"""`seatrial run`, `report` and `audit`: studies."""

from pathlib import Path

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.changes import Changes, changed
from seatrial.cli.screen import OUT, progress, say
from seatrial.errors import StoreFault


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
    from seatrial.store.store import Store
    from seatrial.studies.run import run as run_study
    from seatrial.studies.study import read_study

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
    from seatrial.report import report as make_report
    from seatrial.report import verdict_table, write
    from seatrial.store.store import Store

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
    from seatrial.store.store import Store

    store = Store(folder)
    study = store.plan()["study"]
    checks = store.read_json("audit.json")
    if checks is None:
        raise StoreFault(
            f"the study in {folder} is not finished, so there is no audit yet; run it "
            "again with the same --out, which measures only what is missing"
        )
    table = Table("id", "check", "outcome", "detail")
    for check in checks:
        table.add_row(*(Text(check[key]) for key in ("id", "question", "status", "detail")))
    OUT.print(table)
    outcomes = [check["status"] for check in checks]
    counts = (f"{outcomes.count(o)} {o}" for o in ("passed", "warned", "failed"))
    say(OUT, f"{study['name']}: {len(checks)} checks, {', '.join(counts)}.")
