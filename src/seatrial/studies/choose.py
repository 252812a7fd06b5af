"""What is tuned, from the rows of the select split alone: one pure function."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from seatrial.stats import slopes
from seatrial.store import Labels


def choose(
    rows: pl.DataFrame, labels: Labels, layers: Mapping[str, tuple[int, ...]]
) -> dict[tuple[str, str], int]:
    """The layer with the largest mean slope, by target and method; the lower one on ties.

    Args:
        rows: of the select split of one behaviour.
        labels: name the targets and their metrics.
        layers: the candidates of each method; one candidate alone is not looked at.
    """
    chosen = {}
    for target in labels.targets:
        here = rows.filter(
            (pl.col("task") == target.name)
            & (pl.col("split") == "select")
            & (pl.col("metric") == target.metric.name)
        )
        for method, candidates in layers.items():
            effects = {candidates[0]: 0.0}
            if len(candidates) > 1:
                effects = {layer: mean_slope(here, method, layer) for layer in candidates}
            best = max(effects, key=lambda layer: (effects[layer], -layer))
            chosen[target.name, method] = best
    return chosen


def mean_slope(rows: pl.DataFrame, method: str, layer: int) -> float:
    """Mean slope of a method at a layer; the rows are of one target and one metric."""
    own = rows.filter((pl.col("method") == method) & (pl.col("layer") == layer))
    plain = rows.filter(pl.col("kind") == "unsteered")
    doses = sorted({*own["dose"], 0.0})
    curve = [
        (own.filter(pl.col("dose") == dose) if dose else plain).sort("item")["value"]
        for dose in doses
    ]
    return float(slopes(doses, np.array([x.to_numpy() for x in curve]).T).mean())
