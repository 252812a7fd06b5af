"""Fetches one published file: from the cache, else a mirror, else GitHub; checked always.

A file is named by owner, repository, commit and path, and known by its sha256, so that a
mirror stands for a download and is never another version. In the cache a file appears
whole or not at all; the cache has the layout of a mirror and may serve as one.
"""

import csv
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache as remember
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
from seatrial.files import cache_folder, mismatch, pieces_of, write_whole
from seatrial.web import Patience, download

PATIENCE = Patience()
"""With GitHub."""

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
    root = cache_folder("data") if cache is None else Path(cache)
    mirror = mirror_folder(mirror)
    path = root / file.place
    if path.is_file():
        check_content(file, pieces_of(path), f"delete {path} and try again")
        return path
    original = None if mirror is None else mirror / file.place
    has_original = original is not None and original.is_file()
    if not has_original and say is not None:
        say(f"downloading {file.url} ({file.n_bytes / 1e6:.1f} MB, {file.licence})")

    def fill(part: Path) -> None:
        if original is not None and has_original:
            advice = f"copy it to {original} again, byte for byte"
            with part.open("wb") as copy:
                check_content(file, pieces_of(original), advice, copy)
        else:
            get(file, part, root, mirror)

    try:
        write_whole(path, fill)
    except SeatrialError:
        raise
    except OSError as error:
        raise StoreFault(
            f"cannot put {file.name} into the cache {root}: {sentence(error)}; free some "
            "space, or let XDG_CACHE_HOME name a folder that can be written"
        ) from error
    return path


def get(file: File, part: Path, root: Path, mirror: Path | None) -> None:
    """Download a published file from GitHub.

    Args:
        file: What to download.
        part: Where to.
        root: Of the cache, for the message.
        mirror: The mirror that does not have it, for the message.

    Raises:
        BadFile: as ``check_content``.
        Unreachable: if GitHub does not give it.
    """

    def take(pieces: Iterable[bytes]) -> None:
        with part.open("wb") as copy:
            check_content(file, pieces, "try again", copy)

    if why := download(file.url, take, PATIENCE):
        tried = "" if mirror is None else f"the mirror {mirror} does not hold it, and "
        raise Unreachable(
            f"cannot fetch {file.name}: {tried}{file.url} did not give it "
            f"({why}). Go online, or name a mirror (--mirror FOLDER or "
            f"{MIRROR}) that holds {file.place}, or put the file at {root / file.place}."
        )


def check_content(
    file: File, pieces: Iterable[bytes], advice: str, copy: BufferedIOBase | None = None
) -> None:
    """Read content to its end, keep it if there is a place, and check what it was.

    Raises:
        BadFile: if the size or the sha256 is another than expected.
    """
    if fault := mismatch(pieces, file.sha256, file.n_bytes, copy):
        raise BadFile(
            f"{file.name} ({file.path} of {file.owner}/{file.repo}) has {fault}: it is "
            f"damaged or another version, and was not used; {advice}."
        )
