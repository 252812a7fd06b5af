"""`seatrial measure`: one task on one model, unsteered and steered.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table

from seatrial.cli.changes import Changes, changed
from seatrial.cli.judging import NO_SERVER, Judging
from seatrial.cli.screen import OUT, progress, say
from seatrial.errors import BadOption
from seatrial.types import Split

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from seatrial.steering.intervention import Steering
    from seatrial.tasks import Task
    from seatrial.types import Score

    Scores = Sequence[Sequence[list[Score]]]
    """``[condition][steering][item]``."""


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
    size: int | None = None,
    concept: str | None = None,
    changes: Changes = (),
    judging: Judging = NO_SERVER,
    out: Path | None = None,
) -> None:
    """Ask one task of a model, unsteered and steered, and print every metric.

    Args:
        task: See `seatrial list tasks`; or yours, as my_package.my_module:MyTask.
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
            five. Plain text has no roles: there system and user are the same. Something
            neutral before the question: dialogue, turns of a conversation; system, texts
            of a system prompt for another job; retrieval, passages that a search returned;
            tools, requests that were carried out with tools.
        size: How many of them; 2 by default.
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
    from seatrial.tasks import Generation, task_named
    from seatrial.tasks.generation import LABELLED, check_labelled, describe_judging
    from seatrial.tasks.measure import check_scores_path, write_scores
    from seatrial.tasks.measure import measure as ask
    from seatrial.tasks.spec import in_conditions, make_judge, make_task

    if out is not None:
        check_scores_path(out)
    load, options = cache(partial(Model.load, model)), changed(changes, "shots=5")
    is_judged = task_named(task) is Generation
    if judging.agreement is not None and not is_judged:
        raise BadOption("--agreement is of judges, which only generation has; leave it out")
    labelled = LABELLED if judging.agreement is None else judging.agreement
    check_labelled(labelled)
    source = task_named(task).sources[0] if source is None else source
    spec = judging.spec(options.pop("judge", None) if is_judged else None)
    judge = make_judge(spec, source, seed=seed, model=load)
    plain = make_task(task, source, seed=seed, limit=limit, options=options, judge=judge)
    tasks = in_conditions(plain, condition, source=source, size=size, concept=concept)
    steerings = [UNSTEERED, *_steerings(under, doses)]
    keep_freed_memory()
    loaded, scores = load(), []
    with progress() as bar:
        shown = bar.add_task(plain.name, total=float(len(tasks)))
        for k, each in enumerate(tasks):
            update = partial(_update, bar, shown, k)
            scores.append(ask(loaded, each, split, steerings, seed=seed, progress=update))
            update(1.0)
    OUT.print(_table(tasks, steerings, scores))
    items, groups = len(scores[0][0]), {score.group for score in scores[0][0]}
    name = tasks[0].name if len(tasks) == 1 else f"{plain.name} in {len(tasks)} conditions"
    say(
        OUT,
        f"{name} on {source}, {split} split: {items} items in {len(groups)} groups; "
        f"{loaded.identity}; 95 % intervals over groups",
    )
    for line in _spread(tasks, steerings, scores, split):
        say(OUT, line)
    if note := note_on(source):
        say(OUT, f"Note: {note}")
    if out is not None:
        about = {"source": source, "model": loaded.identity, "split": split, "seed": seed}
        about["under"] = None if under is None else str(under)
        each_dose = [0.0, *(steering.dose for steering in steerings[1:])]
        write_scores(out, [*zip(tasks, scores, strict=True)], each_dose, about)
        say(OUT, f"Scores: {out}")
    if isinstance(plain, Generation):
        # Last, because labelled texts are judged, too, and a server may fail.
        lines = _named(tasks, steerings, scores)
        for line in describe_judging(plain, source, lines, seed=seed, labelled=labelled):
            say(OUT, line)


def _update(bar: "Progress", shown: "TaskID", done: int, share: float) -> None:
    bar.update(shown, completed=done + share)


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


def _labels(steerings: Sequence["Steering"]) -> list[str]:
    return ["unsteered", *(f"dose {steering.dose:g}" for steering in steerings[1:])]


def _named(
    tasks: Sequence["Task"], steerings: Sequence["Steering"], scores: "Scores"
) -> dict[str, list["Score"]]:
    """Scores by what was asked, under what."""
    return {
        f"{task.name}, {label}": line
        for task, lines in zip(tasks, scores, strict=True)
        for label, line in zip(_labels(steerings), lines, strict=True)
    }


def _table(
    tasks: Sequence["Task"], steerings: Sequence["Steering"], scores: "Scores"
) -> Table:
    from seatrial.analysis.measured import measured_rows
    from seatrial.report import measured_table
    from seatrial.tasks.spec import identity_of

    rows = []
    for task, (plain, *steered) in zip(tasks, scores, strict=True):
        rows_of = partial(
            measured_rows,
            plain,
            first=task.about.metric,
            condition=str(identity_of(task)["condition"]) if len(tasks) > 1 else "",
            bounds=task.about.bounds,
        )
        for steering, line in zip(steerings[1:], steered, strict=True):
            rows += rows_of(line, dose=steering.dose)
        rows += [] if steered else rows_of()
    return measured_table(rows, tasks[0].about.unit, OUT.width)


def _spread(
    tasks: Sequence["Task"],
    steerings: Sequence["Steering"],
    scores: "Scores",
    split: Split,
) -> list[str]:
    """What letters, words and orders explain, where answers have some (trap T36)."""
    from seatrial.analysis.confounds import spread_sentences
    from seatrial.tasks import Scored

    lines = []
    for task, (plain, *steered) in zip(tasks, scores, strict=True):
        if isinstance(task, Scored):
            by_dose = dict(zip(_labels(steerings)[1:], steered, strict=True))
            factors = task.factors(split)
            sentences = spread_sentences(plain, by_dose, task.about.metric, factors)
            name = f"{task.name}: " if len(tasks) > 1 else ""
            lines += [f"{name}{sentence}" for sentence in sentences]
    return lines
