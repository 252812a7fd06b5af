"""A study: a plan as a value, read from a file, a built-in name, or plain values."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any, final

from seatrial.errors import BadOption, sentence, unknown
from seatrial.files import fingerprint
from seatrial.studies.complete import change_of, completed
from seatrial.studies.grammar import Plain, brief, plain_values
from seatrial.studies.plan import Plan
from seatrial.studies.reading import plans_of

STUDIES: tuple[str, ...] = ("quickstart", "function-vectors", "dola", "every-task")
"""Names of the plans that ship with the package."""


@final
@dataclass(frozen=True)
class Study:
    """What is to be measured; made by ``read_study``."""

    name: str
    """The plan's, or its file's: letters, digits, dots, dashes and underscores."""
    scale: str
    defects: tuple[str, ...]
    """Published defects that are switched on."""
    written: Plain
    """The plan as its author wrote it, with all scales."""
    completed: Plain
    """With scale, defects, changes and defaults: what is measured."""
    plans: tuple[Plan, ...]
    """What is measured, for each model."""

    @property
    def run_name(self) -> str:
        """What a run of it is called: name, scale and published defects."""
        scale = () if self.scale == "small" else (self.scale,)
        defects = ("as-published", *self.defects) if self.defects else ()
        return "-".join((self.name, *scale, *defects))

    @property
    def id(self) -> str:
        """Content hash of the completed plan, 12 hex digits; its name is not in it."""
        return fingerprint([_storable(self.completed)])

    @property
    def summary(self) -> str:
        """Methods, behaviours and models in a line."""
        plan = self.plans[0]
        methods = ", ".join(method.label for method in plan.methods)
        behaviours = ", ".join(dict.fromkeys(each.label for each in plan.behaviours))
        models = ", ".join(each.model.label for each in self.plans)
        return f"{methods} on {behaviours} ({models})"

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The study as JSON can hold it, for a run's folder."""
        return {
            "name": self.name,
            "scale": self.scale,
            "defects": list(self.defects),
            "written": _storable(self.written),
            "completed": _storable(self.completed),
        }


def read_study(
    source: str | Path | Plain,
    *,
    scale: str = "small",
    defects: Sequence[str] = (),
    changes: Sequence[str | Plain] = (),
) -> Study:
    """Read a plan strictly, and complete it.

    Args:
        source: name of a built-in study, path of a TOML file, or plain values.
        scale: ``small`` is the plan as written unless it says otherwise; ``smoke`` tries it
            in seconds on a model made for that.
        defects: published defects to switch on, by name.
        changes: laid over at last: pieces of plan, or lines of TOML.

    Raises:
        UnknownName: for a study, scale, defect or label that does not exist.
        BadOption: for a file that is no TOML, or a plan that cannot be used.
    """
    name, written, folder = _written(source)
    pieces = [change_of(each) if isinstance(each, str) else each for each in changes]
    defects = tuple(dict.fromkeys(defects))
    whole = completed(written, scale=scale, defects=defects, changes=pieces)
    name = _named(whole.pop("name", name))
    return Study(name, scale, defects, written, whole, tuple(plans_of(whole, folder)))


def _written(source: str | Path | Plain) -> tuple[str, dict[str, Any], Path | None]:
    """Name, plain values, and the folder that paths are relative to."""
    if isinstance(source, Mapping):
        return "study", plain_values(source, ""), None
    if source in STUDIES:
        text = (files("seatrial.studies") / "builtin" / f"{source}.toml").read_text("utf-8")
        return str(source), _parsed(text, str(source)), None
    path = Path(source)
    if not path.is_file():
        raise unknown("study", str(source), [*STUDIES, "or a path to a .toml file"])
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"{path} cannot be read as UTF-8 text ({error})") from error
    return path.stem, _parsed(text, str(path)), path.parent


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise BadOption(
            f"{source} is no valid TOML: {sentence(error)}; mend that line"
        ) from error


def _named(name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise BadOption(
            f"name {brief(name)} cannot name a folder; use letters, digits, dots, dashes "
            "and underscores, in the file's name or under the key 'name'"
        )
    return name


def _storable(value: Any) -> Any:
    """A copy for JSON, which knows no infinity."""
    if isinstance(value, Mapping):
        return {key: _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return "inf" if value == inf else value
