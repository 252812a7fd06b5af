"""The plan of a trial: what is fitted, chosen, measured, and against which controls.

A study is a value. Everything that can change a number is in it, its cells are named by
their content, and controls are cells that nobody can leave out.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any, Literal, final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from seatrial.data import (
    CONCEPTS,
    DEFAULT_SHARES,
    Concept,
    Item,
    load_concept,
    load_prose,
    sample,
    sample_balanced,
    split,
)
from seatrial.data.core import fingerprint
from seatrial.errors import BadData, BadOption, SeatrialError, unknown
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
    """Largest acceptable perplexity of neutral prose at doses 1 and -1; unsteered is 1."""
    anti_steerable: float = 1 / 3
    """Largest acceptable share of items that move the wrong way or not at all."""


@final
@dataclass(frozen=True)
class Study:
    """One trial of some methods on some concepts with one model.

    Build it with ``make_study`` or ``read_study``, which also check the types of values.
    """

    __pydantic_config__ = _STRICT

    name: str
    """Also names the results folder: letters, digits, dots, dashes and underscores."""
    model: str
    concepts: tuple[str, ...]
    """Built-in concepts by name, or your own as paths of ``.jsonl`` files."""
    methods: tuple[dict[str, Any], ...]
    """Each with a ``name`` and options; ``layer`` is chosen by the study."""
    layers: tuple[int, ...]
    """Candidates; the select split chooses one for each concept, method and target task."""
    fit_on: str = "open"
    """Which target task's pairs the methods are fitted on."""
    targets: tuple[str, ...] = ("open", "propensity")
    guards: tuple[str, ...] = ("prose",)
    doses: tuple[float, ...] = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    select_doses: tuple[float, ...] = (-1.0, 1.0)
    controls: Controls = field(default_factory=Controls)
    shares: dict[Split, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    """Of the groups of a concept."""
    limits: Limits = field(default_factory=Limits)
    budget: Limit = field(default_factory=Limit)
    seed: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        # 1 and 1.0 are one dose and must make one content hash.
        for doses in ("doses", "select_doses"):
            object.__setattr__(self, doses, tuple(map(float, getattr(self, doses))))
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
    """One concept of a study, split and turned into tasks.

    Raises:
        UnknownName: if the concept is neither built in nor a file.
        BadData: if its items cannot be split, or leave too few to measure.
        BadOption: for a limit that leaves nothing.
    """

    def __init__(self, study: Study, name: str) -> None:
        self.study = study
        self.concept: Concept = load_concept(name)
        if not (self.concept.encourage.strip() and self.concept.discourage.strip()):
            raise BadData(
                f"concept {self.concept.name!r} has no instruction for and against the "
                "behaviour, and a study compares steering with asking; add a line "
                '{"concept": {"encourage": ..., "discourage": ...}} to its file'
            )
        _check_copies(self.concept)
        whole = split(self.concept.items, study.shares, seed=study.seed)
        limits = study.limits
        self.parts: dict[Split, tuple[Item, ...]] = {
            "fit": sample_balanced(whole["fit"], limits.fit, seed=study.seed),
            "select": sample_balanced(whole["select"], limits.select, seed=study.seed),
            "test": whole["test"],
        }
        self.targets: dict[str, Target] = {
            target: self._target(target)
            for target in dict.fromkeys((*study.targets, study.fit_on))
        }
        """Target tasks by name, each with its own sample of the test split."""
        passages = sample(load_prose(), limits.prose, seed=study.seed)
        self.guards: dict[str, Task] = {guard: Prose(passages) for guard in study.guards}
        """Guard tasks by name."""

    @property
    def fingerprint(self) -> str:
        """Content hash of everything that can be asked or fitted on, 12 hex digits."""
        return fingerprint([self.concept.fingerprint, load_prose()])

    def _target(self, name: str) -> Target:
        limit = self.study.limits.test.get(name)
        test = sample_balanced(self.parts["test"], limit, seed=self.study.seed)
        for part, items in (("select", self.parts["select"]), ("test", test)):
            if len({item.group for item in items}) < 2:
                raise BadData(
                    f"{self.concept.name}: {len(items)} {part} items of one group are too "
                    f"few for an interval on {name!r}; raise limits.{part} or add groups"
                )
        return TARGETS[name]({**self.parts, "test": test})  # pyright: ignore[reportCallIssue]


def _check_copies(concept: Concept) -> None:
    """Refuse a text in two groups: it would count as two, or straddle two splits."""
    first: dict[str, Item] = {}
    for item in concept.items:
        for text in (
            item.statement,
            f"{item.prompt} {item.matching_text}",
            f"{item.prompt} {item.other_text}",
        ):
            before = first.setdefault(" ".join(re.findall(r"\w+", text.lower())), item)
            if before.group != item.group:
                raise BadData(
                    f"{concept.name}: items {before.id} and {item.id} hold the same text "
                    f"{text!r}, but stand in two groups, {before.group} and {item.group}; "
                    "remove the copy, or give both one `group`"
                )


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
            options_known = ", ".join(known) or "none"
            raise BadOption(
                f"method {name!r} has no option {key!r}; its options: {options_known}"
            )
    try:
        return TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        raise BadOption(f"method {name!r}: {_clause(error)}") from error


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
        raise BadOption(f"{source}: {_clause(error)}") from error


_TABLES = {"controls": Controls, "limits": Limits, "budget": Limit}


def _clause(error: ValidationError) -> str:
    """The first complaint of pydantic as one clause; one of ours is raised as it is."""
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), SeatrialError):
        raise cause
    *tables, key = [str(part) for part in first["loc"]] or ["value"]
    where = ".".join([*tables, key])
    if first["type"] == "missing":
        return f"the key {where!r} is missing; give it a value"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = ", ".join(_TABLES[tables[0]].__dataclass_fields__)
        return f"{tables[0]!r} has no key {key!r}; its keys: {known}"
    message = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {message} (got {first['input']!r})"


