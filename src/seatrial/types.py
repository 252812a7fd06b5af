"""The frozen records that every part of the house passes around; no torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, inf, log10
from typing import Literal, NamedTuple

Point = Literal["resid", "attn", "mlp", "heads"]
Split = Literal["fit", "select", "test"]
Role = Literal["target", "transfer", "guard"]

SPLITS: tuple[Split, ...] = ("fit", "select", "test")


@dataclass(frozen=True, order=True)
class Site:
    """One place in the residual computation of a model.

    ``resid`` is the output of a decoder block, ``attn`` and ``mlp`` are what that sublayer
    adds to the residual stream (after its norm and scale where the family has them),
    ``heads`` is the input of the attention output projection, all heads side by side.
    """

    layer: int
    """Decoder block, counted from 0."""

    point: Point = "resid"
    """Which quantity of the block."""

    def __str__(self) -> str:
        return f"{self.layer}.{self.point}"


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
"""Plain text, or a conversation that the model's own chat template renders."""


def as_text(prompt: Prompt) -> str:
    """A prompt as people and judges read it: a conversation with its speakers."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role.title()}: {message.content}" for message in prompt)


def as_questions(turns: Sequence[Message]) -> str:
    """A conversation for a base model: instructions, then Question and Answer in turn."""
    heads = {"system": "", "user": "Question: ", "assistant": "Answer: "}
    return "\n\n".join(f"{heads[turn.role]}{turn.content}" for turn in turns)


class Text(NamedTuple):
    """A prompt and what follows it, kept apart so that token positions can be named."""

    prompt: Prompt
    completion: str


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in the wanted property; ``positive`` shows it."""

    id: str
    group: str
    """Items of one group never straddle two splits."""
    positive: Text
    negative: Text


class Example(NamedTuple):
    """One input of a map and its right output, without the spaces that prompts add."""

    input: str
    output: str


@dataclass(frozen=True)
class DataOf:
    """Data of another concept or map that a method asks for beside its own.

    It comes from the fit split, as the method's own data do.
    """

    source: str = ""
    """What ships, what is published, or a file; empty: the next one that shares no text."""
    task: str = "open"
    """The target task whose pairs are read; of a map: map."""
    limit: int | None = None
    """At most so many items, as a seeded sample."""
    shots: int = 10
    """Of a map, examples in the prompts of its pairs."""
    is_apart: bool = True
    """Whether it must share no text with the method's own data, as a control must not."""


@dataclass(frozen=True)
class FitData:
    """What a method may look at: the fit split of one concept or map."""

    concept: str
    pairs: tuple[Pair, ...]
    encourage: str = ""
    """An instruction that asks for the behaviour, for methods that work by prompting."""
    discourage: str = ""
    """Its opposite."""
    fingerprint: str = ""
    """Content hash of everything else, others included, told by the maker of the data."""
    examples: tuple[Example, ...] = ()
    """Of a map: what in-context prompts are made of; empty for a concept."""
    others: Mapping[str, "FitData"] = field(default_factory=dict, hash=False)
    """Data of others that a method asks for (``Method.references``), by its own keys."""
    requests: tuple["Request", ...] = ()
    """Select items as the model is asked them; only the control ``length`` reads these."""


@dataclass(frozen=True)
class Request:
    """A question to a model: how likely is each of these answers after this prompt?"""

    id: str
    group: str
    prompt: Prompt
    answers: tuple[str, ...]
    """Continuations. After a plain prompt they are joined verbatim; after a conversation
    the model puts the separator that its template calls for."""


@dataclass(frozen=True)
class Answer:
    """What a model answers to one request under one steering."""

    log_probs: tuple[tuple[float, ...], ...]
    """Answer by answer, the log-probability of each of its tokens, in nats."""

    kl: tuple[tuple[float, ...], ...] | None = None
    """KL(this || unsteered) of the next-token distribution at each of those tokens, in
    nats."""

    is_top: tuple[tuple[bool, ...], ...] | None = None
    """Whether each of those tokens is the most likely one there; all of an answer's tokens
    are if and only if greedy decoding begins with the answer."""

    @property
    def sums(self) -> tuple[float, ...]:
        """Total log-probability of each answer, in nats."""
        return tuple(sum(tokens) for tokens in self.log_probs)

    @property
    def means(self) -> tuple[float, ...]:
        """Mean log-probability per token of each answer, in nats."""
        return tuple(sum(tokens) / len(tokens) for tokens in self.log_probs)


