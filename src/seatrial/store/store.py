"""Where results live: one Parquet file per batch, written whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seatrial.errors import BadFile, StoreFault
from seatrial.files import Folder, is_partial
from seatrial.steering.intervention import Intervention
from seatrial.studies.study import Cell, Study, make_study
from seatrial.types import Score

FORMAT = 1
PLAN = "study.json"
PROGRESS = "progress.json"

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

ORDER = (
    *("concept", "task", "split", "method", "seed", "layer", "dose", "item", "metric"),
    "cell",
)
"""What rows are sorted by; no two rows tie."""


@final
class Store(Folder):
    """A results folder that belongs to one study, one model and one set of items.

    Files: ``study.json`` (the plan and what it ran on), ``rows/*.parquet`` (one a batch),
    ``items.parquet`` (the items in words), ``vectors/*.safetensors`` (what was fitted),
    ``audit.json`` (checks made while running), ``progress.json`` (whether it is finished).

    Of two processes with the same study the last one wins, with equal content.
    """

    def open(self, study: Study, header: Mapping[str, Any]) -> None:
        """Take the folder for a study, or find it already taken by the same one.

        Raises:
            StoreFault: if it holds results of another study, model or data, or cannot be
                written.
            BadFile: if its plan cannot be read.
        """
        self.sweep()
        if (self.root / PLAN).exists():
            self._check_same(study, header)
            return
        if self.root.is_dir() and not all(map(is_partial, self.root.iterdir())):
            raise StoreFault(
                f"{self.root} is not empty and holds no study; choose another --out, so "
                "that nothing of yours is overwritten"
            )
        plan = {
            "format": FORMAT,
            "id": study.id,
            "study": asdict(study),
            "header": {**header, "seatrial": version("seatrial")},
        }
        self.write_json(PLAN, plan)

    def _check_same(self, study: Study, header: Mapping[str, Any]) -> None:
        found = self.plan()
        if found["id"] != study.id:
            raise StoreFault(
                f"{self.root} holds results of another study "
                f"({found['study'].get('name')}, {found['id']}; "
                f"this is {study.name}, {study.id}); choose another --out"
            )
        for key in ("model", "dtype", "logit fingerprint", "data"):
            before, now = found["header"].get(key), header.get(key)
            if before != now:
                raise StoreFault(
                    f"{self.root} was measured with {key} {before!r}, now it is {now!r}, "
                    "so its numbers cannot be continued; choose another --out"
                )

    def plan(self) -> dict[str, Any]:
        """What ``open`` wrote.

        Raises:
            StoreFault: if there is no study in the folder.
            BadFile: if its plan cannot be read.
        """
        plan = self.read_json(PLAN)
        path = self.root / PLAN
        if plan is None:
            raise StoreFault(
                f"{self.root} holds no study; run one with `seatrial run STUDY --out "
                f"{self.root}`"
            )
        if not isinstance(plan, dict) or plan.get("format") != FORMAT:
            found = plan.get("format") if isinstance(plan, dict) else None
            raise BadFile(f"{path} has format {found!r}, this seatrial reads {FORMAT}")
        if missing := {"id", "study", "header"} - set(plan):
            raise BadFile(
                f"{path} lacks {', '.join(sorted(missing))}; choose another --out"
            )
        return plan

    def study(self) -> Study:
        """The study that the folder belongs to."""
        return make_study(self.plan()["study"], str(self.root / PLAN))

    def has(self, batch: str) -> bool:
        """Whether a batch is stored, whole."""
        return self._rows(batch).is_file()

    def add(
        self, batch: str, cells: Sequence[Cell], scores: Sequence[Sequence[Score]]
    ) -> None:
        """Write the scores of a batch's cells in one step.

        Raises:
            StoreFault: if they cannot be written; what was stored before stays.
        """
        rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for cell, items in zip(cells, scores, strict=True):
            whole = (
                cell.id, cell.concept, cell.task, cell.split, cell.method,
                cell.reference, cell.is_control, cell.layer, cell.seed, cell.dose,
            )  # fmt: skip
            for score in items:
                for metric, value in score.metrics.items():
                    row = (*whole, score.item, score.group, metric, value)
                    for name, entry in zip(COLUMNS, row, strict=True):
                        rows[name].append(entry)
        table = pl.DataFrame(rows, schema=COLUMNS).to_arrow()
        meta = {
            "seatrial": version("seatrial"),
            "cells": json.dumps([asdict(c) for c in cells]),
        }
        self.write_table(f"rows/{batch}.parquet", table.replace_schema_metadata(meta))

    def frame(self) -> pl.DataFrame:
        """All rows of all batches, in a fixed order.

        Raises:
            StoreFault: if nothing is stored yet, or a finished study has lost results.
            BadFile: if a file is damaged.
        """
        frames = [
            _undamaged(path, lambda path: _as_frame(pq.read_table(path)))
            for path in self._files()
        ]
        if not frames:
            raise StoreFault(f"{self.root} holds no results yet; run its study first")
        frame = pl.concat(frames).sort(ORDER)
        progress = self.read_json(PROGRESS) or {}
        stored, planned = frame["cell"].n_unique(), progress.get("cells", 0)
        if progress.get("finished") and stored < planned:
            raise StoreFault(
                f"{self.root} holds {stored} of the {planned} cells of its study; run it "
                "again with the same --out, which measures only what is missing"
            )
        return frame

    def cells(self) -> list[dict[str, Any]]:
        """Every stored cell, as recorded in the files' headers.

        Raises:
            BadFile: if a file is damaged.
        """
        found = []
        for path in self._files():
            found += _undamaged(
                path, lambda p: json.loads(pq.read_metadata(p).metadata[b"cells"])
            )
        return found

    def write_items(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Keep the items in words, so that a report needs only the store."""
        self.write_table("items.parquet", pl.DataFrame(list(entries)).to_arrow())

    def items(self) -> pl.DataFrame:
        """Columns concept, task, item, group, text, factors (JSON: name -> whether).

        Raises:
            BadFile: if the file is missing or damaged.
        """
        return _undamaged(self.root / "items.parquet", pl.read_parquet)

    def write_vector(self, name: str, fitted: Intervention) -> None:
        """Keep a fitted intervention for `seatrial steer`."""
        self.write(f"vectors/{name}.safetensors", fitted.save)

    def _rows(self, batch: str) -> Path:
        return self.root / "rows" / f"{batch}.parquet"

    def _files(self) -> list[Path]:
        return sorted(
            p for p in (self.root / "rows").glob("*.parquet") if not is_partial(p)
        )


def _as_frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table)).select(list(COLUMNS)).cast(COLUMNS)  # pyright: ignore


def _undamaged(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except (
        OSError,
        ValueError,
        KeyError,
        pa.ArrowException,
        pl.exceptions.PolarsError,
    ) as error:
        raise BadFile(
            f"{path} is damaged ({error}); delete it and run the study again, which "
            "measures only what is missing"
        ) from error
