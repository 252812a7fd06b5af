"""Runs the benchmarks and keeps what they find under ``runs/bench``: ``make bench``."""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    dola,
    extraction,
    figure,
    generation,
    growth,
    heads,
    peak,
    rows,
    sweep,
    task_vectors,
)
from seatrial.model import Model

COMPARISONS: dict[str, Callable[..., Iterator[rows.Row]]] = {
    "sweep": sweep.run,
    "heads": heads.run,
    "task-vectors": task_vectors.run,
    "dola": dola.run,
    "extraction": extraction.run,
    "generation": generation.run,
}
ALL = (*COMPARISONS, "peak", "growth")


def measure(name: str, asked: list[str], file: Path, *, tiny: bool) -> None:
    """Run some benchmarks on one model."""
    model = Model.load(name)
    for benchmark, run in COMPARISONS.items():
        if benchmark in asked:
            rows.report(file, run(model, tiny=tiny))
    if "peak" in asked:
        for found in peak.run(model, tiny=tiny):
            print(found, flush=True)
            rows.keep(file, "peak", found)
    del model
    if "growth" in asked:
        for found in growth.run(name, tiny=tiny):
            print(found, flush=True)
            rows.keep(file, "growth", found)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "gemma3-270m"])
    parser.add_argument("--only", nargs="+", default=list(ALL), choices=ALL)
    parser.add_argument(
        "--tiny", action="store_true", help="a few prompts and layers, to try it"
    )
    options = parser.parse_args()
    folder = Path("runs/bench-tiny") if options.tiny else rows.FOLDER
    file = folder / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.jsonl"
    print(rows.machine())
    print(rows.HEAD, flush=True)
    for name in options.models:
        measure(name, options.only, file, tiny=options.tiny)
    if "growth" in options.only and not options.tiny:
        figure.main()


if __name__ == "__main__":
    main()
