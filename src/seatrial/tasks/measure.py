"""One task, one model, some steerings: scores, whether answers are scored or written."""

from collections.abc import Callable, Sequence

from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import Scored, Task, Written
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
