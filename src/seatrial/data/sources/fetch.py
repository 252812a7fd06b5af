"""Fetches one published file: from the cache, else a mirror, else GitHub; checked always.

A file is named by owner, repository, commit and path, and known by its sha256, so that a
mirror stands for a download and is never another version. In the cache a file appears
whole or not at all; the cache has the layout of a mirror and may serve as one.
"""

import contextlib
import csv
import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache as remember
from http.client import HTTPException
from importlib.resources import files as package_files
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, final

from seatrial.errors import (
    BadFile,
    BadOption,
    SeatrialError,
    StoreFault,
    Unreachable,
    sentence,
)

SECONDS = 20.0
"""How long a server may be silent."""

MIRROR = "SEATRIAL_MIRROR"
"""The environment variable that names the root of a mirror."""


@final
@dataclass(frozen=True)
class File:
    """One published file and what is known about it."""

    name: str
    """The data set that it holds, a key of ``DATASETS``."""
    owner: str
    repo: str
    commit: str
    """40 hex digits."""
    path: str
    """Inside the repository."""
    n_bytes: int
    sha256: str
    n_items: int
    """How many records its loader gives."""
    licence: str
    attribution: str
    """Whom to credit, and what else the licence or the authors ask for."""

    @property
    def url(self) -> str:
        """Where it is published."""
        parts = (self.owner, self.repo, self.commit, self.path)
        return f"https://raw.githubusercontent.com/{'/'.join(parts)}"

    @property
    def place(self) -> PurePosixPath:
        """Where it lies under the root of a mirror or cache."""
        return PurePosixPath("github", self.owner, self.repo, self.commit, self.path)


@remember
def known_files() -> Mapping[str, File]:
    """Every published file by the name of its data set."""
    table = (package_files("seatrial.data.sources") / "files.csv").read_text("utf-8")
    rows: list[dict[str, Any]] = list(csv.DictReader(table.splitlines()))
    for row in rows:
        row.update({key: int(row[key]) for key in ("n_bytes", "n_items")})
    return MappingProxyType({row["name"]: File(**row) for row in rows})


def cache_folder() -> Path:
    """Where data lives: ``$XDG_CACHE_HOME`` or ``~/.cache``, then seatrial/data."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "seatrial" / "data"


def mirror_folder(mirror: Path | None = None) -> Path | None:
    """The mirror to use: the given one, else ``$SEATRIAL_MIRROR``, else none.

    Raises:
        BadOption: if it is named and is no folder.
    """
    named = mirror or os.environ.get(MIRROR)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise BadOption(
            f"the mirror {str(folder)!r} is no folder; name one that holds "
            f"github/OWNER/REPOSITORY/COMMIT/PATH with --mirror or {MIRROR}"
        )
    return folder


def fetch(
    file: File,
    *,
    mirror: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Put a published file into the cache, unless it is there, and say where it is.

    Args:
        file: One of ``known_files()``.
        mirror: Root of a mirror; ``$SEATRIAL_MIRROR`` by default.
        cache: Root of the cache, if not the default one.
        say: Receives a line of progress before anything is downloaded.

    Raises:
        BadOption: if the mirror is no folder.
        BadFile: if the size or the sha256 is another than expected.
        Unreachable: if neither mirror nor GitHub gives the file.
        StoreFault: if the cache cannot be written.
    """
    root = cache_folder() if cache is None else Path(cache)
    mirror = mirror_folder(mirror)
    final = root / file.place
    if final.is_file():
        with final.open("rb") as stream:
            copy(stream, None, file, f"delete {final} and try again")
        return final
    if mirror is not None and (mirror / file.place).is_file():
        return keep(file, root, mirror / file.place, mirror)
    if say is not None:
        say(f"downloading {file.url} ({file.n_bytes / 1e6:.1f} MB, {file.licence})")
    return keep(file, root, None, mirror)


def keep(file: File, root: Path, original: Path | None, mirror: Path | None) -> Path:
    """Copy a file of the mirror, or download one, beside its place; move it there at once.

    Args:
        file: What is wanted.
        root: Of the cache.
        original: Its copy in the mirror; None: download it.
        mirror: The mirror that does not have it, for the message.
    """
    final = root / file.place
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=root, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as part:
                if original is None:
                    download(file, part, root, mirror)
                else:
                    with original.open("rb") as stream:
                        advice = f"copy it to {original} again, byte for byte"
                        copy(stream, part, file, advice)
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(name, final)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    except SeatrialError:
        raise
    except OSError as error:
        raise StoreFault(
            f"cannot put {file.name} into the cache {root}: {sentence(error)}; free some "
            "space, or let XDG_CACHE_HOME name a folder that can be written"
        ) from error
    return final


def download(file: File, part: BufferedIOBase, root: Path, mirror: Path | None) -> None:
    """Copy the published file from GitHub."""
    try:
        with urllib.request.urlopen(file.url, timeout=SECONDS) as stream:
            copy(stream, part, file, "try again")
    except SeatrialError:
        raise
    except (OSError, HTTPException) as error:
        why = sentence(error).removeprefix("<urlopen error ").rstrip(">")
        tried = "" if mirror is None else f"the mirror {mirror} does not hold it, and "
        raise Unreachable(
            f"cannot fetch {file.name}: {tried}{file.url} did not give it "
            f"({why}). Go online, or name a mirror (--mirror FOLDER or "
            f"{MIRROR}) that holds {file.place}, or put the file at {root / file.place}."
        ) from error


def copy(
    stream: BufferedIOBase, part: BufferedIOBase | None, file: File, advice: str
) -> None:
    """Read a stream to its end, keep it if there is a place, and check what it was.

    Raises:
        BadFile: if the size or the sha256 is another than expected.
    """
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(1 << 20):
        size += len(chunk)
        if size > file.n_bytes:
            break  # An endless stream must not fill the disk.
        digest.update(chunk)
        if part is not None:
            part.write(chunk)
    if size != file.n_bytes:
        more = "more than " if size > file.n_bytes else ""
        found = f"{more}{min(size, file.n_bytes)} bytes, expected {file.n_bytes}"
    elif digest.hexdigest() != file.sha256:
        found = f"sha256 {digest.hexdigest()[:12]}..., expected {file.sha256[:12]}..."
    else:
        return
    raise BadFile(
        f"{file.name} ({file.path} of {file.owner}/{file.repo}) has {found}: it is damaged "
        f"or another version, and was not used; {advice}."
    )
