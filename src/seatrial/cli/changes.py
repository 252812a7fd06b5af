"""``--set KEY=VALUE``: some plain values replaced."""

import tomllib
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from seatrial.errors import BadOption

Changes = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE")]
"""What a command with such an option takes."""


def change(text: str, example: str = "doses=[-1,0,1]") -> tuple[str, Any]:
    """``key=value`` with a TOML value; a bare word is a string.

    Raises:
        BadOption: without a key or an equals sign; shows the example.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadOption(f"--set takes KEY=VALUE, such as {example}, not {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def changed(texts: Sequence[str], example: str = "doses=[-1,0,1]") -> dict[str, Any]:
    """All of them, the last one where a key is given twice.

    Raises:
        BadOption: as ``change`` does.
    """
    return dict(change(text, example) for text in texts)
