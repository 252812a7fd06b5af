"""Benchmark 8, first half: how time and memory grow with items and with steerings.

Every point is a process of its own, so that its peak of memory is its own, too:

    .venv/bin/python -m benchmarks.growth MODEL ITEMS STEERINGS
"""

import ctypes
import gc
import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.prompts import letters
from benchmarks.rows import timed
from benchmarks.sweep import grid
from seatrial.model import Model

ITEMS = (8, 16, 32, 64, 128, 256)
STEERINGS = (7, 14, 28, 56, 112, 210)
FIXED_ITEMS, FIXED_STEERINGS = 16, 56
DOSES = tuple(0.25 * k for k in range(1, 13))
"""So many that the layers of either model have 210 cells."""


def points(*, tiny: bool = False) -> list[tuple[str, int, int]]:
    """What grows, items and steerings."""
    items, steerings = ((2, 4), (2, 4)) if tiny else (ITEMS, STEERINGS)
    fixed_items, fixed_steerings = (2, 2) if tiny else (FIXED_ITEMS, FIXED_STEERINGS)
    return [("items", n, fixed_steerings) for n in items] + [
        ("steerings", fixed_items, n) for n in steerings
    ]


def run(name: str, *, tiny: bool = False) -> Iterator[dict]:
    """One finding for each point."""
    for axis, items, steerings in points(tiny=tiny):
        command = [sys.executable, "-m", "benchmarks.growth", name]
        done = subprocess.run(
            [*command, str(items), str(steerings)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        yield {
            "model": name,
            "axis": axis,
            "items": items,
            "steerings": steerings,
            **found,
        }


def forget() -> None:
    """Give free memory back and forget the peak so far, where the system can (Linux)."""
    gc.collect()
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        with suppress(OSError, AttributeError):
            # What loading has freed would otherwise be used again without being seen.
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        clear.write_text("5")


def memory(field: str) -> float:
    """MiB that this process holds (``VmRSS``), or the most that it has held (``VmHWM``)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike what getrusage says, this is not inherited from the process that began us.
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Measure one point."""
    name, items, steerings = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = Model.load(name)
    requests = letters(items)
    cells = grid(model, requests, "from_last_prompt", range(model.n_layers), DOSES)
    # In random order, so that any number of them has all depths alike.
    cells = random.Random(0).sample(cells, steerings)
    model.log_probs(requests[:1], cells[:1])
    forget()
    before = memory("VmRSS")
    seconds, _ = timed(lambda: model.log_probs(requests, cells))
    print(json.dumps({"seconds": seconds, "peak_mib": memory("VmHWM") - before}))


if __name__ == "__main__":
    main()
