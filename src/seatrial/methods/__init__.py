"""Every way to steer, one file each; this page is the table."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import isabstract
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from seatrial.errors import BadOption, complaint, sentence
from seatrial.extensions import find, table
from seatrial.methods.ablate import Ablate
from seatrial.methods.ace import ACE
from seatrial.methods.actadd import ActAdd
from seatrial.methods.angular import Angular
from seatrial.methods.base import Layer, Method, options_of, origin_of
from seatrial.methods.caa import CAA
from seatrial.methods.cast import CAST
from seatrial.methods.conceptor import Conceptor
from seatrial.methods.dola import DoLa
from seatrial.methods.few_shot import FewShot
from seatrial.methods.function_vector import FunctionVector
from seatrial.methods.icv import ICV
from seatrial.methods.instruction import Instruction
from seatrial.methods.iti import ITI
from seatrial.methods.k_steering import KSteering
from seatrial.methods.layer_mean import LayerMean
from seatrial.methods.leace import LEACE
from seatrial.methods.length import Length
from seatrial.methods.logistic import Logistic
from seatrial.methods.mean_match import MeanMatch
from seatrial.methods.mimic import MiMiC
from seatrial.methods.orthogonal import Orthogonal
from seatrial.methods.other_task import OtherTask
from seatrial.methods.random import Random
from seatrial.methods.repe import RepE
from seatrial.methods.shuffled import Shuffled
from seatrial.methods.spherical import Spherical
from seatrial.methods.task_vector import TaskVector

METHODS: dict[str, type[Method]] = {
    "ablate": Ablate,
    "ace": ACE,
    "actadd": ActAdd,
    "angular": Angular,
    "caa": CAA,
    "cast": CAST,
    "conceptor": Conceptor,
    "dola": DoLa,
    "few-shot": FewShot,
    "function-vector": FunctionVector,
    "icv": ICV,
    "instruction": Instruction,
    "iti": ITI,
    "k-steering": KSteering,
    "layer-mean": LayerMean,
    "leace": LEACE,
    "length": Length,
    "logistic": Logistic,
    "mean-match": MeanMatch,
    "mimic": MiMiC,
    "orthogonal": Orthogonal,
    "other-task": OtherTask,
    "random": Random,
    "repe": RepE,
    "shuffled": Shuffled,
    "spherical": Spherical,
    "task-vector": TaskVector,
}


def method_named(name: str) -> type[Method]:
    """A kind of method: one of ``METHODS``, of an installed package, or ``module:Class``.

    Raises:
        UnknownName: for a name that is in no table.
        BadOption: for a module that cannot be imported, a class that is no method, or one
            that does not say what every method says of itself.
    """
    kind = find("method", name, METHODS, Method)
    _check_kind(name, kind)
    return kind


def all_methods() -> dict[str, type[Method]]:
    """Ours and those of installed packages, by the name that users type.

    Raises:
        BadOption: for an installed one that cannot be used; the sentence names it.
    """
    return {name: method_named(name) for name in table("method", METHODS, Method)}


def make_method(name: str, options: Mapping[str, Any]) -> Method:
    """Build a method from plain values.

    Args:
        name: as ``method_named`` takes it.
        options: values by field. The ``reference`` of a control is a method, its name, or
            its options beside its name, as ``options_of`` writes them.

    Raises:
        UnknownName: for a method that does not exist.
        BadOption: for an option it does not have or a value of the wrong type.
    """
    kind = method_named(name)
    known = [part.name for part in fields(kind) if part.init]  # pyright: ignore[reportArgumentType]
    for key in options:
        if key not in known:
            raise BadOption(
                f"method {name!r} has no option {key!r}; its options: "
                f"{', '.join(known) or 'none'}"
            )
    values = dict(options)
    if kind.is_control and "reference" in values:
        values["reference"] = _reference(name, values["reference"])
    try:
        return TypeAdapter(kind).validate_python(values)
    except PydanticUserError as error:
        raise BadOption(
            f"method {name!r}: the types of its options cannot be read "
            f"({sentence(error)}); give each field a type that its module defines"
        ) from error
    except ValidationError as error:
        raise BadOption(f"method {name!r}: {complaint(error)}") from error


def _reference(name: str, value: object) -> Method:
    """The method that a control stands beside, from what was given for it."""
    if isinstance(value, Method):
        return value
    options: Any = {"name": value} if isinstance(value, str) else value
    if not (isinstance(options, Mapping) and isinstance(options.get("name"), str)):
        raise BadOption(
            f"method {name!r}: reference must be a method, its name, or a table with its "
            f"name and options, not {value!r}"
        )
    return make_method(
        options["name"], {key: options[key] for key in options if key != "name"}
    )


def _check_kind(name: str, kind: type[Method]) -> None:
    """Refuse a class that does not say what every method says of itself."""
    if isabstract(kind):
        lacks = ", ".join(sorted(kind.__abstractmethods__))
        raise BadOption(f"the method {name!r} has no {lacks}; define it in its class")
    params: Any = getattr(kind, "__dataclass_params__", None)
    if not (is_dataclass(kind) and params.frozen):
        raise BadOption(
            f"the method {name!r} is no frozen dataclass; put @dataclass(frozen=True) "
            "above its class, so that its fields are its options"
        )
    for key in ("name", "summary"):
        text = getattr(kind, key, None)
        if not (isinstance(text, str) and text.strip()):
            raise BadOption(
                f"the method {name!r} has no {key}; write `{key}: ClassVar[str] = "
                '"..."` in its class'
            )
    if not re.fullmatch(r"\w[\w.-]*", kind.name):
        raise BadOption(
            f"the method {name!r} is called {kind.name!r}, and files of what is fitted are "
            "named after it; use letters, digits, dots, dashes and underscores"
        )


__all__ = [
    "ACE",
    "CAA",
    "CAST",
    "ICV",
    "ITI",
    "LEACE",
    "METHODS",
    "Ablate",
    "ActAdd",
    "Angular",
    "Conceptor",
    "DoLa",
    "FewShot",
    "FunctionVector",
    "Instruction",
    "KSteering",
    "Layer",
    "LayerMean",
    "Length",
    "Logistic",
    "MeanMatch",
    "Method",
    "MiMiC",
    "Orthogonal",
    "OtherTask",
    "Random",
    "RepE",
    "Shuffled",
    "Spherical",
    "TaskVector",
    "all_methods",
    "make_method",
    "method_named",
    "options_of",
    "origin_of",
]
