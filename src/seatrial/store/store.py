"""Where results live: one Parquet file per batch, written whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seatrial.errors import BadFile, SeatrialError, StoreFault
from seatrial.files import Folder, is_partial
from seatrial.store.labels import Labels, read_labels
from seatrial.store.tables import ORDER, frame_of, table_of
from seatrial.types import Score

FORMAT = 2
PLAN = "study.json"
PROGRESS = "progress.json"
AUDIT = "audit.json"


@final
class Store(Folder):
    """A results folder that belongs to one study, one model and one set of items.

    Files: ``study.json`` (the plan, what its names mean and what it ran on),
    ``rows/*.parquet`` (one a batch), ``items.parquet`` (the items in words),
    ``vectors/*.safetensors`` (what was fitted), ``audit.json`` (checks made while running),
    ``progress.json`` (whether it is finished).

    Of two processes with the same study the last one wins, with equal content.
    """

    def open(
        self,
        identity: str,
        study: Mapping[str, Any],
        labels: Labels,
        header: Mapping[str, Any],
    ) -> None:
        """Take the folder for a study, or find it already taken by the same one.

        Args:
            identity: content hash of the plan.
            study: the plan as plain values.
            labels: what the names in it mean.
            header: what it runs on.

        Raises:
            StoreFault: if it holds results of another study, model or data, or cannot be
                written.
            BadFile: if its plan cannot be read.
        """
        self.sweep()
        if (self.root / PLAN).exists():
            self._check_same(identity, study, header)
            return
        if self.root.is_dir() and not all(map(is_partial, self.root.iterdir())):
            raise StoreFault(
                f"{self.root} is not empty and holds no study; choose another --out, so "
                "that nothing of yours is overwritten"
            )
        plan = {
            "format": FORMAT,
            "id": identity,
            "study": dict(study),
            "labels": labels.plain(),
            "header": {**header, "seatrial": version("seatrial")},
        }
        self.write_json(PLAN, plan)

    def _check_same(
        self, identity: str, study: Mapping[str, Any], header: Mapping[str, Any]
    ) -> None:
        stored = self.plan()
        if stored["id"] != identity:
            raise StoreFault(
                f"{self.root} holds results of another study "
                f"({stored['study'].get('name')}, {stored['id']}; "
                f"this is {study['name']}, {identity}); choose another --out"
            )
        for key in ("model", "dtype", "logit fingerprint", "data"):
            before, now = stored["header"].get(key), header.get(key)
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
        form = plan.get("format") if isinstance(plan, dict) else None
        if form != FORMAT:
            raise BadFile(
                f"{path} has format {form!r}, this seatrial reads {FORMAT}; run its study "
                "again with another --out"
            )
        if missing := {"id", "study", "labels", "header"} - set(plan):
            raise BadFile(
                f"{path} lacks {', '.join(sorted(missing))}; choose another --out"
            )
        return plan

    def labels(self) -> Labels:
        """What the names in the store mean.

        Raises:
            StoreFault: if there is no study in the folder.
            BadFile: if its plan cannot be read.
        """
        try:
            return read_labels(self.plan()["labels"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, SeatrialError):
                raise
            raise BadFile(
                f"the labels in {self.root / PLAN} are damaged ({error}); restore the file "
                "or run its study again with another --out"
            ) from error

    def has(self, batch: str) -> bool:
        """Whether a batch is stored, whole."""
        return self._rows(batch).is_file()

    def add(
        self,
        batch: str,
        cells: Sequence[Mapping[str, Any]],
        scores: Sequence[Sequence[Score]],
    ) -> None:
        """Write the scores of a batch's cells in one step.

        Args:
            batch: names the file.
            cells: by the columns of ``tables.CELL``, with whatever else names a cell.
            scores: of each cell, item by item.

        Raises:
            StoreFault: if they cannot be written; what was stored before stays.
        """
        self.write_table(f"rows/{batch}.parquet", table_of(cells, scores))

    def frame(self) -> pl.DataFrame:
        """All rows of all batches, in a fixed order.

        Raises:
            StoreFault: if nothing is stored yet, or a finished study has lost results.
            BadFile: if a file is damaged.
        """
        frames = [
            _undamaged(path, lambda path: frame_of(pq.read_table(path)))
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
        cells = []
        for path in self._files():
            cells += _undamaged(
                path, lambda p: json.loads(pq.read_metadata(p).metadata[b"cells"])
            )
        return cells

    def write_items(self, entries: Sequence[Mapping[str, str]]) -> None:
        """Keep the items in words, so that a report needs only the store."""
        self.write_table("items.parquet", pl.DataFrame(list(entries)).to_arrow())

    def items(self) -> pl.DataFrame:
        """Columns concept, task, item, group, text, factors (JSON: name -> whether).

        Raises:
            BadFile: if the file is missing or damaged.
        """
        return _undamaged(self.root / "items.parquet", pl.read_parquet)

    def audit(self) -> list[dict[str, Any]]:
        """The checks that the study made of itself: id, question, status, detail, value.

        Raises:
            StoreFault: if there is no study in the folder, or none were made yet.
            BadFile: if a file cannot be read.
        """
        self.plan()
        checks = self.read_json(AUDIT)
        if checks is None:
            raise StoreFault(
                f"the study in {self.root} is not finished, so there is no audit yet; run "
                "it again with the same --out, which measures only what is missing"
            )
        return checks

    def __repr__(self) -> str:
        return f"<Store {str(self.root)!r}: {self._state()}>"

    def _repr_html_(self) -> str:
        """For a notebook; every text as text."""
        return (
            f"<b>Store</b> <code>{escape(str(self.root))}</code>: {escape(self._state())}"
        )

    def _state(self) -> str:
        """In a line, what the folder holds; it never fails, whatever that is."""
        try:
            if not (self.root / PLAN).is_file():
                return "empty" if not self.root.exists() else "no study in it"
            study = str(self.plan()["study"].get("name"))[:80]
            progress = self.read_json(PROGRESS) or {}
        except (SeatrialError, AttributeError):
            return "damaged"
        if progress.get("finished"):
            return f"study {study}, finished, {progress.get('cells')} cells"
        return f"study {study}, not finished, {len(self._files())} batches stored"

    def _rows(self, batch: str) -> Path:
        return self.root / "rows" / f"{batch}.parquet"

    def _files(self) -> list[Path]:
        return sorted(
            path for path in (self.root / "rows").glob("*.parquet") if not is_partial(path)
        )


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
