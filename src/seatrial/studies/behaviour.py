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
from seatrial.model import Model, Outline
from seatrial.studies.expand import GridPoint, Shape, expand
from seatrial.studies.grammar import as_table, brief, check_keys
from seatrial.studies.plan import (
    BehaviourPlan,
    ConditionPlan,
    GuardPlan,
    Limit,
    Plan,
    Size,
    TargetPlan,
)
from seatrial.tasks import Task, task_named
from seatrial.tasks.base import Contrastive, Instructions, fit_data
from seatrial.tasks.conditions import in_condition, read_condition
from seatrial.tasks.factuality import Factuality
from seatrial.tasks.generation import Generation
from seatrial.tasks.judges import Judge
from seatrial.tasks.map import Map
from seatrial.tasks.others import with_others
from seatrial.tasks.spec import JudgeSpec, make_judge, with_options
from seatrial.types import SPLITS, FitData, Split, Text

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
        self,
        plan: Plan,
        behaviour: BehaviourPlan,
        seed: int,
        shape: Shape,
        model: Model | Outline | None = None,
    ) -> None:
        self.plan, self.behaviour, self.seed, self.shape = plan, behaviour, seed, shape
        self.model = model
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
        self._data: dict[Size, FitData] = {}

    @property
    def labels(self) -> tuple[str, str]:
        """By which a plan names it: its own, and that of its list of sources."""
        return self.behaviour.label, self.behaviour.family

    def points(self, target: TargetPlan) -> list[GridPoint]:
        """The points of a target's grid; one without values where it has none."""
        return expand(target.grid, self.shape)

    def conditions(self, target: TargetPlan) -> tuple[ConditionPlan, ...]:
        """The prompt conditions that a target is asked in."""
        named = self.named_conditions(target)
        return tuple(each for each in named if self.misfit(each) is None)

    def named_conditions(self, target: TargetPlan) -> tuple[ConditionPlan, ...]:
        """The nearest that the plan names for a target, whether they fit or not."""
        return target.conditions or self.behaviour.conditions or self.plan.conditions

    def misfit(self, condition: ConditionPlan) -> str | None:
        """Why nothing can be asked in a condition; ``None`` where it can."""
        if condition.name == "base":
            return None
        read = read_condition(_plain(condition))
        if not read.needs_instructions:
            return None
        has = self.instructions
        words = has.encourage if read.name.endswith("positive") else has.discourage
        if words.strip():
            return None
        return (
            f"its prompts carry an instruction, and {self.behaviour.label!r} has none; "
            "give instructions.for and instructions.against"
        )

    def task(self, target: TargetPlan, point: GridPoint, condition: ConditionPlan) -> Task:
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

    def base_task(self, target: TargetPlan) -> Task:
        """A target at the first point of its grid, in the base condition."""
        return self.task(target, self.points(target)[0], BASE)

    def ceiling(self, target: TargetPlan) -> Task:
        """The same items, as the unsteered model answers them best."""
        first = self.points(target)[0]
        return self.task(target, GridPoint("", {**first.values, **target.ceiling}), BASE)

    def guard(self, guard: GuardPlan) -> Task:
        """A guard; its select items are others than its test items."""
        limit = nearest(guard.limit, self.plan.limit)
        return self._made(guard.task, guard.source, guard.options, limit)

    def budget(self, guard: GuardPlan) -> float | None:
        """What a guard's damage may be; ``None`` where nothing is too much."""
        budget = guard.budget
        if budget is None and not guard.metric:  # another metric has another unit
            budget = BUDGETS.get(guard.task)
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

    def fit_data(self, limit: Size = None) -> FitData | None:
        """What methods may look at; ``None`` where there is nothing to fit on.

        Args:
            limit: of fit items, nearer than those of behaviour and plan.
        """
        if self.fit_options is None:
            return None
        if limit not in self._data:
            sizes = nearest(Limit(fit=limit), self.behaviour.limit, self.plan.limit)
            data = self._read(sizes.fit)
            if own := self.behaviour.instructions:
                data = replace(
                    data,
                    encourage=own.get("for", data.encourage),
                    discourage=own.get("against", data.discourage),
                    fingerprint=fingerprint([data.fingerprint, dict(own)]),
                )
            self._data[limit] = data
        return self._data[limit]

    def _read(self, limit: Size) -> FitData:
        assert self.fit_options is not None
        options = {k: v for k, v in self.fit_options.items() if k != "task"}
        name, sizes = str(self.fit_options["task"]), Limit(fit=limit)
        task = self._made(name, "", {}, sizes, is_fitted_on=True)
        if isinstance(task, Map):
            if "shots" not in (self.behaviour.fit or {}):
                # The default is no more than a nearer limit leaves, beside the query.
                most = len(task.splits["fit"]) - 1
                options["shots"] = max(1, min(options["shots"], most))
            return task.fit_data(limit=_number(limit), **options)
        if isinstance(task, Contrastive):
            task = with_options(task, options)
            assert isinstance(task, Contrastive)
            return fit_data(load_concept(self.behaviour.source), task)
        raise BadOption(
            f"{self.behaviour.label!r} cannot be fitted on the task {task.name!r}, which "
            "gives no pairs; name one that does, such as open, propensity or map"
        )

    def fit_data_for(
        self, method: Method, condition: ConditionPlan, limit: Size
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

    def fit_identity(self) -> Mapping[str, Any]:
        """The fit task with its options, for the name of a fit; its data names itself."""
        return dict(self.fit_options or {})

    def _made(
        self,
        name: str,
        source: str,
        options: Mapping[str, Any],
        limit: Limit,
        *,
        is_fitted_on: bool = False,
    ) -> Task:
        """A task on its items, split and sampled.

        Only what is fitted on is another sample for another seed, or holds test items where
        the plan has that published defect: all seeds are asked the same, shown examples
        included.
        """
        key = repr((name, source, sorted(options.items(), key=str), limit, is_fitted_on))
        if key not in self._tasks:
            kind = task_named(name)
            split = self.plan.split
            given = source or self._source_for(kind)
            more: dict[str, Any] = {}
            if issubclass(kind, Contrastive | Map | Generation):
                more["shares"] = split.by_split
            if issubclass(kind, Generation) and "judge" in options:
                judge = self._judge(options["judge"], given)
                options = {**options, "judge": judge}
                more["judge"] = judge
            task = kind.of(given, seed=split.seed, **more)
            if is_fitted_on and split.leak:
                task = task.leaking()
            sizes: dict[Split, int | None] = {
                part: _number(getattr(limit, part)) for part in SPLITS
            }
            is_drawn = is_fitted_on and sizes["fit"] is not None
            fitted = self.seed if is_drawn else split.seed
            seeds: dict[Split, int] = {part: split.seed for part in SPLITS}
            task = task.narrowed(sizes, {**seeds, "fit": fitted})
            self._tasks[key] = with_options(task, options) if options else task
        return self._tasks[key]

    def _judge(self, judge_plan: Any, source: str) -> Judge:
        """The judge that a plan names, by its name or a table of plain values.

        ``key`` names the environment variable that holds a server's key, never the key.
        """
        values = as_table(
            {"name": judge_plan} if isinstance(judge_plan, str) else judge_plan, "judge"
        )
        check_keys(values, JudgeSpec.__dataclass_fields__, "judge")
        is_plain = all(isinstance(value, str) for value in values.values())
        if not is_plain or "name" not in values:
            raise BadOption(
                f"judge is {brief(judge_plan)}; write a name, such as regex:PATTERN, or a "
                "table of texts with name, url, model and rubric"
            )
        judge = make_judge(
            JudgeSpec(**values), source, seed=self.plan.split.seed, model=self._unsteered
        )
        assert judge is not None
        return judge

    def _unsteered(self) -> Model:
        if isinstance(self.model, Model):
            return self.model
        raise BadOption(
            "the judge 'likelihood' asks the model itself, which is not on this machine; "
            "fetch it first, or name another judge"
        )

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
        words: dict[str, Any] = {"source": self.behaviour.source, "kind": self.kind}
        if self.kind in _CONCEPTS:
            concept = load_concept(self.behaviour.source)
            words |= {"category": concept.category, "about": concept.about}
        data = self.fit_data()
        return words | {"fit items": len(data.pairs) if data else 0}


_CONCEPTS: tuple[Kind, ...] = ("concept", "pairs", "items")


def without_part(data: FitData, part: int, parts: int) -> FitData | None:
    """The data without one part of their groups, for a refit; ``None``: there is no such.

    Args:
        data: pairs, and examples, each of which is a group of its own.
        part: which is left out, counted from 0.
        parts: into how many the groups are dealt in turn.
    """
    groups = {
        group: k for k, group in enumerate(dict.fromkeys(p.group for p in data.pairs))
    }
    pairs = tuple(pair for pair in data.pairs if groups[pair.group] % parts != part)
    examples = tuple(e for k, e in enumerate(data.examples) if k % parts != part)
    if len(pairs) == len(data.pairs) and len(examples) == len(data.examples):
        return None
    if not pairs and not examples:
        return None
    content = fingerprint([data.fingerprint, "without", part, parts])
    return replace(data, pairs=pairs, examples=examples, fingerprint=content)


def _number(size: Size) -> int | None:
    """A limit as tasks take it: ``None`` is none."""
    return None if size == "all" else size


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
