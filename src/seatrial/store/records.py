"""What a worker hands to the driver: plain values that can be pickled and stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

Phase = Literal["select", "price", "test", "more", "transfer"]
PHASES: tuple[Phase, ...] = ("select", "price", "test", "more", "transfer")


class Unit(NamedTuple):
    """What one worker does with one loaded model: model x seed x behaviour, by label."""

    model: str
    seed: int
    behaviour: str

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}, {self.behaviour}"


class Name(NamedTuple):
    """What a cell is called in this plan; a cell may have several names."""

    cell: str
    """Id, by content alone."""
    ask: str
    fit: str
    """Empty where nothing is fitted: the unsteered model."""
    phase: str
    label: str
    """Of the method, control or baseline; ``unsteered``."""
    kind: str
    """``unsteered``, ``method``, ``refit``, ``control`` or ``baseline``."""
    control: str
    """Of a control its label in the plan, such as ``random``; else empty."""
    draw: int
    """Which draw of a control, or which refit; -1 for what is not drawn."""
    settings: str
    """Resolved options that were on trial, as JSON; ``{}`` where none were."""
    dose: float
    role: str
    """``target``, ``guard`` or ``ceiling``."""
    target: str
    """Label of the target or guard."""
    point: str
    """Point of the target's grid, such as ``template=qa``; empty without a grid."""
    condition: str
    fit_behaviour: str
    fit_condition: str
    split: str


@final
@dataclass(frozen=True)
class Begun:
    """A unit has a model: what its numbers rest on."""

    unit: Unit
    header: Mapping[str, Any]


@final
@dataclass(frozen=True)
class Planned:
    """All cells of one phase, with their names; those that are stored already included."""

    unit: Unit
    phase: Phase
    names: tuple[Name, ...]
    not_applicable: tuple[Mapping[str, str], ...] = ()
    """What does not fit, each with ``what`` and ``reason``."""


@final
@dataclass(frozen=True)
class Rows:
    """Scores of some cells: columns of equal length."""

    unit: Unit
    cell: tuple[str, ...]
    item: tuple[str, ...]
    metric: tuple[str, ...]
    value: tuple[float, ...]
    cells: tuple[str, ...]
    """Ids of the cells that are whole with these rows; one may have no row at all."""
    texts: tuple[tuple[str, str, str], ...] = ()
    """Cell, item and what was generated."""


@final
@dataclass(frozen=True)
class Items:
    """What was asked, in words: one entry an item of an ask."""

    unit: Unit
    entries: tuple[Mapping[str, str], ...]
    """With ``ask``, ``item``, ``group``, ``text`` and ``factors`` (JSON)."""


@final
@dataclass(frozen=True)
class Fitted:
    """An intervention as a file's bytes."""

    unit: Unit
    fit: str
    name: str
    """Of the file, without id and ending."""
    content: bytes
    facts: Mapping[str, float] = field(default_factory=dict)
    """Norms, separations, cosines ... by name."""


@final
@dataclass(frozen=True)
class Checked:
    """Answers of the hazard audit."""

    unit: Unit
    checks: tuple[Mapping[str, Any], ...]


@final
@dataclass(frozen=True)
class Chosen:
    """What select items decided, by arm and target."""

    unit: Unit
    choices: tuple[Mapping[str, Any], ...]
    """With ``label``, ``target``, ``settings``, ``dose`` and the reason in words."""


@final
@dataclass(frozen=True)
class Failed:
    """A part that cannot be measured: an arm, or the whole unit where it names none."""

    unit: Unit
    phase: Phase
    label: str
    """Empty: the unit."""
    reason: str
    is_defect: bool = False
    """Whether the fault is ours rather than the user's."""


@final
@dataclass(frozen=True)
class Finished:
    """A phase of a unit is measured."""

    unit: Unit
    phase: Phase


@final
@dataclass(frozen=True)
class JobProgress:
    """How far a job is; not stored."""

    unit: Unit
    phase: Phase
    what: str
    done: float
    """Tokens of this job that are done ..."""
    whole: float
    """... of so many."""


Record = (
    Begun
    | Planned
    | Rows
    | Items
    | Fitted
    | Checked
    | Chosen
    | Failed
    | Finished
    | JobProgress
)
"""What a worker delivers."""


def choices_by(
    choices: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Choices by label and target."""
    return {(choice["label"], choice["target"]): choice for choice in choices}
