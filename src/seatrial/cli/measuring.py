"""`seatrial measure`: one task on one model, unsteered and steered.

Numbered traps are those of docs/hazards.md.
"""

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.table import Table

from seatrial.cli.changes import Changes, changed
from seatrial.cli.judging import (
    NO_SERVER,
    Judging,
    chosen_judge,
    judged_task,
    told_by_judge,
)
from seatrial.cli.screen import OUT, progress, say
from seatrial.errors import BadOption, StoreFault, unknown
from seatrial.types import Split

if TYPE_CHECKING:
    from seatrial.steering.intervention import Steering
    from seatrial.tasks import Task
    from seatrial.tasks.judges import Judge
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
    condition: str = "base",
    concept: str | None = None,
    changes: Changes = (),
    judging: Judging = NO_SERVER,
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
        condition: What the prompts carry: base is nothing, system-positive and
            system-negative an instruction for or against the concept as system message,
            user-positive and user-negative the same before the question; all compares the
            five. Plain text has no roles: there system and user are the same.
        concept: Whose instructions those are; by default those of the source, where it is
            a concept or a map.
        changes: Options of the task, such as form=ab or shots=5; those that it has are in
            `seatrial list options`. Of generation judge=lexicon, judge=regex:PATTERN,
            judge=classifier (learnt from the concept's texts), judge=likelihood (the
            model's own yes against no) or judge=endpoint as well.
        judging: Of generation: how judges are asked.
        out: A .jsonl file for the scores, one item and steering a line.
    """
    from seatrial.data.catalogue import note_on
    from seatrial.model import Model, keep_freed_memory
    from seatrial.steering.intervention import UNSTEERED
    from seatrial.tasks.measure import measure as ask

    _check_out(out)
    load, options = cache(partial(Model.load, model)), changed(changes, "shots=5")
    said = options.pop("judge", None) if task == "generation" else None
    if task != "generation" and judging.agreement != NO_SERVER.agreement:
        raise BadOption("--agreement is of judges, which only generation has; leave it out")
    judge = chosen_judge(said, judging, _source(task, source), seed, load)
    source, plain = _task(task, source, seed, limit, options, judge)
    tasks = _conditions(plain, condition, concept, source)
    steerings = _steerings(under, doses)
    keep_freed_memory()
    loaded = load()
    with progress() as bar:
        shown = bar.add_task(plain.name, total=float(len(tasks)))
        found = []
        for k, asked in enumerate(tasks):
            scores = ask(
                loaded,
                asked,
                split,
                [UNSTEERED, *steerings],
                seed=seed,
                progress=lambda share, k=k: bar.update(shown, completed=k + share),
            )
            found.append(scores)
            bar.update(shown, completed=k + 1.0)
    OUT.print(_table(tasks, steerings, found))
    items, groups = len(found[0][0]), {score.group for score in found[0][0]}
    say(
        OUT,
        f"{_named(tasks, plain)} on {source}, {split} split: {items} items in "
        f"{len(groups)} groups; {loaded.identity}; 95 % intervals over groups",
    )
    for line in _spread(tasks, steerings, found, split):
        say(OUT, line)
    if note := note_on(source):
        say(OUT, f"Note: {note}")
    if out is not None:
        about = {"source": source, "model": loaded.identity, "split": split, "seed": seed}
        about["under"] = None if under is None else str(under)
        _write(out, about, tasks, steerings, found)
        say(OUT, f"Scores: {out}")
    # Last, because labelled texts are judged, too, and a server may fail.
    scores = [line for each in found for line in each]
    lines = dict(zip(_names(tasks, steerings), scores, strict=True))
    for line in told_by_judge(plain, source, seed, lines, judging.agreement):
        say(OUT, line)


def _source(task: str, source: str | None) -> str:
    from seatrial.tasks import TASKS

    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return TASKS[task].sources[0] if source is None else source


def _names(tasks: Sequence["Task"], steerings: Sequence["Steering"]) -> list[str]:
    """Of what was asked, in the order of the scores."""
    under = ["unsteered", *(f"dose {steering.dose:g}" for steering in steerings)]
    return [f"{task.name}, {said}" for task in tasks for said in under]


def _task(
    name: str,
    source: str | None,
    seed: int,
    limit: int | None,
    options: dict[str, Any],
    judge: "Judge | None",
) -> tuple[str, "Task"]:
    from seatrial.tasks import TASKS
    from seatrial.tasks.spec import with_options

    source = _source(name, source)
    if judge is None:
        made = TASKS[name].of(source, seed=seed, limit=limit)
    else:
        made = judged_task(source, seed, limit, judge)
    return source, with_options(made, options)


def _conditions(
    task: "Task", condition: str, concept: str | None, source: str
) -> list["Task"]:
    """The task itself for ``base`` alone, else the task in each condition asked for."""
    from seatrial.data.catalogue import load_concept
    from seatrial.tasks import CONDITIONS, shifted, told_about

    if condition == "base":
        if concept is not None:
            raise BadOption(
                "--concept says whose instructions the prompts carry, and under the "
                "condition base they carry none; give another --condition"
            )
        return [task]
    if condition not in (*CONDITIONS, "all"):
        raise unknown("condition", condition, [*CONDITIONS, "all"])
    told = told_about(task, source) if concept is None else load_concept(concept)
    wanted = CONDITIONS if condition == "all" else (condition,)
    return [shifted(task, each, told) for each in wanted]


def _named(tasks: Sequence["Task"], plain: "Task") -> str:
    if len(tasks) == 1:
        return tasks[0].name
    return f"{plain.name} in {len(tasks)} conditions"


def _steerings(under: Path | None, doses: tuple[float, ...]) -> list["Steering"]:
    from seatrial.steering import Steering, load

    if under is None:
        if doses != (1.0,):
            raise BadOption("--doses are those of a steering; name its file with --under")
        return []
    if not doses or len(set(doses)) < len(doses):
        raise BadOption(f"--doses must be some different numbers, not {list(doses)}")
    fitted = load(under)
    return [Steering(fitted, dose) for dose in doses]


def _table(
    tasks: Sequence["Task"],
    steerings: Sequence["Steering"],
    found: Sequence[Sequence[Sequence["Score"]]],
) -> Table:
    from seatrial.analysis.measured import measured_rows
    from seatrial.report import measured_table
    from seatrial.tasks.spec import identity_of

    rows = []
    for task, (plain, *steered) in zip(tasks, found, strict=True):
        said = str(identity_of(task)["condition"]) if len(tasks) > 1 else ""
        told = partial(
            measured_rows,
            plain,
            first=task.about.metric,
            condition=said,
            bounds=task.about.bounds,
        )
        for steering, line in zip(steerings, steered, strict=True):
            rows += told(line, dose=steering.dose)
        rows += [] if steerings else told()
    return measured_table(rows, tasks[0].about.unit, OUT.width)


def _spread(
    tasks: Sequence["Task"],
    steerings: Sequence["Steering"],
    found: Sequence[Sequence[Sequence["Score"]]],
    split: Split,
) -> list[str]:
    """What letters, words and orders explain, where answers have some (trap T36)."""
    from seatrial.analysis.confounds import spread_sentences
    from seatrial.tasks.base import Contrastive
    from seatrial.tasks.conditions import Shifted

    lines = []
    for task, (plain, *steered) in zip(tasks, found, strict=True):
        asked = task.task if isinstance(task, Shifted) else task
        if isinstance(asked, Contrastive):
            doses = [f"dose {steering.dose:g}" for steering in steerings]
            by_dose = dict(zip(doses, steered, strict=True))
            factors = asked.factors(split)
            sentences = spread_sentences(plain, by_dose, task.about.metric, factors)
            name = f"{task.name}: " if len(tasks) > 1 else ""
            lines += [f"{name}{sentence}" for sentence in sentences]
    return lines


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
    tasks: Sequence["Task"],
    steerings: Sequence["Steering"],
    found: Sequence[Sequence[Sequence["Score"]]],
) -> None:
    """One line an item, steering and condition; the file appears whole or not at all."""
    from seatrial.files import write_whole
    from seatrial.tasks.spec import identity_of

    doses = [0.0, *(steering.dose for steering in steerings)]
    lines = [
        json.dumps(
            {
                **identity_of(task),
                **about,
                "under": about["under"] if k else None,
                "dose": dose,
                "item": score.item,
                "group": score.group,
                "metrics": score.metrics,
            }
        )
        for task, scores in zip(tasks, found, strict=True)
        for k, (dose, line) in enumerate(zip(doses, scores, strict=True))
        for score in line
    ]
    text = "".join(f"{line}\n" for line in lines)
    try:
        write_whole(out, lambda whole: whole.write_text(text, "utf-8"))
    except OSError as error:
        raise StoreFault(f"{out} cannot be written ({error.strerror})") from error
