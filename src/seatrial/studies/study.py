"""The plan of a trial: what is fitted, chosen, measured, and against which controls.

A study is a value. Everything that can change a number is in it, its cells are named by
their content, and controls are cells that nobody can leave out.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any, Literal, final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from seatrial.data import DEFAULT_SHARES
from seatrial.data.catalogue import name_of
from seatrial.errors import BadOption, complaint, unknown
from seatrial.methods import (
    Instruction,
    Method,
    Random,
    Shuffled,
    all_methods,
    make_method,
    method_named,
)
from seatrial.methods.base import has_one_layer
from seatrial.store import Budget, Store
from seatrial.store.store import PLAN
from seatrial.studies.cells import content_hash
from seatrial.studies.named import guard_kind, target_kind
from seatrial.types import SPLITS, Split

STUDIES: tuple[str, ...] = ("quickstart",)
"""Names of the plans that ship with the package."""

STRICT = ConfigDict(extra="forbid")
"""A key that does not exist is refused."""


@final
@dataclass(frozen=True)
class Controls:
    """How many controls stand beside each method; fewer than this is no trial."""

    __pydantic_config__ = STRICT

    random: int = 5
    """The method's edits in random directions, each with its own seed; at least 3."""
    shuffled: int = 3
    """Refits on pairs with half of the labels swapped; at least 2."""

    def __post_init__(self) -> None:
        if self.random < 3 or self.shuffled < 2:
            raise BadOption(
                "controls cannot be left out: a study needs at least 3 random and 2 "
                f"shuffled ones, not {self.random} and {self.shuffled}"
            )


@final
@dataclass(frozen=True)
class Limits:
    """Largest number of items, by split and for guards; a seeded sample is taken."""

    __pydantic_config__ = STRICT

    fit: int | None = None
    select: int | None = None
    test: dict[str, int] = field(default_factory=dict)
    """By task."""
    prose: int | None = None
    guards: dict[str, int] = field(default_factory=dict)
    """By guard task; that of prose is ``prose``."""

    def __post_init__(self) -> None:
        if "prose" in self.guards:
            raise BadOption("the limit of prose is limits.prose, not limits.guards.prose")
        given = {f"guards.{name}": limit for name, limit in self.guards.items()}
        for key, limit in {"prose": self.prose, **given}.items():
            if limit is not None and limit < 2:
                raise BadOption(
                    f"limits.{key} must be at least 2, so that there is an interval, not "
                    f"{limit}"
                )

    def of_guard(self, name: str) -> int | None:
        """Of one guard task."""
        return self.prose if name == "prose" else self.guards.get(name)


