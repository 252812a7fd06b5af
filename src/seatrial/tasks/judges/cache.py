"""Keeps every reply of a judge on disk, for people to read and to ask only once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from seatrial.errors import BadFile, StoreFault, sentence
from seatrial.files import cache_folder, digest, write_whole

FORMAT = 1


@final
@dataclass(frozen=True)
class ReplyCache:
    """A folder with one JSON file a question, named by a hash of all that is asked.

    A file appears whole or not at all. Several processes may share the folder.
    """

    folder: Path

    def key(self, question: Mapping[str, Any]) -> str:
        """The name of a question: 64 hex digits."""
        text = json.dumps([FORMAT, question], sort_keys=True)
        return digest([text.encode()]).hex()

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under a key, or None.

        Raises:
            BadFile: if the file is damaged.
        """
        path = self._path(key)
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BadFile(
                f"{path} is damaged ({sentence(error)}); delete it, and the judge is asked "
                "again"
            ) from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise BadFile(
                f"{path} is no reply of a judge in format {FORMAT}; delete it, and the "
                "judge is asked again"
            )
        return record

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep something under a key, in place of what was there.

        Raises:
            StoreFault: if it cannot be written.
        """
        path = self._path(key)
        text = json.dumps({"format": FORMAT, **record}, indent=1, ensure_ascii=False)
        # Half a surrogate pair, which a model can write, becomes its escape.
        content = text.encode("utf-8", "backslashreplace")
        try:
            write_whole(path, lambda part: part.write_bytes(content))
        except OSError as error:
            raise StoreFault(
                f"cannot keep a reply of the judge in {self.folder} ({sentence(error)}); "
                "free some space, or name a folder that can be written"
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def default_folder() -> Path:
    """Where replies are kept unless another folder is named."""
    return cache_folder("judges")
