"""One task, one model, some steerings: scores, whether answers are scored or written."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seatrial.errors import BadOption, StoreFault
from seatrial.files import write_whole
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import Scored, Task, Written
from seatrial.tasks.spec import identity_of
from seatrial.types import Score, Split


def measure(
    model: Model,
    task: Task,
    split: Split = "test",
    under: Sequence[Steering] = (UNSTEERED,),
    *,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> list[list[Score]]:
    """Ask a task of a model under each steering: ``[steering][item]``.

    Args:
        model: is left as it was.
        task: decides what is asked, and scores it without knowing what is steered.
        split: which items.
        under: interventions with doses.
        seed: of the sampling, where the model writes at a temperature above 0.
        progress: told which share is done, now and then.

    Raises:
        SeatrialError: whatever ``Model.log_probs``, ``Model.generate`` or the task raise.
    """
    requests = task.requests(split)
    if isinstance(task, Written):
        lines = model.generate(
            [request.prompt for request in requests],
            under,
            max_tokens=task.max_tokens,
            temperature=task.temperature,
            seed=seed,
        )
        return [list(task.score(requests, line)) for line in lines]
    assert isinstance(task, Scored)
    answers = model.log_probs(
        requests, under, kl=task.needs_kl, top=task.needs_top, progress=progress
    )
    return [list(task.score(requests, line)) for line in answers]


def check_scores_path(path: Path) -> None:
    """Refuse before anything is measured what could not be written afterwards.

    Raises:
        BadOption: for a file that does not end in .jsonl.
        StoreFault: if its folder cannot be made.
    """
    if path.suffix != ".jsonl":
        raise BadOption(
            f"--out {path} must end in .jsonl; scores are one JSON object a line"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreFault(f"{path.parent} cannot be made ({error.strerror})") from error


def write_scores(
    path: Path,
    measured: Sequence[tuple[Task, Sequence[Sequence[Score]]]],
    doses: Sequence[float],
    about: Mapping[str, Any],
) -> None:
    """Write one line of JSON for each item, steering and task.

    The file appears whole or not at all. A line has the identity of its task, what all
    lines have in common, and item, group, dose and metrics of the score.

    Args:
        path: ends in .jsonl.
        measured: tasks with their scores, ``[steering][item]``.
        doses: of the steerings; 0 is the unsteered model.
        about: what is said in every line: source, model, split, seed, under.

    Raises:
        StoreFault: if it cannot be written.
    """
    lines = [
        json.dumps(
            {
                **identity_of(task),
                **about,
                "under": about.get("under") if k else None,
                "dose": dose,
                "item": score.item,
                "group": score.group,
                "metrics": score.metrics,
            }
        )
        for task, scores in measured
        for k, (dose, line) in enumerate(zip(doses, scores, strict=True))
        for score in line
    ]
    text = "".join(f"{line}\n" for line in lines)
    try:
        write_whole(path, lambda whole: whole.write_text(text, "utf-8"))
    except OSError as error:
        raise StoreFault(f"{path} cannot be written ({error.strerror})") from error
