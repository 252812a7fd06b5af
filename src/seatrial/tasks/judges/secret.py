"""The key of a server, which must never be seen: not in logs, errors, files or reprs."""

import json
import os
import re
from collections.abc import Mapping
from typing import final

from seatrial.errors import BadOption

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SHORTEST = 8
"""Shorter "keys" (EMPTY, none) are placeholders; hiding them would garble replies."""


def check_variable(name: str) -> None:
    """Refuse what is no name of an environment variable, without repeating it.

    Raises:
        BadOption: it may well be the key itself.
    """
    if name and not _NAME.fullmatch(name):
        raise BadOption(
            "key_variable must be the name of the environment variable that holds the key "
            "(capital letters, digits and underscores), never the key itself; what was "
            "given is not repeated here, because it may be one"
        )


@final
class Secret:
    """A key out of an environment variable, or none."""

    def __init__(self, variable: str) -> None:
        self._key = os.environ.get(variable, "").strip() if variable else ""
        if variable and not self._key:
            raise BadOption(
                "the environment variable that key_variable names is not set; export it "
                "with the judge's key, or leave key_variable empty where none is needed"
            )
        if not (self._key.isascii() and all("!" <= sign <= "~" for sign in self._key)):
            raise BadOption(
                "the environment variable that key_variable names holds spaces or other "
                "signs that no key has; set it to the key alone"
            )

    def __repr__(self) -> str:
        return "Secret()"

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells the server who asks."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def hide(self, text: str) -> str:
        """A text of the server's without the key, should it say it."""
        if len(self._key) < _SHORTEST:
            return text
        # In a body that was not parsed, quotes and backslashes are escaped.
        for form in {self._key, json.dumps(self._key)[1:-1]}:
            text = text.replace(form, "[key]")
        return text
