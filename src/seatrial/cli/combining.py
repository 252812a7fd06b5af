"""`seatrial combine` and `compare`: several steerings as one, or beside each other."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.screen import OUT, say

if TYPE_CHECKING:
    from seatrial.steering.compare import Comparison


def combine(
    files: tyro.conf.Positional[tuple[Path, ...]],
    out: Path,
    weights: tuple[float, ...] = (),
) -> None:
    """Make one steering of several: all act at once, or a weighted sum of their vectors.

    Args:
        files: Made by `seatrial fit` on one model. Without weights all of them act, in
            this order and at one dose.
        out: The .safetensors file to write.
        weights: One for each file: their vectors are multiplied by these and added up,
            such as 1 -1 for a difference. Only where each file adds vectors and does
            nothing else, at the same sites and tokens.
    """
    from seatrial.steering import combine_files
    from seatrial.steering.saving import names_of_files

    made = combine_files(files, out, weights)
    how = "weighted and added up" if weights else "joined"
    say(OUT, f"{out}: {', '.join(names_of_files(files))} {how}; {made.in_words()}")


def compare(files: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print how long the vectors of some steerings are, and how alike at each site.

    Beside its length stands that of the states that it was fitted on, as their ratio.

    Args:
        files: Made by `seatrial fit` on one model; what adds no vector has no length.
    """
    from seatrial.steering import comparison, load_several

    compared = comparison(load_several(files))
    OUT.print(_table(compared))
    if compared.without:
        without = ", ".join(compared.without)
        say(OUT, f"Not shown, because they add no vector: {without}")


def _table(compared: "Comparison") -> Table:
    """Rows by site; a site with n vectors has n cosines in each of its n rows."""
    table = Table()
    # Long names are divided between lines, so that numbers need not be.
    table.add_column("site", no_wrap=True)
    table.add_column("steering", overflow="fold")
    table.add_column("tokens", no_wrap=True)
    table.add_column("norm", no_wrap=True)
    table.add_column("|v|/|h|", no_wrap=True)
    table.add_column("cosines, in the order of the rows")
    for site, rows in groupby(compared.rows, key=lambda row: row.site):
        for row in rows:
            cosines = " ".join(f"{cosine:+.3f}" for cosine in row.cosines)
            ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
            numbers = f"{row.norm:.4g}", ratio, cosines
            table.add_row(str(site), Text(row.intervention), row.tokens, *numbers)
        table.add_section()
    return table
