"""Rows of your own data, each with its place in words: of files, and of ``datasets``."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from seatrial.data.sources.read import json_lines, read_table
from seatrial.errors import BadData, BadOption, Unreachable, sentence

Rows = Iterator[tuple[str, Mapping[str, Any]]]


def local_rows(source: Path, name: str) -> Rows:
    """The rows of a .jsonl, .csv, .tsv or .parquet file.

    Args:
        source: the file.
        name: of the TOML file that names it.

    Raises:
        BadData: if there is no such file, or with the row that cannot be read.
    """
    if not source.is_file():
        raise BadData(f"{name}: {source} is no file; source is relative to the TOML file")
    if source.suffix == ".jsonl":
        return json_lines(source, None)
    if source.suffix == ".parquet":
        return _parquet(source)
    return read_table(source, None, delimiter="\t" if source.suffix == ".tsv" else ",")


def _parquet(source: Path) -> Rows:
    import polars

    try:
        frame = polars.read_parquet(source)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise BadData(f"{source.name} is no Parquet file ({sentence(error)})") from error
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        yield f"{source.name}, row {number}", row


def hub_rows(dataset: str, config: str, split: str, revision: str, name: str) -> Rows:
    """The rows of a data set of the hub, or of a folder that its package can read.

    Args:
        dataset: its id, or the path of a folder.
        config: empty where it has one only.
        split: which part of it.
        revision: the commit of the hub; empty for a folder.
        name: of the TOML file that names it.

    Raises:
        BadOption: if the package is not installed.
        BadData: if a folder gives no such rows.
        Unreachable: if the hub does not.
    """
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise BadOption(
            f"{name} names the data set {dataset!r}, for which the package datasets is "
            "needed: pip install 'seatrial[datasets]', or save the rows as .jsonl, .csv or "
            ".parquet and name that file as source"
        ) from error
    try:
        rows = library.load_dataset(
            dataset, config or None, split=split, revision=revision or None
        )
    except Exception as error:  # The library lets through errors of many others.
        if not revision:
            raise BadData(
                f"the folder {dataset} gives no rows ({split}): {sentence(error)}. Check "
                "its files, config and split"
            ) from error
        raise Unreachable(
            f"the hub did not give {dataset} ({split}, {revision}): {sentence(error)}. "
            "Check name, config, split and revision, go online, or save the rows as a "
            "local file and name it as source."
        ) from error
    label = dataset if revision else Path(dataset).name
    for number, row in enumerate(rows, 1):
        yield f"{label}, row {number}", row
