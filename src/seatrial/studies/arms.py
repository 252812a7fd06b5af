"""Ways of steering on trial in a unit: methods, their controls and baselines, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, final

from seatrial.analysis.trials import LEAST_DRAWS
from seatrial.errors import BadOption
from seatrial.methods import (
    Length,
    Method,
    Orthogonal,
    Random,
    Shuffled,
    make_method,
    method_named,
)
from seatrial.methods.base import doses_of, has_one_layer
from seatrial.studies.expand import GridPoint, Shape, expand, resolve
from seatrial.studies.fitting import Saved
from seatrial.studies.plan import METHOD_KEYS, ControlPlan, MethodPlan, Plan, Rule, Size

SAVED = ".safetensors"
"""How the path of a saved steering ends."""


@final
@dataclass(frozen=True)
class Arm:
    """One method under test or baseline, at one point of its grid."""

    label: str
    """With the point of a grid: ``fv write=residual``."""
    family: str
    """The label in the plan."""
    kind: Literal["method", "baseline"]
    name: str
    fixed: Mapping[str, Any]
    """Options that no choice touches, those of the grid included."""
    candidates: tuple[Mapping[str, Any], ...]
    """Options to choose from, resolved; one empty table where nothing is chosen."""
    doses: tuple[float, ...]
    """What it is measured at in the test phase, beside the chosen dose."""
    offered: tuple[float, ...]
    """Doses to choose from, by price or by the rule; one where the dose is fixed."""
    by_rule: bool
    """Whether the plan lists the doses to choose from, so that the rule orders them."""
    rule: Rule
    on: tuple[str, ...]
    controls: tuple[ControlPlan, ...]
    fit_limit: Size = None

    @property
    def is_saved(self) -> bool:
        """Whether it is a steering that was fitted before."""
        return self.name.endswith(SAVED)

    def method(self, settings: Mapping[str, Any]) -> Method:
        """The method with its options.

        Raises:
            BadOption: for options that it does not have.
            BadFile: for a saved steering that cannot be read.
        """
        if self.is_saved:
            return Saved.at(self.name)
        return make_method(self.name, {**self.fixed, **settings})

    def is_tried_on(self, behaviour: Sequence[str], target: str) -> bool:
        """Whether the plan tries it there.

        Args:
            behaviour: the labels of the behaviour: its own and its family's.
            target: the label of the target.
        """
        return not self.on or bool({*behaviour, target} & set(self.on))


def arms_of(plan: Plan, shape: Shape) -> list[Arm]:
    """Everything that is on trial with one model, in the order of the plan.

    Raises:
        UnknownName, BadOption: for a method or option that does not exist.
    """
    kinds: tuple[tuple[Literal["method", "baseline"], Sequence[MethodPlan]], ...] = (
        ("method", plan.methods),
        ("baseline", plan.baselines),
    )
    return [
        arm
        for kind, methods in kinds
        for method in methods
        for point in expand(method.grid, shape)
        for arm in [_arm(plan, method, kind, point, shape)]
    ]


def _arm(
    plan: Plan,
    method: MethodPlan,
    kind: Literal["method", "baseline"],
    point: GridPoint,
    shape: Shape,
) -> Arm:
    own = {key: resolve(key, value, shape) for key, value in method.options.items()}
    fixed = {**own, **point.values}
    choose = dict(method.choose)
    listed = choose.pop("dose", None)
    if not method.name.endswith(SAVED):
        has = _options_of(method.name)
        inherited = {k: v for k, v in plan.choose.items() if k in has and k not in fixed}
        choose = {**inherited, **choose}
    candidates = [each.values for each in expand(choose, shape)]
    doses = method.doses or plan.doses
    offered = _offered(plan, method, listed, doses, {**fixed, **candidates[0]})
    return Arm(
        label=f"{method.label} {point.label}".strip(),
        family=method.label,
        kind=kind,
        name=method.name,
        fixed=fixed,
        candidates=tuple(candidates),
        doses=doses,
        offered=offered,
        by_rule=listed is not None,
        rule=method.rule or plan.rule,
        on=method.on,
        controls=_controls(plan, method) if kind == "method" else (),
        fit_limit=method.fit_limit,
    )


def _controls(plan: Plan, method: MethodPlan) -> tuple[ControlPlan, ...]:
    """The controls of a method; beside a readout always stands one of its length."""
    controls = plan.controls
    if method.controls is not None:
        controls = tuple(method.controls.values())
    is_there = any(control.name == Length.name for control in controls)
    if is_there or method.name.endswith(SAVED):
        return controls
    if method_named(method.name).changes != "readout":
        return controls
    length = ControlPlan(Length.name, Length.name, {}, draws=1)
    return (*controls, length)


def _options_of(name: str) -> set[str]:
    """Options of a method that a plan's own ``choose`` may list."""
    kind = method_named(name)
    assert is_dataclass(kind)
    names = {field.name for field in fields(kind)}
    if taken := sorted(names & set(METHOD_KEYS)):
        raise BadOption(
            f"the method {name!r} has fields that plans use for themselves: "
            f"{', '.join(taken)}; rename them"
        )
    return names if has_one_layer(kind) else names - {"layer"}


