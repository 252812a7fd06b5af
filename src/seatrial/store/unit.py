"""One unit's folder: its header, names of cells, rows, items, texts, facts and fits.

``unit.json`` names every other file with its checksum, and a file becomes part of the unit
in the moment in which the ``unit.json`` that names it is written. So whatever a killed
process leaves is either whole or not there, and nothing else is ever read. Tables that
grow are written anew under a name made of their content; the superseded file goes last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, final

import polars as pl

from seatrial.errors import BadFile
from seatrial.files import Folder, fingerprint
from seatrial.store.records import (
    PHASES,
    Begun,
    Checked,
    Chosen,
    Failed,
    Finished,
    Fitted,
    Items,
    JobProgress,
    Name,
    Phase,
    Planned,
    Record,
    Rows,
    Unit,
)

UNIT = "unit.json"

Columns = Mapping[str, Any]
ROW_COLUMNS: Columns = {
    "cell": pl.String,
    "item": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
TEXT_COLUMNS: Columns = {"cell": pl.String, "item": pl.String, "text": pl.String}
ITEM_COLUMNS: Columns = {
    name: pl.String for name in ("ask", "item", "group", "text", "factors")
}
FACT_COLUMNS: Columns = {"fit": pl.String, "quantity": pl.String, "value": pl.Float64}
NAME_COLUMNS: Columns = {
    name: {"draw": pl.Int64, "dose": pl.Float64}.get(name, pl.String)
    for name in Name._fields
}


@final
class UnitFolder:
    """What is stored of one unit."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.root = root

    @cached_property
    def _state(self) -> dict[str, dict[str, Any]]:
        state = read_sealed(self.folder, UNIT)
        if state is None:
            return {"header": {}, "files": {}}
        if not _is_state(state):
            raise BadFile(
                f"{self.root / UNIT} is no unit of a run; take it away, or restore it"
            )
        return state

    @property
    def _manifest(self) -> dict[str, dict[str, Any]]:
        return self._state["files"]

    @property
    def header(self) -> Mapping[str, Any]:
        """Unit, what it ran on, phases that are whole, choices, checks, failures."""
        return self._state["header"]

    @property
    def unit(self) -> Unit:
        """What is measured here, by label."""
        return Unit(*self.header["unit"])

    @property
    def content(self) -> str:
        """What is measured here, whatever it is called; empty: it does not say."""
        return self.header.get("header", {}).get("content", "")

    @property
    def cells(self) -> set[str]:
        """Ids of the cells whose rows are stored."""
        return {
            cell for entry in self._manifest.values() for cell in entry.get("cells", ())
        }

    @property
    def finished(self) -> tuple[str, ...]:
        """Phases that are whole."""
        return tuple(self.header.get("finished", ()))

    @property
    def choices(self) -> list[dict[str, Any]]:
        """What select items decided, for each arm and target."""
        return list(self.header.get("choices", ()))

    def keep(self, record: Record) -> None:
        """Store one record of this unit, whole or not at all.

        What is stored already is not touched: neither rows of a cell, nor a fit, nor the
        items of an ask. How far a job is, is not stored.

        Raises:
            StoreFault: if it cannot be written; what was stored before stays.
        """
        if isinstance(record, JobProgress):
            return
        change = _Change(self, record.unit)
        match record:
            case Begun():
                before = self.header["header"] if self.cells else record.header
                if changes := _changes(before, record.header):
                    change.add("changes", changes)
                change.header["header"] = dict(record.header)
            case Planned():
                self._keep_names(record, change)
            case Rows():
                self._keep_rows(record, change)
            case Items():
                self._keep_items(record, change)
            case Fitted():
                self._keep_fit(record, change)
            case Checked():
                change.answer(record.checks)
            case Chosen():
                change.header["choices"] = [dict(choice) for choice in record.choices]
            case Failed():
                change.add("failed", [_failure(record)])
            case Finished():
                change.add("finished", [record.phase])
        self._sign(change)

    def rename(self, unit: Unit) -> None:
        """Let the unit have other labels from now on."""
        self._sign(_Change(self, unit))

    def begin_again(self, phases: Sequence[Phase] = PHASES) -> None:
        """Forget failures and which phases are whole, before a run tries again.

        Args:
            phases: of the plan that is run; names of other phases, which an earlier plan
                gave, are forgotten too. Rows stay.
        """
        if not self.header:
            return
        change = _Change(self, self.unit)
        change.header |= {"failed": [], "finished": []}
        names = self.names()
        kept = names.filter(pl.col("phase").is_in(list(phases)))
        if kept.height < names.height:
            change.replace("cells", kept)
        self._sign(change)

    def rows(self, cells: Iterable[str]) -> pl.DataFrame:
        """Rows of some cells, with columns cell, item, metric, value.

        Raises:
            BadFile: if a file is missing or damaged.
        """
        return self._of_cells("rows", cells, ROW_COLUMNS)

    def texts(self, cells: Iterable[str]) -> pl.DataFrame:
        """What was generated in some cells, with columns cell, item, text.

        Raises:
            BadFile: if a file is missing or damaged.
        """
        return self._of_cells("texts", cells, TEXT_COLUMNS)

    def names(self) -> pl.DataFrame:
        """What the cells are called: the fields of ``Name``."""
        return self._table("cells", NAME_COLUMNS)

    def items(self) -> pl.DataFrame:
        """Columns ask, item, group, text, factors (JSON: name -> whether)."""
        return self._table("items", ITEM_COLUMNS)

    def facts(self) -> pl.DataFrame:
        """Columns fit, quantity, value."""
        return self._table("facts", FACT_COLUMNS)

    def row_files(self) -> list[Path]:
        """The files of rows, verified.

        Raises:
            BadFile: if one is missing, damaged, or holds other columns.
        """
        names = sorted(name for name in self._manifest if name.startswith("rows/"))
        return [self._checked(name, ROW_COLUMNS) for name in names]

    def fits(self) -> dict[str, bytes]:
        """Stored interventions by the id of their fit."""
        return {
            entry["fit"]: self.verified(name).read_bytes()
            for name, entry in sorted(self._manifest.items())
            if "fit" in entry
        }

    def verified(self, name: str) -> Path:
        """The path of a file whose content is as it was written.

        Raises:
            BadFile: if it is missing or differs.
        """
        path = self.root / name
        if not path.is_file():
            raise BadFile(
                f"{path} is missing, and its unit names it; restore it, or delete the "
                "unit's folder and run the study again"
            )
        if file_sum(path) != self._manifest[name]["sum"]:
            raise BadFile(
                f"{path} is not what was written (its checksum differs); restore it, or "
                "delete the unit's folder and run the study again"
            )
        return path

    def _keep_names(self, record: Planned, change: "_Change") -> None:
        others = self.names().filter(pl.col("phase") != record.phase)
        named = pl.DataFrame(list(record.names), schema=NAME_COLUMNS, orient="row")
        names = pl.concat([others, named]).unique(maintain_order=True)
        change.replace("cells", names)
        before = change.header.get("not_applicable", [])
        change.header["not_applicable"] = [
            *(entry for entry in before if entry["phase"] != record.phase),
            *({**entry, "phase": record.phase} for entry in record.not_applicable),
        ]

    def _keep_rows(self, record: Rows, change: "_Change") -> None:
        stored = self.cells
        cells = [cell for cell in record.cells if cell not in stored]
        if not cells:
            return
        batch = fingerprint(sorted(cells))
        rows = pl.DataFrame(
            {name: getattr(record, name) for name in ROW_COLUMNS}, schema=ROW_COLUMNS
        )
        texts = pl.DataFrame(list(record.texts), schema=TEXT_COLUMNS, orient="row")
        if len(cells) < len(record.cells):
            rows, texts = (
                frame.filter(pl.col("cell").is_in(cells)) for frame in (rows, texts)
            )
        if texts.height:
            change.write(f"texts/{batch}.parquet", _parquet(texts), cells=cells)
        change.write(f"rows/{batch}.parquet", _parquet(rows), cells=cells)

    def _keep_items(self, record: Items, change: "_Change") -> None:
        asks = change.asks
        new = [entry for entry in record.entries if entry["ask"] not in asks]
        if new:
            frame = pl.DataFrame(list(new), schema=ITEM_COLUMNS)
            asks = sorted({*asks, *(entry["ask"] for entry in new)})
            change.replace("items", pl.concat([self.items(), frame]), asks=asks)

    def _keep_fit(self, record: Fitted, change: "_Change") -> None:
        if any(entry.get("fit") == record.fit for entry in self._manifest.values()):
            return
        name = f"fits/{record.name}.{record.fit}.safetensors"
        change.write(name, record.content, fit=record.fit)
        if record.facts:
            facts = [(record.fit, key, float(value)) for key, value in record.facts.items()]
            frame = pl.DataFrame(facts, schema=FACT_COLUMNS, orient="row")
            change.replace("facts", pl.concat([self.facts(), frame]))

    def _sign(self, change: "_Change") -> None:
        """Let a change become part of the unit, then delete what it supersedes."""
        state = {"header": change.header, "files": change.files}
        if state == self._state and (self.root / UNIT).exists():
            return
        write_sealed(self.folder, UNIT, state)
        superseded = set(self._manifest) - set(change.files)
        self._state = state
        for name in superseded:
            with suppress(OSError):
                (self.root / name).unlink(missing_ok=True)

    def _of_cells(self, kind: str, cells: Iterable[str], columns: Columns) -> pl.DataFrame:
        asked_for = set(cells)
        frames = [
            pl.read_parquet(self._checked(name, columns)).filter(
                pl.col("cell").is_in(asked_for)
            )
            for name, entry in sorted(self._manifest.items())
            if name.startswith(f"{kind}/") and not asked_for.isdisjoint(entry["cells"])
        ]
        return pl.concat(frames) if frames else pl.DataFrame(schema=columns)

    def _table(self, kind: str, columns: Columns) -> pl.DataFrame:
        for name, entry in self._manifest.items():
            if entry.get("table") == kind:
                return pl.read_parquet(self._checked(name, columns))
        return pl.DataFrame(schema=columns)

    def _checked(self, name: str, columns: Columns) -> Path:
        path = self.verified(name)
        try:
            schema = dict(pl.read_parquet_schema(path))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BadFile(f"{path} is no Parquet file; restore it") from error
        if schema != dict(columns):
            raise BadFile(
                f"{path} has the columns {', '.join(schema)}; a run has "
                f"{', '.join(columns)} there, as docs/run-folder.md says"
            )
        return path


