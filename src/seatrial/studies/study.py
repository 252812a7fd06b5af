"""The plan of a trial: what is fitted, chosen, measured, and against which controls.

A study is a value. Everything that can change a number is in it, its cells are named by
their content, and controls are cells that nobody can leave out.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, final

from pydantic import TypeAdapter, ValidationError

from seatrial.data import DEFAULT_SHARES
from seatrial.data.catalogue import name_of
from seatrial.errors import BadOption, unknown
from seatrial.files import short_hash
from seatrial.methods import METHODS, Method, Random, Shuffled
from seatrial.methods.base import has_one_layer
from seatrial.studies.bounds import STRICT, Controls, Limit, Limits
from seatrial.studies.study_checks import (
    check_distinct,
    check_doses,
    check_known,
    check_method,
    check_name,
    clause,
    make_method,
)
from seatrial.tasks import GUARDS, TARGETS
from seatrial.types import SPLITS, Split

STUDIES: tuple[str, ...] = ("quickstart",)
"""Names of the plans that ship with the package."""


@final
@dataclass(frozen=True)
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
    budget: Limit = field(default_factory=Limit)
    seed: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        # 1 and 1.0 are one dose and must make one content hash.
        for doses in ("doses", "select_doses"):
            object.__setattr__(self, doses, tuple(map(float, getattr(self, doses))))
        self._check()

    def _check(self) -> None:
        """Refuse a plan that cannot be measured or would prove nothing, before it runs."""
        check_name(self.name)
        for kind, names, known in (
            ("target task", (*self.targets, self.fit_on), TARGETS),
            ("guard task", self.guards, GUARDS),
            ("target task in limits.test", self.limits.test, self.targets),
            ("target task in options", self.options, (*self.targets, self.fit_on)),
            ("guard task in limits.guards", self.limits.guards, self.guards),
        ):
            check_known(kind, names, known)
        # Results are kept under a concept's name, which of a file is its name alone.
        concepts = [name_of(source) for source in self.concepts]
        methods = [str(options.get("name", "")) for options in self.methods]
        for key, values in {
            "concepts": concepts,
            "methods": methods,
            "layers": self.layers,
            "targets": self.targets,
            "guards": self.guards,
        }.items():
            check_distinct(key, values, self.name)
        check_doses(self.doses, self.select_doses)
        for options in self.methods:
            check_method(options)
        if set(self.shares) != set(SPLITS):
            raise BadOption(
                f"shares must name fit, select and test, not {', '.join(self.shares)}"
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
        return _hash(plan)

    def layers_of(self, number: int) -> tuple[int, ...]:
        """Candidate layers of one of the methods; -1 alone where it has no single layer."""
        kind = METHODS[self.methods[number]["name"]]
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
    """-1 where no layer is edited, or several are that the study does not choose."""
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
        raise BadOption(f"{source}: {clause(error, _TABLES)}") from error


_TABLES = {"controls": Controls, "limits": Limits, "budget": Limit}


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return short_hash([text.encode()])