def _offered(
    plan: Plan,
    method: MethodPlan,
    listed: Any,
    doses: Sequence[float],
    options: Mapping[str, Any],
) -> tuple[float, ...]:
    if method.dose is not None:
        return (method.dose,)
    if listed is not None:
        return tuple(float(dose) for dose in listed)
    known = None
    if not method.name.endswith(SAVED):
        known = doses_of(make_method(method.name, options))
    above = tuple(dose for dose in doses if dose > 0 and (known is None or dose in known))
    return above or tuple(dose for dose in known or (1.0,) if dose > 0) or (1.0,)


@final
@dataclass(frozen=True)
class ControlDraw:
    """One draw of a control of a method as it was chosen."""

    control: ControlPlan
    number: int
    seed: int
    method: Method


def draws_of(arm: Arm, settings: Mapping[str, Any], seed: int) -> list[ControlDraw]:
    """Every draw of every control that a method can have, with a seed of its own.

    A method that changes activations has random ones; one that reads labels has shuffled
    ones, which for another method would be the method itself; a readout always has one of
    ``length``. Draw k of seed s has the seed 1,000 s + 1 + k, so that seeds share no draw.

    Args:
        arm: a method under test.
        settings: that were chosen.
        seed: of the unit.
    """
    method = arm.method(settings)
    draws = []
    for control in arm.controls:
        kind = method_named(control.name)
        if not _can_control(kind, method):
            continue
        beside: dict[str, Method] = {"reference": method}
        if isinstance(method, Saved) and kind is Shuffled:
            beside = {"reference": method.origin, "like": method}
        made = make_method(control.name, {**beside, **control.options})
        draws += [
            ControlDraw(control, k, 1000 * seed + 1 + k, made) for k in range(control.draws)
        ]
    return draws


def deciding(arm: Arm) -> list[str]:
    """Names of the controls that a verdict on an arm rests on; none: it has no such.

    They are those of ``LEAST_DRAWS`` that the method can have, whether planned or not.
    """
    if arm.kind != "method":
        return []
    method = arm.method(arm.candidates[0])
    return [name for name in LEAST_DRAWS if _can_control(method_named(name), method)]


def _can_control(kind: type[Method], method: Method) -> bool:
    """Whether a control of this kind differs from the method itself."""
    if kind is Length:
        return method.changes == "readout"
    if isinstance(method, Saved):
        edits = bool(method.loaded.parts)
        return edits and (kind is not Shuffled or method.origin.reads_labels)
    if kind in (Random, Orthogonal):
        return method.changes == "activations"
    return method.reads_labels if kind is Shuffled else True