@final
class _Change:
    """What one record makes of a unit: nothing of it counts before it is signed."""

    def __init__(self, folder: UnitFolder, unit: Unit) -> None:
        self._folder = folder.folder
        self.header: dict[str, Any] = {**deepcopy(dict(folder.header)), "unit": list(unit)}
        self.files: dict[str, dict[str, Any]] = dict(folder._state["files"])

    @property
    def asks(self) -> set[str]:
        """Whose items are stored."""
        return {ask for entry in self.files.values() for ask in entry.get("asks", ())}

    def add(self, key: str, entries: Iterable[Any]) -> None:
        """Add entries to a list of the header, each once."""
        listed = self.header.setdefault(key, [])
        listed.extend(entry for entry in entries if entry not in listed)

    def answer(self, checks: Iterable[Mapping[str, Any]]) -> None:
        """Take over the newest answer to each question of the audit."""
        listed = [*self.header.get("audit", ()), *map(dict, checks)]
        newest = {(c.get("id"), c.get("question")): c for c in listed}
        self.header["audit"] = list(newest.values())

    def write(self, name: str, content: bytes, **entry: Any) -> None:
        """Write a file under a name that the unit does not name yet."""
        self._folder.write(name, lambda path: path.write_bytes(content))
        self.files[name] = {"sum": hashlib.sha256(content).hexdigest(), **entry}

    def replace(self, kind: str, frame: pl.DataFrame, **entry: Any) -> None:
        """Write a table that has grown; what it was before is superseded."""
        content = _parquet(frame)
        name = f"{kind}.{hashlib.sha256(content).hexdigest()[:12]}.parquet"
        if name in self.files:
            return
        self.files = {k: v for k, v in self.files.items() if v.get("table") != kind}
        self.write(name, content, table=kind, **entry)


