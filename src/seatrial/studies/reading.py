"""A completed plan, read strictly: typed records, or one sentence that says what to mend.

Everything after this module deals with values that exist and have the right type.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seatrial.errors import BadOption, SeatrialError, unknown
from seatrial.studies.claims import check_claims, check_on
from seatrial.studies.expand import Shape, columns_of, sources_of
from seatrial.studies.grammar import (
    KEYS,
    Plain,
    as_table,
    at,
    brief,
    check_keys,
    is_file,
    laid_over,
)
from seatrial.studies.plan import (
    BEHAVIOUR_KEYS,
    CONTROL_KEYS,
    GUARD_KEYS,
    METHOD_KEYS,
    TARGET_KEYS,
    BehaviourPlan,
    Claim,
    ConditionPlan,
    ControlPlan,
    GuardPlan,
    Limit,
    MethodPlan,
    ModelPlan,
    Plan,
    Rule,
    Shares,
    TargetPlan,
)
from seatrial.types import SPLITS

LARGEST_DOSE = 1e6
"""Beyond it no number of a model survives."""

MOST_DRAWS = 1_000
LARGEST_SEED = 10**9
"""Draws of a control have seeds of their own, a thousand times as large."""

_ANY = Shape(32, 1_024)
"""In place of a model's, to find mistakes before one is loaded."""


def plans_of(whole: Plain, folder: Path | None = None) -> list[Plan]:
    """One plan a model, each with what that model lays over it for itself.

    Args:
        whole: as ``complete.completed`` gives it.
        folder: that paths are relative to; unsaid, this process's.

    Raises:
        UnknownName, BadOption: for a key, value or label that cannot be used.
    """
    check_keys(whole, KEYS, "")
    labels = list(whole["models"])
    return [
        _Reader(folder).plan(label, entry, whole, labels)
        for label, entry in whole["models"].items()
    ]


