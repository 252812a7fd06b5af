"""`seatrial combine` and `compare`: several steerings as one, or beside each other."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table
from rich.text import Text

from seatrial.cli.screen import OUT, say
from seatrial.errors import BadOption

if TYPE_CHECKING:
    from seatrial.steering.compare import Comparison
    from seatrial.steering.intervention import Intervention


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
    from seatrial.steering import joined, save, weighted

    _check_files(files)
    if weights and len(weights) != len(files):
        raise BadOption(
            f"--weights needs one number for each file, so {len(files)} and not "
            f"{len(weights)}; give none to let all of them act at once"
        )
    if not weights and len(files) == 1:
        raise BadOption(
            f"one file alone, {files[0]}, has nothing to be joined with; name several, or "
            "scale its vectors with --weights"
        )
    if out.resolve() in [file.resolve() for file in files]:
        raise BadOption(
            f"--out {out} is one of the files that are combined and would be lost; choose "
            "another name"
        )
    several = _load(files)
    if weights:
        made = weighted(dict(zip(several, weights, strict=True)))
    else:
        made = joined(*several)
    save(made, out)
    how = "weighted and added up" if weights else "joined"
    say(OUT, f"{out}: {', '.join(_names(files))} {how}; {_contents(made)}")


def compare(files: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Print how long the vectors of some steerings are, and how alike at each site.

    Beside its length stands that of the states that it was fitted on, as their ratio.

    Args:
        files: Made by `seatrial fit` on one model; what adds no vector has no length.
    """
    from seatrial.steering import compared

    _check_files(files)
    names = _names(files)
    found = compared(dict(zip(names, _load(files), strict=True)))
    OUT.print(_table(found))
    shown = {row.intervention for row in found.rows}
    if without := [name for name in names if name not in shown]:
        say(OUT, f"Not shown, because they add no vector: {', '.join(without)}")


def _check_files(files: tuple[Path, ...]) -> None:
    if not files:
        raise BadOption("there is no file; name those that `seatrial fit` made")
    places = [file.resolve() for file in files]
    for file, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise BadOption(
                f"{file} is named twice; name it once, and give it another strength by "
                "--weights of `seatrial combine` or by the dose"
            )


def _load(files: tuple[Path, ...]) -> list["Intervention"]:
    from seatrial.steering import load

    return [load(file) for file in files]


def _names(files: tuple[Path, ...]) -> list[str]:
    """File names without their ending, or paths where that leaves two alike."""
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _contents(made: "Intervention") -> str:
    """What a steering does, in words."""
    sites = sorted({site for part in made.parts for site in part.edits})
    found = [f"edits at {', '.join(map(str, sites))}"] if sites else []
    surfaces = ("prompt edit", made.prompt_edit), ("readout", made.readout)
    surfaces += (("gate", made.gate),)
    found += [f"a {name}" for name, surface in surfaces if surface is not None]
    return " and ".join(found)


def _table(found: "Comparison") -> Table:
    """Rows by site; a site with n vectors has n cosines in each of its n rows."""
    table = Table()
    # Long names are divided between lines, so that numbers need not be.
    table.add_column("site", no_wrap=True)
    table.add_column("steering", overflow="fold")
    table.add_column("tokens", no_wrap=True)
    table.add_column("norm", no_wrap=True)
    table.add_column("|v|/|h|", no_wrap=True)
    table.add_column("cosines, in the order of the rows")
    for site, rows in groupby(found.rows, key=lambda row: row.site):
        for row in rows:
            cosines = " ".join(f"{cosine:+.3f}" for cosine in row.cosines)
            ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
            numbers = f"{row.norm:.4g}", ratio, cosines
            table.add_row(str(site), Text(row.intervention), row.tokens, *numbers)
        table.add_section()
    return table
