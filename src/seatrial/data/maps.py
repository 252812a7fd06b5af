"""Our own input-to-output maps (country to capital, word to opposite ...), and yours."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from seatrial.data.concepts import FOLDER
from seatrial.data.jsonl import json_values, lines_of
from seatrial.data.records import MapData, MapPair
from seatrial.errors import BadData

MAPS: tuple[str, ...] = (
    "adjective-comparative",
    "animal-class",
    "antonym",
    "capitalise",
    "country-capital",
    "country-continent",
    "country-currency",
    "english-french",
    "english-german",
    "english-spanish",
    "first-letter",
    "french-english",
    "german-english",
    "next-item",
    "person-occupation",
    "present-participle",
    "present-past",
    "product-company",
    "singular-plural",
    "spanish-english",
    "synonym",
)
"""Names of the maps that ship with the package; ``maps.toml`` has a line about each."""

_REQUIRED = ("input", "output")
_ALLOWED = (*_REQUIRED, "also", "group")


def shipped_map(name: str) -> MapData:
    """One of ``MAPS``."""
    folder = FOLDER / "maps"
    about = tomllib.loads((folder / "maps.toml").read_text("utf-8"))[name]
    lines = (folder / f"{name}.jsonl").read_text("utf-8").split("\n")
    return MapData(name, about, parse_pairs(lines, name))


def read_map_file(path: Path) -> MapData:
    """A map out of a ``.jsonl`` file, one JSON object a line.

    Each has the texts ``input`` and ``output``, and, where you wish, ``also`` (a list of
    other right outputs) and ``group`` (pairs that share one never straddle two splits).

    Raises:
        BadData: if the file is empty, malformed, or has one output for all inputs.
    """
    return MapData(path.stem, path.stem, parse_pairs(lines_of(path), str(path)))


def parse_pairs(lines: Sequence[str], name: str) -> tuple[MapPair, ...]:
    """Read pairs strictly.

    Args:
        name: of the map or its file; without folder and ending it begins the ids.

    Raises:
        BadData: with the line and what is wrong with it.
    """
    stem = Path(name).stem
    pairs: list[MapPair] = []
    seen: dict[str, str] = {}
    for where, entry in json_values(lines, name):
        pair = read_pair(entry, where, stem)
        if pair.input in seen:
            raise BadData(
                f"{where}: the input {pair.input!r} stands on {seen[pair.input]} already; "
                "keep one of them, and list other right outputs under `also`"
            )
        seen[pair.input] = where.rpartition(", ")[2]
        pairs.append(pair)
    if not pairs:
        raise BadData(
            f"{name} holds no pairs; give at least a few dozen, one JSON object a line"
        )
    if len({pair.output for pair in pairs}) == 1:
        raise BadData(
            f"{name} is one-sided: the output is {pairs[0].output!r} for all "
            f"{len(pairs)} inputs, so saying it always would look like the map; add pairs "
            "with other outputs"
        )
    return tuple(pairs)


def read_pair(entry: object, where: str, stem: str) -> MapPair:
    """What one line says.

    Args:
        entry: its JSON value.
        where: its place in words.
        stem: begins the pair's id.

    Raises:
        BadData: with the place and what is wrong with it.
    """
    if (
        not isinstance(entry, dict)
        or not set(_REQUIRED) <= set(entry)
        or not set(entry) <= set(_ALLOWED)
    ):
        is_object = isinstance(entry, dict)
        keys = ", ".join(sorted(entry)) if is_object else type(entry).__name__
        raise BadData(
            f"{where} has the fields {keys or 'none'}; wanted: {', '.join(_REQUIRED)}, and "
            "also and group if you wish"
        )
    also = entry.get("also", [])
    if not isinstance(also, list):
        raise BadData(
            f'{where}: also is {also!r}; write a list of texts, such as ["{also}"]'
        )
    texts = [(key, entry[key]) for key in ("input", "output", "group") if key in entry]
    for key, value in [*texts, *(("also", value) for value in also)]:
        _check_text(value, key, where)
    answers = [entry["output"], *also]
    if len(set(answers)) < len(answers):
        raise BadData(f"{where}: {answers} has an output twice; list each one once")
    group = entry.get("group", entry["input"].lower())
    return MapPair(
        f"{stem}/{entry['input']}", group, entry["input"], entry["output"], tuple(also)
    )


def merge_inputs(pairs: Sequence[MapPair], name: str) -> tuple[MapPair, ...]:
    """Pairs with each input once; its other outputs are right answers as well.

    Published maps list some inputs twice, with the same or another output.

    Raises:
        BadData: if an input stands in two groups, or all outputs are the same.
    """
    by_input: dict[str, MapPair] = {}
    for pair in pairs:
        first = by_input.setdefault(pair.input, pair)
        if first.group != pair.group:
            raise BadData(
                f"{name}: the input {pair.input!r} stands in two groups, {first.group} and "
                f"{pair.group}; give both lines one group"
            )
        answers = dict.fromkeys((*first.answers, *pair.answers))
        output, *also = answers
        by_input[pair.input] = MapPair(
            first.id, first.group, first.input, output, tuple(also)
        )
    if len({pair.output for pair in by_input.values()}) == 1:
        raise BadData(
            f"{name} is one-sided: the output is the same for all {len(by_input)} inputs, "
            "so saying it always would look like the map; add pairs with other outputs"
        )
    return tuple(by_input.values())


def _check_text(value: object, key: str, where: str) -> None:
    if not isinstance(value, str):
        raise BadData(f"{where}: {key} is {value!r}; write a text in quotes")
    if not value.strip():
        raise BadData(f"{where}: {key} is empty; fill it in")
    if value != value.strip():
        raise BadData(
            f"{where}: {key} {value!r} begins or ends with white space; remove it, the "
            "task adds the spaces that its prompts need"
        )
