"""A task put to a model on one split: rendered once, and named by its content."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import final

from seatrial.errors import BadData
from seatrial.files import fingerprint
from seatrial.model import Model, Outline
from seatrial.steering import Steering
from seatrial.studies.cells import Ask
from seatrial.tasks import Task, Written
from seatrial.tasks.base import Contrastive, Scored
from seatrial.tasks.spec import identity_of
from seatrial.types import Completion, Request, Score, Split


@final
class Asked:
    """The requests of one task on one split, as one model reads them."""

    def __init__(self, task: Task, split: Split, model: Model | Outline, seed: int) -> None:
        """Render the requests.

        Args:
            task: what is asked.
            split: on which items.
            model: whose tokenizer and template render them.
            seed: of the sampling, where the model writes at a temperature.

        Raises:
            BadData: for requests that the model cannot be asked, and for those of a single
                group, which no interval could rest on.
        """
        self.task = task
        self.split: Split = split
        self.requests: Sequence[Request] = task.requests(split)
        if len({request.group for request in self.requests}) < 2:
            raise BadData(
                f"{len(self.requests)} {split} items of {task.name!r} are of one group at "
                f"most, too few for an interval; raise limit.{split}, or add groups"
            )
        is_sampled = isinstance(task, Written) and task.temperature > 0
        self.seed = seed if is_sampled else 0
        rendered, self.tokens = _rendered(task, self.requests, model)
        self.content = fingerprint(rendered)
        """Hash of the rendered requests."""

    @cached_property
    def id(self) -> str:
        """Content hash of everything that can change what is asked and how it is scored."""
        return Ask(identity_of(self.task), self.split, self.seed, self.content).id

    def items(self, scores: Sequence[Score]) -> Iterator[Mapping[str, str]]:
        """What was asked in words, for a report: one entry a scored item."""
        task = getattr(self.task, "task", self.task)
        words: dict[str, str] = {}
        factors: Mapping[str, Mapping[str, bool]] = {}
        if isinstance(task, Contrastive):
            words = {item.id: task.describe(item) for item in task.splits[self.split]}
            factors = task.factors(self.split)
        for score in scores:
            flags = {n: has[score.item] for n, has in factors.items() if score.item in has}
            yield {
                "ask": self.id,
                "item": score.item,
                "group": score.group,
                "text": words.get(score.item, score.item),
                "factors": json.dumps(flags),
            }

    def scores(
        self, model: Model, under: Sequence[Steering]
    ) -> tuple[list[list[Score]], list[list[tuple[str, str]]]]:
        """Scores and generated texts (item, text) under each steering.

        Raises:
            SeatrialError: whatever the model or the task raises.
        """
        task = self.task
        if isinstance(task, Written):
            prompts = [request.prompt for request in self.requests]
            lines = model.generate(
                prompts,
                under,
                max_tokens=task.max_tokens,
                temperature=task.temperature,
                seed=self.seed,
            )
            texts = [self._texts(line) for line in lines]
            return [list(task.score(self.requests, line)) for line in lines], texts
        assert isinstance(task, Scored)
        answers = model.log_probs(
            self.requests, under, kl=task.needs_kl, top=task.needs_top
        )
        return [list(task.score(self.requests, line)) for line in answers], [
            [] for _ in under
        ]

    def _texts(self, line: Sequence[Completion]) -> list[tuple[str, str]]:
        return [
            (request.id, completion.text)
            for request, completion in zip(self.requests, line, strict=True)
        ]


def _rendered(
    task: Task, requests: Sequence[Request], model: Model | Outline
) -> tuple[list[object], int]:
    """The requests as token ids, and how many tokens one steering has to be run over."""
    rendered: list[object]
    if isinstance(task, Written):
        prompts = [list(model.tokens(request.prompt)) for request in requests]
        rendered = [[r.id, r.group, ids] for r, ids in zip(requests, prompts, strict=True)]
        return rendered, task.max_tokens * len(requests)
    rendered, tokens = [], 0
    for request in requests:
        texts = model.answer_tokens(request)
        answers = [[text.n_prompt, *text.ids] for text in texts]
        rendered.append([request.id, request.group, answers])
        tokens += 1 + sum(len(text.scored) - 1 for text in texts)
    return rendered, tokens
