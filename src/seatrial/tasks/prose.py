"""What steering costs elsewhere: perplexity of, and drift on, neutral prose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data import load_prose, sample
from seatrial.errors import unknown
from seatrial.tasks.base import Scored
from seatrial.types import Answer, Metric, Request, Score, Split

PROMPT_WORDS = 5


@final
@dataclass(frozen=True)
class Prose(Scored):
    """Teacher-forced loss per token, and KL(steered || unsteered), on neutral passages.

    The first five words of a passage are the prompt, so that steering applies from there on
    as it would in use. The ratio of perplexities is exp(loss steered - loss unsteered),
    item by item.
    """

    name: ClassVar[str] = "prose"
    summary: ClassVar[str] = "guard: loss and KL to the unsteered model on neutral prose"
    about: ClassVar[Metric] = Metric("loss", "nats per token", "guard")
    needs_kl: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("prose",)

    passages: tuple[tuple[str, str], ...]
    """(id, text)."""

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Prose":
        """The guard on the neutral prose that ships."""
        if source not in cls.sources:
            raise unknown("prose", source, cls.sources)
        return cls(sample(load_prose(), limit, seed=seed))

    def requests(self, split: Split) -> Sequence[Request]:
        requests = []
        for identity, text in self.passages:
            words = text.split(" ")
            prompt, rest = " ".join(words[:PROMPT_WORDS]), " ".join(words[PROMPT_WORDS:])
            requests.append(Request(identity, identity, prompt, (f" {rest}",)))
        return requests

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        scores = []
        for request, answer in zip(requests, answers, strict=True):
            assert answer.kl is not None
            tokens = len(answer.log_probs[0])
            scores.append(
                Score(
                    request.id,
                    request.group,
                    {
                        "loss": -answer.means[0],
                        "kl": sum(answer.kl[0]) / tokens,
                        "tokens": float(tokens),
                    },
                )
            )
        return scores
