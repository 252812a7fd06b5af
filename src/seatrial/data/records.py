"""The frozen records that data sources give: items with an id and a group each.

A group is what must not straddle two splits. It is made from the text itself, so the same
question has the same group in every file that holds it.
"""

from dataclasses import asdict, dataclass
from typing import Generic, Literal, TypeVar, final

from seatrial.data.display import html_table, line
from seatrial.data.texts import plain
from seatrial.errors import BadData
from seatrial.files import fingerprint

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Item:
    """One contrastive item: a statement to agree with or not, and a text to go on with."""

    id: str
    group: str
    """Its topic; items of one topic never straddle two splits."""
    statement: str
    """A first-person sentence."""
    matching: Literal["yes", "no"]
    """Whether somebody with the behaviour would say it."""
    prompt: str
    """The neutral beginning of a passage."""
    matching_text: str
    """A continuation that shows the behaviour."""
    other_text: str
    """A continuation that shows its absence or opposite."""

    @property
    def sides(self) -> tuple[str, str]:
        """The text that shows the behaviour, and the one that does not."""
        return self.matching_text, self.other_text


@final
@dataclass(frozen=True, repr=False)
class Concept(Generic[T]):
    """A behaviour with its items; those that ship and your own of that form are ``Item``.

    ``load_concept`` makes one of published sets and of other forms of your own data.
    """

    name: str
    category: str
    about: str
    encourage: str
    discourage: str
    items: tuple[T, ...]

    @property
    def fingerprint(self) -> str:
        """Content hash, 12 hex digits."""
        items = [asdict(item) for item in self.items]  # pyright: ignore[reportArgumentType]
        return fingerprint([self.encourage, self.discourage, *items])

    def __repr__(self) -> str:
        return line("Concept", self.name, self.about, self.items, "items")

    def _repr_html_(self) -> str:
        return html_table(self.name, self.about, self.items, "items")


@final
@dataclass(frozen=True)
class MapPair:
    """One input and what it maps to."""

    id: str
    """The name of the map, a slash, and the input."""
    group: str
    """Pairs of one group never straddle two splits; the lower-cased input unless given."""
    input: str
    output: str
    """The usual right answer."""
    also: tuple[str, ...] = ()
    """Other right answers."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Every right answer, the usual one first."""
        return (self.output, *self.also)


@final
@dataclass(frozen=True, repr=False)
class MapData:
    """A map as pairs whose inputs are all different."""

    name: str
    about: str
    """What is mapped to what, in one line."""
    pairs: tuple[MapPair, ...]

    @property
    def fingerprint(self) -> str:
        """Content hash, 12 hex digits; the same whatever the map is called."""
        return fingerprint([[p.group, p.input, *p.answers] for p in self.pairs])

    def __repr__(self) -> str:
        return line("MapData", self.name, self.about, self.pairs, "pairs")

    def _repr_html_(self) -> str:
        return html_table(self.name, self.about, self.pairs, "pairs")


@final
@dataclass(frozen=True)
class ChoiceItem:
    """A question with options, one of which is right or shows the behaviour."""

    id: str
    group: str
    """Made from the question; items of one group never straddle two splits."""
    question: str
    """Without the options. May be empty where the source has nothing else."""
    options: tuple[str, ...]
    """At least two, without their letters."""
    correct: int
    """Index of the option that is right, or that matches the behaviour."""
    opposite: int | None = None
    """Index of the option published as its opposite; None: all the others are wrong."""
    category: str = ""
    row: int = 0
    """Place in the published file, counted from 0."""
    published: str = ""
    """The question as published, options and all where it had them, for replicas."""

    def __post_init__(self) -> None:
        n = len(self.options)
        if n < 2:
            raise BadData(f"{self.id} has {n} options; a choice needs at least 2")
        for index in {self.correct, self.opposite} - {None}:
            if index not in range(n):
                raise BadData(
                    f"{self.id} names option {index}; its options are 0 to {n - 1}"
                )
        if self.correct == self.opposite:
            raise BadData(f"{self.id} has option {self.correct} as its own opposite")

    @property
    def other(self) -> int:
        """Index of the option that is set against the correct one.

        Raises:
            BadData: if there are several wrong options and none is named as the opposite.
        """
        if self.opposite is not None:
            return self.opposite
        if len(self.options) != 2:
            raise BadData(
                f"{self.id} has {len(self.options)} options and none is named as the "
                "opposite of the correct one; ask for all of them, or name it"
            )
        return 1 - self.correct

    @property
    def sides(self) -> tuple[str, str]:
        """The matching answer and the one that is set against it, as texts.

        Raises:
            BadData: as ``other`` does.
        """
        return self.options[self.correct], self.options[self.other]

    @property
    def word(self) -> Literal["yes", "no", ""]:
        """The matching answer where the two sides are yes and no; else empty."""
        plain = [side.strip().rstrip(".").lower() for side in self.sides]
        if plain == ["yes", "no"]:
            return "yes"
        return "no" if plain == ["no", "yes"] else ""


