"""What the model writes by itself after open prompts, scored by a judge.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, final

from seatrial.data import DEFAULT_SHARES, Concept, Item, sample, split
from seatrial.data.catalogue import asks, load_concept, load_records
from seatrial.data.records import ChoiceItem, ContrastiveItem, Question, TextItem, TextPair
from seatrial.data.split import deal
from seatrial.errors import BadData, BadOption
from seatrial.tasks.base import Instructions, Written, instructions_of, shares
from seatrial.tasks.judges import (
    Classifier,
    Judge,
    Judged,
    Lexicon,
    agreement,
    labelled_items,
    tally,
)
from seatrial.tasks.judges.base import MAX_UNREADABLE, check_bound, check_readable
from seatrial.tasks.repetition import degenerate, distinct, written_words
from seatrial.types import Completion, Message, Metric, Prompt, Request, Score, Split

Opening = Item | TextPair | Question
"""What a model is given to write on from: the beginning of a passage, or a question."""

INSTRUCTIONS = ("alpaca-eval", "mt-bench")
"""Published instructions; a source names the concept that is looked for in the replies, as
``alpaca-eval:formality`` does."""


@final
@dataclass(frozen=True)
class Generation(Written):
    """How much of a concept a judge sees in what the model writes.

    A passage is continued; a question is asked as a conversation. The metric ``score`` is
    on the judge's scale; its parts, where the judge has some, stand beside it, and
    ``tokens`` says how much was written. A text about which the judge's reply cannot be
    read has no metrics at all, never a 0, and too many of them are refused (trap T49);
    ``judges.tally`` counts them and says what they could make of the mean.
    """

    name: ClassVar[str] = "generation"
    summary: ClassVar[str] = "free text: what the model writes by itself, scored by a judge"
    about: ClassVar[Metric] = Metric("score", "the judge's points", "target")
    sources: ClassVar[tuple[str, ...]] = (
        "positive-sentiment",
        "formality",
        "confidence",
        "interest-in-music",
        *(f"{name}:positive-sentiment" for name in INSTRUCTIONS),
    )

    splits: Mapping[Split, Sequence[Opening]]
    concept: str
    """What is looked for, in words, for judges that read them."""
    judge: Judge = field(default_factory=Lexicon)
    """Who scores the texts: lexicon, regex:PATTERN, classifier, likelihood or endpoint."""
    max_tokens: int = 64
    """How many tokens the model may write."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    form: Literal["text", "chat"] = "text"
    """Whether a passage is given as it is, or as a request to continue it."""
    max_unreadable: float = MAX_UNREADABLE
    """The largest share of replies without a readable score that is tolerated."""

    def __post_init__(self) -> None:
        check_bound(self.max_unreadable)
        if self.form not in ("text", "chat"):
            raise BadOption(f"the form of prompts is text or chat, not {self.form!r}")
        # What the kind says of all of its tasks, on the scale of this one's judge.
        bounds = {**shares("degenerate", "distinct_2"), "score": tuple(self.judge.scale)}
        object.__setattr__(self, "about", replace(type(self).about, bounds=bounds))

    @classmethod
    def of(
        cls,
        source: str,
        *,
        seed: int,
        limit: int | None = None,
        judge: Judge | None = None,
        shares: Mapping[Split, float] = DEFAULT_SHARES,
    ) -> "Generation":
        """The task on a concept, as ``load_concept`` takes it.

        Passages and prompts of pairs are continued, and questions are asked without their
        options. On ``INSTRUCTIONS``, such as ``mt-bench:honesty``, the concept is looked
        for in replies to them; of MT-bench that is the first turn of each question.

        Without a judge it is ``Lexicon`` for positive sentiment, and for other concepts a
        ``Classifier`` trained on the select split, so that it has not learnt from what
        methods are fitted on. It must agree with the texts of the fit split beyond chance.
        That holds for ``sources``; other concepts can be asked on with a judge.

        Raises:
            UnknownName: for a concept that is not there.
            BadOption: for instructions without a concept.
            BadData: if there is no judge and none that comes with the package will do, or
                nothing to write on from.
            SeatrialError: whatever ``load_concept`` raises.
        """
        concept = concept_of(source)
        parts = split(concept.items, seed=seed, shares=shares)
        if judge is None:
            judge = _own_judge(_named(source), parts, concept.about)
        if source.partition(":")[0] in INSTRUCTIONS:
            questions = load_records(Question, source.partition(":")[0])
            firsts = [replace(item, turns=item.turns[:1]) for item in questions]
            return cls(deal(firsts, limit, seed=seed), concept.about, judge)
        openings: dict[Split, Sequence[Opening]] = {
            name: _openings(items) for name, items in parts.items()
        }
        openings["test"] = sample(openings["test"], limit, seed=seed)
        return cls(openings, concept.about, judge)

    @classmethod
    def instructions(cls, source: str) -> Instructions:
        return instructions_of(concept_of(source))

    def requests(self, split: Split) -> Sequence[Request]:
        """One for each opening, with nothing to choose from.

        Raises:
            BadData: for a question of more than one turn.
        """
        return [
            Request(item.id, item.group, self._prompt(item), ())
            for item in self.splits[split]
        ]

    def score(
        self, requests: Sequence[Request], completions: Sequence[Completion]
    ) -> Sequence[Score]:
        """The judge's scores.

        Raises:
            JudgeFault: if too many replies hold no score; says where they can be read.
            SeatrialError: whatever the judge raises.
        """
        texts = [
            Judged(request.prompt, completion.text, self.concept)
            for request, completion in zip(requests, completions, strict=True)
        ]
        judgements = self.judge.judge(texts)
        lost = [judgement.reply for judgement in judgements if judgement.score is None]
        check_readable(
            lost, total=len(texts), bound=self.max_unreadable, kept=self.judge.kept
        )
        scores = []
        for request, completion, judgement in zip(
            requests, completions, judgements, strict=True
        ):
            metrics: dict[str, float] = {}
            if judgement.score is not None:
                metrics = {**judgement.parts, "score": judgement.score, **_wear(completion)}
            scores.append(Score(request.id, request.group, metrics))
        return scores

    def _prompt(self, item: Opening) -> Prompt:
        if isinstance(item, Question):
            if len(item.turns) != 1:
                raise BadData(
                    f"{item.id} has {len(item.turns)} turns, of which the later ones "
                    "depend on what the model replied; give questions of one turn"
                )
            return (Message("user", item.turns[0]),)
        if self.form == "text":
            return item.prompt
        text = f"Go on with this passage, in one to three sentences:\n\n{item.prompt}"
        return (Message("user", text),)


