"""Every task on one model: unsteered, and under a steering, with intervals.

    SEATRIAL_MIRROR=../shared/data .venv/bin/python -m benchmarks.every_task

The steering is CAA fitted on one concept, on every task but the map, which is asked under
a function vector of its own (layer, heads and dose as ``benchmarks.function_vectors`` chose
them on that map). Tasks that have forms are asked in several, one target also in all
prompt conditions, the map also in other structures and contexts. A row is the metric that
verdicts are about; the file that is kept has all metrics. ``--model tiny --limit 8`` tries
it on a random model.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.rows import machine
from seatrial.analysis.measured import measured_rows
from seatrial.data import load_concept
from seatrial.errors import SeatrialError
from seatrial.methods import CAA, FunctionVector
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.tasks import (
    CONDITIONS,
    TASKS,
    Contrastive,
    Map,
    Open,
    Task,
    fit_data,
    in_condition,
)
from seatrial.tasks.measure import measure
from seatrial.tasks.spec import with_options
from seatrial.testing import tiny_model

FOLDER = Path("runs/every-task")
CONDITIONED = "propensity"
MAP = "present-past"
FORMS: tuple[tuple[str, dict[str, str | int]], ...] = (
    ("propensity", {"form": "ab"}),
    ("map", {"shots": 10}),
    ("map", {"shots": 10, "labels": "shuffled"}),
    ("map", {"template": "bare"}),
    ("map", {"template": "sentence"}),
    ("map", {"template": "clauses"}),
    ("map", {"context_words": 60}),
    ("map", {"context_words": 240}),
    ("map", {"facts_between": 3}),
)
"""Options beside the defaults."""


def tasks(concept: str, seed: int, limit: int) -> Iterator[tuple[str, str, Task]]:
    """Name with form, source and task; targets are about the concept."""
    instructions = Contrastive.instructions(concept)
    for name, kind in TASKS.items():
        source = kind.sources[0]
        if concept in kind.sources:
            source = concept
        if name == "map":
            source = MAP
        task = kind.of(source, seed=seed, limit=limit)
        yield name, source, task
        for other, changes in FORMS:
            if other == name:
                form = ", ".join(f"{key}={value}" for key, value in changes.items())
                yield f"{name}, {form}", source, with_options(task, changes)
        for condition in CONDITIONS[1:] if name == CONDITIONED else ():
            yield (
                f"{name}, {condition}",
                source,
                in_condition(task, condition, instructions),
            )


def concept_vector(model: Model, concept: str, layer: int, seed: int) -> Intervention:
    """CAA on continuations, read over the completion, as in the quickstart."""
    data = fit_data(load_concept(concept), Open.of(concept, seed=seed))
    return CAA(layer, read="completion").fit(model, data, seed=seed)


def map_vector(model: Model, layer: int, heads: int, seed: int) -> Intervention:
    """A function vector of the map that is asked."""
    shots = 10 if model.n_layers > 10 else 2
    method = FunctionVector(layer, heads, shots=shots)
    return method.fit(model, Map.of(MAP, seed=seed).fit_data(shots=shots), seed=seed)


def row(
    model: Model, name: str, source: str, task: Task, under: Steering, how: str
) -> dict:
    """All metrics of a task, the first of them being the one of the table."""
    start = time.perf_counter()
    plain, steered = measure(model, task, "test", [UNSTEERED, under])
    found = measured_rows(
        plain, steered, dose=under.dose, first=task.about.metric, bounds=task.about.bounds
    )
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return {
        "task": name,
        "source": source,
        "role": task.about.role,
        "unit": task.about.unit,
        "under": how,
        "groups": len({score.group for score in plain}),
        "seconds": time.perf_counter() - start,
        "metrics": [asdict(one) for one in found],
        "shown": [str(e) for e in (found[0].unsteered, found[0].steered,
                                   found[0].difference)],
    }  # fmt: skip


def as_markdown(rows: list[dict]) -> str:
    """One line a task."""
    head = ["task", "on", "metric", "items", "unsteered", "steered", "difference", "under"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- | --- | --: | --: | --: | --: | --- |"]
    for found in rows:
        if "refused" in found:
            lines.append(f"| {found['task']} | {found['source']} | {found['refused']} |")
            continue
        first = found["metrics"][0]
        cells = [found["task"], found["source"], first["metric"], str(first["n_items"])]
        lines.append(f"| {' | '.join([*cells, *found['shown'], found['under']])} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and keep."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.every_task",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--concept", default="positive-sentiment")
    parser.add_argument("--layer", type=int, default=21, help="of CAA")
    parser.add_argument("--dose", type=float, default=1.0, help="of CAA")
    parser.add_argument("--map-layer", type=int, default=17, help="of the function vector")
    parser.add_argument("--heads", type=int, default=6, help="of the function vector")
    parser.add_argument("--map-dose", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=60, help="test items of a task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    is_tiny = options.model == "tiny"
    model = tiny_model() if is_tiny else Model.load(options.model)
    layer, map_layer = (1, 1) if is_tiny else (options.layer, options.map_layer)
    start = time.perf_counter()
    caa = concept_vector(model, options.concept, layer, options.seed)
    vector = map_vector(model, map_layer, options.heads, options.seed)
    rows = []
    for name, source, task in tasks(options.concept, options.seed, options.limit):
        is_map = isinstance(task, Map)
        under = (
            Steering(vector, options.map_dose) if is_map else Steering(caa, options.dose)
        )
        how = f"function-vector, dose {under.dose:g}" if is_map else f"caa, {under.dose:g}"
        try:
            rows.append(row(model, name, source, task, under, how))
        except SeatrialError as error:  # one task that cannot be asked loses no other
            rows.append({"task": name, "source": source, "refused": str(error)})
    print(f"\n{model.card.name}, at most {options.limit} items a task, "
          f"{time.perf_counter() - start:.0f} s\n\n{as_markdown(rows)}")  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{model.card.name}.json"
    content = {
        "model": dict(model.header()),
        "machine": machine(),
        "concept": options.concept,
        "seed": options.seed,
        "limit": options.limit,
        "rows": rows,
    }
    file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(f"\nKept in {file}")


if __name__ == "__main__":
    main()
