"""What can be seen in stored rows alone: the last two questions of the hazard audit.

Checks carry their numbers in docs/hazards.md.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

LOG_PROBABILITIES = ("promoted", "suppressed")
"""Roles of metrics that are log-probabilities, so at most 0."""


def audit_rows(frame: pl.DataFrame, labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Whether compared cells have equal items (H7), and scores are numbers (H8).

    Args:
        frame: the rows of one behaviour, with the names of their cells.
        labels: as a unit's header has them.
    """
    # Streamed: at once, each of these takes several times the memory of the rows.
    rows = frame.lazy().select("cell", "ask", "item", "metric", "value")
    once = rows.unique().collect(engine="streaming")
    apart = once.lazy().select("cell", "item", "metric").unique().select(pl.len())
    twice = once.height - apart.collect(engine="streaming").item()
    sets = once.lazy().group_by("ask", "cell").agg(pl.col("item").unique().sort())
    unequal = (
        sets.group_by("ask")
        .agg(pl.col("item").n_unique().alias("sets"))
        .filter(pl.col("sets") > 1)
        .collect(engine="streaming")
        .height
    )
    finite = once.filter(~pl.col("value").is_finite()).height
    logs = {
        metric["name"]
        for target in labels.get("targets", ())
        for metric in target["metrics"]
        if metric["role"] in LOG_PROBABILITIES
    }
    above = once.filter(pl.col("metric").is_in(list(logs)) & (pl.col("value") > 0)).height
    return [
        _check(
            "H7",
            "Has every cell one score an item and metric, and have compared cells the same "
            "items?",
            not (twice or unequal),
            f"{once['cell'].n_unique()} cells stored, {twice} rows twice, {unequal} "
            "comparisons with unequal items",
        ),
        _check(
            "H8",
            "Are all scores finite, and all log-probabilities at most 0?",
            not (finite or above),
            f"{once.height} rows, {finite} not finite, {above} above 0",
        ),
    ]


def _check(identity: str, question: str, ok: bool, detail: str) -> dict[str, Any]:
    status = "passed" if ok else "failed"
    return {
        "id": identity,
        "question": question,
        "status": status,
        "detail": detail,
        "value": None,
    }
