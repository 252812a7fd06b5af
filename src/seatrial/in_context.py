"""In-context prompts of a map: demonstrations, then a query that the model completes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from seatrial.errors import BadData, unknown
from seatrial.types import Example


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

    def prompt(self, demonstrations: Sequence[Example], query: str) -> str:
        """The text up to where the answer begins."""
        shown = "".join(
            self.demonstration.format(x=example.input, y=example.output)
            for example in demonstrations
        )
        return f"{self.scope}{shown}{self.query.format(x=query)}"

    def answer(self, output: str) -> str:
        """The text that would complete the prompt."""
        return f"{self.space}{output}"


TEMPLATES: dict[str, Template] = {
    "qa": Template("Q: {x}\nA: {y}\n\n", "Q: {x}\nA:"),
    "arrow": Template("example:{x}->{y}\n", "example:{x}->", ""),
}
"""``qa`` is that of Todd et al. (function vectors), ``arrow`` that of Hendel et al. (task
vectors)."""


def template_named(name: str) -> Template:
    """One of ``TEMPLATES``.

    Raises:
        UnknownName: if there is none of this name.
    """
    if name not in TEMPLATES:
        raise unknown("template", name, TEMPLATES)
    return TEMPLATES[name]


def draw(
    examples: Sequence[Example],
    shots: int,
    generator: np.random.Generator,
    *,
    query: Example | None = None,
) -> tuple[Example, ...]:
    """Random demonstrations, none of which has the query's input.

    Raises:
        BadData: if there are too few examples.
    """
    others = [e for e in examples if query is None or e.input != query.input]
    if len(others) < shots:
        raise BadData(
            f"{shots} demonstrations need as many examples besides the query, got "
            f"{len(others)}; give more fit items or fewer shots"
        )
    return tuple(others[k] for k in generator.permutation(len(others))[:shots])


def with_labels_moved(
    examples: Sequence[Example], generator: np.random.Generator
) -> tuple[Example, ...]:
    """The same inputs and outputs, with every output at another input (a derangement).

    Where examples share outputs, an output can still be right by accident.

    Raises:
        BadData: for fewer than two examples.
    """
    if len(examples) < 2:
        raise BadData(
            f"{len(examples)} demonstration has no other whose label it could take; use "
            "at least 2 shots"
        )
    # A cycle through a random order moves every one of them.
    order = generator.permutation(len(examples)).tolist()
    taken = dict(zip(order, [*order[1:], order[0]], strict=True))
    return tuple(
        Example(example.input, examples[taken[k]].output)
        for k, example in enumerate(examples)
    )
