"""Function vectors, task vectors and their controls on six maps, in one table.

    .venv/bin/python -m benchmarks.function_vectors --model smollm2-135m

For each map: without examples, with ten, and without examples under a steering that was
fitted on the fit split. Every kind of steering, controls included, has the same freedom:
its layer, strength (and, where it has that choice, number of heads or read token) are those
that answer most items of the select split rightly; what is printed is the test split, with
95 % intervals over groups of items. Task vectors are asked in their own template.
``--model tiny --shots 2`` tries it on a random model.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from rich.console import Console
from rich.table import Table

from seatrial.data import sample
from seatrial.methods import (
    ICV,
    FunctionVector,
    LayerMean,
    Method,
    Random,
    TaskVector,
)
from seatrial.methods.base import rescaled
from seatrial.methods.fitting.heads import attending
from seatrial.model import Model
from seatrial.stats import cluster_share
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.tasks import Map
from seatrial.tasks.measure import measure
from seatrial.testing import tiny_model
from seatrial.types import FitData, Score

MAPS = (
    "country-capital",
    "present-past",
    "antonym",
    "singular-plural",
    "english-french",
    "capitalise",
)
METRICS = ("accuracy", "whole")
"""The first of them chooses: the first token is right; all tokens of an answer are."""
ROWS = (
    "zero-shot",
    "with examples",
    "+ function vector, textbook",
    "+ function vector, residual",
    "+ layer mean",
    "+ in-context vector",
    "control: random",
    "control: other map",
    "zero-shot, arrow",
    "+ task vector, arrow",
)


@final
@dataclass(frozen=True)
class Sizes:
    """How much is asked; less is quicker."""

    limit: int = 60
    """Test items of a map."""
    select: int = 30
    """Items that settings are chosen on."""
    shots: int = 10
    mean_prompts: int = 60
    effect_prompts: int = 25
    pairs: int = 24
    """Pairs that in-context vectors are fitted on."""
    contexts: int = 5
    """Sets of five examples that a task vector is averaged over."""
    layers: int = 6
    seeds: int = 3
    """Random directions."""
    seed: int = 0


@final
@dataclass(frozen=True)
class Candidate:
    """One setting of a row; several steerings where it is drawn at random."""

    row: str
    setting: dict[str, Any]
    under: tuple[Steering, ...]


@final
@dataclass(frozen=True)
class Ground:
    """One map: what is asked, and what is fitted on."""

    task: Map
    data: FitData

    @staticmethod
    def of(name: str, sizes: Sizes) -> "Ground":
        """A map by name, its splits cut to size."""
        task = Map.of(name, seed=sizes.seed, limit=sizes.limit)
        fewer = sample(task.splits["select"], sizes.select, seed=sizes.seed)
        task = replace(task, splits={**task.splits, "select": fewer})
        return Ground(task, task.fit_data(shots=sizes.shots, limit=sizes.pairs))


def head_counts(model: Model) -> list[int]:
    """Numbers of heads to try: about one in fifty, and the default."""
    total = sum(heads.n_heads for heads in attending(model).values())
    return sorted({math.ceil(total / 51.2), FunctionVector.heads})


def layer_grid(model: Model, n: int) -> list[int]:
    """About ``n`` layers between the first and the last."""
    grid = np.linspace(0, model.n_layers - 1, n + 2)[1:-1]
    return sorted({round(float(layer)) for layer in grid})


def function_vectors(
    model: Model, ground: Ground, sizes: Sizes
) -> dict[tuple[str, int, int], Intervention]:
    """Fitted function vectors by way of writing, number of heads and layer."""
    return {
        (write, heads, layer): FunctionVector(
            layer,
            heads,
            write=write,
            shots=sizes.shots,
            mean_prompts=sizes.mean_prompts,
            effect_prompts=sizes.effect_prompts,
        ).fit(model, ground.data, seed=sizes.seed)
        for write in ("residual", "textbook")
        for heads in head_counts(model)
        for layer in layer_grid(model, sizes.layers)
    }


@final
@dataclass(frozen=True)
class Fixed(Method):
    """A fitted steering as a method, for controls to stand beside."""

    name: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "what was fitted before"

    fitted: Intervention

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        """What was fitted before."""
        return self.fitted


def candidates(
    model: Model,
    ground: Ground,
    own: dict[tuple[str, int, int], Intervention],
    other: dict[tuple[str, int, int], Intervention],
    sizes: Sizes,
) -> Iterator[Candidate]:
    """Every setting that is asked in the template of Q and A."""
    for (write, heads, layer), fitted in own.items():
        for dose in (1.0, 2.0, 4.0) if write == "residual" else (1.0, 2.0, 4.0, 8.0):
            setting = {"layer": layer, "heads": heads, "dose": dose}
            row = f"+ function vector, {write}"
            yield Candidate(row, setting, (Steering(fitted, dose),))
            if write == "textbook":
                continue
            drawn = [
                Random(Fixed(fitted)).fit(model, ground.data, seed=seed)
                for seed in range(1, sizes.seeds + 1)
            ]
            under = tuple(Steering(one, dose) for one in drawn)
            yield Candidate("control: random", setting, under)
            complaint = "the other map's vector at site {site} is zero"
            odd = rescaled(other[write, heads, layer], fitted, complaint)
            yield Candidate("control: other map", setting, (Steering(odd, dose),))
    for layer in layer_grid(model, sizes.layers):
        method = LayerMean(layer, sizes.shots, sizes.mean_prompts)
        fitted = method.fit(model, ground.data, seed=sizes.seed)
        for dose in (0.5, 1.0, 2.0):
            setting = {"layer": layer, "dose": dose}
            yield Candidate("+ layer mean", setting, (Steering(fitted, dose),))
    for read in ("last", "last_prompt"):
        fitted = ICV(read=read).fit(model, ground.data, seed=sizes.seed)
        for dose in (0.5, 1.0, 2.0, 4.0):
            setting = {"layer": "all", "read": read, "dose": dose}
            yield Candidate("+ in-context vector", setting, (Steering(fitted, dose),))


def task_vectors(model: Model, ground: Ground, sizes: Sizes) -> Iterator[Candidate]:
    """Every setting that is asked in the template of arrows."""
    for layer in layer_grid(model, sizes.layers):
        method = TaskVector(layer, contexts=sizes.contexts)
        fitted = method.fit(model, ground.data, seed=sizes.seed)
        yield Candidate("+ task vector, arrow", {"layer": layer}, (Steering(fitted),))


def mean(lines: Sequence[Sequence[Score]], metric: str = METRICS[0]) -> float:
    """Of a metric, over items and steerings."""
    return float(np.mean([score.metrics[metric] for line in lines for score in line]))


def asked(
    model: Model, task: Map, split: Any, found: Sequence[Candidate]
) -> list[list[list[Score]]]:
    """Scores of all candidates, in one call: ``[candidate][steering][item]``."""
    lines = iter(measure(model, task, split, [one for c in found for one in c.under]))
    return [[next(lines) for _ in c.under] for c in found]


def chosen(
    model: Model, task: Map, found: Sequence[Candidate]
) -> list[tuple[Candidate, float]]:
    """The candidate of each row that is best on the select split.

    Of equally accurate ones it is that under which right answers are likeliest.
    """
    best: dict[str, tuple[tuple[float, float], Candidate]] = {}
    for one, lines in zip(found, asked(model, task, "select", found), strict=True):
        score = mean(lines), mean(lines, "log_prob")
        if one.row not in best or score > best[one.row][0]:
            best[one.row] = score, one
    return [(one, score[0]) for score, one in best.values()]


def entry(one: Candidate, select: float | None, lines: list[list[Score]]) -> dict:
    """One cell of the table, as it is kept."""
    scores = [score for line in lines for score in line]
    groups = [score.group for score in scores]
    fitted = one.under[0].intervention
    return {
        "row": one.row,
        "setting": one.setting,
        "select": select,
        "norms": {str(site): norm for site, norm in fitted.norms().items()},
        "test": {
            metric: asdict(cluster_share([s.metrics[metric] for s in scores], groups))
            for metric in METRICS
        },
        "right": [
            [score.item for score in line if score.metrics[METRICS[0]]] for line in lines
        ],
    }


def on_map(
    model: Model, ground: Ground, found: Sequence[Candidate], sizes: Sizes
) -> list[dict]:
    """All rows of one map, chosen on select and asked on test."""
    task = ground.task
    arrow = replace(task, template="arrow")
    shown = replace(task, shots=sizes.shots)
    vectors = list(task_vectors(model, ground, sizes))
    entries = []
    for asking, plain, some in (
        (task, "zero-shot", found),
        (shown, "with examples", []),
        (arrow, "zero-shot, arrow", vectors),
    ):
        picks: list[tuple[Candidate, float | None]] = [
            (Candidate(plain, {}, (UNSTEERED,)), None)
        ]
        picks += chosen(model, asking, some) if some else []
        lines = asked(model, asking, "test", [one for one, _ in picks])
        entries += [entry(*pick, line) for pick, line in zip(picks, lines, strict=True)]
    return sorted(entries, key=lambda e: ROWS.index(e["row"]))


def run(
    model: Model,
    maps: Sequence[str] = MAPS,
    sizes: Sizes | None = None,
    *,
    out: Path | None = None,
) -> dict:
    """Every row on every map; what is found so far is kept after each map.

    Args:
        model: is left as it was.
        maps: names; the third next one gives the vectors of the control.
        sizes: how much is asked.
        out: a JSON file.
    """
    sizes = sizes or Sizes()
    others = {name: _other(name, maps) for name in maps}
    grounds = {name: Ground.of(name, sizes) for name in {*maps, *others.values()}}
    record: dict = {"model": model.header(), "sizes": asdict(sizes), "maps": {}}
    vectors = {}
    for name, ground in grounds.items():
        start = time.perf_counter()
        vectors[name] = function_vectors(model, ground, sizes)
        print(f"{name}: heads found in {time.perf_counter() - start:.0f} s", flush=True)
    for name, other in others.items():
        start = time.perf_counter()
        ground = grounds[name]
        found = list(candidates(model, ground, vectors[name], vectors[other], sizes))
        rows = on_map(model, ground, found, sizes)
        heads = next(iter(vectors[name].values())).origin
        assert heads is not None
        record["maps"][name] = {
            "fit examples": len(ground.data.examples),
            "other": other,
            "heads": heads.options["chosen"],
            "candidates": len(found),
            "seconds": time.perf_counter() - start,
            "rows": rows,
        }
        print(f"{name}: measured in {time.perf_counter() - start:.0f} s", flush=True)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(record, indent=1), "utf-8")
    return record


def _other(name: str, maps: Sequence[str]) -> str:
    """The third next map: neighbours in the list may be akin."""
    known = list(dict.fromkeys([*maps, *MAPS]))
    return known[(known.index(name) + 3) % len(known)]


def show(record: dict) -> None:
    """Print a table for each metric."""
    for metric, title in zip(METRICS, ("first token", "whole answer"), strict=True):
        table = Table(title=f"{record['model']['model']}: {title} right, test split")
        table.add_column("")
        for name in record["maps"]:
            table.add_column(name)
        for row in ROWS:
            cells = []
            for found in record["maps"].values():
                [cell] = [e for e in found["rows"] if e["row"] == row]
                test = cell["test"][metric]
                text = f"{test['value']:.2f} [{test['low']:.2f}, {test['high']:.2f}]"
                how = ", ".join(f"{key} {v}" for key, v in cell["setting"].items())
                cells.append(f"{text}\n[dim]{how}[/dim]" if how else text)
            table.add_row(row, *cells)
        Console(width=max(120, 30 * (1 + len(record["maps"])))).print(table)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.function_vectors", description=__doc__
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--maps", nargs="+", default=list(MAPS))
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    sizes = Sizes(**{name: getattr(options, name) for name in asdict(Sizes())})
    stem = options.model.strip("/").replace("/", "--")
    out = options.out or Path("runs/function-vectors") / f"{stem}.json"
    model = tiny_model() if options.model == "tiny" else Model.load(options.model)
    show(run(model, options.maps, sizes, out=out))
    print(out)


if __name__ == "__main__":
    main()
