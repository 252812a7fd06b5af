"""Published data sets and your own: fetched, checked by sha256, and parsed strictly."""

from collections.abc import Callable
from pathlib import Path

from seatrial.data.records import Record
from seatrial.data.sources import (
    alpaca_eval,
    bbh,
    bbq,
    caa_format,
    crows_pairs,
    factor,
    function_maps,
    gsm8k,
    mmlu,
    mt_bench,
    mwe,
    paradetox,
    truthfulqa,
)
from seatrial.data.sources.dataset import Dataset
from seatrial.data.sources.fetch import File, fetch, known_files
from seatrial.data.sources.lettered import clean_prompt
from seatrial.data.sources.user_files import SUFFIXES, OwnData, read_bare, read_own
from seatrial.errors import UnknownName, unknown

__all__ = [
    "DATASETS",
    "OWN",
    "Dataset",
    "File",
    "OwnData",
    "clean_prompt",
    "describe_datasets",
    "fetch",
    "find_datasets",
    "known_files",
    "load_dataset",
    "pull_dataset",
    "read_bare",
    "read_own",
]

DATASETS: dict[str, Dataset] = {
    entry.name: entry
    for source in (
        mwe,
        caa_format,
        function_maps,
        truthfulqa,
        factor,
        bbq,
        crows_pairs,
        paradetox,
        mt_bench,
        alpaca_eval,
        gsm8k,
        bbh,
        mmlu,
    )
    for entry in source.SETS
}
"""Every published data set by name; names of one family begin alike, ``persona/...``."""

OWN: tuple[str, ...] = (".toml", ".json", *SUFFIXES)
"""How the names of your own files end."""


def load_dataset(name: str, *, mirror: Path | None = None) -> tuple[Record, ...]:
    """The items of a published data set, or of your own.

    Args:
        name: A key of ``DATASETS``, or the path of a file: ``.toml`` as ``own`` describes
            it, ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` whose columns have the names
            of a kind already, or ``.json`` in the format of CAA.
        mirror: Root of a mirror; ``$SEATRIAL_MIRROR`` by default.

    Raises:
        UnknownName: if it is neither.
        BadOption, BadFile, BadData, Unreachable, StoreFault: as ``Dataset.load`` does.
    """
    if name in DATASETS:
        return DATASETS[name].load(mirror=mirror)
    path = Path(name)
    if not path.is_file() or path.suffix not in OWN:
        raise _unknown(name)
    if path.suffix == ".json":
        return caa_format.parse(path, path.stem)
    return (read_own(path) if path.suffix == ".toml" else read_bare(path)).load()


def pull_dataset(
    name: str,
    *,
    mirror: Path | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Path, ...]:
    """Put a data set, or all of a family, into the cache and say where its files are.

    Args:
        name: A key of ``DATASETS``, or a family such as ``persona``.
        mirror: Root of a mirror; ``$SEATRIAL_MIRROR`` by default.
        cache: Root of the cache, if not the default one.
        say: Receives lines of progress, with licence and attribution.

    Raises:
        UnknownName: if it is neither.
        BadOption, BadFile, Unreachable, StoreFault: as ``fetch`` does.
    """
    datasets = find_datasets(name)
    if not datasets:
        raise _unknown(name)
    paths = tuple(fetch(d.file, mirror=mirror, cache=cache, say=say) for d in datasets)
    if say is not None:
        for notice in sorted({f"{d.licence}; credit: {d.attribution}" for d in datasets}):
            say(notice)
    return paths


def find_datasets(name: str) -> tuple[Dataset, ...]:
    """The data set of that name, or all of the family of that name; none: empty."""
    if name in DATASETS:
        return (DATASETS[name],)
    return tuple(d for key, d in DATASETS.items() if key.startswith(f"{name}/"))


def describe_datasets() -> dict[str, str]:
    """One honest line for every data set, by name."""
    return {name: entry.line for name, entry in DATASETS.items()}


def _unknown(name: str) -> UnknownName:
    """The sentence for a name that is in no table: its family, or all families."""
    family = name.partition("/")[0]
    known = [d.name for d in find_datasets(family)]
    if not known:
        known = list(dict.fromkeys(key.partition("/")[0] for key in DATASETS))
    return unknown("data set", name, [*known, "or a path to your own file"])
