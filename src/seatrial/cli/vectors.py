"""`seatrial fit` and `steer`: vectors made, and tried out on one prompt."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.changes import Changes, changed
from seatrial.cli.screen import OUT, say
from seatrial.errors import BadOption

if TYPE_CHECKING:
    from seatrial.methods import Method


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
    from seatrial.model import Model
    from seatrial.steering import UNSTEERED, Steering, load
    from seatrial.types import Message

    fitted = load(vector)
    loaded = Model.load(model)
    shown = (Message("user", prompt),) if loaded.is_chat else prompt
    plain, steered = loaded.generate(
        [shown],
        [UNSTEERED, Steering(fitted, dose)],
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
    )
    table = Table("unsteered", f"dose {dose:g}")
    table.add_row(Text(plain[0].text), Text(steered[0].text))
    OUT.print(table)


@final
@dataclass(frozen=True)
class Fit:
    """What every method is fitted with."""

    concept: str
    """What it is fitted on: a built-in concept (`seatrial list concepts`), a published set
    such as persona/openness or paradetox, or your own file of items or pairs; with --task
    map a built-in or published map, or your own file of one."""
    out: Path
    """The .safetensors file to write."""
    model: str = "smollm2-135m"
    """Hub id, local folder, GGUF file, or registered small model."""
    task: str = "open"
    """The task whose pairs are read: open, propensity, map, or yours as module:Class."""
    changes: Changes = ()
    """Options of that task, such as form=ab or wording=tan; of a map shots and template."""
    limit: int | None = None
    """Largest number of pairs; a seeded sample is taken."""
    seed: int = 0
    """Of the split, the sample and the method; a study with this seed splits alike."""


@final
@dataclass(frozen=True)
class ControlOptions:
    """What a control is fitted with besides."""

    of: str = "caa"
    """The method that it stands beside, whose options are options here; yours as
    module:Class."""


def fit(method: tyro.conf.Positional[str]) -> None:
    """Fit a method and save it as a file; `seatrial fit METHOD --help` lists its options.

    Args:
        method: See `seatrial list methods`, or yours as my_package.my_module:MyMethod; its
            options follow.
    """
    raise AssertionError("main hands `fit` on to fit_method")


def fit_method(name: str, options: Sequence[str]) -> None:
    """Fit a method whose own fields are further options, and save what it makes."""
    from seatrial.data.catalogue import note_on
    from seatrial.model import Model
    from seatrial.steering import save
    from seatrial.steering.compare import added_vectors
    from seatrial.tasks.others import with_others
    from seatrial.tasks.spec import make_fit_data

    fitting, method = _parse_fit(name, options)
    data = make_fit_data(
        fitting.task,
        fitting.concept,
        seed=fitting.seed,
        limit=fitting.limit,
        options=changed(fitting.changes, "form=ab"),
    )
    data = with_others(data, method.references(data), seed=fitting.seed)
    fitted = method.fit(Model.load(fitting.model), data, seed=fitting.seed)
    save(fitted, fitting.out)
    norms = []
    for site, vectors in added_vectors({name: fitted}).items():
        # Those at tokens of their own count together.
        norm = hypot(*(float(each.vector.norm()) for each in vectors))
        states = vectors[0].state_norm
        beside = f" (|v|/|h| {norm / states:.2g})" if states else ""
        norms.append(f"site {site}: norm {norm:.3g}{beside}")
    lengths = ", ".join(norms) or "no added vector"
    say(OUT, f"{fitting.out}: {len(data.pairs)} pairs; {lengths}")
    if note := note_on(fitting.concept):
        say(OUT, f"Note: {note}")


def _parse_fit(name: str, options: Sequence[str]) -> tuple[Fit, "Method"]:
    from seatrial.methods import method_named

    kind = method_named(name)
    if kind.is_control:
        # Its reference decides which options there are, so that is read beforehand.
        of = _value_of("--of", options) or ControlOptions.of
        controlled = method_named(of)
        if controlled.is_control:
            raise BadOption(
                f"{of!r} is a control itself; --of takes the method it controls"
            )
        default = kind(reference=_with_defaults(controlled))  # pyright: ignore[reportCallIssue]
        _check_flags(name, Fit, ControlOptions, kind, controlled)
    else:
        default = _with_defaults(kind)
        _check_flags(name, Fit, kind)

    def plain(fit: Fit, method: kind = default) -> Any:  # pyright: ignore[reportInvalidTypeForm]
        return fit, method

    def control(fit: Fit, control: ControlOptions, method: kind = default) -> Any:  # pyright: ignore[reportInvalidTypeForm]
        return fit, method

    return tyro.cli(
        control if kind.is_control else plain,
        args=options,
        prog=f"seatrial fit {name}",
        description=f"{kind.summary}. {kind.paper}".strip(),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _check_flags(name: str, *kinds: type) -> None:
    """Refuse options that would be one flag; all of them are written without a prefix."""
    flags = ["set"]  # how `changes` is written
    flags += [part.name for kind in kinds for part in fields(kind) if part.init]
    if twice := sorted({flag for flag in flags if flags.count(flag) > 1}):
        raise BadOption(
            f"method {name!r} cannot be fitted on the command line, where {twice[0]!r} "
            "would mean two things; rename that option, or fit it in Python"
        )


def _with_defaults(kind: type["Method"]) -> "Method":
    """A method whose options that have no default are flags that must be given."""
    parts = fields(kind)  # pyright: ignore[reportArgumentType]
    required = [p.name for p in parts if p.init and not _has_default(p)]
    return kind(**dict.fromkeys(required, tyro.MISSING))


def _has_default(part: Field[Any]) -> bool:
    return part.default is not MISSING or part.default_factory is not MISSING


def _value_of(flag: str, options: Sequence[str]) -> str | None:
    for option, value in zip(options, [*options[1:], None], strict=True):
        if option == flag:
            return value
        if option.startswith(f"{flag}="):
            return option.removeprefix(f"{flag}=")
    return None
