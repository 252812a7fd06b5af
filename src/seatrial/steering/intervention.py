"""What a fitted method is: edits of activations, prompt and readout, to be saved."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot
from types import MappingProxyType
from typing import NamedTuple, final

from seatrial.errors import BadData, BadOption
from seatrial.steering.edits import Add, Edit
from seatrial.steering.gate import Gate
from seatrial.steering.prompt import PromptEdit
from seatrial.steering.readout import Readout
from seatrial.types import Origin, Site

__all__ = [
    "SCOPES",
    "UNSTEERED",
    "Gate",
    "Intervention",
    "Part",
    "PromptEdit",
    "Steering",
    "check_scope",
    "scope_span",
]

SCOPES = ("all", "prompt", "last", "from_last_prompt", "generated")
"""Named token scopes. Beside them exist ``first_K``, the first K tokens, and ``at_K``, the
prompt's token K, counted from 0, which a prompt must have."""


def check_scope(tokens: str) -> str:
    """Return a token scope unchanged.

    Raises:
        BadOption: if it is neither one of ``SCOPES``, nor ``first_K`` with K at least 1,
            nor ``at_K`` with K at least 0.
    """
    if tokens in SCOPES or re.fullmatch(r"first_[1-9]\d*|at_(0|[1-9]\d*)", tokens):
        return tokens
    raise BadOption(
        f"{tokens!r} is no token scope; choose one of {', '.join(SCOPES)}, "
        "or first_K or at_K with a number, such as first_5 (the first five tokens) or "
        "at_0 (the first one, of the prompt)"
    )


def scope_span(tokens: str, n_prompt: int, n_total: int) -> tuple[int, int]:
    """Which positions a scope edits, as a half-open span of real-token indices.

    Args:
        tokens: the scope.
        n_prompt: how many real tokens the prompt has, at least 1.
        n_total: how many the whole sequence has.

    Raises:
        BadData: for ``at_K`` and a prompt that ends before it.
    """
    match tokens:
        case "all":
            return 0, n_total
        case "prompt":
            return 0, n_prompt
        case "last":
            return n_prompt - 1, n_prompt
        case "from_last_prompt":
            return n_prompt - 1, n_total
        case "generated":
            return n_prompt, n_total
    kind, _, number = check_scope(tokens).partition("_")
    if kind == "first":
        return 0, min(int(number), n_total)
    if int(number) >= n_prompt:
        raise BadData(
            f"scope {tokens!r} edits token {number} of a prompt, counted from 0, but a "
            f"prompt has {n_prompt} tokens only; give longer prompts, or a steering that "
            "edits fewer tokens"
        )
    return int(number), int(number) + 1


@final
@dataclass(frozen=True, eq=False)
class Part:
    """Edits that share a token scope."""

    edits: Mapping[Site, Edit]
    tokens: str = "all"

    def __post_init__(self) -> None:
        check_scope(self.tokens)
        object.__setattr__(
            self, "edits", MappingProxyType(dict(sorted(self.edits.items())))
        )


@final
@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to a model while it runs; the model itself is never changed.

    An intervention without edits, prompt edit and readout is the unsteered model.
    """

    edits: Mapping[Site, Edit] = field(default_factory=dict)
    """What is done to activations, by site."""
    tokens: str = "all"
    """Which positions are edited: one of ``SCOPES``, ``first_K`` or ``at_K``."""
    prompt_edit: PromptEdit | None = None
    """What is done to the input."""
    origin: Origin | None = None
    """Where it was fitted; ``None`` for one made by hand."""
    readout: Readout | None = None
    """What is done to the next-token distribution."""
    also: tuple[Part, ...] = ()
    """Further edits with token scopes of their own, made after the others, in order."""
    gate: Gate | None = None
    """Which prompts all of this is done to, as the unsteered model reads them; ``None``:
    to all."""

    def __post_init__(self) -> None:
        check_scope(self.tokens)
        object.__setattr__(
            self, "edits", MappingProxyType(dict(sorted(self.edits.items())))
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """All edits of activations, by token scope, in the order in which they are made."""
        return tuple(
            part for part in (Part(self.edits, self.tokens), *self.also) if part.edits
        )

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing at any dose."""
        return not (self.parts or self.prompt_edit or self.readout)

    def norms(self) -> dict[Site, float]:
        """Length of every added vector, by site (other kinds of edits have none).

        Where several are added at one site, at tokens of their own, it is that of all of
        them together: the root of the sum of squares.
        """
        found: dict[Site, float] = {}
        for part in self.parts:
            for site, edit in part.edits.items():
                if isinstance(edit, Add):
                    found[site] = hypot(found.get(site, 0.0), float(edit.vector.norm()))
        return dict(sorted(found.items()))


class Steering(NamedTuple):
    """An intervention at a dose: what a model answers *under*."""

    intervention: Intervention
    dose: float = 1.0


UNSTEERED = Steering(Intervention(), 0.0)
"""The model as it is."""
