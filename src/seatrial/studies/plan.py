"""A completed plan as records: what is asked of which model.

``reading.plans_of`` makes them out of a completed plan. Options of methods, tasks and
conditions stay plain here: whoever builds those checks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from pydantic import ConfigDict

from seatrial.errors import BadOption
from seatrial.types import SPLITS, Split

_STRICT = ConfigDict(extra="forbid", str_strip_whitespace=False)

Kind = Literal["method", "control", "baseline"]
Property = Literal[
    "works",
    "works away",
    "reliable",
    "specific",
    "better",
    "not worse",
    "falls",
    "rises",
    "suffers",
]

TARGET_KEYS = (
    *("task", "source", "metric", "grid", "limit", "conditions", "ceiling", "chosen_on"),
    "matters",
)
"""What a plan says of a target beside the options of its task."""
GUARD_KEYS = ("task", "source", "metric", "limit", "budget")
BEHAVIOUR_KEYS = ("source", "fit", "targets", "instructions", "conditions", "limit")
CONTROL_KEYS = ("name", "draws", "doses")
METHOD_KEYS = ("name", "on", "grid", "choose", "dose", "doses", "rule", "controls", "limit")
"""What a plan says of a method beside its options; no method has a field of such a name."""


Size = int | Literal["all"] | None


@final
@dataclass(frozen=True)
class Limit:
    """Largest number of items by split, of which a seeded sample is taken.

    ``None``: what stands further off says; ``"all"``: there is no limit, whatever it says.
    """

    fit: Size = None
    select: Size = None
    test: Size = None


@final
@dataclass(frozen=True)
class Rule:
    """What decides a choice, on select items."""

    __pydantic_config__ = _STRICT

    by: str = "change"
    """``change`` in the direction of the label's sign, ``slope``, or a metric."""
    then: str = ""
    """Breaks ties; else the first candidate does."""
    split: Literal["select", "test"] = "select"
    """``test`` is a published defect."""


@final
@dataclass(frozen=True)
class Shares:
    """How the groups of a source are split."""

    __pydantic_config__ = _STRICT

    fit: float = 0.4
    select: float = 0.2
    test: float = 0.4
    seed: int = 0
    leak: bool = False
    """Whether test items may be fitted on: a published defect."""

    def __post_init__(self) -> None:
        shares = self.by_split
        if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise BadOption(
                "shares of fit, select and test must be above 0 and sum to 1, not "
                f"{', '.join(f'{name} {share:g}' for name, share in shares.items())}"
            )
        if not 0 <= self.seed <= 10**9:
            raise BadOption(f"seed is {self.seed}; write an integer from 0 to {10**9:,}")

    @property
    def by_split(self) -> dict[Split, float]:
        """Share by split."""
        return {name: getattr(self, name) for name in SPLITS}


@final
@dataclass(frozen=True)
class ModelPlan:
    """A model of a plan."""

    __pydantic_config__ = _STRICT

    label: str
    name: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    revision: str | None = None


@final
@dataclass(frozen=True)
class ConditionPlan:
    """A prompt condition in which targets are asked."""

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class TargetPlan:
    """A task that a behaviour is measured on."""

    label: str
    task: str
    options: Mapping[str, Any]
    """Of the task, as plain values."""
    source: str = ""
    """Empty: the behaviour's."""
    metric: str = ""
    """Empty: the task's first."""
    grid: Mapping[str, Any] = field(default_factory=dict)
    limit: Limit = field(default_factory=Limit)
    conditions: tuple[ConditionPlan, ...] = ()
    """Empty: the behaviour's, or else the plan's."""
    ceiling: Mapping[str, Any] = field(default_factory=dict)
    """Options under which the unsteered model shows what can be reached; empty: none."""
    chosen_on: str = ""
    """The label of the target whose choice is taken; empty: its own."""
    matters: float | None = None
    """The smallest size of interest, in the metric's unit."""


