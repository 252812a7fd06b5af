"""From a plan as written to a completed one: defaults, scales, defects and changes."""

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from seatrial.analysis.trials import LEAST_DRAWS
from seatrial.errors import BadOption, sentence, unknown
from seatrial.studies.expand import sources_of
from seatrial.studies.grammar import (
    AXES,
    PIECE_KEYS,
    Exactly,
    Plain,
    as_table,
    brief,
    is_spread,
    laid_over,
    written_out,
)

DEFAULTS: dict[str, Any] = {
    "seeds": [0],
    "split": {"fit": 0.4, "select": 0.2, "test": 0.4, "seed": 0},
    "conditions": {"base": {}},
    "transfer": [],
    "doses": [-1.5, -1, -0.5, 0.5, 1, 1.5],
    "rule": {"by": "change"},
    "choose": {"layer": {"evenly": 5}},
    "limit": {"select": 24},
    "refits": 0,
    "controls": {"random": {}, "shuffled": {}},
    "baselines": {"instruction": {}},
    "guards": {"prose": {"budget": 1.10}},
}
"""What a plan says where it says nothing."""

_BY_KEY = ("split", "rule", "choose", "limit")
"""Tables of which each key has a default of its own."""

SMOKE_MODEL = "tiny"

SMOKE_LIMIT = {"fit": 24, "select": 8, "test": 8}
"""No limit is above these at scale smoke."""

SMOKE_LAYERS = [0.33, 0.67]
"""Candidate layers at scale smoke, as shares of depth."""


def completed(
    plan: Plain,
    *,
    scale: str = "small",
    defects: Sequence[str] = (),
    changes: Sequence[Plain] = (),
) -> dict[str, Any]:
    """The plan with every default filled in and everything laid over it.

    Defaults come first: a named table that the plan gives replaces the default one, and
    what is laid over it afterwards meets what ``--dry-run`` shows.

    Args:
        plan: as read from TOML.
        scale: a table of ``[scales]``; ``small`` is the plan as written unless it has that
            table, and ``smoke`` needs none.
        defects: tables of ``[published]``, laid over in this order.
        changes: pieces of plan laid over at last, as ``--set`` gives them.

    Raises:
        UnknownName: for a scale or defect that the plan does not have.
        BadOption: as ``written_out``; for a plan without models, behaviours or methods.
    """
    whole = _filled(written_out(plan))
    scales, published = whole.pop("scales", {}), whole.pop("published", {})
    if scale not in scales and scale not in ("small", "smoke"):
        raise unknown("scale", scale, {"smoke", "small", *scales})
    if scale == "smoke":
        whole = _shrunk(whole)
    pieces = [scales.get(scale, {})]
    for defect in defects:
        if defect not in published:
            raise unknown("published defect", defect, published)
        pieces.append(published[defect])
    pieces += [written_out(change, keys=PIECE_KEYS) for change in changes]
    for piece in pieces:
        whole = laid_over(whole, piece)
    for key in ("models", "behaviours", "methods"):
        if not whole.get(key):
            raise BadOption(f"the plan has no {key}; name at least one under {key!r}")
    return whole


def change_of(line: str) -> dict[str, Any]:
    """One line of TOML as a piece of plan: ``limit.test = 40``.

    Raises:
        BadOption: for what is no line of TOML.
    """
    example = "write KEY = VALUE with texts in quotes, such as 'limit.test = 40'"
    if len(line.strip().splitlines()) != 1:
        raise BadOption(f"--set {brief(line)} is no line; {example}")
    try:
        return tomllib.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadOption(
            f"--set {brief(line)} is no line of TOML ({sentence(error)}); {example}"
        ) from error


def _filled(written: dict[str, Any]) -> dict[str, Any]:
    filled = deepcopy(DEFAULTS) | written
    for key in _BY_KEY:
        filled[key] = laid_over(DEFAULTS[key], as_table(filled[key], key))
    return filled


