"""How far a study is: shares of its whole cost."""

from collections.abc import Callable, Sequence
from typing import final

from seatrial.model import Model
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.jobs import CONTROL_GUARD_DOSES, Batch, at_doses
from seatrial.studies.study import Study
from seatrial.tasks import Task, Written
from seatrial.types import Split

Progress = Callable[[str, float], None]
"""Called with what is being measured and which share of the whole study is done."""


@final
class TokenMeter:
    """How much of a study is done, counted in scored tokens."""

    def __init__(
        self, study: Study, behaviours: Sequence[Behaviour], model: Model, tell: Progress
    ) -> None:
        self.tell = tell
        self.done = 0.0
        self.inside = 0.0
        select, test, guarded = 1, 3, 3
        for number in range(len(study.methods)):
            layers = study.layers_of(number)
            method = study.candidate(number, layers[0])
            controls = len(study.controls_of(method))
            doses, *others = (
                len(at_doses(method, study.seed, some))
                for some in (study.doses, study.select_doses, CONTROL_GUARD_DOSES)
            )
            select += len(layers) * others[0]
            test += doses * (1 + controls)
            # How many layers the targets choose is not known yet; two is a fair guess.
            chosen = min(2, len(study.targets), len(layers))
            guarded += chosen * (doses + controls * others[1])
        self.whole = 0.0
        self._cost: dict[tuple[str, str, str], float] = {}
        for behaviour in behaviours:
            for name in study.targets:
                task = behaviour.targets[name]
                self.whole += select * self._price(behaviour, task, "select", model)
                self.whole += test * self._price(behaviour, task, "test", model)
            for guard in behaviour.guards.values():
                self.whole += guarded * self._price(behaviour, guard, "test", model)

    def _price(self, behaviour: Behaviour, task: Task, split: Split, model: Model) -> float:
        """Tokens of one steering: what is scored and one more a request, or is written."""
        requests = task.requests(split)
        if isinstance(task, Written):
            cost = task.max_tokens * len(requests)
        else:
            texts = map(model.answer_tokens, requests)
            cost = len(requests) + sum(
                len(text.scored) - 1 for each in texts for text in each
            )
        self._cost[behaviour.concept.name, task.name, split] = float(cost)
        return float(cost)

    def _share(self, batch: Batch) -> float:
        return self._cost[batch.cells[0].concept, batch.task.name, batch.split]

    def add(self, batch: Batch, share: float) -> None:
        """Some share of a batch's steerings is done."""
        self.inside = share * len(batch.cells) * self._share(batch)
        self._tell(batch)

    def finish(self, batch: Batch) -> None:
        """A batch is stored."""
        self.done += len(batch.cells) * self._share(batch)
        self.inside = 0.0
        self._tell(batch)

    def _tell(self, batch: Batch) -> None:
        self.tell(batch.name, min(1.0, (self.done + self.inside) / self.whole))


def silent(name: str, share: float) -> None:
    """Tell nobody."""
