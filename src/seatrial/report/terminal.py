"""The verdict table of a report in a terminal, wide or narrow."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seatrial.analysis.summary import Summary
from seatrial.analysis.verdict import Label
from seatrial.report.table import Row, verdict_rows

_STYLES: dict[Label, str] = {
    "works": "bold green",
    "works at a price": "green",
    "unreliable": "yellow",
    "no better than a control": "dim",
    "no effect": "dim",
    "reverses": "bold red",
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
    for title in _WIDE_COLUMNS if wide else _NARROW_COLUMNS:
        is_words = title in ("trial", "verdict")
        table.add_column(title, overflow="fold", no_wrap=not is_words)
    many = len({trial.method for trial in summary.trials}) > 1
    for row in verdict_rows(summary):
        place = f"{row.task}, {row.method}" if many else row.task
        trial = Text(row.concept).append(f"\n{place}, {row.unit}", style="dim")
        verdict = Text(row.label, style=_STYLES[row.label])
        if wide:
            table.add_row(trial, verdict, *_wide_cells(row))
        else:
            table.add_row(trial.append("\n").append_text(verdict), *_narrow_cells(row))
            table.add_section()
    return table


_WIDE_COLUMNS = (
    "trial",
    "verdict",
    "mean slope per dose\nand control band",
    "anti-\nsteerable",
    "instruction\neffect",
    "perplexity ×\nat dose ±1",
    "layer",
)
_NARROW_COLUMNS = ("trial", "mean slope per dose", "items, instruction, price")


def _wide_cells(row: Row) -> list[Text]:
    cells = (row.anti_steerable, row.instruction, "\n".join((row.price, *row.guards)))
    return [
        Text(f"{row.slope}\nband {row.band}"),
        *(Text(cell.replace(" [", "\n[")) for cell in cells),
        Text(row.layer),
    ]


def _narrow_cells(row: Row) -> list[Text]:
    paid = (f"ppl × {row.price}", *row.guards)
    items = (f"anti {row.anti_steerable}", f"instruction {row.instruction}", *paid)
    return [
        Text(f"{row.slope}\nband {row.band}\nlayer {row.layer}"),
        Text("\n".join(items)),
    ]
