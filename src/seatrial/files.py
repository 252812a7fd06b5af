"""Files written whole or not at all, and what their content is called."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seatrial.errors import BadFile, StoreFault


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

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file in one step."""
        self.write(name, lambda path: pq.write_table(table, path, compression="zstd"))

    def write(self, name: str, fill: Callable[[Path], object]) -> None:
        """Let a function write a file under a given path, in one step.

        Raises:
            StoreFault: if it cannot be written; what was there before stays.
        """
        path = self.root / name
        try:
            write_whole(path, fill)
        except (OSError, pa.ArrowException) as error:
            reason = error.__cause__ if isinstance(error, StoreFault) else error
            raise StoreFault(
                f"cannot write {path}: {reason}; what was measured before is kept, so free "
                "space or fix the folder and run the same command again"
            ) from error

    def sweep(self) -> None:
        """Delete what killed processes of this machine left half-written."""
        # The second ending is that of a steering half saved by a version before this one.
        pattern = re.compile(
            rf"\..+\.{re.escape(platform.node())}\.(\d+)\.partial(\.partial)?"
        )
        for path in (*self.root.glob(".*.partial"), *self.root.glob("*/.*.partial")):
            named = pattern.fullmatch(path.name)
            if named and not _is_running(int(named[1])):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Let a function write a file under a hidden name, then give it its own.

    If that fails, what was there before stays, and nothing else is left.

    Raises:
        OSError: if it cannot be written; and whatever the function raises.
    """
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def fingerprint(content: Sequence[object]) -> str:
    """Content hash of plain values, 12 hex digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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