def concept_of(source: str) -> Concept[Any]:
    """The concept that a source of this task is about.

    Raises:
        BadOption: for instructions without a concept.
        SeatrialError: whatever ``load_concept`` raises.
    """
    return load_concept(_named(source))


def items_with_texts(items: Sequence[ContrastiveItem]) -> list[TextItem]:
    """Those with texts that a judge can learn from or be asked about; no questions."""
    return [item for item in items if isinstance(item, TextItem)]


def _openings(items: Sequence[ContrastiveItem]) -> list[Opening]:
    openings: list[Opening] = []
    for item in items:
        if isinstance(item, ChoiceItem):
            if asks(item):
                turns = (item.question.strip(),)
                openings.append(Question(item.id, item.group, turns, (), item.category))
        elif item.prompt.strip():
            openings.append(item)
        else:
            raise BadData(
                f"{item.id} is a pair of texts without a prompt, so there is nothing to "
                "write on from; give a column prompt, or instructions and the concept, "
                "such as mt-bench:paradetox"
            )
    return openings


def _named(source: str) -> str:
    name, colon, concept = source.partition(":")
    if name not in INSTRUCTIONS:
        return source
    if not colon:
        raise BadOption(
            f"{name} holds instructions and says nothing of what is looked for in the "
            f"replies; name a concept behind a colon, such as {name}:formality"
        )
    return concept


def learnt_judge(source: str, items: Sequence[ContrastiveItem]) -> Classifier:
    """A classifier of the concept's own texts.

    Raises:
        BadData: if it has none.
    """
    texts = items_with_texts(items)
    if not texts:
        raise BadData(
            f"{source} holds questions with answers and no texts that a judge could learn "
            "from; give a judge, such as regex:PATTERN, likelihood or endpoint"
        )
    return Classifier.of(texts)


