"""Tables for a terminal, wide or narrow: verdicts, and what one task measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from seatrial.analysis.measured import Measured
from seatrial.analysis.records import Summary
from seatrial.analysis.verdict import Label
from seatrial.report.table import VerdictRow, baseline_title, verdict_rows

_STYLES: dict[Label, str] = {
    "works": "bold green",
    "works at a price": "green",
    "unreliable": "yellow",
    "no better than a control": "dim",
    "no effect": "dim",
    "reverses": "bold red",
    "not judged": "dim",
}

_WIDE = 116
"""Columns a terminal needs for one column per quantity."""


def verdict_table(summary: Summary, width: int | None = None) -> Table:
    """The verdict table for a terminal.

    Args:
        summary: what to show.
        width: columns of the terminal, by default of the one we are in; below 116
            quantities share columns.
    """
    width = Console().width if width is None else width
    wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    baselines = baseline_title(summary)
    for title in _wide_columns(baselines) if wide else _NARROW_COLUMNS:
        is_words = title in ("trial", "verdict")
        table.add_column(title, overflow="fold", no_wrap=not is_words)
    many = len({trial.label for trial in summary.trials}) > 1
    for row in verdict_rows(summary):
        parts = (row.where, row.target, row.method if many else "", row.unit)
        place = ", ".join(filter(None, parts))
        trial = Text(row.behaviour).append(f"\n{place}", style="dim")
        verdict = Text(row.label, style=_STYLES[row.label])
        if wide:
            table.add_row(trial, verdict, *_wide_cells(row))
        else:
            table.add_row(
                trial.append("\n").append_text(verdict), *_narrow_cells(row, baselines)
            )
            table.add_section()
    return table


def _wide_columns(baselines: str) -> tuple[str, ...]:
    return (
        "trial",
        "verdict",
        "mean slope per dose\nand control band",
        "anti-\nsteerable",
        baselines.replace(" effect", "\neffect"),
        "perplexity ×\nat chosen dose",
        "chosen",
    )


_NARROW_COLUMNS = ("trial", "mean slope per dose", "items, baselines, price")


def _wide_cells(row: VerdictRow) -> list[Text]:
    baselines, paid = "\n".join(row.baselines), "\n".join((row.price, *row.guards))
    return [
        Text(f"{row.slope}\nband {row.band}"),
        *(
            Text(cell.replace(" [", "\n["))
            for cell in (row.anti_steerable, baselines, paid)
        ),
        Text(row.chosen.replace(", ", "\n")),
    ]


def _narrow_cells(row: VerdictRow, baselines: str) -> list[Text]:
    paid = (f"ppl × {row.price}", *row.guards)
    name = "" if baselines == "baselines" else f"{baselines.removesuffix(' effect')} "
    effects = tuple(f"{name}{effect}" for effect in row.baselines)
    items = (f"anti {row.anti_steerable}", *effects, *paid)
    return [
        Text(f"{row.slope}\nband {row.band}\n{row.chosen}"),
        Text("\n".join(items)),
    ]


def measured_table(
    rows: Sequence[Measured], unit: str = "", width: int | None = None
) -> Table:
    """The rows for a terminal; where it is narrow, one estimate a line.

    Args:
        rows: of one or several steerings, in one or several conditions.
        unit: of the metric in the first row.
        width: columns of the terminal; None: as many as it takes.
    """
    wide = _wide(rows, unit)
    console = Console(width=1000)
    needed = Measurement.get(console, console.options, wide).maximum
    return wide if width is None or needed <= width else _narrow(rows, unit)


def _wide(rows: Sequence[Measured], unit: str) -> Table:
    is_steered = any(row.dose is not None for row in rows)
    is_shifted = any(row.condition for row in rows)
    titles = ["dose", "unsteered", "steered", "difference"] if is_steered else ["unsteered"]
    conditions = ["condition"] if is_shifted else []
    table = _empty([*conditions, *titles, "items", "without it"])
    for row in rows:
        condition = [row.condition] if is_shifted else []
        dose = [f"{row.dose:g}" if row.dose is not None else ""] if is_steered else []
        counts = [str(row.n_items), str(row.n_without)]
        cells = [*condition, *dose, *_cells(row, is_steered), *counts]
        table.add_row(_name(row, rows, unit), *cells)
    return table


def _narrow(rows: Sequence[Measured], unit: str) -> Table:
    is_steered = any(row.dose is not None for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    table.add_column("")
    table.add_column("estimate", justify="right", no_wrap=True)
    for row in rows:
        name = _name(row, rows, unit)
        if row.condition:
            name.append(f"\n{row.condition}")
        if row.dose is not None:
            name.append(f"\ndose {row.dose:g}")
        name.append(f"\n{row.n_items} items")
        if row.n_without:
            name.append(f", {row.n_without} without it")
        titles = ("unsteered", "steered", "difference")[: 3 if is_steered else 1]
        cells = "\n".join(str(cell) for cell in _cells(row, is_steered))
        table.add_row(name, "\n".join(titles), Text(cells))
        table.add_section()
    return table


def _empty(titles: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _name(row: Measured, rows: Sequence[Measured], unit: str) -> Text:
    name = Text(row.metric)
    if unit and row.metric == rows[0].metric:
        name.append(f"\n{unit}", style="dim")
    return name


def _cells(row: Measured, is_steered: bool) -> list[Text]:
    three = (row.unsteered, row.steered, row.difference)
    estimates = three if is_steered else (row.unsteered,)
    none = "one group only" if row.n_items else "no item"
    return [Text(none, style="dim") if e is None else Text(str(e)) for e in estimates]


def audit_table(checks: Sequence[Mapping[str, Any]]) -> Table:
    """The checks that a study made of itself, as they were made."""
    table = Table("id", "check", "outcome", "detail")
    for check in checks:
        table.add_row(*(Text(check[key]) for key in ("id", "question", "status", "detail")))
    return table


def audit_line(study: str, checks: Sequence[Mapping[str, Any]]) -> str:
    """How many checks passed, in a line."""
    outcomes = [check["status"] for check in checks]
    counts = (
        f"{outcomes.count(outcome)} {outcome}" for outcome in ("passed", "warned", "failed")
    )
    return f"{study}: {len(checks)} checks, {', '.join(counts)}."
