"""Files on disk: written whole or not at all, named by their content, kept in one cache."""

import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import BufferedIOBase
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from seatrial.errors import BadFile, StoreFault

if TYPE_CHECKING:
    import pyarrow

_NUMBERS = count()
"""Tell apart the files that threads of this process are writing."""

PIECE = 1 << 20
"""Bytes that are read at a time."""


class Folder:
    """Files that a killed process never leaves half written.

    Each is written under a hidden name and then renamed. Of two processes that write the
    same file the last one wins.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def write_json(self, name: str, content: object) -> None:
        """Write a small file in one step."""
        self.write_text(name, json.dumps(content, indent=1, sort_keys=True) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file in one step, as UTF-8."""
        self.write(name, lambda path: path.write_bytes(text.encode("utf-8")))

    def read_json(self, name: str) -> Any:
        """Read a small file; ``None`` if it is not there.

        Raises:
            BadFile: if it cannot be read.
        """
        path = self.root / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadFile(
                f"{path} cannot be read ({error}); restore it or choose another --out"
            ) from error

    def write_table(self, name: str, table: "pyarrow.Table") -> None:
        """Write a Parquet file in one step."""
        from pyarrow.parquet import write_table  # data needs none of it, and it is large

        self.write(name, lambda path: write_table(table, path, compression="zstd"))

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Let a function write a file under a given path, in one step.

        Raises:
            StoreFault: if it cannot be written; what was there before stays.
        """
        from pyarrow import ArrowException

        path = self.root / name
        try:
            write_whole(path, fill)
        except (OSError, ArrowException) as error:
            reason = error.__cause__ if isinstance(error, StoreFault) else error
            raise StoreFault(
                f"cannot write {path}: {reason}; what was measured before is kept, so free "
                "space or fix the folder and run the same command again"
            ) from error

    def sweep(self) -> None:
        """Delete what killed processes of this machine left half-written."""
        # The second ending is that of a steering half saved by a version before this one.
        pattern = re.compile(
            rf"\..+\.{re.escape(platform.node())}\.(\d+)(-\d+)?\.partial(\.partial)?"
        )
        for path in (*self.root.glob(".*.partial"), *self.root.glob("*/.*.partial")):
            named = pattern.fullmatch(path.name)
            if named and not _is_running(int(named[1])):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Let a function write a file under a hidden name, then give it its own.

    If that fails, what was there before stays, and nothing else is left. Of two that write
    the same file at once, threads or processes, the last one wins.

    Raises:
        OSError: if it cannot be written; and whatever the function raises.
    """
    mark = f"{platform.node()}.{os.getpid()}-{next(_NUMBERS)}"
    partial = path.with_name(f".{path.name}.{mark}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def build_whole(
    folder: Path, build: Callable[[Path], Path], is_whole: Callable[[Path], bool]
) -> None:
    """Let a function build a folder beside its place, then move it there in one step.

    Args:
        folder: its place, where nothing may stand yet.
        build: takes an empty folder to work in; returns the folder in it that is to move.
        is_whole: whether what stands at the place is what was to be built, as it is when
            another process was quicker.

    Raises:
        OSError: if it cannot be written; and whatever the functions raise.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        built = build(Path(work))
        try:
            os.rename(built, folder)
        except OSError:
            if not is_whole(folder):
                raise


def cache_folder(kind: str) -> Path:
    """Where things of one kind are kept between runs: data, models, the replies of judges.

    It is the user's cache as the system knows it, ``~/.cache`` on Linux, or
    ``$XDG_CACHE_HOME`` where that is set; then ``seatrial`` and the kind.
    """
    return platformdirs.user_cache_path("seatrial") / kind


def digest(parts: Iterable[bytes]) -> bytes:
    """SHA-256 of bytes that come in parts: 32 bytes."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.digest()


def short_hash(parts: Iterable[bytes]) -> str:
    """The name of some content, 12 hex digits of its SHA-256."""
    return digest(parts).hex()[:12]


def fingerprint(content: Sequence[object]) -> str:
    """Content hash of plain values, 12 hex digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return short_hash([text.encode()])


def pieces_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a piece at a time."""
    with path.open("rb") as stream:
        yield from iter(lambda: stream.read(PIECE), b"")


def mismatch(
    pieces: Iterable[bytes],
    sha256: str,
    n_bytes: int | None = None,
    copy: BufferedIOBase | None = None,
) -> str:
    """In what way content is another than expected, in words; empty: it is the same.

    Args:
        pieces: the content.
        sha256: what is expected, 64 hex digits.
        n_bytes: the size that is expected; an endless stream is read no further than this.
        copy: where to keep what is read.
    """
    whole, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if n_bytes is not None and size > n_bytes:
            return f"more than {n_bytes} bytes, expected {n_bytes}"
        whole.update(piece)
        if copy is not None:
            copy.write(piece)
    if n_bytes is not None and size != n_bytes:
        return f"{size} bytes, expected {n_bytes}"
    if whole.hexdigest() != sha256:
        return f"sha256 {whole.hexdigest()[:12]}..., expected {sha256[:12]}..."
    return ""


def is_partial(path: Path) -> bool:
    """Whether a file is one that is being written, or was when its process died."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # Elsewhere, signal 0 would end the process instead of asking for it.
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