class _Reader:
    """Reads tables; knows the folder that their paths are relative to."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def plan(self, label: str, entry: Plain, whole: Plain, models: Sequence[str]) -> Plan:
        where = at("models", label)
        own = dict(entry)
        piece = own.pop("with", {})
        fields = [name for name in ModelPlan.__dataclass_fields__ if name != "label"]
        check_keys(own, [*fields, "with"], where)
        name = self._model_name(_text(own.pop("name", label), at(where, "name")))
        values = {**own, "name": name, "label": label}
        mine = laid_over(whole, piece)
        plan = Plan(
            model=_record(ModelPlan, values, where),
            seeds=_seeds(mine["seeds"]),
            split=_record(Shares, mine["split"], "split"),
            conditions=_conditions(mine["conditions"], "conditions"),
            transfer=_transfer(mine["transfer"]),
            doses=_doses(mine["doses"], "doses"),
            rule=_record(Rule, mine["rule"], "rule"),
            choose=_axes(mine["choose"], "choose", METHOD_KEYS, ("dose",)),
            limit=_limit(mine["limit"], "limit", SPLITS),
            refits=_count(mine["refits"], "refits", MOST_DRAWS),
            behaviours=self._behaviours(mine["behaviours"]),
            methods=self._methods(mine, "methods"),
            baselines=self._methods(mine, "baselines"),
            controls=_controls(mine["controls"], "controls"),
            guards=tuple(
                self._guard(label, entry, at("guards", label))
                for label, entry in mine["guards"].items()
            ),
            claims=_claims(mine.get("claims", [])),
        )
        _check_arms(plan)
        check_on(plan)
        check_claims(plan, models)
        return plan

    def _behaviours(self, table: Plain) -> tuple[BehaviourPlan, ...]:
        read = [
            behaviour
            for label, entry in table.items()
            for behaviour in self._members(label, entry, at("behaviours", label))
        ]
        owner: dict[str, str] = {}
        for behaviour in read:
            if behaviour.label in owner:
                raise BadOption(
                    f"two behaviours are labelled {behaviour.label!r} (of "
                    f"{owner[behaviour.label]!r} and {behaviour.family!r}); name each "
                    "source in one list, or give one a label of its own"
                )
            owner[behaviour.label] = behaviour.family
        for label, family in owner.items():
            if label in table and (family != label or [*owner.values()].count(label) > 1):
                raise BadOption(
                    f"{label!r} labels a list of sources and a single behaviour of "
                    f"{family!r}; rename one of them"
                )
        return tuple(read)

    def _members(self, label: str, entry: Plain, where: str) -> Iterable[BehaviourPlan]:
        check_keys(entry, BEHAVIOUR_KEYS, where)
        source = entry.get("source", label)
        if isinstance(source, list):
            source = list(_names(source, at(where, "source")))
        else:
            source = _text(source, at(where, "source"))
        common: dict[str, Any] = {
            "family": label,
            "fit": _fit(entry["fit"], at(where, "fit")) if "fit" in entry else None,
            "targets": self._targets(entry, where),
            "instructions": _instructions(entry, at(where, "instructions")),
            "conditions": _nearer_conditions(entry, where),
            "limit": _limit(entry.get("limit", {}), at(where, "limit"), SPLITS),
        }
        for own, one in sources_of(label, source).items():
            yield BehaviourPlan(label=own, source=self._path(one), **common)

    def _targets(self, entry: Plain, where: str) -> tuple[TargetPlan, ...] | None:
        if "targets" not in entry:
            return None
        here = at(where, "targets")
        targets = tuple(
            self._target(label, each, at(here, label))
            for label, each in entry["targets"].items()
        )
        if not targets:
            raise BadOption(
                f"{here} is empty; name at least one, or leave the key out for the default "
                "of the source"
            )
        chosen_on = {target.label: target.chosen_on for target in targets}
        for label, other in chosen_on.items():
            if other and (other == label or other not in chosen_on):
                others = [each for each in chosen_on if each != label]
                raise unknown(
                    f"target in {at(at(here, label), 'chosen_on')}", other, others
                )
            if other and chosen_on[other]:
                raise BadOption(
                    f"{at(here, label)} is chosen on {other!r}, which itself is chosen on "
                    f"{chosen_on[other]!r}; name {chosen_on[other]!r}"
                )
        return targets

    def _target(self, label: str, entry: Plain, where: str) -> TargetPlan:
        matters = entry.get("matters")
        if matters is not None and not (_is_number(matters) and matters > 0):
            raise BadOption(
                f"{at(where, 'matters')} is {brief(matters)}; write a number above 0"
            )
        options = {k: v for k, v in entry.items() if k not in TARGET_KEYS}
        grid = _axes(entry.get("grid", {}), at(where, "grid"), TARGET_KEYS)
        _check_once(options, {"grid": grid}, where)
        return TargetPlan(
            label=label,
            task=_text(entry.get("task", label), at(where, "task")),
            options=options,
            source=self._path(_text(entry.get("source", ""), at(where, "source"))),
            metric=_text(entry.get("metric", ""), at(where, "metric")),
            grid=grid,
            limit=_limit(entry.get("limit", {}), at(where, "limit"), ("select", "test")),
            conditions=_nearer_conditions(entry, where),
            ceiling=as_table(entry.get("ceiling", {}), at(where, "ceiling")),
            chosen_on=_text(entry.get("chosen_on", ""), at(where, "chosen_on")),
            matters=None if matters is None else float(matters),
        )

    def _guard(self, label: str, entry: Plain, where: str) -> GuardPlan:
        budget = entry.get("budget")
        budget = inf if budget == "inf" else budget
        if budget is not None and not (_is_number(budget, most=inf) and budget >= 0):
            raise BadOption(
                f"{at(where, 'budget')} is {brief(budget)}; write a number from 0 on, or "
                "inf"
            )
        return GuardPlan(
            label=label,
            task=_text(entry.get("task", label), at(where, "task")),
            options={k: v for k, v in entry.items() if k not in GUARD_KEYS},
            source=self._path(_text(entry.get("source", ""), at(where, "source"))),
            metric=_text(entry.get("metric", ""), at(where, "metric")),
            limit=_limit(entry.get("limit", {}), at(where, "limit"), ("select", "test")),
            budget=None if budget is None else float(budget),
        )

    def _methods(self, whole: Plain, room: str) -> tuple[MethodPlan, ...]:
        return tuple(
            self._method(label, entry, whole, at(room, label))
            for label, entry in whole[room].items()
        )

    def _method(self, label: str, entry: Plain, whole: Plain, where: str) -> MethodPlan:
        options = {k: v for k, v in entry.items() if k not in METHOD_KEYS}
        grid = _axes(entry.get("grid", {}), at(where, "grid"), METHOD_KEYS)
        choose = _axes(entry.get("choose", {}), at(where, "choose"), METHOD_KEYS, ("dose",))
        dose = entry.get("dose")
        if dose is not None and not _is_dose(dose):
            raise BadOption(
                f"{at(where, 'dose')} is {brief(dose)}; write one number other than 0, or "
                "list several under choose.dose"
            )
        fixed = options if dose is None else {**options, "dose": dose}
        _check_once(fixed, {"grid": grid, "choose": choose}, where)
        rule, controls = entry.get("rule"), entry.get("controls")
        if rule is not None:
            rule = _record(Rule, laid_over(whole["rule"], rule), at(where, "rule"))
        if controls is not None:
            controls = laid_over(whole["controls"], controls)
            controls = {c.label: c for c in _controls(controls, at(where, "controls"))}
        return MethodPlan(
            label=label,
            name=self._path(_text(entry.get("name", label), at(where, "name"))),
            options=options,
            on=_names(entry.get("on", []), at(where, "on")),
            grid=grid,
            choose=choose,
            dose=None if dose is None else float(dose),
            doses=_doses(entry["doses"], at(where, "doses")) if "doses" in entry else (),
            rule=rule,
            controls=controls,
            fit_limit=_limit(entry.get("limit", {}), at(where, "limit"), ("fit",)).fit,
        )

    def _path(self, name: str) -> str:
        """A file's name as this process finds it; any other name as it is."""
        if self.folder is None or ":" in name or not is_file(name):
            return name
        return str(self.folder / name)

    def _model_name(self, name: str) -> str:
        """The same for models, which may be folders too."""
        if self.folder is not None and (self.folder / name).exists():
            return str(self.folder / name)
        return name