@final
@dataclass(frozen=True)
class GuardPlan:
    """A task that must not suffer."""

    label: str
    task: str
    options: Mapping[str, Any]
    source: str = ""
    metric: str = ""
    limit: Limit = field(default_factory=Limit)
    budget: float | None = None
    """Damage that is accepted, in the unit in which it is told; ``None``: the default of
    the task, infinity: none is too much."""


@final
@dataclass(frozen=True)
class BehaviourPlan:
    """What is to move: a source of items, what methods see of it, and its targets."""

    label: str
    family: str
    """The label that the plan gives to all sources of one list; else the label."""
    source: str
    fit: Mapping[str, Any] | None = None
    """Options of the fit task, ``task`` among them; ``None``: the default of the source."""
    targets: tuple[TargetPlan, ...] | None = None
    """``None``: the default of the source."""
    instructions: Mapping[str, str] = field(default_factory=dict)
    """``for`` and ``against``; empty: the source's own."""
    conditions: tuple[ConditionPlan, ...] = ()
    """Empty: the plan's."""
    limit: Limit = field(default_factory=Limit)


@final
@dataclass(frozen=True)
class ControlPlan:
    """A kind of control, with how many are drawn."""

    label: str
    name: str
    options: Mapping[str, Any]
    draws: int = 12
    doses: tuple[float, ...] = ()
    """Empty: the chosen dose alone."""


@final
@dataclass(frozen=True)
class MethodPlan:
    """A method under test, or a baseline."""

    label: str
    name: str
    """Of ours, of an entry point, dotted, or the path of a saved steering."""
    options: Mapping[str, Any]
    on: tuple[str, ...] = ()
    """Behaviours or targets; empty: whatever it fits."""
    grid: Mapping[str, Any] = field(default_factory=dict)
    choose: Mapping[str, Any] = field(default_factory=dict)
    dose: float | None = None
    doses: tuple[float, ...] = ()
    """Empty: the plan's."""
    rule: Rule | None = None
    """``None``: the plan's."""
    controls: Mapping[str, ControlPlan] | None = None
    """All that it has, the plan's among them; ``None``: the plan's."""
    fit_limit: Size = None


@final
@dataclass(frozen=True)
class Claim:
    """What must hold for ``report --check``, and what Holm counts."""

    __pydantic_config__ = _STRICT

    that: Property = "works"
    method: tuple[str, ...] = ()
    """Labels; empty: all methods under test."""
    on: tuple[str, ...] = ()
    """Behaviours, targets or guards; empty: all."""
    model: tuple[str, ...] = ()
    than: str = ""
    """The label that it is better, or not worse, than."""
    along: str = ""
    """The option of a grid along which it falls or rises."""

    def __post_init__(self) -> None:
        needs = {"better": "than", "not worse": "than", "falls": "along", "rises": "along"}
        need = needs.get(self.that, "")
        for key in ("than", "along"):
            if bool(getattr(self, key)) != (key == need):
                verb = "needs" if key == need else "takes no"
                raise BadOption(f"a claim that {self.that!r} {verb} {key!r}")


@final
@dataclass(frozen=True)
class Plan:
    """What a study says of one model."""

    model: ModelPlan
    seeds: tuple[int, ...]
    split: Shares
    conditions: tuple[ConditionPlan, ...]
    transfer: tuple[Literal["behaviour", "condition"], ...]
    doses: tuple[float, ...]
    """In their order, without 0, which is always there."""
    rule: Rule
    choose: Mapping[str, Any]
    limit: Limit
    refits: int
    behaviours: tuple[BehaviourPlan, ...]
    methods: tuple[MethodPlan, ...]
    baselines: tuple[MethodPlan, ...]
    controls: tuple[ControlPlan, ...]
    guards: tuple[GuardPlan, ...]
    claims: tuple[Claim, ...]
    """Empty: that every method under test works wherever it is tried."""
