"""`seatrial measure`: one task on one model, unsteered and steered."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.table import Table

from seatrial.cli.changes import Changes, changed
from seatrial.cli.screen import OUT, progress, say
from seatrial.errors import BadOption, StoreFault, unknown
from seatrial.types import Split

if TYPE_CHECKING:
    from seatrial.intervention import Steering
    from seatrial.tasks import Protocol
    from seatrial.types import Score


def measure(
    task: tyro.conf.Positional[str],
    source: str | None = None,
    model: str = "smollm2-135m",
    under: Path | None = None,
    doses: tuple[float, ...] = (1.0,),
    split: Split = "test",
    limit: int | None = None,
    seed: int = 0,
    changes: Changes = (),
    out: Path | None = None,
) -> None:
    """Ask one task of a model, unsteered and steered, and print every metric.

    Args:
        task: See `seatrial list tasks`.
        source: What it is asked on: a concept, a map, a data set, or your own file where
            the task takes one; its first source by default.
        model: Hub id, local folder, GGUF file, or registered small model.
        under: A file made by `seatrial fit`; without it only the unsteered model is asked.
        doses: Strengths of the steering; 1 is the method as fitted.
        split: Which items.
        limit: Largest number of test items; a seeded sample is taken.
        seed: Of the split, the sample, and of writing at a temperature above 0.
        changes: Options of the task, such as form=ab or shots=5.
        out: A .jsonl file for the scores, one item and steering a line.
    """
    from seatrial.intervention import UNSTEERED
    from seatrial.measure import measure as ask
    from seatrial.model import Model, keep_freed_memory

    _check_out(out)
    source, asked = _task(task, source, seed, limit, changed(changes, "shots=5"))
    steerings = _steerings(under, doses)
    keep_freed_memory()
    loaded = Model.load(model)
    with progress() as bar:
        shown = bar.add_task(asked.name, total=1.0)
        scores = ask(
            loaded,
            asked,
            split,
            [UNSTEERED, *steerings],
            seed=seed,
            progress=lambda share: bar.update(shown, completed=share),
        )
        bar.update(shown, completed=1.0)
    OUT.print(_table(asked, steerings, scores))
    groups = {score.group for score in scores[0]}
    say(
        OUT,
        f"{asked.name} on {source}, {split} split: {len(scores[0])} items in {len(groups)} "
        f"groups; {loaded.identity}; 95 % intervals over groups",
    )
    if out is not None:
        about = {"task": asked.name, "source": source, "options": _plain(asked)}
        about |= {"model": loaded.identity, "split": split, "seed": seed}
        _write(out, about, None if under is None else str(under), steerings, scores)
        say(OUT, f"Scores: {out}")


def _task(
    name: str, source: str | None, seed: int, limit: int | None, options: dict[str, Any]
) -> tuple[str, "Protocol"]:
    from seatrial.tasks import TASKS
    from seatrial.tasks.options import with_options

    if name not in TASKS:
        raise unknown("task", name, TASKS)
    source = TASKS[name].sources[0] if source is None else source
    return source, with_options(TASKS[name].of(source, seed=seed, limit=limit), options)


def _steerings(under: Path | None, doses: tuple[float, ...]) -> list["Steering"]:
    from seatrial.intervention import Intervention, Steering

    if under is None:
        if doses != (1.0,):
            raise BadOption("--doses are those of a steering; name its file with --under")
        return []
    if not doses or len(set(doses)) < len(doses):
        raise BadOption(f"--doses must be some different numbers, not {list(doses)}")
    fitted = Intervention.load(under)
    return [Steering(fitted, dose) for dose in doses]


def _table(
    task: "Protocol", steerings: Sequence["Steering"], scores: Sequence[Sequence["Score"]]
) -> Table:
    from seatrial.report.measured import compare, measured_table

    plain, *steered = scores
    rows = [
        row
        for steering, line in zip(steerings, steered, strict=True)
        for row in compare(plain, line, dose=steering.dose, first=task.metric)
    ]
    found = rows or compare(plain, first=task.metric)
    return measured_table(found, task.unit, OUT.width)


def _plain(task: "Protocol") -> dict[str, Any]:
    """The options of a task that are plain values, those of an inner task inside."""
    from seatrial.tasks import Protocol
    from seatrial.tasks.options import options_of

    plain = {}
    for key, value in options_of(task).items():
        if isinstance(value, Protocol):
            plain[key] = {"task": value.name, **_plain(value)}
        elif value is None or isinstance(value, bool | int | float | str):
            plain[key] = value
    return plain


def _check_out(out: Path | None) -> None:
    """Refuse before anything is measured what could not be written afterwards."""
    if out is None:
        return
    if out.suffix != ".jsonl":
        raise BadOption(
            f"--out {out} must end in .jsonl; scores are one JSON object a line"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFault(f"{out.parent} cannot be made ({error.strerror})") from error


def _write(
    out: Path,
    about: dict[str, Any],
    under: str | None,
    steerings: Sequence["Steering"],
    scores: Sequence[Sequence["Score"]],
) -> None:
    """One line for each item and steering; the file appears whole or not at all."""
    doses = [0.0, *(steering.dose for steering in steerings)]
    lines = [
        json.dumps(
            {
                **about,
                "under": under if k else None,
                "dose": dose,
                "item": score.item,
                "group": score.group,
                "metrics": score.metrics,
            }
        )
        for k, (dose, line) in enumerate(zip(doses, scores, strict=True))
        for score in line
    ]
    partial = out.with_name(f"{out.name}.partial")
    try:
        partial.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreFault(f"{out} cannot be written ({error.strerror})") from error
