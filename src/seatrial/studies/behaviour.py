"""A behaviour of a study: its source, split once, as the tasks that it is asked in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, final

from seatrial.data.catalogue import PUBLISHED_MAPS, load_concept
from seatrial.data.maps import MAPS
from seatrial.data.records import Item, TextPair
from seatrial.data.split import check_copies
from seatrial.errors import BadData, BadOption
from seatrial.files import fingerprint
from seatrial.methods import Method
from seatrial.studies.expand import Point, Shape, expand
from seatrial.studies.plan import (
    BehaviourPlan,
    ConditionPlan,
    GuardPlan,
    Limit,
    Plan,
    TargetPlan,
)
from seatrial.tasks import Task, task_named
from seatrial.tasks.base import Contrastive, Instructions, fit_data
from seatrial.tasks.conditions import in_condition, read_condition
from seatrial.tasks.factuality import Factuality
from seatrial.tasks.generation import Generation
from seatrial.tasks.map import Map
from seatrial.tasks.others import with_others
from seatrial.tasks.spec import with_options
from seatrial.types import SPLITS, FitData, Text

Kind = Literal["concept", "pairs", "items", "map", "questions"]


class Default(NamedTuple):
    """What a source is fitted and measured on, where the plan does not say."""

    fit: Mapping[str, Any] | None
    targets: Mapping[str, str]
    """By label, the task."""


DEFAULTS: dict[Kind, Default] = {
    "concept": Default({"task": "open"}, {"open": "open", "propensity": "propensity"}),
    "pairs": Default({"task": "open"}, {"open": "open"}),
    "items": Default({"task": "propensity"}, {"propensity": "propensity"}),
    "map": Default({"task": "map", "shots": 10}, {"zero-shot": "map"}),
    "questions": Default(None, {"factuality": "factuality"}),
}
"""By what a source holds."""

BUDGETS = {"prose": 1.10, "dialogue": 1.10, "facts": 0.02, "fluency": 0.05}
"""Damage that guards may do where the plan does not say, in its own unit."""

BASE = ConditionPlan("base", "base")


def kind_of(source: str) -> Kind:
    """What a source holds.

    Raises:
        UnknownName, BadData: as ``load_concept`` does, for a source of no kind.
    """
    if source in MAPS or source in PUBLISHED_MAPS:
        return "map"
    if source in Factuality.sources:
        return "questions"
    try:
        first = load_concept(source).items[0]
    except BadData as error:
        if "MapPair" in str(error):
            return "map"
        raise
    if isinstance(first, Item):
        return "concept"
    return "pairs" if isinstance(first, TextPair) else "items"


@final
class Behaviour:
    """One behaviour of a plan, for one seed.

    Raises:
        UnknownName: for a source or task that is not there.
        BadData: for items that cannot be split, or leave too few to measure.
    """

    def __init__(
        self, plan: Plan, behaviour: BehaviourPlan, seed: int, shape: Shape
    ) -> None:
        self.plan, self.behaviour, self.seed, self.shape = plan, behaviour, seed, shape
        self.kind: Kind = kind_of(behaviour.source)
        if self.kind in _CONCEPTS:
            check_copies(behaviour.label, load_concept(behaviour.source).items)
        default = DEFAULTS[self.kind]
        fit = behaviour.fit
        if fit is not None and "task" not in fit:
            fit = {**(default.fit or {}), **fit}
        self.fit_options: Mapping[str, Any] | None = fit or default.fit
        self.targets: tuple[TargetPlan, ...] = behaviour.targets or tuple(
            TargetPlan(label, task, {}) for label, task in default.targets.items()
        )
        self._tasks: dict[str, Task] = {}
        self._data: dict[tuple[str, int | None], FitData] = {}

    @property
    def labels(self) -> tuple[str, str]:
        """By which a plan names it: its own, and that of its list of sources."""
        return self.behaviour.label, self.behaviour.family

    def points(self, target: TargetPlan) -> list[Point]:
        """The points of a target's grid; one without values where it has none."""
        return expand(target.grid, self.shape)

    def conditions(self, target: TargetPlan) -> tuple[ConditionPlan, ...]:
        """The prompt conditions that a target is asked in: the nearest that are named."""
        return target.conditions or self.behaviour.conditions or self.plan.conditions

    def task(self, target: TargetPlan, point: Point, condition: ConditionPlan) -> Task:
        """A target at a point of its grid, in a prompt condition.

        Raises:
            BadData: where the condition needs what the behaviour does not have.
        """
        options = {**target.options, **point.values}
        limit = nearest(target.limit, self.behaviour.limit, self.plan.limit)
        task = self._made(target.task, target.source, options, limit)
        if condition.name == "base":
            return task
        return in_condition(task, _plain(condition), self.instructions)

    def ceiling(self, target: TargetPlan) -> Task:
        """The same items, as the unsteered model answers them best."""
        first = self.points(target)[0]
        return self.task(target, Point("", {**first.values, **target.ceiling}), BASE)

    def guard(self, guard: GuardPlan) -> Task:
        """A guard; its select items are others than its test items."""
        limit = nearest(guard.limit, self.plan.limit)
        return self._made(guard.task, guard.source, guard.options, limit)

    def budget(self, guard: GuardPlan) -> float | None:
        """What a guard's damage may be; ``None`` where nothing is too much."""
        budget = guard.budget if guard.budget is not None else BUDGETS.get(guard.task)
        return None if budget is None or budget == float("inf") else budget

    @property
    def instructions(self) -> Instructions:
        """For the behaviour and against it; empty where there is none."""
        own, label = self.behaviour.instructions, self.behaviour.label
        data = None if {"for", "against"} <= set(own) else self.fit_data()
        return Instructions(
            label,
            own.get("for", data.encourage if data else ""),
            own.get("against", data.discourage if data else ""),
        )

    def fit_data(self, limit: int | None = None) -> FitData | None:
        """What methods may look at; ``None`` where there is nothing to fit on.

        Args:
            limit: of fit items, nearer than those of behaviour and plan.
        """
        if self.fit_options is None:
            return None
        key = ("base", limit)
        if key not in self._data:
            sizes = nearest(Limit(fit=limit), self.behaviour.limit, self.plan.limit)
            data = self._read(sizes.fit)
            own = self.behaviour.instructions
            self._data[key] = replace(
                data,
                encourage=own.get("for", data.encourage),
                discourage=own.get("against", data.discourage),
            )
        return self._data[key]

    def _read(self, limit: int | None) -> FitData:
        assert self.fit_options is not None
        options = {k: v for k, v in self.fit_options.items() if k != "task"}
        task = self._made(str(self.fit_options["task"]), "", {}, Limit(fit=limit))
        if isinstance(task, Map):
            return task.fit_data(limit=limit, **options)
        if isinstance(task, Contrastive):
            task = with_options(task, options)
            assert isinstance(task, Contrastive)
            return fit_data(load_concept(self.behaviour.source), task)
        raise BadOption(
            f"{self.behaviour.label!r} cannot be fitted on the task {task.name!r}, which "
            "gives no pairs; name one that does, such as open, propensity or map"
        )

    def fit_data_for(
        self, method: Method, condition: ConditionPlan, limit: int | None
    ) -> FitData | None:
        """What one method may look at: the fit split, and the others that it asks for.

        Args:
            method: that is to be fitted.
            condition: in which the pairs are read.
            limit: of fit items.
        """
        data = self.fit_data(limit)
        if data is None or not method.needs:
            return data
        if condition.name != "base":
            data = in_prompts(data, condition, self.instructions)
        behaviours = [each.source for each in self.plan.behaviours]
        return with_others(
            data,
            method.references(data),
            seed=self.seed,
            split_seed=self.plan.split.seed,
            shares=self.plan.split.by_split,
            behaviours=behaviours,
        )

    def fit_identity(self, condition: ConditionPlan) -> Mapping[str, Any]:
        """The fit task with its options, for the name of a fit."""
        return {**(self.fit_options or {}), "source": self.behaviour.source}

    def _made(
        self, name: str, source: str, options: Mapping[str, Any], limit: Limit
    ) -> Task:
        """A task on its items, split and sampled."""
        key = repr((name, source, sorted(options.items(), key=str), limit))
        if key not in self._tasks:
            kind = task_named(name)
            split = self.plan.split
            given = source or self._source_for(kind)
            shares = split.by_split if issubclass(kind, Contrastive | Map) else None
            more = {} if shares is None else {"shares": shares}
            task = kind.of(given, seed=split.seed, **more)
            sizes = {part: getattr(limit, part) for part in SPLITS}
            fitted = self.seed if sizes["fit"] is not None else split.seed
            task = task.narrowed(
                sizes, {**dict.fromkeys(SPLITS, split.seed), "fit": fitted}
            )
            self._tasks[key] = with_options(task, options) if options else task
        return self._tasks[key]

    def _source_for(self, kind: type[Task]) -> str:
        """The behaviour's source where a task knows it, else the task's first."""
        source = self.behaviour.source
        is_known = source in kind.sources or (
            (issubclass(kind, Contrastive | Generation) and self.kind in _CONCEPTS)
            or (issubclass(kind, Map) and self.kind == "map")
        )
        return source if is_known else kind.sources[0]

    def description(self) -> dict[str, Any]:
        """What a report says of it."""
        told: dict[str, Any] = {"source": self.behaviour.source, "kind": self.kind}
        if self.kind in _CONCEPTS:
            concept = load_concept(self.behaviour.source)
            told |= {"category": concept.category, "about": concept.about}
        data = self.fit_data()
        return told | {"fit items": len(data.pairs) if data else 0}


