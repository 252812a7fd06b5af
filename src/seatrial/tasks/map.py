"""Whether the model maps inputs to outputs: capitals, opposites, translations ..."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from seatrial.data import DEFAULT_SHARES, MAPS, MapData, MapPair, sample, split
from seatrial.data.catalogue import PUBLISHED_MAPS, load_map
from seatrial.data.distractors import Distractors, distractors_for
from seatrial.data.templates import (
    TEMPLATES,
    Template,
    draw,
    generator_for,
    sentence_template,
    template_named,
    with_labels_moved,
)
from seatrial.data.wordings import Wording, wording_of
from seatrial.errors import BadOption, unknown
from seatrial.files import fingerprint
from seatrial.tasks.base import Instructions, Scored, is_log_probability, shares
from seatrial.types import (
    Answer,
    Example,
    FitData,
    Metric,
    Pair,
    Prompt,
    Request,
    Score,
    Split,
    Text,
)

WORDED: tuple[str, ...] = ("sentence", "sentence-2", "sentence-3", "clauses", "chat")
"""Templates that a map has in words of its own; ``chat`` asks in turns."""

Pool = Sequence[tuple[str, Example]]
"""What demonstrations are drawn from: each example with its group."""

REPEAT = "You answer everything with the very same words that you are given."
"""The instruction against any map: no input is its own output."""


@final
@dataclass(frozen=True)
class Map(Scored):
    """How often the right output follows an input, steered, shown by examples, or neither.

    ``accuracy`` is that of the first token, as in the work on function and task vectors
    (Todd et al. 2023, Hendel et al. 2023): it says little where many answers begin alike,
    so ``whole`` stands beside it, the share of items where greedy decoding begins with
    a right answer from first to last token (what comes after it is not asked: Niger would
    pass where Nigeria is said). Any right answer counts. ``log_prob`` (nats, all tokens)
    and ``first_prob`` (first token) are those of the usual answer.

    Every item has demonstrations, context and facts of its own, drawn from the fit split
    by the seed and the item's id, so they are the same whatever else is asked. Right and
    shuffled labels stand at the same demonstrations, and fewer shots are the first of
    more. Conditions are fields: ``dataclasses.replace(task, shots=5)``.

    The conditions of prompt structure and context complexity are our redesign of
    Niranjan et al. 2025 (https://arxiv.org/abs/2505.01162), whose own are not published:
    ``template`` is the structure, ``context_words`` of distracting paragraphs come before
    it, and ``facts_between`` unrelated true statements stand between input and answer.
    Languages are maps: ``english-french`` and back, and so on.
    """

    name: ClassVar[str] = "map"
    summary: ClassVar[str] = (
        "inputs to outputs, zero-shot or shown: is the right answer's first token the top"
    )
    about: ClassVar[Metric] = Metric(
        "accuracy", "share of items", "target", bounds=shares("first_prob")
    )
    needs_top: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = (*MAPS, *PUBLISHED_MAPS)

    data: MapData
    splits: Mapping[Split, Sequence[MapPair]]
    seed: int = 0
    """Draws demonstrations, moved labels, contexts and facts."""
    template: str = "qa"
    """``bare``, ``qa``, ``arrow``; in words of the map ``sentence``, ``sentence-2``,
    ``sentence-3``, ``clauses``, ``chat`` (``WORDED``); or a sentence of your own that holds
    ``{x}`` and that the answer ends."""
    shots: int = 0
    """How many demonstrations stand before the query."""
    labels: Literal["right", "shuffled"] = "right"
    """``shuffled`` puts every output of the demonstrations at another input."""
    context_words: int = 0
    """How many words of distracting paragraphs stand before everything else."""
    facts_between: int = 0
    """How many unrelated true statements stand between the input and its answer."""

    def __post_init__(self) -> None:
        self._template(self.template)
        if self.labels not in ("right", "shuffled"):
            raise BadOption(f"labels are right or shuffled, not {self.labels!r}")
        for option in ("shots", "context_words", "facts_between", "seed"):
            if getattr(self, option) < 0:
                raise BadOption(f"{option} must be 0 or more, not {getattr(self, option)}")
        if self.labels == "shuffled" and self.shots < 2:
            raise BadOption(
                f"labels cannot be shuffled among {self.shots} demonstrations; use at "
                "least 2 shots"
            )

    @classmethod
    def of(
        cls,
        source: str,
        *,
        seed: int,
        limit: int | None = None,
        shares: Mapping[Split, float] = DEFAULT_SHARES,
    ) -> "Map":
        """The task on a map, zero-shot as Q and A; see the fields for other conditions.

        Args:
            source: a map that ships, your own ``.jsonl`` as ``load_map`` reads it or
                ``.toml`` of kind maps, or a published one such as ``maps/antonym``.
            seed: of the split, the sample and the prompts.
            limit: at most so many test items, as a seeded sample.
            shares: of the groups, by split.

        Raises:
            UnknownName: for a map that is not there.
            BadData: for pairs that cannot be split or are no map.
            BadOption, BadFile, Unreachable, StoreFault: as ``load_dataset``.
        """
        data = load_map(source)
        parts = split(data.pairs, shares, seed=seed)
        parts["test"] = sample(parts["test"], limit, seed=seed)
        return cls(data, parts, seed)

    @classmethod
    def instructions(cls, source: str) -> Instructions:
        return _instructions(load_map(source))

    def requests(self, split: Split) -> Sequence[Request]:
        template = self._template(self.template)
        is_distracted = self.context_words or self.facts_between
        around = distractors_for(self.data.pairs) if is_distracted else None
        pool = self._pool() if self.shots else ()
        return [
            Request(
                item.id,
                item.group,
                self._prompt(template, item, pool, around),
                tuple(template.answer(answer) for answer in item.answers),
            )
            for item in self.splits[split]
        ]

    def score(
        self, requests: Sequence[Request], answers: Sequence[Answer]
    ) -> Sequence[Score]:
        return [
            Score(request.id, request.group, _metrics(answer))
            for request, answer in zip(requests, answers, strict=True)
        ]

    def fit_data(
        self, *, shots: int = 10, template: str = "qa", limit: int | None = None
    ) -> FitData:
        """What a method may look at: the fit split, as examples and as pairs.

        A pair is one fit item asked after demonstrations with right labels (positive) and
        after the same with moved ones (negative), without context or facts; both texts
        end with the item's right answer, so that only the demonstrations tell them apart.
        Without shots both texts are the bare query, and the negative ends with the answer
        of another item.

        Args:
            shots: how many demonstrations, 0 or at least 2.
            template: as the field of that name.
            limit: at most so many pairs, as a seeded sample; all examples are given.

        Raises:
            BadData: if the fit split is too small.
            BadOption: for one shot, or a template that this map does not have.
        """
        if shots < 0 or shots == 1:
            raise BadOption(
                f"shots of fit data must be 0 or at least 2, not {shots}: one label has "
                "no other to change places with"
            )
        items = sample(self.splits["fit"], limit, seed=self.seed)
        make = self._shown_pairs if shots else self._bare_pairs
        pairs = make(items, shots, template)
        examples = tuple(map(_example, self.splits["fit"]))
        _, encourage, discourage = _instructions(self.data)
        content = [encourage, discourage, *map(repr, pairs), *map(repr, examples)]
        return FitData(
            self.data.name, pairs, encourage, discourage, fingerprint(content), examples
        )

    def _shown_pairs(
        self, items: Sequence[MapPair], shots: int, template: str
    ) -> tuple[Pair, ...]:
        written = self._template(template)
        ask = written.conversation if template == "chat" else written.prompt
        pairs, pool = [], self._pool()
        for item in items:
            answer = written.answer(item.output)
            shown = [
                self._demonstrations(item, pool, shots, labels)
                for labels in ("right", "shuffled")
            ]
            right, moved = (Text(ask(each, item.input), answer) for each in shown)
            # Where all that were drawn share one output, moving them changes nothing.
            if right != moved:
                pairs.append(Pair(item.id, item.group, right, moved))
        return tuple(pairs)

    def _bare_pairs(
        self, items: Sequence[MapPair], shots: int, template: str
    ) -> tuple[Pair, ...]:
        written = self._template(template)
        ask = written.conversation if template == "chat" else written.prompt
        generator = generator_for(self.seed, self.data.name, "answers")
        moved = with_labels_moved([*map(_example, items)], generator)
        return tuple(
            Pair(
                item.id,
                item.group,
                Text(ask((), item.input), written.answer(item.output)),
                Text(ask((), item.input), written.answer(other.output)),
            )
            for item, other in zip(items, moved, strict=True)
            if other.output not in item.answers
        )

    def _prompt(
        self, template: Template, item: MapPair, pool: Pool, around: Distractors | None
    ) -> Prompt:
        shown = self._demonstrations(item, pool, self.shots, self.labels)
        context, facts = "", ()
        if around is not None:
            avoid = (item.input, *item.answers)
            streams = [generator_for(self.seed, item.id, u) for u in ("context", "facts")]
            context = around.context(self.context_words, avoid, streams[0])
            facts = around.between(self.facts_between, avoid, streams[1])
        ask = template.conversation if self.template == "chat" else template.prompt
        return ask(shown, item.input, context=context, facts=facts)

    def _pool(self) -> Pool:
        return [(item.group, _example(item)) for item in self.splits["fit"]]

    def _demonstrations(
        self, item: MapPair, pool: Pool, shots: int, labels: str
    ) -> tuple[Example, ...]:
        # An item of the fit split has its own group there: hot to cold beside cold to hot.
        others = [example for group, example in pool if group != item.group]
        generator = generator_for(self.seed, item.id, "demonstrations")
        shown = draw(others, shots, generator, query=_example(item))
        if labels == "right":
            return shown
        return with_labels_moved(shown, generator_for(self.seed, item.id, "labels"))

    def _template(self, name: str) -> Template:
        if name not in WORDED:
            if name not in TEMPLATES and " " not in name and "{" not in name:
                own = "or a sentence of yours that holds {x}"
                raise unknown("template", name, [*TEMPLATES, *WORDED, own])
            return template_named(name)
        wording = wording_of(self.data.name)
        if wording is None:
            raise BadOption(
                f"the map {self.data.name!r} has no template {name!r}; use one of "
                f"{', '.join(TEMPLATES)}, or write a sentence that ends where the answer "
                "begins, such as 'The capital of {x} is'"
            )
        return worded_template(wording, name)


def _instructions(data: MapData) -> Instructions:
    wording = wording_of(data.name)
    words = (wording.instruction, REPEAT) if wording else ("", "")
    return Instructions(data.name, *words)


def worded_template(wording: Wording, name: str) -> Template:
    """One of ``WORDED`` in the words of a map."""
    if name == "chat":
        return Template("", f"{wording.question} Reply with the answer alone.", "")
    if name == "clauses":
        return sentence_template(wording.clauses)
    number = int(name.partition("-")[2] or 1)
    return sentence_template(wording.sentences[number - 1])


def _example(pair: MapPair) -> Example:
    return Example(pair.input, pair.output)


def _metrics(answer: Answer) -> dict[str, float]:
    assert answer.is_top is not None
    first = answer.log_probs[0][0]
    return {
        "accuracy": float(any(tokens[0] for tokens in answer.is_top)),
        "whole": float(any(all(tokens) for tokens in answer.is_top)),
        "log_prob": answer.sums[0],
        **({"first_prob": math.exp(first)} if is_log_probability(first) else {}),
    }