@final
@dataclass(frozen=True, repr=False)
class Study:
    """One trial of some methods on some concepts with one model.

    Build it with ``make_study`` or ``read_study``, which also check the types of values.
    """

    __pydantic_config__ = STRICT

    name: str
    """Also names the results folder: letters, digits, dots, dashes and underscores."""
    model: str
    concepts: tuple[str, ...]
    """Built-in concepts by name, published sets such as ``persona/openness``, or your own
    as paths of files."""
    methods: tuple[dict[str, Any], ...]
    """Each with a ``name`` and options; ``layer`` is chosen by the study."""
    layers: tuple[int, ...]
    """Candidates; the select split chooses one for each concept, method and target task.
    Methods that edit all layers at once or none (``icv``, ``few-shot``) have no choice."""
    fit_on: str = "open"
    """Which target task's pairs the methods are fitted on."""
    targets: tuple[str, ...] = ("open", "propensity")
    guards: tuple[str, ...] = ("prose",)
    """What must not suffer; without ``prose`` no price can be shown to be low."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of target tasks, such as ``{"propensity": {"form": "ab"}}``."""
    doses: tuple[float, ...] = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    select_doses: tuple[float, ...] = (-1.0, 1.0)
    controls: Controls = field(default_factory=Controls)
    shares: dict[Split, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    """Of the groups of a concept."""
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        # 1 and 1.0 are one dose and must make one content hash.
        for doses in ("doses", "select_doses"):
            object.__setattr__(self, doses, tuple(map(float, getattr(self, doses))))
        self._check()

    def _check(self) -> None:
        """Refuse a plan that cannot be measured or would prove nothing, before it runs."""
        _check_name(self.name)
        for name in (*self.targets, self.fit_on):
            target_kind(name)
        for name in self.guards:
            guard_kind(name)
        for kind, names, known in (
            ("target task in limits.test", self.limits.test, self.targets),
            ("target task in options", self.options, (*self.targets, self.fit_on)),
            ("guard task in limits.guards", self.limits.guards, self.guards),
        ):
            for name in names:
                if name not in known:
                    raise unknown(kind, name, known)
        for key, values in {
            # Results are kept under a concept's name, which of a file is its name alone.
            "concepts": [name_of(source) for source in self.concepts],
            "methods": [str(options.get("name", "")) for options in self.methods],
            "layers": self.layers,
            "targets": self.targets,
            "guards": self.guards,
        }.items():
            _check_distinct(key, values, self.name)
        _check_doses(self.doses, self.select_doses)
        for options in self.methods:
            _check_method(options)
        # A third party's method may be called as another one; results are kept by name.
        names = [method_named(options["name"]).name for options in self.methods]
        _check_distinct("methods", names, self.name)
        targets = [target_kind(name).name for name in self.targets]
        guards = [guard_kind(name).name for name in self.guards]
        _check_distinct("targets and guards", [*targets, *guards], self.name)
        if set(self.shares) != set(SPLITS):
            raise BadOption(
                f"shares must name fit, select and test, not {', '.join(self.shares)}"
            )

    def __repr__(self) -> str:
        return f"<Study {self.name!r} ({self.id}): {self._in_words()}>"

    def _repr_html_(self) -> str:
        """For a notebook; every text as text."""
        name, words = escape(self.name), escape(self._in_words())
        return f"<b>{name}</b> <small>{self.id}</small>: {words}"

    def _in_words(self) -> str:
        """A line, whatever the size of the plan."""
        methods = _first([str(options["name"]) for options in self.methods])
        concepts = _first([name_of(source) for source in self.concepts])
        return (
            f"{methods} for {concepts} on {self.model[:100]}; targets "
            f"{_first(self.targets)}; guards {_first(self.guards)}; layers "
            f"{_first(list(map(str, self.layers)))}; doses "
            f"{_first([f'{dose:g}' for dose in self.doses])}; controls "
            f"{self.controls.random} random, {self.controls.shuffled} shuffled"
        )

    @property
    def id(self) -> str:
        """Content hash of the whole plan, 12 hex digits."""
        plan = asdict(self)
        # Studies from before these keys were there keep their id, and so their results.
        if not plan["limits"]["guards"]:
            del plan["limits"]["guards"]
        if not plan["options"]:
            del plan["options"]
        return content_hash(plan)

    def layers_of(self, number: int) -> tuple[int, ...]:
        """Candidate layers of one of the methods; -1 alone where it has no single layer."""
        kind = method_named(self.methods[number]["name"])
        return self.layers if has_one_layer(kind) else (-1,)

    def candidate(self, number: int, layer: int) -> Method:
        """One of the study's methods at one of its candidate layers."""
        options = dict(self.methods[number])
        layers = {} if self.layers_of(number) == (-1,) else {"layer": layer}
        return make_method(options.pop("name"), {**options, **layers})

    def controls_of(self, method: Method) -> list[tuple[Method, int]]:
        """The random and shuffled controls of a method, with seeds from ``seed + 1`` on.

        A method that changes activations has ``controls.random`` random ones; a prompt or a
        readout has no direction to be drawn at random. A method that reads labels has
        ``controls.shuffled`` ones, fitted on shuffled labels, which for another method
        would be the method itself, or its opposite. So ``few-shot`` has shuffled ones only,
        ``actadd`` random ones only, and most methods have both. The unsteered model and the
        instruction, which all methods share, are not among them.
        """
        turned = self.controls.random if method.changes == "activations" else 0
        refitted = self.controls.shuffled if method.reads_labels else 0
        return [
            *((Random(method), self.seed + 1 + k) for k in range(turned)),
            *((Shuffled(method), self.seed + 1 + k) for k in range(refitted)),
        ]


def read_study(source: str, changes: Mapping[str, Any] | None = None) -> Study:
    """Read a built-in study by name, or a TOML file, strictly.

    Args:
        source: name or path.
        changes: top-level values that replace those of the file.

    Raises:
        UnknownName: if there is no such study or file, or it names what does not exist.
        BadOption: for an unknown key or a value outside its range.
    """
    if source in STUDIES:
        text = (files("seatrial.studies") / "builtin" / f"{source}.toml").read_text("utf-8")
    elif Path(source).is_file():
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadOption(f"{source} cannot be read as UTF-8 text ({error})") from error
    else:
        raise unknown("study", source, [*STUDIES, "or a path to a .toml file"])
    try:
        plan = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadOption(f"{source} is no valid TOML: {error}; mend that line") from error
    return make_study({**plan, **(changes or {})}, source)


def make_study(plan: Mapping[str, Any], source: str = "study") -> Study:
    """Build a study from plain values; see ``read_study``."""
    known = list(Study.__dataclass_fields__)
    for key in plan:
        if key not in known:
            raise BadOption(
                f"{source} has no key {key!r}; the keys of a study: {', '.join(known)}"
            )
    try:
        return TypeAdapter(Study).validate_python(dict(plan))
    except ValidationError as error:
        raise BadOption(f"{source}: {complaint(error, _TABLES)}") from error


def study_of(store: Store) -> Study:
    """The study that a store belongs to.

    Raises:
        StoreFault: if there is no study in the folder.
        BadFile: if its plan cannot be read.
        BadOption, UnknownName: for a plan of another version, or with methods or tasks that
            are not installed here.
    """
    return make_study(store.plan()["study"], str(store.root / PLAN))


_TABLES = {"controls": Controls, "limits": Limits, "budget": Budget}


def _first(names: Sequence[str], most: int = 5) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(name[:60] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _check_name(name: str) -> None:
    """A study's name also names its folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name):
        raise BadOption(
            f"name {name!r} cannot name a folder; use letters, digits, dots, dashes and "
            "underscores"
        )


def _check_distinct(key: str, values: Collection[object], study: str) -> None:
    """What a study lists must be there, each once."""
    if not values:
        raise BadOption(f"{key} of study {study!r} is empty; name at least one")
    if len(set(values)) < len(values):
        listed = ", ".join(map(str, values))
        raise BadOption(
            f"{key} of study {study!r} repeat a name: {listed}; name each once, "
            "and run variants as separate studies"
        )


def _check_doses(doses: Sequence[float], select_doses: Sequence[float]) -> None:
    """Doses must allow a comparison with none, and prices at 1 and -1."""
    for key, values in (("doses", doses), ("select_doses", select_doses)):
        if not all(map(isfinite, values)) or len(set(values)) < len(values):
            raise BadOption(f"{key} must be finite and all different, not {list(values)}")
    if not {-1.0, 0.0, 1.0} <= set(doses):
        raise BadOption(
            f"doses must contain -1, 0 and 1, not only {list(doses)}: 0 is the "
            "unsteered model to compare with, and prices are those at 1 and -1"
        )
    if not select_doses or 0 in select_doses:
        raise BadOption(
            f"select_doses must be some doses without 0, which is always measured, not "
            f"{list(select_doses)}"
        )


def _check_method(options: Mapping[str, Any]) -> None:
    """A method of a study has a name, fitting options, and something to be beaten by."""
    if "name" not in options:
        known = ", ".join(all_methods())
        raise BadOption(f"a method needs a name: {known}; got {dict(options)}")
    name = str(options["name"])
    kind = method_named(name)
    if kind.is_control or kind is Instruction:
        raise BadOption(
            f"{name!r} is a control that every study has; methods need not name it"
        )
    if kind.changes == "readout":
        raise BadOption(
            f"{name!r} learns nothing from pairs, so none of a study's controls would "
            "differ from it; measure it with `seatrial measure`"
        )
    if "layer" in options and has_one_layer(kind):
        raise BadOption(
            "a method's layer is chosen by the study; give candidates in `layers`"
        )
    make_method(name, {key: value for key, value in options.items() if key != "name"})
