"""What every check sees, whatever the file: rows of texts; and what it says, findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

Severity = Literal["error", "warning"]

Form = Literal[
    "concept",
    "map",
    "pairs",
    "items",
    "facts",
    "values",
    "dialogues",
    "prose",
    "contexts",
]

SPLIT_FORMS: tuple[Form, ...] = (
    "concept",
    "map",
    "pairs",
    "items",
    "facts",
    "values",
    "dialogues",
)
"""Forms whose groups are dealt to fit, select and test."""

MOST = 8
"""Findings of one kind that are shown one by one."""


@final
@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or may bias what is measured."""

    severity: Severity
    """error: must be mended before anything is measured; warning: look at it."""
    check: str
    """Which check found it."""
    what: str
    """What is wrong, with its size."""
    remedy: str
    """What to do about it."""
    lines: tuple[int, ...] = ()
    """Where; empty: in the file as a whole."""


@final
@dataclass(frozen=True)
class SheetRow:
    """One item of a file, taken apart for the checks."""

    line: int
    """Place in the file, counted from 1; what is counted says ``Sheet.unit``."""
    id: str
    group: str
    texts: Mapping[str, str]
    """Every text, by field."""
    prompt: str = ""
    """What the sides continue or answer."""
    right: str = ""
    """The side that matches or is right; empty where the form has no sides."""
    wrong: tuple[str, ...] = ()
    """What is set against it; empty for maps."""
    label: str = ""
    """What a constant answerer would say to be right here: yes, a letter, an output."""
    contents: tuple[str, ...] = ()
    """Texts that must not stand in two groups, since what is fitted on them is tested."""
    shared: tuple[str, ...] = ()
    """Texts that had better not."""
    cell: tuple[str, ...] = ()
    """Of a question with letters: the matching letter and the word behind it."""


@final
@dataclass(frozen=True)
class Sheet:
    """A file that could be read, at least in part."""

    name: str
    form: Form
    rows: tuple[SheetRow, ...]
    unit: Literal["line", "row", "entry"] = "line"
    has_ids: bool = True
    """Whether the ids are the writer's own."""
    may_pad: frozenset[str] = field(default_factory=frozenset)
    """Fields whose texts may begin with one space, as answers of published files do."""

    @property
    def groups(self) -> dict[str, list[SheetRow]]:
        """The rows of each group."""
        groups: dict[str, list[SheetRow]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return groups

    @property
    def sided(self) -> list[SheetRow]:
        """The rows that have something set against the right side."""
        return [row for row in self.rows if row.right and row.wrong]


def line_numbers(rows: Iterable[SheetRow]) -> tuple[int, ...]:
    """Where rows stand, in order and each once."""
    return tuple(sorted({row.line for row in rows}))


def merged(findings: Sequence[Finding], most: int = MOST) -> list[Finding]:
    """The same, with what is said of several places said once.

    Args:
        findings: in the order in which they are told.
        most: so many of a check stay as they are; the places of the others become one.
    """
    places: dict[tuple[Severity, str, str, str], list[int]] = {}
    for finding in findings:
        key = (finding.severity, finding.check, finding.what, finding.remedy)
        places.setdefault(key, []).extend(finding.lines)
    kinds: dict[tuple[Severity, str], list[Finding]] = {}
    for key, lines in places.items():
        whole = Finding(*key, tuple(sorted(set(lines))))
        kinds.setdefault(key[:2], []).append(whole)
    return [part for own in kinds.values() for part in _shortened(own, most)]


def _shortened(findings: list[Finding], most: int) -> list[Finding]:
    kept, rest = findings[:most], findings[most:]
    if len(rest) < 2:
        return findings
    lines = sorted({line for finding in rest for line in finding.lines})
    what = f"{len(rest)} more findings of this check"
    last = Finding(rest[0].severity, rest[0].check, what, "treat them alike", tuple(lines))
    return [*kept, last]
