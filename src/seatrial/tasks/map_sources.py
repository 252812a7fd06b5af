"""Where the pairs of a map come from: shipped, published, or your own file."""

from collections.abc import Sequence
from pathlib import Path

from seatrial.data import MAPS, MapData, MapPair, load_map
from seatrial.data.sources import DATASETS
from seatrial.errors import BadData, unknown
from seatrial.tasks.items import load_as

PUBLISHED: tuple[str, ...] = tuple(
    name for name in DATASETS if name.startswith(("maps/", "extractive/"))
)
"""Names of the published maps; with one that ships as well, its name stands after the
slash."""


def read_map(source: str) -> MapData:
    """A map that ships, your own file, or a published one, each input once.

    Raises:
        UnknownName, BadData, BadOption, BadFile, Unreachable, StoreFault: see ``Map.of``.
    """
    if source in MAPS or source.endswith(".jsonl"):
        return load_map(source)
    if source not in DATASETS and not Path(source).is_file():
        own = "or a path to your own .jsonl, .csv, .tsv, .parquet or .toml file"
        raise unknown("map", source, [*MAPS, *PUBLISHED, own])
    pairs = merged(load_as(MapPair, source), source)
    if source not in DATASETS:
        return MapData(Path(source).stem, Path(source).stem, pairs)
    return MapData(source, DATASETS[source].summary.removeprefix("map: "), pairs)


def merged(pairs: Sequence[MapPair], name: str) -> tuple[MapPair, ...]:
    """Pairs with each input once; its other outputs are right answers as well.

    Published maps list some inputs twice, with the same or another output.

    Raises:
        BadData: if an input stands in two groups, or all outputs are the same.
    """
    found: dict[str, MapPair] = {}
    for pair in pairs:
        first = found.setdefault(pair.input, pair)
        if first.group != pair.group:
            raise BadData(
                f"{name}: the input {pair.input!r} stands in two groups, {first.group} and "
                f"{pair.group}; give both lines one group"
            )
        answers = dict.fromkeys((*first.answers, *pair.answers))
        output, *also = answers
        found[pair.input] = MapPair(first.id, first.group, first.input, output, tuple(also))
    if len({pair.output for pair in found.values()}) == 1:
        raise BadData(
            f"{name} is one-sided: the output is the same for all {len(found)} inputs, so "
            "saying it always would look like the map; add pairs with other outputs"
        )
    return tuple(found.values())
