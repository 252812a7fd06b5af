"""What each phase of a unit asks: batches of steerings on one ask, in a fixed order.

A batch is one ask under the steerings of one arm, or of one of its controls, so what is
measured together follows from the plan alone, never from what happens to be stored.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, final

from seatrial.methods import Length
from seatrial.methods.base import doses_of, needs_of
from seatrial.model import Model, Outline
from seatrial.store.records import Phase, Unit, choices_by
from seatrial.studies.arms import Arm, ControlDraw, arms_of, draws_of
from seatrial.studies.asked import Asked
from seatrial.studies.behaviour import BASE, Behaviour, without_part
from seatrial.studies.choose import settings_of
from seatrial.studies.expand import GridPoint, Shape
from seatrial.studies.fitting import Fitting
from seatrial.studies.plan import ConditionPlan, GuardPlan, Plan, TargetPlan
from seatrial.tasks import Scored, Task
from seatrial.types import FitData, Split

Choices = Sequence[Mapping[str, Any]]

GUARDED_CONTROL_DOSES = (-1.0, 1.0)
"""Doses at which controls meet guards: enough to compare prices."""


class Placed(NamedTuple):
    """A steering to be measured, with what it is called."""

    label: str
    kind: Literal["unsteered", "method", "baseline", "control", "refit"]
    settings: str
    dose: float
    fit: Fitting | None
    control: str = ""
    draw: int = -1


PLAIN = Placed("unsteered", "unsteered", "{}", 0.0, None)


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """One ask under some steerings."""

    ask: Asked
    role: Literal["target", "guard", "ceiling"]
    target: str
    point: str
    condition: str
    placed: tuple[Placed, ...]
    label: str = ""
    """Of the arm that is lost if it fails; empty: the unit is."""

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.target, self.point, self.condition)))
        return f"{where} ({self.label or 'unsteered'})"


class NotApplicable(NamedTuple):
    """A combination that does not fit, and why."""

    what: str
    reason: str


@final
class Phases:
    """One unit with its model, as batches."""

    def __init__(self, model: Model | Outline, plan: Plan, unit: Unit) -> None:
        self.model, self.plan, self.unit = model, plan, unit
        self.shape = Shape(model.n_layers, model.n_heads)
        self.arms = arms_of(plan, self.shape)
        self.behaviour = self.behaviour_named(unit.behaviour)
        self._asked: dict[tuple[str, ...], Asked] = {}
        self._fittings: dict[tuple[str, ...], Fitting] = {}

    def behaviour_named(self, label: str) -> Behaviour:
        """A behaviour of the plan, for this unit's seed."""
        [own] = [each for each in self.plan.behaviours if each.label == label]
        return Behaviour(self.plan, own, self.unit.seed, self.shape, self.model)

    def batches(
        self,
        phase: Phase,
        choices: Choices = (),
        others: Mapping[str, Choices] | None = None,
    ) -> list[Batch]:
        """What a phase asks, in a fixed order.

        Args:
            phase: which.
            choices: what select items decided so far; where one is missing, the first
                candidate stands in.
            others: of *transfer*: the choices of every behaviour of this model and seed.
        """
        match phase:
            case "select":
                batches = self.select()
            case "price":
                batches = self.price(choices)
            case "test":
                batches = self.test(choices)
            case _:
                batches = self.transfer(others or {})
        return [batch for batch in batches if batch.placed]

    def select(self) -> Iterator[Batch]:
        """Every candidate on the select items of every target that chooses for itself."""
        for target in self.behaviour.targets:
            arms = [arm for arm in self.tried_on(target) if _chooses(arm)]
            if target.chosen_on or not arms:
                continue
            point = self.behaviour.points(target)[0]
            splits: dict[Split, None] = {arm.rule.split: None for arm in arms}
            for split in splits:
                ask = self._target(target, point, BASE, split)
                yield self._on_target(ask, target, point, BASE, [PLAIN])
                for arm in arms:
                    if arm.rule.split == split:
                        placed = [
                            self._placed(arm, settings, dose)
                            for settings in arm.candidates
                            for dose in self._rule_doses(arm, settings)
                        ]
                        yield self._on_target(ask, target, point, BASE, placed, arm.label)

    def price(self, choices: Choices) -> Iterator[Batch]:
        """The chosen options at every dose offered, on guards with a budget."""
        arms = [(a, s) for a, s in self._distinct(choices) if len(a.offered) > 1]
        for guard in self.plan.guards:
            if not arms or self.behaviour.budget(guard) is None:
                continue
            ask = self._guard(guard, "select")
            yield _on_guard(ask, guard, [PLAIN])
            for arm, settings in arms:
                placed = [self._placed(arm, settings, dose) for dose in arm.offered]
                yield _on_guard(ask, guard, placed, arm.label)

    def test(self, choices: Choices) -> Iterator[Batch]:
        """What was chosen, on every target and guard; controls where a claim is judged."""
        for target in self.behaviour.targets:
            for number, point in enumerate(self.behaviour.points(target)):
                for condition in self.behaviour.conditions(target):
                    is_judged = number == 0 and condition.name == "base"
                    yield from self._tested(target, point, condition, choices, is_judged)
            if target.ceiling:
                task = self.behaviour.ceiling(target)
                ask = self._ask(("ceiling", target.label, "test"), task, "test")
                point = self.behaviour.points(target)[0]
                yield replace(
                    self._on_target(ask, target, point, BASE, [PLAIN]), role="ceiling"
                )
        for guard in self.plan.guards:
            yield from self._guarded(guard, choices)

    def transfer(self, others: Mapping[str, Choices]) -> Iterator[Batch]:
        """Every chosen fit of this unit, asked elsewhere.

        Args:
            others: the choices of every behaviour of this model and seed, by label.
        """
        own = others.get(self.unit.behaviour, ())
        if "behaviour" in self.plan.transfer:
            for each in self.plan.behaviours:
                if each.label != self.unit.behaviour:
                    yield from self._on_other(self.behaviour_named(each.label), own)
        if "condition" in self.plan.transfer:
            yield from self._in_conditions(own)

    def _tested(
        self,
        target: TargetPlan,
        point: GridPoint,
        condition: ConditionPlan,
        choices: Choices,
        is_judged: bool,
    ) -> Iterator[Batch]:
        ask = self._target(target, point, condition, "test")
        where = ask, target, point, condition
        yield self._on_target(*where, [PLAIN])
        for arm in self.tried_on(target):
            settings, dose = self._choice(arm, target, choices)
            doses = self._has(arm, settings, {*arm.doses, dose, -dose})
            placed = [self._placed(arm, settings, each) for each in doses]
            yield self._on_target(*where, placed, arm.label)
            if is_judged:
                for control, drawn in self._draws(arm, settings, doses, target):
                    yield self._on_target(*where, drawn, f"{arm.label}, {control}")
                at = self._has(arm, settings, {dose, -dose})
                refits = self._refits(arm, settings, at)
                yield self._on_target(*where, refits, f"{arm.label}, refits")

    def _guarded(self, guard: GuardPlan, choices: Choices) -> Iterator[Batch]:
        ask = self._guard(guard, "test")
        yield _on_guard(ask, guard, [PLAIN])
        for arm, settings in self._distinct(choices):
            chosen = {
                dose
                for target in self.behaviour.targets
                for same, dose in [self._choice(arm, target, choices)]
                if same == settings
            }
            doses = self._has(arm, settings, {*arm.doses, *chosen, *(-d for d in chosen)})
            placed = [self._placed(arm, settings, dose) for dose in doses]
            yield _on_guard(ask, guard, placed, arm.label)
            at = self._has(arm, settings, GUARDED_CONTROL_DOSES)
            for control, drawn in self._draws(arm, settings, at):
                yield _on_guard(ask, guard, drawn, f"{arm.label}, {control}")

    def _on_other(self, other: Behaviour, choices: Choices) -> Iterator[Batch]:
        for target in other.targets:
            point = other.points(target)[0]
            key = (
                "target",
                other.behaviour.label,
                target.label,
                point.label,
                "base",
                "test",
            )
            ask = self._ask(key, other.task(target, point, BASE), "test")
            name = f"{other.behaviour.label}/{target.label}"
            common = {"role": "target", "point": point.label, "condition": "base"}
            yield Batch(ask, target=name, placed=(PLAIN,), **common)  # pyright: ignore
            for arm, settings in self._distinct(choices):
                doses = {self._choice(arm, t, choices)[1] for t in self.behaviour.targets}
                at = self._has(arm, settings, {*doses, *(-dose for dose in doses)})
                placed = tuple(self._placed(arm, settings, dose) for dose in at)
                yield Batch(ask, target=name, placed=placed, label=arm.label, **common)  # pyright: ignore

    def _in_conditions(self, choices: Choices) -> Iterator[Batch]:
        for target in self.behaviour.targets:
            point = self.behaviour.points(target)[0]
            conditions = self.behaviour.conditions(target)
            for asked_in in conditions:
                ask = self._target(target, point, asked_in, "test")
                for arm in self.tried_on(target):
                    if arm.is_saved:
                        continue
                    settings, dose = self._choice(arm, target, choices)
                    doses = self._has(arm, settings, {*arm.doses, dose, -dose})
                    placed = [
                        self._placed(arm, settings, each, fitted_in)
                        for fitted_in in conditions
                        if fitted_in.name != "base"
                        for each in doses
                    ]
                    yield self._on_target(ask, target, point, asked_in, placed, arm.label)

    # Who is tried, and how it was chosen.

    def tried_on(self, target: TargetPlan) -> list[Arm]:
        """The arms that the plan tries on a target, and that fit the behaviour."""
        return [
            arm
            for arm in self.arms
            if arm.is_tried_on(self.behaviour.labels, target.label)
            and self.misfit(arm) is None
        ]

    def chosen(self, choices: Choices) -> Iterator[tuple[TargetPlan, Placed]]:
        """Every method under test as it was chosen, on each of its targets."""
        for target in self.behaviour.targets:
            for arm in self.tried_on(target):
                if arm.kind == "method":
                    settings, dose = self._choice(arm, target, choices)
                    yield target, self._placed(arm, settings, dose)

    def misfit(self, arm: Arm) -> str | None:
        """Why an arm cannot be fitted on this behaviour; ``None`` where it can."""
        if arm.is_saved:
            return None
        method = arm.method(arm.candidates[0])
        if not method.needs:
            return None
        data = self.behaviour.fit_data(limit=arm.fit_limit)
        if data is None:
            return f"{self.behaviour.behaviour.label!r} has nothing to fit on"
        return method.misfit(data)

    def not_applicable(self) -> list[NotApplicable]:
        """Arms and conditions of the plan that are not tried here for they do not fit."""
        label = self.behaviour.behaviour.label
        conditions = [
            NotApplicable(f"{condition.label} for {target.label} of {label}", reason)
            for target in self.behaviour.targets
            for condition in self.behaviour.named_conditions(target)
            for reason in [self.behaviour.misfit(condition)]
            if reason is not None
        ]
        return conditions + [
            NotApplicable(f"{arm.label} on {label}", reason)
            for arm in self.arms
            if any(
                arm.is_tried_on(self.behaviour.labels, t.label)
                for t in self.behaviour.targets
            )
            for reason in [self.misfit(arm)]
            if reason is not None
        ]

    def _choice(
        self, arm: Arm, target: TargetPlan, choices: Choices
    ) -> tuple[Mapping[str, Any], float]:
        """Settings and dose of an arm on a target."""
        chosen = choices_by(choices).get((arm.label, target.chosen_on or target.label))
        if chosen is None:
            return arm.candidates[0], arm.offered[-1]
        return json.loads(chosen["settings"]), float(chosen["dose"])

    def _distinct(self, choices: Choices) -> list[tuple[Arm, Mapping[str, Any]]]:
        """Arms with the settings that any target chose, each once."""
        pairs = {
            (arm.label, settings_of(settings)): (arm, settings)
            for target in self.behaviour.targets
            for arm in self.tried_on(target)
            for settings, _ in [self._choice(arm, target, choices)]
        }
        return list(pairs.values())

    def _rule_doses(self, arm: Arm, settings: Mapping[str, Any]) -> Sequence[float]:
        """At which doses a rule looks at a candidate."""
        if arm.by_rule:
            return arm.offered
        if arm.rule.by == "slope":
            return self._has(arm, settings, (-1.0, 1.0))
        return (arm.offered[0],) if len(arm.offered) == 1 else (1.0,)

    def _has(
        self, arm: Arm, settings: Mapping[str, Any], doses: Sequence[float] | set[float]
    ) -> list[float]:
        """Those doses that a method has, but 0, in order."""
        known = None if arm.is_saved else doses_of(arm.method(settings))
        return sorted(d for d in set(doses) if d != 0 and (known is None or d in known))

    # Steerings and asks.

    def _placed(
        self,
        arm: Arm,
        settings: Mapping[str, Any],
        dose: float,
        condition: ConditionPlan = BASE,
    ) -> Placed:
        fitting = self._fitting(arm, settings, condition)
        return Placed(arm.label, arm.kind, settings_of(settings), dose, fitting)

    def _draws(
        self,
        arm: Arm,
        settings: Mapping[str, Any],
        doses: Sequence[float],
        target: TargetPlan | None = None,
    ) -> Iterator[tuple[str, list[Placed]]]:
        """The draws of each control of an arm as it was chosen.

        Args:
            arm: a method under test; others have none.
            settings: that were chosen.
            doses: where the control does not name its own.
            target: on which; unsaid, on a guard.
        """
        if arm.kind != "method":
            return
        drawn: dict[str, list[Placed]] = {}
        for draw in draws_of(arm, settings, self.unit.seed):
            fitting = self._drawn(arm, settings, draw, target)
            if fitting is None:
                continue
            label = draw.control.label
            drawn.setdefault(label, []).extend(
                Placed(
                    arm.label, "control", settings_of(settings), dose,
                    fitting, label, draw.number,
                )
                for dose in self._has(arm, settings, draw.control.doses or doses)
            )  # fmt: skip
        yield from drawn.items()

    def _drawn(
        self,
        arm: Arm,
        settings: Mapping[str, Any],
        draw: ControlDraw,
        target: TargetPlan | None,
    ) -> Fitting | None:
        """What one draw is fitted on; ``None`` where there is nothing for it."""
        is_length = isinstance(draw.method, Length)
        where = target.label if target and is_length else ""
        key = "draw", draw.control.label, str(draw.seed), arm.label, settings_of(settings)
        if (*key, where) not in self._fittings:
            own, task = self._fitting(arm, settings, BASE), {}
            if is_length:
                data = self._answers(target)
            else:
                data = self.behaviour.fit_data_for(draw.method, BASE, arm.fit_limit)
                task = self.behaviour.fit_identity()
            if data is None or (not is_length and draw.method.misfit(data)):
                return None
            made = replace(own, method=draw.method, data=data, task=task, seed=draw.seed)
            self._fittings[*key, where] = made
        return self._fittings[*key, where]

    def _answers(self, target: TargetPlan | None) -> FitData | None:
        """The select items of a target as the model is asked; of a guard there are none."""
        if target is None or not isinstance(self.behaviour.base_task(target), Scored):
            return None
        point = self.behaviour.points(target)[0]
        ask = self._target(target, point, BASE, "select")
        label = self.behaviour.behaviour.label
        requests = tuple(ask.requests)
        return FitData(label, (), requests=requests, fingerprint=ask.content)

    def _refits(
        self, arm: Arm, settings: Mapping[str, Any], doses: Sequence[float]
    ) -> list[Placed]:
        """A method as it was chosen, fitted anew without one part of its data each time."""
        own = self._fitting(arm, settings, BASE)
        if arm.kind != "method" or own.data is None:
            return []
        parts = self.plan.refits
        placed = []
        for part in range(parts):
            key = ("refit", str(part), arm.label, settings_of(settings))
            if key not in self._fittings:
                data = without_part(own.data, part, parts)
                if data is None:
                    continue
                self._fittings[key] = replace(own, data=data)
            fitting, words = self._fittings[key], settings_of(settings)
            placed += [
                Placed(arm.label, "refit", words, dose, fitting, draw=part)
                for dose in doses
            ]
        return placed

    def _fitting(
        self, arm: Arm, settings: Mapping[str, Any], condition: ConditionPlan
    ) -> Fitting:
        key = (arm.label, settings_of(settings), condition.label)
        if key not in self._fittings:
            label = self.behaviour.behaviour.label
            method, data, task = arm.method(settings), None, {}
            if needs_of(method):
                data = self.behaviour.fit_data_for(method, condition, arm.fit_limit)
                task = self.behaviour.fit_identity()
            seed = 0 if arm.is_saved else self.unit.seed
            prints = self.model.fingerprints
            made = Fitting(method, data, task, seed, label, condition, prints)
            self._fittings[key] = made
        return self._fittings[key]

    def _target(
        self, target: TargetPlan, point: GridPoint, condition: ConditionPlan, split: Split
    ) -> Asked:
        key = ("target", target.label, point.label, condition.label, split)
        if key not in self._asked:
            self._ask(key, self.behaviour.task(target, point, condition), split)
        return self._asked[key]

    def _guard(self, guard: GuardPlan, split: Split) -> Asked:
        key = ("guard", guard.label, split)
        if key not in self._asked:
            self._ask(key, self.behaviour.guard(guard), split)
        return self._asked[key]

    def _ask(self, key: tuple[str, ...], task: Task, split: Split) -> Asked:
        if key not in self._asked:
            self._asked[key] = Asked(task, split, self.model, self.unit.seed)
        return self._asked[key]

    def _on_target(
        self,
        ask: Asked,
        target: TargetPlan,
        point: GridPoint,
        condition: ConditionPlan,
        placed: Sequence[Placed],
        label: str = "",
    ) -> Batch:
        where = target.label, point.label, condition.label
        return Batch(ask, "target", *where, tuple(placed), label)


def _on_guard(
    ask: Asked, guard: GuardPlan, placed: Sequence[Placed], label: str = ""
) -> Batch:
    return Batch(ask, "guard", guard.label, "", "base", tuple(placed), label)


def _chooses(arm: Arm) -> bool:
    return len(arm.candidates) > 1 or (arm.by_rule and len(arm.offered) > 1)
