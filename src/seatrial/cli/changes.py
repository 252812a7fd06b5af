"""``--set KEY=VALUE``: some plain values replaced."""

import tomllib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any

import tyro

from seatrial.errors import BadOption

Changes = Annotated[
    tuple[tuple[str, ...], ...],
    tyro.conf.arg(name="set", metavar="KEY=VALUE [KEY=VALUE ...]"),
    tyro.conf.UseAppendAction,  # without it a second --set would replace the first
]
"""What a command with such an option takes: one ``--set`` with several, or several."""

Lines = Annotated[
    tuple[tuple[str, ...], ...],
    tyro.conf.arg(name="set", metavar="'KEY = VALUE' ['KEY = VALUE' ...]"),
    tyro.conf.UseAppendAction,
]
"""The same for lines of TOML that are laid over a plan."""


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


def changed(
    given: Iterable[Sequence[str]], example: str = "doses=[-1,0,1]"
) -> dict[str, Any]:
    """All of them, by key.

    Args:
        given: the texts behind each ``--set``.
        example: of such a text.

    Raises:
        BadOption: as ``change`` does, or for a key with two values.
    """
    values: dict[str, Any] = {}
    for text in chain.from_iterable(given):
        key, value = change(text, example)
        if values.setdefault(key, value) != value:
            raise BadOption(
                f"--set gives {key!r} two values, {values[key]!r} and {value!r}; give it "
                "one"
            )
    return values