_CONCEPTS: tuple[Kind, ...] = ("concept", "pairs", "items")


def nearest(*limits: Limit) -> Limit:
    """Split by split, the limit of the nearest that says one."""
    values = {
        split: next(
            (x for limit in limits if (x := getattr(limit, split)) is not None), None
        )
        for split in SPLITS
    }
    return Limit(**values)


def _plain(condition: ConditionPlan) -> dict[str, Any]:
    return {"name": condition.name, **condition.options}


def in_prompts(
    data: FitData, condition: ConditionPlan, instructions: Instructions
) -> FitData:
    """The same pairs with every prompt in a condition: what is fitted in that condition."""
    read = read_condition(_plain(condition))
    words = {"positive": instructions.encourage, "negative": instructions.discourage}
    instruction = words.get(condition.name.rpartition("-")[2], "")

    def around(text: Text, item: str) -> Text:
        return text._replace(prompt=read.around(text.prompt, item, instruction))

    pairs = tuple(
        replace(
            pair,
            positive=around(pair.positive, pair.id),
            negative=around(pair.negative, pair.id),
        )
        for pair in data.pairs
    )
    content = [data.fingerprint, condition.name, dict(condition.options), instruction]
    return replace(data, pairs=pairs, fingerprint=fingerprint(content))
