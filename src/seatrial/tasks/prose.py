"""What steering costs elsewhere: perplexity of, and drift on, neutral prose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from seatrial.data import load_prose, sample
from seatrial.errors import unknown
from seatrial.tasks.base import Scored
from seatrial.types import Answer, Metric, Request, Score, Split

PROMPT_WORDS = 5

SELECTED = 24
"""Passages that are kept to select on, unless a limit says how many."""


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

    splits: Mapping[Split, Sequence[tuple[str, str]]]
    """(id, text). Nothing is fitted on prose, and what is not asked to test on is there to
    select on."""

    @classmethod
    def of(cls, source: str, *, seed: int, limit: int | None = None) -> "Prose":
        """The guard on the neutral prose that ships; all of it, unless there is a limit."""
        if source not in cls.sources:
            raise unknown("prose", source, cls.sources)
        return cls(_dealt(load_prose(), limit, seed))

    def narrowed(
        self, limits: Mapping[Split, int | None], seeds: Mapping[Split, int]
    ) -> "Prose":
        """Test passages are drawn first; select passages are drawn from the others.

        Without a limit a share is kept to select on: no passage is both.
        """
        whole = [passage for part in self.splits.values() for passage in part]
        kept = max(2, min(limits.get("test") or len(whole), len(whole) // 2))
        selected = min(limits.get("select") or SELECTED, len(whole) - kept)
        limit = min(limits.get("test") or len(whole), len(whole) - selected)
        parts = _dealt(whole, limit, seeds["test"])
        select = sample(parts["select"], limits.get("select"), seed=seeds["select"])
        return Prose({**parts, "select": select})

    def requests(self, split: Split) -> Sequence[Request]:
        requests = []
        for identity, text in self.splits[split]:
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


def _dealt(
    passages: Sequence[tuple[str, str]], limit: int | None, seed: int
) -> dict[Split, Sequence[tuple[str, str]]]:
    """A seeded sample to test on, and the others to select on."""
    tested = sample(passages, limit, seed=seed)
    others = [passage for passage in passages if passage not in tested]
    return {"fit": (), "select": tuple(others), "test": tested}
