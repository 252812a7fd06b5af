"""Prints the newest findings as the tables of ``docs/speed.md``.

.venv/bin/python -m benchmarks.table
"""

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from benchmarks.rows import FOLDER, HEAD, Row, as_markdown, newest


def comparisons(folder: Path) -> list[str]:
    """Seatrial beside other ways."""
    found = newest("comparison", ("benchmark", "model", "against"), folder)
    names = [field.name for field in fields(Row)]
    lines = [as_markdown(Row(**{name: entry[name] for name in names})) for entry in found]
    return [HEAD, *lines]


def growths(folder: Path) -> list[str]:
    """Points, and the straight line through the times."""
    found = newest("growth", ("model", "axis", "items", "steerings"), folder)
    lines = [
        "| model | items | steerings | seconds | peak memory beyond the model, MiB |",
        "| --- | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {f['model']} | {f['items']} | {f['steerings']} | {f['seconds']:.2f} "
        f"| {f['peak_mib']:.0f} |"
        for f in found
    ]
    fits = []
    for model, axis in dict.fromkeys((f["model"], f["axis"]) for f in found):
        mine = [f for f in found if (f["model"], f["axis"]) == (model, axis)]
        if len(mine) < 3:
            continue
        x = np.array([f[axis] for f in mine])
        y = np.array([f["seconds"] for f in mine])
        slope, start = np.polyfit(x, y, 1)
        share = 1 - ((y - start - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        fits.append(
            f"- {model}: {start:.2f} s + {slope * 1000:.1f} ms for each of the {axis} "
            f"(R² {share:.4f})"
        )
    return [*lines, "", *fits]


def peaks(folder: Path) -> list[str]:
    """The share of the fastest product, and where the time goes."""
    found = newest("peak", ("model", "part"), folder)
    kinds = list(dict.fromkeys(kind for f in found for kind in f["seconds_by_kind"]))
    names = [f"{f['model']}, {f['part']}" for f in found]
    table = {
        "seconds": [f"{f['seconds']:.2f}" for f in found],
        "GFLOP of products": [f"{f['gflop']:.0f}" for f in found],
        "GFLOP/s": [f"{f['gflop_per_second']:.0f}" for f in found],
        "GFLOP/s of the fastest product": [
            f"{f['peak_gflop_per_second']:.0f}" for f in found
        ],
        "share of it": [f"{f['share']:.0%}" for f in found],
    }
    for kind in kinds:
        shares = [f["seconds_by_kind"].get(kind, 0.0) / f["seconds"] for f in found]
        table[f"time: {kind}"] = [f"{share:.0%}" for share in shares]
    head = ["| | " + " | ".join(names) + " |", "| --- |" + " --: |" * len(names)]
    return head + [f"| {name} | {' | '.join(line)} |" for name, line in table.items()]


def main() -> None:
    """Print all tables of a folder, by default that of ``make bench``."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for part in (comparisons, growths, peaks):
        print("\n".join(part(folder)), end="\n\n")


if __name__ == "__main__":
    main()
