"""`seatrial lint`: what is wrong with a file of data."""

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.screen import OUT, say
from seatrial.errors import BadData

if TYPE_CHECKING:
    from seatrial.data.lint import Finding

SHOWN = 6
"""Lines that are named; of further ones the table has the number."""

_UNITS = {"line": "lines", "row": "rows", "entry": "entries"}
_STYLES = {"error": "bold red", "warning": "yellow"}


def lint(file: tyro.conf.Positional[Path]) -> None:
    """Look for what would spoil a measurement on your data: copies, leaks, bias, damage.

    Args:
        file: A .jsonl with a concept or a map; a .jsonl, .csv, .tsv or .parquet with pairs
            (positive, negative), a map (input, output) or items (question, matching,
            not_matching); a .json in the format of CAA; or a .toml that says which column
            means what.
    """
    from seatrial.data.lint import lint as look

    result = look(file)
    if result.findings:
        table = Table()
        units = _UNITS[result.unit]
        for title in ("severity", "check", units, "what is wrong", "what to do"):
            table.add_column(title, overflow="fold")
        for finding in result.findings:
            table.add_row(
                Text(finding.severity, style=_STYLES[finding.severity]),
                Text(finding.check),
                Text(_places(finding)),
                Text(finding.what),
                Text(finding.remedy),
            )
        OUT.print(table)
    if result.count("error"):
        raise BadData(f"{result.summary}. Mend the errors before measuring anything on it.")
    say(OUT, f"{result.summary}.")


def _places(finding: "Finding") -> str:
    if not finding.lines:
        return "all"
    named = ", ".join(map(str, finding.lines[:SHOWN]))
    more = len(finding.lines) - SHOWN
    return f"{named} and {more} more" if more > 0 else named
