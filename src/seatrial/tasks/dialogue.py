"""What steering costs in a conversation: perplexity of, and drift on, plain replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data import load_dialogues
from seatrial.data.split import deal
from seatrial.errors import unknown
from seatrial.tasks.base import Scored
from seatrial.types import Answer, Message, Metric, Request, Score, Split


@final
@dataclass(frozen=True)
class Reply:
    """What an assistant says at one point of a conversation."""

    id: str
    """The dialogue's, a stroke, and the turn counted from 0."""
    group: str
    """The dialogue's topic."""
    before: tuple[Message, ...]
    """All that was said until then, the user's question last."""
    text: str


@final
@dataclass(frozen=True)
class Dialogue(Scored):
    """Teacher-forced loss per token, and KL(steered || unsteered), on an assistant's turns.

    Like ``prose``, in the place where a chat model works: each reply is scored after all
    turns before it, in the model's own chat template. The ratio of perplexities is
    exp(loss steered - loss unsteered), item by item. Task: the perplexity of chats in
    von Ruette et al. (https://arxiv.org/abs/2402.14433), here on our own dialogues, which
    show none of the concepts that ship.
    """

    name: ClassVar[str] = "dialogue"
    summary: ClassVar[str] = (
        "guard: loss and KL to the unsteered model on an assistant's everyday replies"
    )
    about: ClassVar[Metric] = Metric("loss", "nats per token", "guard")
    needs_kl: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("dialogues",)

    splits: Mapping[Split, Sequence[Reply]]

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Dialogue":
        """The guard on the dialogues that ship; a limit counts replies.

        Raises:
            UnknownName: for another source.
        """
        if source not in cls.sources:
            raise unknown("source of dialogues", source, cls.sources)
        replies = [
            Reply(f"{talk.id}/{k}", talk.group, talk.before_reply(k), turn.assistant)
            for talk in load_dialogues()
            for k, turn in enumerate(talk.turns)
        ]
        return cls(deal(replies, limit, seed=seed))

    def requests(self, split: Split) -> Sequence[Request]:
        return [
            Request(reply.id, reply.group, reply.before, (reply.text,))
            for reply in self.splits[split]
        ]

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        scores = []
        for request, answer in zip(requests, answers, strict=True):
            assert answer.kl is not None
            tokens = len(answer.log_probs[0])
            metrics = {
                "loss": -answer.means[0],
                "kl": sum(answer.kl[0]) / tokens,
                "tokens": float(tokens),
            }
            scores.append(Score(request.id, request.group, metrics))
        return scores