def _shrunk(plan: dict[str, Any]) -> dict[str, Any]:
    """What can be tried in seconds, with all parts of the plan in it.

    What has not the shape that it should have is left for the plan's reader to refuse.
    """
    small = deepcopy(plan)
    small["models"] = Exactly({SMOKE_MODEL: {}})
    if isinstance(small["seeds"], list):
        small["seeds"] = small["seeds"][:1]
    small["limit"] = _least({**SMOKE_LIMIT, **small["limit"]})
    small["choose"] = _two_points(small["choose"])
    families: dict[str, str] = {}
    for label, behaviour in small.get("behaviours", {}).items():
        families |= _first_source(label, behaviour)
        _shrink(behaviour)
        for target in behaviour.get("targets", {}).values():
            _shrink(target)
    for guard in small["guards"].values():
        _shrink(guard)
    for methods in (small.get("methods", {}), small["baselines"]):
        for method in methods.values():
            _shrink(method)
            _fewer_draws(method.get("controls", {}))
            _rename_on(method, families)
    _fewer_draws(small["controls"])
    for claim in _tables(small.get("claims")):
        claim.pop("model", None)
        _rename_on(claim, families)
    return small


def _first_source(label: str, behaviour: dict[str, Any]) -> dict[str, str]:
    """Keep the first source of a list; the labels of the others, with that of the list."""
    source = behaviour.get("source", label)
    is_list = isinstance(source, list) and all(isinstance(each, str) for each in source)
    if not (isinstance(source, str) or is_list):
        return {}
    members = sources_of(label, source)
    first, *others = members
    if others or is_list:
        behaviour["source"] = [members[first]]
    return dict.fromkeys(others, label)


def _rename_on(entry: dict[str, Any], families: Mapping[str, str]) -> None:
    """What names a source that is left out names its list, and so the first of it."""
    on = entry.get("on")
    if isinstance(on, list) and all(isinstance(name, str) for name in on):
        entry["on"] = list(dict.fromkeys(families.get(name, name) for name in on))


def _shrink(entry: dict[str, Any]) -> None:
    if isinstance(entry.get("limit"), Mapping):
        entry["limit"] = _least(entry["limit"])
    for axes in AXES:
        if isinstance(entry.get(axes), Mapping):
            entry[axes] = _two_points(entry[axes])


def _least(limit: Plain) -> dict[str, Any]:
    """Limits that are not above those of scale smoke."""
    return {
        split: _at_most(value, SMOKE_LIMIT.get(split)) for split, value in limit.items()
    }


def _at_most(value: Any, most: int | None) -> Any:
    if most is None or (type(value) is int and value <= most):
        return value
    return most if type(value) is int or value == "all" else value


def _two_points(axes: Any) -> Any:
    """Two values of the first axis that has two, and one of every other."""
    if not isinstance(axes, Mapping):
        return axes
    cut: dict[str, Any] = {}
    for name, values in axes.items():
        if is_spread(values) or (name == "layer" and isinstance(values, list)):
            cut[name] = list(SMOKE_LAYERS)
        else:
            cut[name] = values
    several = [name for name, values in cut.items() if _is_several(values)]
    first = "layer" if "layer" in several else next(iter(several), "")
    return {
        name: values[: 2 if name == first else 1] if isinstance(values, list) else values
        for name, values in cut.items()
    }


def _is_several(values: object) -> bool:
    return isinstance(values, list) and len(values) > 1


def _fewer_draws(controls: Mapping[str, dict[str, Any]]) -> None:
    for label, control in controls.items():
        least = LEAST_DRAWS.get(str(control.get("name", label)), 1)
        control["draws"] = _at_most(control.get("draws", least), least)


def _tables(value: object) -> list[dict[str, Any]]:
    return (
        [each for each in value if isinstance(each, dict)]
        if isinstance(value, list)
        else []
    )