_GROUND = ("model", "dtype", "device", "engine", "fingerprints")
"""What of a header a unit's numbers rest on, beside its environment."""


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a unit's numbers rest on that was different when it was begun, in words."""
    one, other = (
        {key: header.get(key) for key in _GROUND} | dict(header.get("environment", {}))
        for header in (before, now)
    )
    return [
        f"{key} was {_words(one.get(key))} and is {_words(other.get(key))}"
        for key in dict.fromkeys([*one, *other])
        if _words(one.get(key)) != _words(other.get(key))
    ]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _failure(record: Failed) -> dict[str, Any]:
    return {
        "phase": record.phase,
        "label": record.label,
        "reason": record.reason,
        "is_defect": record.is_defect,
    }


def _is_state(state: Any) -> bool:
    """Whether a ``unit.json`` has what one has, and names only files of its own folder."""
    match state:
        case {"header": {"unit": [str(), int(), str()]}, "files": {**files}}:
            return all(map(_is_own, files)) and all(
                isinstance(entry, dict) and isinstance(entry.get("sum"), str)
                for entry in files.values()
            )
    return False


def _is_own(name: str) -> bool:
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts
    return is_inside and "\\" not in name and ":" not in name


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def file_sum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(folder: Folder, name: str, content: Any) -> None:
    """Write JSON with a checksum of its own content, in one step."""
    folder.write_text(name, _sealed(content))


def read_sealed(folder: Folder, name: str) -> Any:
    """Read what ``write_sealed`` wrote; ``None`` if it is not there.

    Raises:
        BadFile: if it is not what was written, to the letter.
    """
    path = folder.root / name
    sealed = folder.read_json(name)
    if sealed is None and not path.is_file():
        return None
    if not isinstance(sealed, dict) or set(sealed) != {"content", "sum"}:
        raise BadFile(f"{path} is no sealed file of a run; restore it, or measure anew")
    if path.read_bytes() != _sealed(sealed["content"]).encode():
        raise BadFile(
            f"{path} is not what was written (its checksum differs); restore it, or "
            "measure anew in another folder"
        )
    return sealed["content"]


def _sealed(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"content": {text}, "sum": "{digest}"}}\n'
