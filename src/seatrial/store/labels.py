"""What the names in a store mean: its targets, guards, metrics and steerings, its budget.

Whoever reads the rows needs these and nothing else: no task, no method, no model. So a
store that somebody else made, with methods and tasks of their own, can be read anywhere.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, final

from seatrial.types import Role

Kind = Literal["method", "control", "baseline", "unsteered"]
"""method: what is on trial; control: what it must beat; baseline: what a user would do
instead; unsteered: the model as it is."""

Part = Literal["verdict", "promoted", "suppressed", "order", "drift"]
"""verdict: the metric that verdicts are about; promoted, suppressed: log-probability of
what the behaviour says, and of its opposite; order: half of what is gained by naming the
matching answer first; drift: divergence from the unsteered model."""


@final
@dataclass(frozen=True)
class Budget:
    """What a steering may do and still be said to work."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # other keys are refused

    perplexity_ratio: float = 1.1
    """Largest acceptable perplexity of neutral prose at doses 1 and -1; unsteered is 1.
    Other guards have no such number: what is beyond all controls there is a price."""
    anti_steerable: float = 1 / 3
    """Largest acceptable share of items that move the wrong way or not at all."""


@final
@dataclass(frozen=True)
class MetricLabel:
    """One metric of a task."""

    name: str
    unit: str
    role: Part
    sign: Literal[1, -1] = 1
    """1: larger is more of the behaviour, or more damage; -1: less."""
    bounds: tuple[float, float] | None = None
    """The least and the most that it can be, where it has such ends."""


@final
@dataclass(frozen=True)
class TaskLabel:
    """One target or guard."""

    name: str
    role: Role
    summary: str
    metrics: tuple[MetricLabel, ...]
    """The one that verdicts are about first."""
    is_priced: bool = False
    """Of a guard: whether the budget's perplexity is that of its texts. What another guard
    says is compared with what the controls do there."""

    @property
    def metric(self) -> MetricLabel:
        """The metric that verdicts are about."""
        return self.metrics[0]

    def named(self, *roles: Part) -> tuple[str, ...]:
        """The names of its metrics that have one of some roles."""
        return tuple(metric.name for metric in self.metrics if metric.role in roles)


@final
@dataclass(frozen=True)
class SteeringLabel:
    """One way of steering, or none."""

    name: str
    kind: Kind
    summary: str


@final
@dataclass(frozen=True)
class Labels:
    """Everything that a store has names for."""

    targets: tuple[TaskLabel, ...]
    guards: tuple[TaskLabel, ...]
    steerings: tuple[SteeringLabel, ...]
    budget: Budget

    def target(self, name: str) -> TaskLabel:
        """The target of that name."""
        return next(task for task in self.targets if task.name == name)

    @property
    def priced(self) -> TaskLabel | None:
        """The guard whose perplexity has a budget; None where no guard is such."""
        return next((guard for guard in self.guards if guard.is_priced), None)

    def of_kind(self, *kinds: Kind) -> tuple[SteeringLabel, ...]:
        """The steerings of some kinds, in the plan's order."""
        return tuple(steering for steering in self.steerings if steering.kind in kinds)

    def plain(self) -> dict[str, Any]:
        """As it stands in ``study.json``."""
        return asdict(self)


def read_labels(plain: Mapping[str, Any]) -> Labels:
    """The labels that ``Labels.plain`` wrote.

    Raises:
        KeyError, TypeError, ValueError: if they are something else.
    """
    targets, guards = (
        tuple(_task(task) for task in plain[key]) for key in ("targets", "guards")
    )
    steerings = tuple(SteeringLabel(**steering) for steering in plain["steerings"])
    return Labels(targets, guards, steerings, Budget(**plain["budget"]))


def _task(plain: Mapping[str, Any]) -> TaskLabel:
    metrics = [
        MetricLabel(**{**metric, "bounds": tuple(metric["bounds"] or ()) or None})
        for metric in plain["metrics"]
    ]
    if not metrics:
        raise ValueError(f"{plain['name']} has no metric")
    return TaskLabel(**{**plain, "metrics": tuple(metrics)})
