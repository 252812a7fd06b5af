"""Methods and tasks from outside: by a dotted name, or an installed package's entry point.

A dotted name says where a class is, ``my_package.my_module:MyMethod``; it is imported, so
whoever writes it runs that code. An entry point (groups ``seatrial.methods`` and
``seatrial.tasks``) gives a class a name of its own, which works wherever ours do.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from seatrial.errors import BadOption, sentence, unknown

T = TypeVar("T")


def find(kind: str, name: str, ours: Mapping[str, type[T]], base: type[T]) -> type[T]:
    """The class that a name stands for: ours, an entry point's, or that of a dotted name.

    Args:
        kind: what it is called in messages, and with an "s" the entry points' group:
            "method" or "task".
        name: of ours, of an entry point, or ``module:Class``.
        ours: the table of those that ship.
        base: what it must inherit.

    Raises:
        UnknownName: for a name that is in no table.
        BadOption: for a module that cannot be imported, or a class that is none of these.
    """
    if name in ours:
        return ours[name]
    if ":" in name:
        module, _, attribute = name.partition(":")
        thing = _imported(
            f"the {kind} {name!r}",
            module,
            attribute,
            "write module:Class, of a module that is installed or lies in this folder",
        )
        return _checked(kind, name, thing, base)
    installed = {point.name: point for point in _points(kind)}
    if name in installed:
        point = installed[name]
        package = point.dist.name if point.dist else "the package that brings it"
        thing = _imported(
            f"the installed {kind} {name!r}",
            point.module,
            point.attr,
            f"mend or uninstall {package}",
        )
        return _checked(kind, name, thing, base)
    raise unknown(
        kind, name, [*ours, *installed, "or a dotted name such as package.module:Class"]
    )


def table(kind: str, ours: Mapping[str, type[T]], base: type[T]) -> dict[str, type[T]]:
    """Ours, then those of installed packages, by name; ours win where two share a name.

    Raises:
        BadOption: for an installed one that cannot be imported or is none of these.
    """
    installed = [point.name for point in _points(kind) if point.name not in ours]
    return {**ours, **{name: find(kind, name, ours, base) for name in installed}}


def _points(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"seatrial.{kind}s"))


def _imported(what: str, module: str, attribute: str, remedy: str) -> object:
    """What a module calls by a name; a refusal says what was wanted and what to do."""
    here = os.getcwd()
    # A module in this folder can be named; an installed program does not look here itself.
    is_new = here not in sys.path
    if is_new:
        sys.path.append(here)
    try:
        thing: object = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    # While it is imported, third parties' code may raise anything, and a script may leave.
    except (Exception, SystemExit) as error:
        raise BadOption(
            f"{what} cannot be imported ({type(error).__name__}: {sentence(error)}); "
            f"{remedy}"
        ) from error
    finally:
        if is_new:
            sys.path.remove(here)
    return thing


def _checked(kind: str, name: str, thing: object, base: type[T]) -> type[T]:
    if isinstance(thing, type) and issubclass(thing, base):
        return thing
    raise BadOption(
        f"{name!r} is no {kind}: it must be a class that inherits "
        f"{base.__module__}.{base.__qualname__}, and is {thing!r}"
    )
