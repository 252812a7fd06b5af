"""What a fitted method is: edits of activations, a prompt edit, a readout and a gate."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
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

    @property
    def surfaces(self) -> tuple[tuple[str, PromptEdit | Readout | Gate | None], ...]:
        """What there can be beside edits of activations, by its name in words."""
        return (
            ("prompt edit", self.prompt_edit),
            ("readout", self.readout),
            ("gate", self.gate),
        )

    def in_words(self) -> str:
        """What it does, in a line: "edits at 0.resid, 1.resid and a prompt edit"."""
        sites = sorted({site for part in self.parts for site in part.edits})
        words = [f"edits at {', '.join(map(str, sites))}"] if sites else []
        words += [f"a {name}" for name, surface in self.surfaces if surface is not None]
        return " and ".join(words) or "nothing"

    def __repr__(self) -> str:
        lines = [
            f"{kind} at {sites}, tokens {tokens}{norm and f', norm {norm}'}"
            for kind, sites, tokens, norm in _rows(self.parts)
        ]
        lines += _more_lines(self)
        return f"<Intervention: {'; '.join(lines) or 'nothing'}>"

    def _repr_html_(self) -> str:
        """For a notebook; every text as text."""
        head = ("edit", "sites", "tokens", "norm")
        rows = [("th", head)] if self.parts else []
        rows += [("td", row) for row in _rows(self.parts)]
        table = "".join(
            f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
            for tag, cells in rows
        )
        lines = "".join(f"<br>{escape(line)}" for line in _more_lines(self))
        nothing = "" if table or lines else ": nothing"
        return f"<b>Intervention</b>{nothing}{table and f'<table>{table}</table>'}{lines}"

    def norms(self) -> dict[Site, float]:
        """Length of every added vector, by site (other kinds of edits have none).

        Where several are added at one site, at tokens of their own, it is that of all of
        them together: the root of the sum of squares.
        """
        norms: dict[Site, float] = {}
        for part in self.parts:
            for site, edit in part.edits.items():
                if isinstance(edit, Add):
                    norms[site] = hypot(norms.get(site, 0.0), float(edit.vector.norm()))
        return dict(sorted(norms.items()))


def _rows(parts: Sequence[Part]) -> list[tuple[str, str, str, str]]:
    """Kind, sites, tokens and norm of edits, those of one kind in a part together."""
    rows: list[tuple[str, str, str, str]] = []
    for part in parts:
        kinds: dict[str, list[Site]] = {}
        for site, edit in part.edits.items():
            kinds.setdefault(type(edit).__name__, []).append(site)
        for kind, sites in kinds.items():
            edits = [part.edits[site] for site in sites]
            norms = [float(edit.vector.norm()) for edit in edits if isinstance(edit, Add)]
            ends = dict.fromkeys(
                f"{norm:.3g}" for norm in sorted(norms)[:: len(norms) - 1 or 1]
            )
            rows.append((kind, _few(sites), part.tokens, " to ".join(ends)))
    return rows


def _few(sites: Sequence[Site]) -> str:
    """Sites in words, few of many."""
    if len(sites) <= 4:
        return ", ".join(map(str, sites))
    return f"{len(sites)} sites from {sites[0]} to {sites[-1]}"


def _more_lines(intervention: Intervention) -> list[str]:
    """What an intervention does beside edits, and where it comes from."""
    lines: list[str] = []
    if (edit := intervention.prompt_edit) is not None:
        shown = len(edit.positive) + len(edit.negative)
        words = f"prompt edit {_cut(edit.encourage)!r}"
        if shown:
            words += f" with {shown} demonstrations"
        lines.append(words)
    if (readout := intervention.readout) is not None:
        lines.append(f"readout {readout}")
    if (gate := intervention.gate) is not None:
        words = f"gate at {gate.site}, {gate.fires} {gate.threshold:.3g}"
        lines.append(words)
    if (origin := intervention.origin) is not None:
        words = f"from {origin.method} on {origin.model}, seed {origin.seed}"
        lines.append(words)
    return lines


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Steering(NamedTuple):
    """An intervention at a dose: what a model answers *under*."""

    intervention: Intervention
    dose: float = 1.0

    def __repr__(self) -> str:
        return f"<Steering: dose {self.dose:g} of {self.intervention!r}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        return f"dose {self.dose:g} of {self.intervention._repr_html_()}"


UNSTEERED = Steering(Intervention(), 0.0)
"""The model as it is."""
