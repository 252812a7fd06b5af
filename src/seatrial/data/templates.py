"""In-context prompts of a map: demonstrations, then a query that the model completes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import final
from zlib import crc32

import numpy as np

from seatrial.errors import BadData, BadOption, unknown
from seatrial.types import Example, Message


@final
@dataclass(frozen=True)
class Template:
    """How examples are written; the output is put straight after the query."""

    demonstration: str
    """One finished example with what divides it from the next: holds {x} and {y}."""
    query: str
    """The unfinished one: holds {x}."""
    space: str = " "
    """What stands between the query and its answer, and is scored with the answer."""
    scope: str = ""
    """What stands before the first demonstration."""
    aside: str = " ({facts})"
    """How facts are written that stand between the query's input and its answer."""

    def prompt(
        self,
        demonstrations: Sequence[Example],
        query: str,
        *,
        context: str = "",
        facts: Sequence[str] = (),
    ) -> str:
        """The text up to where the answer begins.

        Args:
            demonstrations: finished examples, in order.
            query: the input that is asked.
            context: paragraphs that stand before everything else.
            facts: sentences that stand between the query's input and its answer.
        """
        above = f"{context}\n\n" if context else ""
        shown = "".join(
            self.demonstration.format(x=example.input, y=example.output)
            for example in demonstrations
        )
        return f"{above}{self.scope}{shown}{self._asked(query, facts)}"

    def conversation(
        self,
        demonstrations: Sequence[Example],
        query: str,
        *,
        context: str = "",
        facts: Sequence[str] = (),
    ) -> tuple[Message, ...]:
        """The same in turns: every query is the user's, every output the assistant's."""
        turns = []
        for example in demonstrations:
            turns.append(Message("user", self._asked(example.input)))
            turns.append(Message("assistant", example.output))
        above = f"{context}\n\n" if context else ""
        return (*turns, Message("user", f"{above}{self._asked(query, facts)}"))

    def answer(self, output: str) -> str:
        """The text that would complete the prompt."""
        return f"{self.space}{output}"

    def _asked(self, query: str, facts: Sequence[str] = ()) -> str:
        aside = self.aside.format(facts=" ".join(facts)) if facts else ""
        return self.query.format(x=f"{query}{aside}")


TEMPLATES: dict[str, Template] = {
    "bare": Template("{x} -> {y}\n", "{x} ->"),
    "qa": Template("Q: {x}\nA: {y}\n\n", "Q: {x}\nA:", aside="\n{facts}"),
    "arrow": Template("example:{x}->{y}\n", "example:{x}->", ""),
}
"""``qa`` is that of Todd et al. (function vectors), ``arrow`` that of Hendel et al. (task
vectors)."""


def template_named(name: str) -> Template:
    """One of ``TEMPLATES``, or a sentence of your own that holds ``{x}``.

    Raises:
        UnknownName: if there is none of this name.
        BadOption: for a sentence that cannot be used.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if "{" in name or " " in name:
        return sentence_template(name)
    raise unknown("template", name, [*TEMPLATES, "or a sentence that holds {x}"])


def sentence_template(sentence: str) -> Template:
    """A natural sentence that the answer ends, such as ``The capital of {x} is``.

    Demonstrations are finished sentences, a line each.

    Raises:
        BadOption: if it does not hold ``{x}`` once, or ends with a space.
    """
    try:
        holes = [hole for _, hole, *_ in Formatter().parse(sentence) if hole is not None]
    except ValueError:
        holes = []
    if holes != ["x"] or "{x}" not in sentence or sentence != sentence.strip():
        raise BadOption(
            f"the sentence {sentence!r} cannot be a template; write {{x}} once where the "
            "input goes, no other braces, and no space at either end, such as "
            "'The capital of {x} is'"
        )
    return Template(f"{sentence} {{y}}.\n", sentence)


def generator_for(seed: int, item: str, use: str) -> np.random.Generator:
    """Random numbers that depend on nothing else: not on order, limit or batch.

    Args:
        seed: of the task, 0 or more.
        item: its id.
        use: what they are for, so that two uses of one item are independent.
    """
    return np.random.default_rng([seed, crc32(f"{use}\n{item}".encode())])


def draw(
    examples: Sequence[Example],
    shots: int,
    generator: np.random.Generator,
    *,
    query: Example | None = None,
) -> tuple[Example, ...]:
    """Random demonstrations, none of which names the query's input on either side.

    With one generator, fewer shots are the first ones of more.

    Raises:
        BadData: if there are too few examples.
    """
    query_text = query.input.casefold() if query is not None else None
    others = [
        example
        for example in examples
        if query_text not in (example.input.casefold(), example.output.casefold())
    ]
    if len(others) < shots:
        raise BadData(
            f"{shots} demonstrations need as many examples besides the query, got "
            f"{len(others)}; give more fit items or fewer shots"
        )
    return tuple(others[k] for k in generator.permutation(len(others))[:shots])


def with_labels_moved(
    examples: Sequence[Example], generator: np.random.Generator
) -> tuple[Example, ...]:
    """The same inputs and outputs, with every output at another input.

    An input gets its own output back only where that cannot be helped: if n of N examples
    share an output and n > N/2, exactly 2n - N of them keep it.

    Raises:
        BadData: for fewer than two examples.
    """
    total = len(examples)
    if total < 2:
        raise BadData(
            f"{total} demonstration has no other whose label it could take; use "
            "at least 2 shots"
        )
    # Equal outputs side by side in a circle, and a turn that is longer than any such run.
    shuffled = generator.permutation(total).tolist()
    rank: dict[str, int] = {}
    for k in shuffled:
        rank.setdefault(examples[k].output, len(rank))
    order = sorted(shuffled, key=lambda k: rank[examples[k].output])
    run = max(Counter(example.output for example in examples).values())
    turn = int(generator.integers(run, total - run + 1)) if 2 * run <= total else run
    taken = {k: order[(place + turn) % total] for place, k in enumerate(order)}
    return tuple(
        Example(example.input, examples[taken[k]].output)
        for k, example in enumerate(examples)
    )