def _check_arms(plan: Plan) -> None:
    methods = [method.label for method in plan.methods]
    for label in [*methods, *(baseline.label for baseline in plan.baselines)]:
        if label == "unsteered":
            raise BadOption(
                "'unsteered' labels the model itself; give the method another label"
            )
    for baseline in plan.baselines:
        if baseline.label in methods:
            raise BadOption(
                f"{baseline.label!r} labels a method and a baseline; rename one of them"
            )


def _controls(table: Plain, room: str) -> tuple[ControlPlan, ...]:
    controls = []
    for label, entry in table.items():
        where = at(room, label)
        draws = {}
        if "draws" in entry:
            draws = {"draws": _count(entry["draws"], at(where, "draws"), MOST_DRAWS)}
        controls.append(
            ControlPlan(
                label=label,
                name=_text(entry.get("name", label), at(where, "name")),
                options={k: v for k, v in entry.items() if k not in CONTROL_KEYS},
                doses=_doses(entry["doses"], at(where, "doses"))
                if "doses" in entry
                else (),
                **draws,
            )
        )
    return tuple(controls)


def _nearer_conditions(entry: Plain, where: str) -> tuple[ConditionPlan, ...]:
    if "conditions" not in entry:
        return ()
    return _conditions(entry["conditions"], at(where, "conditions"))


def _conditions(table: Plain, where: str) -> tuple[ConditionPlan, ...]:
    if not table:
        raise BadOption(f"{where} is empty; name at least one, such as base")
    return tuple(
        ConditionPlan(
            label,
            _text(entry.get("name", label), at(at(where, label), "name")),
            {k: v for k, v in entry.items() if k != "name"},
        )
        for label, entry in table.items()
    )


def _fit(value: Any, where: str) -> Plain:
    table = as_table(value, where)
    if "task" in table:
        _text(table["task"], at(where, "task"))
    return table


def _instructions(entry: Plain, where: str) -> Plain:
    table = as_table(entry.get("instructions", {}), where)
    check_keys(table, ("for", "against"), where)
    return {key: _text(value, at(where, key)) for key, value in table.items()}


def _claims(values: Any) -> tuple[Claim, ...]:
    if not isinstance(values, list):
        raise BadOption(f"claims is {brief(values)}; write a list of tables")
    claims = []
    for number, value in enumerate(values, start=1):
        where = f"claim {number}"
        claim = dict(as_table(value, where))
        for key in ("method", "on", "model"):
            if key in claim:
                claim[key] = _names(claim[key], f"{key} of {where}")
        claims.append(_record(Claim, claim, where))
    if len(set(claims)) < len(claims):
        raise BadOption("claims say one thing twice; state each once")
    return tuple(claims)


