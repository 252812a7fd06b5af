"""The plan of a trial: what is fitted, chosen, measured, and against which controls.

A study is a value. Everything that can change a number is in it, its cells are named by their
content, and controls are cells that nobody can leave out.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from seatrial.data import Concept, Item, load_concept, load_prose, sample, sample_balanced, split
from seatrial.errors import BadData, BadOption, SeatrialError, UnknownName, unknown
from seatrial.methods import METHODS, Method, Prompt, Random, Shuffled
from seatrial.tasks import GUARDS, TARGETS, Prose, Target, Task
from seatrial.types import SPLITS, Split

STUDIES: tuple[str, ...] = ("quickstart",)
"""Names of the plans that ship with the package."""

_STRICT = ConfigDict(extra="forbid")


@final
@dataclass(frozen=True)
class Controls:
    """How many controls stand beside each method; fewer than this is no trial."""

    __pydantic_config__ = _STRICT

    random: int = 5
    """Random directions of the same norm, each with its own seed; at least 3."""
    shuffled: int = 3
    """Refits on pairs with half of the labels swapped; at least 2."""


@final
@dataclass(frozen=True)
class Limits:
    """Largest number of items, by split and for the guard; a seeded sample is taken."""

    __pydantic_config__ = _STRICT

    fit: int | None = None
    select: int | None = None
    test: dict[str, int] = field(default_factory=dict)
    """By task."""
    prose: int | None = None


@final
@dataclass(frozen=True)
class Limit:
    """What a steering may do and still be said to work."""

    __pydantic_config__ = _STRICT

    perplexity_ratio: float = 1.1
    """Largest acceptable perplexity on neutral prose at dose 1 and -1, against unsteered."""
    anti_steerable: float = 1 / 3
    """Largest acceptable share of items that move the wrong way or not at all."""


@final
@dataclass(frozen=True)
class Study:
    """One trial of some methods on some concepts with one model."""

    __pydantic_config__ = _STRICT

    name: str
    model: str
    concepts: tuple[str, ...]
    methods: tuple[dict[str, Any], ...]
    """Each with a ``name`` and options; ``layer`` is chosen by the study."""
    layers: tuple[int, ...]
    """Candidates; one is chosen for each concept, method and target task, on the select split."""
    fit_on: str = "open"
    """Which target task's pairs the methods are fitted on."""
    targets: tuple[str, ...] = ("open", "propensity")
    guards: tuple[str, ...] = ("prose",)
    doses: tuple[float, ...] = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    select_doses: tuple[float, ...] = (-1.0, 1.0)
    controls: Controls = field(default_factory=Controls)
    shares: dict[Split, float] = field(
        default_factory=lambda: {"fit": 0.4, "select": 0.2, "test": 0.4}
    )
    limits: Limits = field(default_factory=Limits)
    budget: Limit = field(default_factory=Limit)
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def id(self) -> str:
        """Content hash of the whole plan, 12 hex digits."""
        return _hash(asdict(self))

    def candidate(self, number: int, layer: int) -> Method:
        """One of the study's methods at one layer."""
        options = dict(self.methods[number])
        return make_method(options.pop("name"), {**options, "layer": layer})

    def controls_of(self, method: Method) -> list[tuple[Method, int]]:
        """The controls of a method, each with its seed; never empty."""
        return [
            *((Random(method), self.seed + 1 + k) for k in range(self.controls.random)),
            *((Shuffled(method), self.seed + 1 + k) for k in range(self.controls.shuffled)),
        ]


@final
@dataclass(frozen=True)
class Cell:
    """One steering measured on one task: the smallest thing with a name in the store."""

    model: str
    dtype: str
    concept: str
    task: str
    split: str
    content: str
    """Fingerprint of the items asked and of the fit data."""
    method: str
    """``unsteered``, a method's name, or a control's."""
    options: str
    """The method's hyperparameters as JSON."""
    reference: str
    """The method that a control stands beside; else the method itself."""
    layer: int
    """-1 where no layer is edited."""
    seed: int
    dose: float

    @property
    def id(self) -> str:
        """Content hash of everything that can change a number, 12 hex digits."""
        return _hash(asdict(self))

    @property
    def is_control(self) -> bool:
        """Whether a claim must beat it."""
        return self.method in METHODS and METHODS[self.method].is_control