def _wear(completion: Completion) -> dict[str, float]:
    """What the score does not see: repetition, variety and length."""
    words = written_words(completion.text)
    variety = distinct(words, 2)
    return {
        "degenerate": degenerate(words),
        **({} if variety is None else {"distinct_2": variety}),
        "tokens": float(len(completion.token_ids)),
    }


def _own_judge(
    source: str, parts: Mapping[Split, Sequence[ContrastiveItem]], about: str
) -> Judge:
    """What the package has to judge a concept with, if it can tell its texts apart."""
    if source == "positive-sentiment":
        return Lexicon()
    judge = learnt_judge(source, parts["select"])
    texts = items_with_texts(parts["fit"])
    agreed = agreement(judge, labelled_items(texts, about, judge.scale))
    if not agreed.kappa.low > 0:
        raise BadData(
            f"no judge that comes with the package can tell texts that show {source!r} "
            f"from others (kappa {agreed.kappa} on {agreed.n} texts it has not seen); give "
            "a judge, such as an Endpoint"
        )
    return judge


LABELLED = 20
"""Items, of two texts each, on which a judge is compared with their labels by default."""

LEAST_LABELLED = 5
"""Of fewer items no interval of an agreement is worth printing."""


def check_labelled(n: int) -> None:
    """Refuse a number of labelled items that would say nothing.

    Raises:
        BadOption: if it is neither 0 nor enough.
    """
    if n and n < LEAST_LABELLED:
        raise BadOption(
            f"--agreement must be 0 or at least {LEAST_LABELLED} items, not {n}; fewer say "
            "nothing"
        )


def describe_judging(
    task: Generation,
    source: str,
    scores: Mapping[str, Sequence[Score]],
    *,
    seed: int,
    labelled: int = LABELLED,
) -> list[str]:
    """What must be known of the judge beside its scores, a sentence a line.

    Args:
        task: that was asked.
        source: of the task; the texts of its concept are asked about, too.
        scores: by the name of what was asked.
        seed: of the task's split.
        labelled: how many items agreement is measured on; 0: it is not.

    Raises:
        SeatrialError: whatever the judge raises.
    """
    scale = task.judge.scale
    return [
        f"Judge: {task.judge.identity}; its scale is {scale.low:g} to {scale.high:g}",
        *_describe_unreadable(task.judge, scores),
        _describe_agreement(task, source, seed, labelled),
    ]


def _describe_unreadable(judge: Judge, scores: Mapping[str, Sequence[Score]]) -> list[str]:
    """How many replies hold no score, and what they could make of the mean."""
    tallies = {name: tally(line, judge.scale) for name, line in scores.items()}
    total = sum(each.n for each in tallies.values())
    unreadable = sum(each.unreadable for each in tallies.values())
    return [
        f"Replies that could not be read: {unreadable} of {total}",
        *(
            f"{name}: {each.unreadable} of {each.n}, a share of {each.share}; whatever "
            f"they meant, the mean score lies from {each.lowest:.3g} to {each.highest:.3g}"
            for name, each in tallies.items()
            if each.unreadable
        ),
    ]


def _describe_agreement(task: Generation, source: str, seed: int, labelled: int) -> str:
    """Agreement with labels, on texts that neither trained a judge nor are tested on."""
    head = "Agreement with labels was not measured"
    if not labelled:
        return f"{head} (--agreement 0)"
    texts = items_with_texts(split(concept_of(source).items, seed=seed)["fit"])
    if not texts:
        return f"{head}: {source} holds no texts that do and do not show the concept"
    items = sample(texts, labelled, seed=seed)
    agreed = agreement(task.judge, labelled_items(items, task.concept, task.judge.scale))
    lost = f", {agreed.unreadable} more could not be read" if agreed.unreadable else ""
    return (
        f"Agreement with the labels of {agreed.n} texts of the concept{lost}: kappa "
        f"{agreed.kappa}, same class {agreed.same}, rank correlation {agreed.rank}"
    )