@dataclass(frozen=True)
class Completion:
    """A text that a model generated."""

    text: str
    """The new text only, cut before the stop string that ended it."""
    token_ids: tuple[int, ...]
    """The new tokens, end-of-text included when it was produced."""
    log_probs: tuple[float, ...]
    """Log-probability of each new token under the steered model (before temperature), in
    nats."""
    finish: Literal["length", "stop", "end"]
    """Why it ended: the token limit, a stop string, or the end-of-text token."""


class EditedToken(NamedTuple):
    """One line of the position audit: a real token that a steering edits."""

    position: int
    """Index among the real tokens of the sequence, counted from 0."""
    token: str
    """The token as text."""
    part: Literal["prompt", "answer"]
    answer: int
    """Which of the request's answers the sequence carries."""
    predicts_scored: bool
    """Whether the edit can reach the score of this answer: a scored token comes later."""


Bounds = Mapping[str, tuple[float, float]]
"""The least and the most that metrics can be, by name."""


@dataclass(frozen=True)
class Metric:
    """The number of a task that verdicts are about, and how it is to be read."""

    metric: str
    """Its name among the metrics of a score."""
    unit: str
    role: Role
    """target: should move; guard: must not move; transfer: may move, and is watched."""
    sign: Literal[1, -1] = 1
    """1: larger is more of the behaviour, or more damage; -1: less."""
    bounds: Bounds = field(default_factory=dict)
    """Of all metrics of the task that have a least and a most; intervals of their means
    stay within. Flags, which are 0 or 1 in every item, need not be named."""


@dataclass(frozen=True)
class Score:
    """What a task makes of one answer."""

    item: str
    group: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty; the only thing that tables print."""

    value: float
    low: float
    high: float
    n: int
    """How many independent groups it rests on."""

    def __str__(self) -> str:
        value, low, high = self.digits
        return f"{value} [{low}, {high}]"

    @property
    def ends(self) -> str:
        """Only the interval, for a range not about its middle: ``[-0.031, 0.042]``."""
        _, low, high = self.digits
        return f"[{low}, {high}]"

    @property
    def digits(self) -> tuple[str, str, str]:
        """Value, low and high with as many decimals as the interval supports."""
        numbers = (self.value, self.low, self.high)
        half_width = (self.high - self.low) / 2
        # A number without spread gets three digits, any other two beyond its uncertainty.
        scale = half_width or abs(self.value) / 10
        if 0 < max(map(abs, numbers)) < 5e-4:
            value, low, high = (f"{number:.1e}" if number else "0" for number in numbers)
            return value, low, high
        places = min(max(1 - floor(log10(scale)), 0), 5) if 0 < scale < inf else 2
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        value, low, high = (
            f"{round(number, places) + 0.0:.{places}f}" for number in numbers
        )
        return value, low, high

    def _repr_html_(self) -> str:
        """For a notebook."""
        value, low, high = self.digits
        return f"{value} <small>[{low}, {high}], {self.n} groups</small>"

    def excludes(self, point: float) -> bool:
        """Whether the interval lies entirely on one side of a value."""
        return self.low > point or self.high < point


@dataclass(frozen=True)
class Origin:
    """Where a fitted intervention comes from; travels with it on disk."""

    model: str
    """Identity of the model it was fitted on."""
    d_model: int
    method: str
    options: dict[str, object]
    data: str
    """Fingerprint of the fit data."""
    seed: int


def texts_of(pairs: Sequence[Pair], side: Literal["positive", "negative"]) -> list[Text]:
    """One side of every pair, in order."""
    return [getattr(pair, side) for pair in pairs]
