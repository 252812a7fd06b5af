"""What a benchmark found: rows that are printed, kept as JSON lines, and read again."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, final

import torch

FOLDER = Path("runs/bench")

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that some work took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def steadily(work: Callable[[], Result], most: float = 30.0) -> tuple[float, Result]:
    """Median of three times, or one time where that is longer than ``most`` seconds."""
    seconds, result = timed(work)
    if seconds > most:
        return seconds, result
    return statistics.median([seconds, timed(work)[0], timed(work)[0]]), result


@final
@dataclass(frozen=True)
class Row:
    """One comparison of seatrial with another way to the same numbers."""

    benchmark: str
    model: str
    against: str
    """The other way."""
    sizes: str
    """How much work it was, in words."""
    measured: float
    """Seconds of the other way that were in fact measured."""
    sample: str
    """The share of the work that these seconds are."""
    other: float
    """Seconds of the other way, scaled to all of the work."""
    seatrial: float
    """Seconds."""
    difference: float | None
    """The largest difference between the two results on what both computed."""
    unit: str = "nats"
    """Of the difference."""
    goal: float | None = None
    """The ratio that we aim at."""

    @property
    def ratio(self) -> float:
        """How many times faster seatrial is."""
        return self.other / self.seatrial


HEAD = (
    "| benchmark | model | against | measured s | scaled s | seatrial s | ratio | goal "
    "| largest difference | sizes |\n"
    "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --- |"
)


def as_markdown(row: Row) -> str:
    """One line of the table."""
    goal = "" if row.goal is None else f"{row.goal:g}"
    gap = "" if row.difference is None else f"{row.difference:.1e} {row.unit}"
    return (
        f"| {row.benchmark} | {row.model} | {row.against} "
        f"| {row.measured:.2f} ({row.sample}) | {row.other:.1f} | {row.seatrial:.2f} "
        f"| {row.ratio:.3g} | {goal} | {gap} | {row.sizes} |"
    )


@cache
def machine() -> dict[str, str | int]:
    """Where and with what a row was measured."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "seatrial": version("seatrial"),
    }


def keep(file: Path, kind: str, values: dict) -> None:
    """Append one finding to a file, so that an interrupted run keeps what it has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    entry = {"kind": kind, "when": time.strftime("%Y-%m-%dT%H:%M:%S"), **values}
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**entry, "machine": machine()}) + "\n")


def report(file: Path, rows: Iterable[Row]) -> None:
    """Print rows as they come, and keep them."""
    for row in rows:
        print(as_markdown(row), flush=True)
        keep(file, "comparison", asdict(row))


def newest(kind: str, keys: tuple[str, ...], folder: Path = FOLDER) -> list[dict]:
    """The newest finding for each value of the keys, in the order of the keys."""
    found: dict[tuple, dict] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if entry["kind"] == kind:
                key = tuple(entry[name] for name in keys)
                if key not in found or found[key]["when"] <= entry["when"]:
                    found[key] = entry
    return [found[key] for key in sorted(found)]
