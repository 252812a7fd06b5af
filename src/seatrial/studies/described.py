"""What the names of a unit mean, as plain values: for choices, analysis and reports."""

from typing import Any

from seatrial.analysis.damage import DamageKind
from seatrial.store.labels import Budget, Labels, MetricLabel, SteeringLabel, TaskLabel
from seatrial.studies.arms import deciding
from seatrial.studies.phases import Phases
from seatrial.tasks import Contrastive, Prose, Scored, Task
from seatrial.types import Role


def described(phases: Phases) -> dict[str, Any]:
    """What the names of this unit mean, as plain values, for choices and reports.

    ``targets`` and ``guards`` have what a choice needs to know of each; ``labels`` are
    those of a store; ``families`` are the labels of methods in the plan, without a
    point of a grid; ``controls`` what each label of a control names, ``deciding`` those
    that a verdict on each arm rests on; ``elsewhere`` what fits are asked of others.
    """
    targets: dict[str, Any] = {}
    for target in phases.behaviour.targets:
        points = phases.behaviour.points(target)
        about = phases.behaviour.base_task(target).about
        arms = phases.tried_on(target)
        targets[target.label] = {
            "metric": target.metric or about.metric,
            "sign": about.sign,
            "points": [point.label for point in points],
            "conditions": [c.label for c in phases.behaviour.conditions(target)],
            "chosen_on": target.chosen_on,
            "arms": [arm.label for arm in arms],
            "methods": [arm.label for arm in arms if arm.kind == "method"],
            "matters": target.matters,
            "ceiling": bool(target.ceiling),
        }
    guards: dict[str, Any] = {}
    for guard in phases.plan.guards:
        about = phases.behaviour.guard(guard).about
        metric = guard.metric or about.metric
        guards[guard.label] = {
            "metric": metric,
            "sign": about.sign,
            "damage": damage_kind(metric),
            "budget": phases.behaviour.budget(guard),
        }
    return {
        "targets": targets,
        "guards": guards,
        "labels": _labels(phases).plain(),
        "behaviour": {
            **phases.behaviour.description(),
            "family": phases.behaviour.behaviour.family,
        },
        "families": {arm.label: arm.family for arm in phases.arms},
        "controls": _controls(phases),
        "deciding": {arm.label: deciding(arm) for arm in phases.arms},
        "elsewhere": _elsewhere(phases),
    }


def _controls(phases: Phases) -> dict[str, str]:
    """What each label of a control names."""
    controls = [*phases.plan.controls, *(c for arm in phases.arms for c in arm.controls)]
    return {control.label: control.name for control in controls}


def _elsewhere(phases: Phases) -> dict[str, Any]:
    """Metric and sign of what this unit's fits are asked of other behaviours."""
    if "behaviour" not in phases.plan.transfer:
        return {}
    by_target: dict[str, Any] = {}
    for each in phases.plan.behaviours:
        if each.label == phases.unit.behaviour:
            continue
        other = phases.behaviour_named(each.label)
        for target in other.targets:
            about = other.base_task(target).about
            metric = target.metric or about.metric
            key = f"{each.label}/{target.label}"
            by_target[key] = {"metric": metric, "sign": about.sign}
    return by_target


def _labels(phases: Phases) -> Labels:
    steerings = [SteeringLabel("unsteered", "unsteered", "the model as it is")]
    for arm in phases.arms:
        summary = "" if arm.is_saved else arm.method(arm.candidates[0]).summary
        steerings.append(SteeringLabel(arm.label, arm.kind, summary or arm.name))
    for label, name in _controls(phases).items():
        steerings.append(SteeringLabel(label, "control", name))
    targets = [
        task_label(
            phases.behaviour.base_task(target),
            "target",
            target.label,
            target.metric,
        )
        for target in phases.behaviour.targets
    ]
    guards = [
        task_label(phases.behaviour.guard(guard), "guard", guard.label, guard.metric)
        for guard in phases.plan.guards
    ]
    priced = [
        budget
        for guard, label in zip(phases.plan.guards, guards, strict=True)
        if label.is_priced and (budget := phases.behaviour.budget(guard))
    ]
    budget = Budget(perplexity_ratio=priced[0]) if priced else Budget()
    return Labels(tuple(targets), tuple(guards), tuple(steerings), budget)


def damage_kind(metric: str) -> DamageKind:
    """How the damage of a guard is told: losses as ratios of perplexities."""
    return {"loss": "ratio", "kl": "level"}.get(metric, "difference")  # pyright: ignore


def task_label(task: Task, role: Role, name: str, metric: str = "") -> TaskLabel:
    """What a report has to know of a target or guard.

    Args:
        task: at the first point of its grid.
        role: in the plan.
        name: its label in the plan.
        metric: other than the task's first.
    """
    first, unit = metric or task.about.metric, task.about.unit
    if metric and metric != task.about.metric:
        unit = {"kl": "nats per token"}.get(metric, "")
    ends = task.about.bounds.get(first)
    metrics = [MetricLabel(first, unit, "verdict", task.about.sign, ends)]
    if isinstance(task, Contrastive):
        metrics += [
            MetricLabel("matching", unit, "promoted"),
            MetricLabel("other", unit, "suppressed"),
            MetricLabel("order", unit, "order"),
        ]
    if isinstance(task, Scored) and task.needs_kl:
        metrics.append(MetricLabel("kl", "nats per token", "drift"))
    is_priced = isinstance(task, Prose) and first == "loss"
    return TaskLabel(name, role, task.summary, tuple(metrics), is_priced)