@final
@dataclass(frozen=True)
class LetteredPrompt:
    """A multiple-choice question as one text, and the letters that answer it."""

    id: str
    group: str
    prompt: str
    answers: tuple[str, ...]
    """Such as ``("(B)", "(A)")``: first the correct one, then the others as shown."""


@final
@dataclass(frozen=True)
class TruthfulItem:
    """A question with true and false answers, each a sentence of its own."""

    id: str
    group: str
    question: str
    best: str
    """The true answer that counts for MC1."""
    correct: tuple[str, ...]
    """All true answers, the best one among them."""
    incorrect: tuple[str, ...]
    category: str = ""
    row: int = 0
    """Place in the published file, counted from 0."""


@final
@dataclass(frozen=True)
class BiasQuestion:
    """A question about two groups of people, answered by one of them or "unknown"."""

    id: str
    group: str
    """The template it was made from."""
    category: str
    context: str
    question: str
    options: tuple[str, ...]
    """Three: two people and one way to say that it cannot be known."""
    correct: int
    unknown: int
    """Index of the option that says that it cannot be known."""
    stereotyped: int
    """Index of the person of whom the stereotype is told."""
    is_ambiguous: bool
    """Whether the context leaves the answer open, so that only "unknown" is right."""
    is_negative: bool
    """Whether the stereotype answers the question with the stereotyped person."""

    @property
    def biased(self) -> int:
        """Index of the option that agrees with the stereotype."""
        if self.is_negative:
            return self.stereotyped
        return 3 - self.unknown - self.stereotyped


@final
@dataclass(frozen=True)
class StereotypePair:
    """Two sentences that differ in the group they are about."""

    id: str
    group: str
    category: str
    more: str
    """The more stereotypical sentence of the two."""
    less: str
    """The less stereotypical one."""
    is_stereotype: bool
    """Whether ``more`` is about the disadvantaged group; else it is about the advantaged
    one, and ``less`` says the stereotype's opposite of the disadvantaged one."""


@final
@dataclass(frozen=True)
class TextPair:
    """Two texts of which the first shows the wanted property."""

    id: str
    group: str
    positive: str
    negative: str
    prompt: str = ""
    """What both continue; empty where they stand alone."""

    @property
    def sides(self) -> tuple[str, str]:
        """The text that shows the property, and the one that does not."""
        return self.positive, self.negative


@final
@dataclass(frozen=True)
class Question:
    """An open question or instruction of one or more turns."""

    id: str
    group: str
    turns: tuple[str, ...]
    """What the user says, turn by turn."""
    references: tuple[str, ...] = ()
    """A good answer to each turn; empty where the source has none."""
    category: str = ""


@final
@dataclass(frozen=True)
class Problem:
    """A word problem with its worked solution and result."""

    id: str
    group: str
    question: str
    solution: str
    """Step by step, without the closing line that repeats the result."""
    result: str
    """A number in digits, without separators of thousands."""


Record = (
    ChoiceItem
    | TruthfulItem
    | BiasQuestion
    | StereotypePair
    | MapPair
    | TextPair
    | Question
    | Problem
)
"""What ``load_dataset`` gives: tuples of one of these."""


ContrastiveItem = Item | ChoiceItem | TextPair
"""What shows a behaviour and its absence side by side, so that it can be fitted on."""


TextItem = Item | TextPair
"""What holds, as its ``sides``, a text that shows a behaviour and one that does not."""


def group_of(*texts: str) -> str:
    """The group of a text: 12 hex digits that ignore case, spaces and punctuation."""
    return fingerprint([plain(text) for text in texts])
