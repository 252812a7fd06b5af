"""What a plan's labels must name: where methods are tried, and what claims are about."""

from collections.abc import Iterable, Sequence

from seatrial.errors import BadOption, unknown
from seatrial.studies.expand import LAYERS, Shape, expand
from seatrial.studies.plan import BehaviourPlan, Claim, MethodPlan, Plan, TargetPlan

DEFAULT_TARGETS = ("open", "propensity", "zero-shot", "factuality")
"""Labels that targets may have where the plan names none, by what the source holds."""


def check_on(plan: Plan) -> None:
    """Refuse a method that is to be tried on what the plan does not have.

    Raises:
        UnknownName: which lists behaviours and targets.
    """
    known = [*_behaviours(plan), *_targets(plan)]
    for method in (*plan.methods, *plan.baselines):
        _check_known(f"behaviour or target that {method.label!r} is on", method.on, known)


def check_claims(plan: Plan, models: Sequence[str]) -> None:
    """Refuse claims about what the plan does not have.

    Args:
        plan: with its claims.
        models: labels of all models of the study.

    Raises:
        UnknownName, BadOption: for a label, or an option of a grid, that is not there.
    """
    for number, claim in enumerate(plan.claims, start=1):
        here = f"claim {number}"
        _check_known(f"model in {here}", claim.model, models)
        for label in claim.method:
            _check_label(label, plan.methods, f"method in {here}")
        if claim.than:
            arms = (*plan.methods, *plan.baselines)
            _check_label(claim.than, arms, f"method or baseline in than of {here}")
        if claim.that == "suffers":
            _check_guards(claim, plan, here)
        else:
            known = [*_behaviours(plan), *_targets(plan)]
            _check_known(f"behaviour or target in {here}", claim.on, known)
        if claim.along:
            _check_along(claim, plan, here)


def _check_guards(claim: Claim, plan: Plan, here: str) -> None:
    guards = [guard.label for guard in plan.guards]
    if not guards:
        raise BadOption(f"{here} says that a guard suffers, and the plan has no guards")
    _check_known(f"behaviour or guard in {here}", claim.on, [*_behaviours(plan), *guards])


def _check_along(claim: Claim, plan: Plan, here: str) -> None:
    options = {
        name
        for behaviour in plan.behaviours
        for target in behaviour.targets or ()
        if _is_about(claim, behaviour, target)
        for name in target.grid
    }
    _check_known(f"option of a grid in along of {here}", (claim.along,), options)


def _is_about(claim: Claim, behaviour: BehaviourPlan, target: TargetPlan) -> bool:
    names = {behaviour.label, behaviour.family, target.label}
    return not claim.on or not names.isdisjoint(claim.on)


def _behaviours(plan: Plan) -> list[str]:
    names = (name for b in plan.behaviours for name in (b.family, b.label))
    return list(dict.fromkeys(names))


def _targets(plan: Plan) -> list[str]:
    labels: list[str] = []
    for behaviour in plan.behaviours:
        targets = behaviour.targets
        labels += DEFAULT_TARGETS if targets is None else [each.label for each in targets]
    return list(dict.fromkeys(labels))


def _check_label(label: str, arms: Iterable[MethodPlan], kind: str) -> None:
    """A label, alone or with a point of its grid: ``fv write=residual``."""
    known: list[str] = []
    for arm in arms:
        points = [f"{arm.label} {point}" for point in _points(arm)]
        if label in (arm.label, *points):
            return
        known += [arm.label, *points]
    raise unknown(kind, label, known)


def _points(arm: MethodPlan) -> list[str]:
    """The points of a grid as labels; none where they depend on the model."""
    if not arm.grid or any(name in (*LAYERS, "heads") for name in arm.grid):
        return []
    return [point.label for point in expand(arm.grid, Shape(1, 1))]


def _check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    listed = list(known)
    for name in names:
        if name not in listed:
            raise unknown(kind, name, listed)
