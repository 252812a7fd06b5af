"""A run's folder: the plans that wrote to it, and one folder for each unit."""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import polars as pl

from seatrial.errors import BadFile, StoreFault
from seatrial.files import Folder, fingerprint, is_partial
from seatrial.store.records import Record, Unit
from seatrial.store.unit import (
    NAME_COLUMNS,
    ROW_COLUMNS,
    UnitFolder,
    file_sum,
    read_sealed,
    write_sealed,
)

FORMAT = 3
STUDY = "study.json"
UNITS = "units"


@final
class Store(Folder):
    """A folder of measurements: ``study.json`` and ``units/``; see docs/run-folder.md.

    Only the driver of a study writes to it. Rows are written once and never touched; what
    cells are called is a table beside them, so another plan with equal cells uses them.
    """

    def open(self, plan: Mapping[str, Any]) -> None:
        """Take the folder for a plan: a new one, one that is resumed, or one that grows.

        Args:
            plan: plain values: ``name``, ``written``, ``completed`` and ``labels``.

        Raises:
            StoreFault: if it holds something else, or was begun by another version.
            BadFile: if its study cannot be read.
        """
        self.sweep()
        is_new = not (self.root / STUDY).exists()
        if is_new and self.root.is_dir() and not all(map(is_partial, self.root.iterdir())):
            raise StoreFault(
                f"{self.root} is not empty and holds no study; choose another --out, so "
                "that nothing of yours is overwritten"
            )
        plans = [] if is_new else self.plans()
        mine = json.loads(json.dumps({**plan, "code": code_identity()}))
        for before in plans:
            if before["code"] != mine["code"]:
                raise StoreFault(
                    f"{self.root} was measured by {before['code']}, and this is "
                    f"{mine['code']}: rows of both would be mixed; choose another --out"
                )
        for folder in self.units():
            folder.folder.sweep()
        if plans[-1:] != [mine]:
            kept = [each for each in plans if each != mine]
            write_sealed(self, STUDY, {"format": FORMAT, "plans": [*kept, mine]})

    def plans(self) -> list[dict[str, Any]]:
        """Every plan that wrote here, the newest last.

        Raises:
            StoreFault: if there is no study in the folder.
            BadFile: if it cannot be read, or is of another format.
        """
        path = self.root / STUDY
        if not path.is_file():
            raise StoreFault(
                f"{self.root} holds no study; run one with `seatrial run STUDY --out "
                f"{self.root}`"
            )
        plain = self.read_json(STUDY)
        # Format 1 was not sealed.
        is_older = isinstance(plain, dict) and "format" in plain
        content = plain if is_older else read_sealed(self, STUDY)
        number = content.get("format") if isinstance(content, dict) else None
        if number != FORMAT or is_older:
            raise BadFile(
                f"{path} has format {number!r}, and this seatrial reads {FORMAT}; run its "
                "study again in another folder"
            )
        plans = content.get("plans")
        if not plans or any(not isinstance(p, dict) or "code" not in p for p in plans):
            raise BadFile(f"{path} names no plan that was run; run its study again")
        return plans

    @property
    def plan(self) -> dict[str, Any]:
        """The newest plan."""
        return self.plans()[-1]

    @cached_property
    def _units(self) -> dict[Unit, UnitFolder]:
        return {}

    def unit(self, unit: Unit) -> UnitFolder:
        """The folder of a unit, which need not exist yet."""
        if unit not in self._units:
            self._units[unit] = UnitFolder(self.root / UNITS / folder_name(unit))
        return self._units[unit]

    def adopt(self, units: Mapping[Unit, str]) -> None:
        """Let units that have other labels now go on in the folders that they have.

        Args:
            wanted: the units of a plan, with what each is whatever it is called.
        """
        folders = self.units()
        for folder in folders:
            if folder.unit in units:
                self._move(folder, folder.unit)  # where a process ended in between
        left = {f.content: f for f in folders if f.unit not in units and f.content}
        for unit, content in units.items():
            folder = left.get(content)
            if folder is not None and not self.unit(unit).header:
                folder.rename(unit)
                self._move(left.pop(content), unit)

    def _move(self, folder: UnitFolder, unit: Unit) -> None:
        place = self.root / UNITS / folder_name(unit)
        if folder.root != place and not place.exists():
            folder.root.rename(place)
        self._units.pop(unit, None)

    def units(self) -> list[UnitFolder]:
        """The units that are stored, in the order of their names."""
        paths = sorted((self.root / UNITS).glob("*/unit.json"))
        return [UnitFolder(path.parent) for path in paths]

    def keep(self, record: Record) -> None:
        """Store a record; how far a job is, is not stored."""
        self.unit(record.unit).keep(record)

    def scan(self) -> pl.LazyFrame:
        """All scores with all that they are called; see ``scan``."""
        return scan([self])


def scan(stores: Sequence[Store]) -> pl.LazyFrame:
    """One lazy frame over any number of runs.

    Columns: run, model, seed, behaviour, all of ``Name`` (label, kind, settings, dose,
    target, point, condition ...), item, group, metric, value. A cell with several names has
    its rows once under each.

    Raises:
        StoreFault: if nothing is stored yet.
        BadFile: if a file is missing or damaged.
    """
    frames = [
        scan_unit(folder, store.root.name) for store in stores for folder in store.units()
    ]
    if not frames:
        roots = ", ".join(str(store.root) for store in stores)
        raise StoreFault(f"{roots} holds no results yet; run its study first")
    return pl.concat(frames)


def scan_unit(folder: UnitFolder, run: str) -> pl.LazyFrame:
    """The scores of one unit with all that they are called, as ``scan`` has them.

    Args:
        folder: of the unit.
        run: what its run is called.

    Raises:
        BadFile: if a file is missing or damaged.
    """
    where = {"run": run, **folder.unit._asdict()}
    files = folder.row_files()
    rows = pl.scan_parquet(files) if files else pl.LazyFrame(schema=ROW_COLUMNS)
    groups = folder.items().select("ask", "item", "group")
    return (
        rows.join(folder.names().lazy(), on="cell")
        # Left, so that an item without words is seen and not lost.
        .join(groups.lazy(), on=["ask", "item"], how="left")
        .select(
            *(pl.lit(value).alias(name) for name, value in where.items()),
            *NAME_COLUMNS,
            *("item", "group", "metric", "value"),
        )
    )


def folder_name(unit: Unit) -> str:
    """The name of a unit's folder: readable, and unique to what the unit is."""
    model, behaviour = (
        re.sub(r"[^A-Za-z0-9_.-]+", "-", part)[:60] for part in (unit.model, unit.behaviour)
    )
    return f"{model}.{unit.seed}.{behaviour}.{fingerprint(list(unit))}"


@cache
def code_identity() -> str:
    """Which code measures: the version of the package and the content of its modules."""
    root = Path(__file__).parents[1]
    sums = [
        [path.relative_to(root).as_posix(), file_sum(path)] for path in root.rglob("*.py")
    ]
    return f"seatrial {version('seatrial')} (code {fingerprint(sorted(sums))})"


def environment(threads: int | None = None) -> dict[str, str]:
    """What else can move a number in its last digits: recorded, and a change is said.

    Args:
        threads: that a worker computes with; unsaid, they are not recorded.
    """
    names = ("torch", "transformers", "numpy")
    versions = {name: version(name) for name in names}
    own = {} if threads is None else {"threads": str(threads)}
    return {**versions, "machine": platform.machine(), **own}