@cache
def _adapter(kind: type) -> Any:
    return TypeAdapter(kind)


def _record(kind: Any, values: Any, where: str) -> Any:
    values = as_table(values, where)
    check_keys(values, kind.__dataclass_fields__, where)
    try:
        # As JSON, so that types are strict and yet a list may stand for a tuple.
        return _adapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), SeatrialError):
            raise BadOption(f"{where}: {cause}") from error
        key = ".".join(map(str, first["loc"]))
        message = first["msg"][0].lower() + first["msg"][1:]
        got = brief(first["input"])
        raise BadOption(f"{where}, {key}: {message} (got {got})") from error


def _limit(value: Any, where: str, splits: Sequence[str]) -> Limit:
    table = as_table(value, where)
    if table == dict.fromkeys(SPLITS, "all"):
        table = dict.fromkeys(splits, "all")
    check_keys(table, splits, where)
    numbers: dict[str, Any] = {}
    for split, number in table.items():
        is_number = type(number) is int and number >= 2
        if number != "all" and not is_number:
            raise BadOption(
                f"{at(where, split)} is {brief(number)}; write a number of items from 2 on "
                '(one gives no interval), or "all"'
            )
        numbers[split] = number
    return Limit(**numbers)


def _axes(
    value: Any, where: str, reserved: Sequence[str], besides: Sequence[str] = ()
) -> Plain:
    """A table of options with several values each, all of which can be tried."""
    table = as_table(value, where)
    for name, values in table.items():
        if name in reserved and name not in besides:
            raise BadOption(
                f"{where} lists {name!r}, which is no option to try; its keys are options "
                "of what is tried"
            )
        if name == "dose":
            _doses(values if isinstance(values, list) else [values], at(where, name))
    try:
        columns_of(table, _ANY)
    except BadOption as error:
        raise BadOption(f"{where}: {error}") from error
    return table


def _check_once(fixed: Plain, tables: Mapping[str, Plain], where: str) -> None:
    """Refuse an option that is fixed and varied, or varied in two ways."""
    places: dict[str, str] = dict.fromkeys(fixed, "a fixed value")
    for axes, table in tables.items():
        for name in table:
            if name in places:
                raise BadOption(
                    f"{at(where, name)} has {places[name]} and stands in {axes}, too; say "
                    "one of the two"
                )
            places[name] = f"values in {axes}"


def _names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)  # one name alone, never its letters
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise BadOption(f"{where} is {brief(value)}; write a list of names")
    return _distinct(value, where)


def _transfer(value: Any) -> Any:
    names = _names(value, "transfer")
    for name in names:
        if name not in ("behaviour", "condition"):
            raise unknown("transfer", name, ("behaviour", "condition"))
    return names


def _doses(value: Any, where: str) -> tuple[float, ...]:
    is_list = isinstance(value, list | tuple)
    if not is_list or not all(_is_number(dose, most=LARGEST_DOSE) for dose in value):
        raise BadOption(
            f"{where} is {brief(value)}; write a list of numbers, none beyond a million"
        )
    doses = [float(dose) for dose in value if dose != 0]
    if not doses:
        raise BadOption(f"{where} lists no dose but 0, which is always there; add one")
    return tuple(sorted(_distinct(doses, where)))


def _seeds(value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(type(v) is int and 0 <= v <= LARGEST_SEED for v in value):
        raise BadOption(
            f"seeds is {brief(value)}; write a list of integers from 0 to {LARGEST_SEED:,}"
        )
    return _distinct(value, "seeds")


def _distinct(values: Iterable[Any], where: str) -> tuple[Any, ...]:
    listed = tuple(values)
    for value in listed:
        if listed.count(value) > 1:
            raise BadOption(f"{where} lists {value!r} twice; name each once")
    return listed


def _count(value: Any, where: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise BadOption(f"{where} is {brief(value)}; write an integer from 0 to {most:,}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadOption(f"{where} is {brief(value)}; write a text in quotes")
    return value


def _is_dose(value: Any) -> bool:
    return _is_number(value, most=LARGEST_DOSE) and value != 0


def _is_number(value: Any, *, most: float = 1e300) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -most <= value <= most
    )