@final
class Ground:
    """One concept of a study, split and turned into tasks."""

    def __init__(self, study: Study, name: str) -> None:
        self.study = study
        self.concept: Concept = load_concept(name)
        whole = split(self.concept.items, study.shares, seed=study.seed)
        limits = study.limits
        self.parts: dict[Split, tuple[Item, ...]] = {
            "fit": sample_balanced(whole["fit"], limits.fit, seed=study.seed),
            "select": sample_balanced(whole["select"], limits.select, seed=study.seed),
            "test": whole["test"],
        }

    @cached_property
    def targets(self) -> dict[str, Target]:
        """Target tasks by name, each with its own sample of the test split."""
        return {
            name: TARGETS[name](
                {  # pyright: ignore[reportCallIssue]
                    **self.parts,
                    "test": sample_balanced(
                        self.parts["test"], self.study.limits.test.get(name), seed=self.study.seed
                    ),
                }
            )
            for name in dict.fromkeys((*self.study.targets, self.study.fit_on))
        }

    @cached_property
    def guards(self) -> dict[str, Task]:
        """Guard tasks by name."""
        passages = sample(load_prose(), self.study.limits.prose, seed=self.study.seed)
        return {name: Prose(passages) for name in self.study.guards}


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """Build a method from plain values.

    Raises:
        UnknownName: for a method that does not exist.
        BadOption: for an option it does not have or a value of the wrong type.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    kind = METHODS[name]
    known = [k for k in kind.__dataclass_fields__ if k not in ("name", "reference")]  # pyright: ignore
    for key in options:
        if key not in known:
            raise BadOption(
                f"method {name!r} has no option {key!r}; its options: {', '.join(known) or 'none'}"
            )
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise BadOption(f"method {name!r}: {_first(error)}") from error


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
        text = (files("seatrial.studies") / f"{source}.toml").read_text("utf-8")
    elif Path(source).is_file():
        text = Path(source).read_text("utf-8")
    else:
        raise unknown("study", source, [*STUDIES, "or a path to a .toml file"])
    try:
        plan = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadOption(f"{source} is no valid TOML: {error}") from error
    return make_study({**plan, **(changes or {})}, source)


def make_study(plan: Mapping[str, Any], source: str = "study") -> Study:
    """Build a study from plain values; see ``read_study``."""
    known = list(Study.__dataclass_fields__)
    for key in plan:
        if key not in known:
            raise BadOption(f"{source} has no key {key!r}; the keys of a study: {', '.join(known)}")
    try:
        return TypeAdapter(Study).validate_python(dict(plan))
    except ValidationError as error:
        raise BadOption(f"{source}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """A pydantic error as one clause."""
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), SeatrialError):
        raise cause
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'value'}: {first['msg'].lower()} (got {first['input']!r})"


def _check(study: Study) -> None:
    for name in (*study.targets, study.fit_on):
        if name not in TARGETS:
            raise unknown("target task", name, TARGETS)
    for name in study.guards:
        if name not in GUARDS:
            raise unknown("guard task", name, GUARDS)
    wanted = {
        "concepts": study.concepts,
        "methods": study.methods,
        "layers": study.layers,
        "targets": study.targets,
        "guards": study.guards,
    }
    for key, values in wanted.items():
        if not values:
            raise BadOption(f"{key} of study {study.name!r} is empty; name at least one")
    if len(set(study.doses)) < 3 or 0 not in study.doses or -1 not in study.doses or 1 not in study.doses:
        raise BadOption(f"doses must contain -1, 0 and 1, all different, not {list(study.doses)}")
    if study.controls.random < 3 or study.controls.shuffled < 2:
        raise BadOption(
            "controls cannot be left out: a study needs at least 3 random and 2 shuffled ones, not "
            f"{study.controls.random} and {study.controls.shuffled}"
        )
    if set(study.shares) != set(SPLITS):
        raise BadOption(f"shares must name fit, select and test, not {', '.join(study.shares)}")
    for name in study.limits.test:
        if name not in study.targets:
            raise unknown("target task in limits.test", name, study.targets)
    names = [str(options.get("name")) for options in study.methods]
    for name, options in zip(names, study.methods, strict=True):
        if name in METHODS and (METHODS[name].is_control or METHODS[name] is Prompt):
            raise BadOption(f"{name!r} is a control; every study has it, so methods need not name it")
        if "layer" in options:
            raise BadOption("a method's layer is chosen by the study; give candidates in `layers`")
        make_method(name, {k: v for k, v in options.items() if k != "name"})
    if len(set(names)) < len(names):
        raise BadOption(f"methods {', '.join(names)} repeat a name; run variants as separate studies")
    for concept in study.concepts:
        try:
            load_concept(concept)
        except (UnknownName, BadData) as error:
            raise type(error)(str(error)) from error


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

