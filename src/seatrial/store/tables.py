"""The columns of a store: one row per cell, item and metric, and how a file becomes one."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import polars as pl
import pyarrow as pa

from seatrial.types import Score

CELL = {
    "cell": pl.String,
    "concept": pl.String,
    "task": pl.String,
    "split": pl.String,
    "method": pl.String,
    "kind": pl.String,
    "reference": pl.String,
    "layer": pl.Int64,
    "seed": pl.Int64,
    "dose": pl.Float64,
}
"""What a cell is called; ``kind`` is a ``labels.Kind``."""

COLUMNS = {
    **CELL,
    "item": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
"""One row per cell, item and metric."""

ORDER = (
    *("concept", "task", "split", "method", "seed", "layer", "dose", "item", "metric"),
    "cell",
)
"""What rows are sorted by; no two rows tie."""


def table_of(
    cells: Sequence[Mapping[str, Any]], scores: Sequence[Sequence[Score]]
) -> pa.Table:
    """Scores as rows, with everything that is known of their cells in the header.

    Args:
        cells: each with the columns of ``CELL``, and whatever else names it.
        scores: of each cell, item by item.
    """
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for cell, items in zip(cells, scores, strict=True):
        names = [cell[column] for column in CELL]
        for score in items:
            for metric, value in score.metrics.items():
                row = (*names, score.item, score.group, metric, value)
                for column, entry in zip(COLUMNS, row, strict=True):
                    rows[column].append(entry)
    table = pl.DataFrame(rows, schema=COLUMNS).to_arrow()
    header = {"seatrial": version("seatrial"), "cells": json.dumps(list(cells))}
    return table.replace_schema_metadata(header)


def frame_of(table: pa.Table) -> pl.DataFrame:
    """The rows of a file in the columns of this version."""
    return pl.DataFrame(pl.from_arrow(table)).select(list(COLUMNS)).cast(COLUMNS)  # pyright: ignore