def _check(study: Study) -> None:
    """Refuse a plan that cannot be measured or would prove nothing, before it runs."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", study.name):
        raise BadOption(
            f"name {study.name!r} cannot name a folder; use letters, digits, dots, dashes "
            "and underscores"
        )
    _check_names(study)
    _check_doses(study)
    _check_methods(study)
    if study.controls.random < 3 or study.controls.shuffled < 2:
        raise BadOption(
            "controls cannot be left out: a study needs at least 3 random and 2 shuffled "
            f"ones, not {study.controls.random} and {study.controls.shuffled}"
        )
    if set(study.shares) != set(SPLITS):
        raise BadOption(
            f"shares must name fit, select and test, not {', '.join(study.shares)}"
        )
    if study.limits.prose is not None and study.limits.prose < 2:
        raise BadOption(
            "limits.prose must be at least 2, so that there is an interval, not "
            f"{study.limits.prose}"
        )


def _check_names(study: Study) -> None:
    for name in (*study.targets, study.fit_on):
        if name not in TARGETS:
            raise unknown("target task", name, TARGETS)
    for name in study.guards:
        if name not in GUARDS:
            raise unknown("guard task", name, GUARDS)
    for name in study.limits.test:
        if name not in study.targets:
            raise unknown("target task in limits.test", name, study.targets)
    # Results are kept under a concept's name, which is its file's name without the folder.
    concepts = [c if c in CONCEPTS else Path(c).stem for c in study.concepts]
    names = [str(options.get("name", "")) for options in study.methods]
    for key, values in {
        "concepts": concepts,
        "methods": names,
        "layers": study.layers,
        "targets": study.targets,
        "guards": study.guards,
    }.items():
        if not values:
            raise BadOption(f"{key} of study {study.name!r} is empty; name at least one")
        if len(set(values)) < len(values):
            listed = ", ".join(map(str, values))
            raise BadOption(
                f"{key} of study {study.name!r} repeat a name: {listed}; name each once, "
                "and run variants as separate studies"
            )


def _check_doses(study: Study) -> None:
    _check_numbers("doses", study.doses)
    _check_numbers("select_doses", study.select_doses)
    if not {-1.0, 0.0, 1.0} <= set(study.doses):
        raise BadOption(
            f"doses must contain -1, 0 and 1, not only {list(study.doses)}: 0 is the "
            "unsteered model to compare with, and prices are those at 1 and -1"
        )
    if not study.select_doses or 0 in study.select_doses:
        raise BadOption(
            f"select_doses must be some doses without 0, which is always measured, not "
            f"{list(study.select_doses)}"
        )


def _check_numbers(key: str, doses: Sequence[float]) -> None:
    if not all(map(isfinite, doses)) or len(set(doses)) < len(doses):
        raise BadOption(f"{key} must be finite and all different, not {list(doses)}")


def _check_methods(study: Study) -> None:
    for options in study.methods:
        if "name" not in options:
            raise BadOption(
                f"a method needs a name: {', '.join(METHODS)}; got {dict(options)}"
            )
        name = str(options["name"])
        if name in METHODS and (METHODS[name].is_control or METHODS[name] is Prompt):
            raise BadOption(
                f"{name!r} is a control that every study has; methods need not name it"
            )
        if "layer" in options:
            raise BadOption(
                "a method's layer is chosen by the study; give candidates in `layers`"
            )
        make_method(name, {k: v for k, v in options.items() if k != "name"})


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
