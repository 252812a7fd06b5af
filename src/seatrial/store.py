"""Where results live: one Parquet file per batch, written whole or not at all."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seatrial.errors import BadFile, StoreFault
from seatrial.study import Cell, Study, make_study
from seatrial.types import Score

FORMAT = 1
PLAN = "study.json"

COLUMNS = {
    "cell": pl.String,
    "concept": pl.String,
    "task": pl.String,
    "split": pl.String,
    "method": pl.String,
    "reference": pl.String,
    "is_control": pl.Boolean,
    "layer": pl.Int64,
    "seed": pl.Int64,
    "dose": pl.Float64,
    "item": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
"""One row per cell, item and metric."""


@final
class Store:
    """A results folder that belongs to one study and one model.

    Files: ``study.json`` (the plan and what it ran on), ``rows/*.parquet`` (one a batch),
    ``items.parquet`` (the items in words), ``vectors/*.safetensors`` (what was fitted),
    ``audit.json`` (checks made while running).
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def open(self, study: Study, header: Mapping[str, Any]) -> None:
        """Take the folder for a study, or find it already taken by the same one.

        Raises:
            StoreFault: if it holds results of another study or model, or cannot be written.
        """
        if (self.root / PLAN).exists():
            found = self.plan()
            if found["id"] != study.id:
                raise StoreFault(
                    f"{self.root} holds results of another study ({found['study']['name']}, "
                    f"{found['id']}; this one is {study.name}, {study.id}); choose another --out"
                )
            for key in ("model", "dtype", "logit fingerprint"):
                if found["header"][key] != header[key]:
                    raise StoreFault(
                        f"{self.root} was measured with {key} {found['header'][key]!r}, now it is "
                        f"{header[key]!r}, so its numbers cannot be continued; choose another --out"
                    )
            return
        if self.root.is_dir() and any(self.root.iterdir()):
            raise StoreFault(
                f"{self.root} is not empty and holds no study; choose another --out, so that "
                "nothing of yours is overwritten"
            )
        plan = {
            "format": FORMAT,
            "id": study.id,
            "study": asdict(study),
            "header": {**header, "seatrial": version("seatrial")},
        }
        self.write_json(PLAN, plan)

    def plan(self) -> dict[str, Any]:
        """What ``open`` wrote.

        Raises:
            StoreFault: if there is no study in the folder.
            BadFile: if its plan cannot be read.
        """
        path = self.root / PLAN
        if not path.is_file():
            raise StoreFault(f"{self.root} holds no study; run one with `seatrial run STUDY --out {self.root}`")
        try:
            plan = json.loads(path.read_text("utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise BadFile(f"{path} cannot be read ({error}); restore it or choose another --out") from error
        if plan.get("format") != FORMAT:
            raise BadFile(f"{path} has format {plan.get('format')!r}, this seatrial reads {FORMAT}")
        return plan

    def study(self) -> Study:
        """The study that the folder belongs to."""
        return make_study(self.plan()["study"], str(self.root / PLAN))

    def has(self, batch: str) -> bool:
        """Whether a batch is stored, whole."""
        return self._rows(batch).is_file()

    def add(self, batch: str, cells: Sequence[Cell], scores: Sequence[Sequence[Score]]) -> None:
        """Write the scores of a batch's cells in one step.

        Raises:
            StoreFault: if they cannot be written; what was stored before stays.
        """
        rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for cell, items in zip(cells, scores, strict=True):
            for score in items:
                for metric, value in score.metrics.items():
                    row = (
                        cell.id, cell.concept, cell.task, cell.split, cell.method, cell.reference,
                        cell.is_control, cell.layer, cell.seed, cell.dose,
                        score.item, score.group, metric, value,
                    )  # fmt: skip
                    for name, entry in zip(COLUMNS, row, strict=True):
                        rows[name].append(entry)
        table = pl.DataFrame(rows, schema=COLUMNS).to_arrow()
        meta = {"seatrial": version("seatrial"), "cells": json.dumps([asdict(c) for c in cells])}
        self.write_table(f"rows/{batch}.parquet", table.replace_schema_metadata(meta))

    def frame(self) -> pl.DataFrame:
        """All rows of all batches, in a fixed order.

        Raises:
            StoreFault: if nothing is stored yet.
            BadFile: if a file is damaged.
        """
        paths = sorted((self.root / "rows").glob("*.parquet"))
        if not paths:
            raise StoreFault(f"{self.root} holds no results yet; run its study first")
        frames = []
        for path in paths:
            try:
                frames.append(pl.from_arrow(pq.read_table(path)).cast(COLUMNS))  # pyright: ignore
            except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
                raise BadFile(
                    f"{path} is damaged ({error}); delete it and run the study again, which "
                    "measures only what is missing"
                ) from error
        keys = ["concept", "task", "split", "method", "seed", "layer", "dose", "item", "metric"]
        return pl.concat(frames).sort(keys)

    def cells(self) -> list[dict[str, Any]]:
        """Every stored cell, as recorded in the files' headers."""
        found = []
        for path in sorted((self.root / "rows").glob("*.parquet")):
            found += json.loads(pq.read_metadata(path).metadata[b"cells"])
        return found

    def write_items(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Keep the items in words, so that a report needs only the store."""
        self.write_table("items.parquet", pl.DataFrame(list(entries)).to_arrow())

    def items(self) -> pl.DataFrame:
        """Columns concept, task, item, group, text."""
        return pl.read_parquet(self.root / "items.parquet")

    def write_json(self, name: str, content: object) -> None:
        """Write a small file in one step."""
        text = json.dumps(content, indent=1, sort_keys=True)
        self._write(name, lambda path: path.write_text(text + "\n", "utf-8"))

    def read_json(self, name: str) -> Any:
        """Read a small file; ``None`` if it is not there."""
        path = self.root / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file in one step."""
        self._write(name, lambda path: pq.write_table(table, path, compression="zstd"))

    def _rows(self, batch: str) -> Path:
        return self.root / "rows" / f"{batch}.parquet"

    def _write(self, name: str, fill: Any) -> None:
        path = self.root / name
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, pa.ArrowException) as error:
            partial.unlink(missing_ok=True)
            raise StoreFault(
                f"cannot write {path}: {error}; what was measured before is kept, so free space "
                "or fix the folder and run the same command again"
            ) from error
