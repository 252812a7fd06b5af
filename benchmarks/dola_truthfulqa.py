"""DoLa on TruthfulQA: is a gain one of truth, or of length?

    python -m benchmarks.dola_truthfulqa --model smollm2-135m --questions 200
        [--mirror ../shared/data]

MC1, MC2 and MC3 of the unsteered model and of DoLa: candidates from the first and the
second half of the depth, chosen token by token or fixed; early states with and without the
final norm; scores that are log-probabilities and the published difference, which is none.
Beside every published form stands its control: the unsteered model with a constant for
every token, so large that its mean score is that of the published form. It knows nothing
of truth. All variants are answered by one call, and every number has a 95 % interval over
questions: Wilson's for a share, a paired bootstrap for a difference. ``--model tiny`` with
``--primer none`` tries it on a random model.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from benchmarks.rows import machine
from seatrial.methods import DoLa
from seatrial.model import Model, keep_freed_memory
from seatrial.stats import cluster_difference, cluster_share
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.steering.readout import Norm
from seatrial.tasks import Factuality
from seatrial.testing import tiny_model
from seatrial.types import Answer, Estimate, FitData, Request, Score

FOLDER = Path("runs/dola")
METRICS = ("mc1", "mc2", "mc3")
SPOILERS = ("tied", "ruled_out", "positive", "excess_tokens")
NO_DATA = FitData("nothing", ())
NORMS: tuple[Norm, ...] = ("final", "none")


@final
@dataclass(frozen=True)
class Row:
    """One way to score the answers."""

    variant: str
    offset: float
    """Nats added to every token."""
    values: dict[str, Estimate]
    """MC1, MC2 and MC3."""
    gains: dict[str, Estimate]
    """The same minus those of the unsteered model, question by question."""
    by_mean: dict[str, Estimate]
    """The values with scores divided by the number of tokens; empty for an offset, which
    is no other than the unsteered model then."""
    beyond: dict[str, Estimate]
    """Of a published form: its values minus those of its control."""
    spoilers: dict[str, float]
    """Mean over questions of what spoils such scores; see ``Factuality``."""


def variants(model: Model) -> dict[str, DoLa]:
    """All contrasts, by a name that says what they are."""
    found = {}
    for norm in NORMS:
        for scores in ("normalised", "published"):
            for layers, choice in _choices(model):
                method = DoLa(layers, 0.0, norm, scores=scores)
                found[f"{choice}, norm {norm}, {scores}"] = method
        for layers in ("low", "high"):
            for scores in ("normalised", "published-softmax"):
                method = DoLa(layers, 0.1, norm, scores=scores)
                found[f"dynamic {layers}, norm {norm}, alpha .1, {scores}"] = method
    for layers in ("low", "high"):
        method = DoLa(layers, 0.0, "none", "published", "published", "always")
        found[f"dynamic {layers}, all as released"] = method
    return found


def _choices(model: Model) -> Iterator[tuple[tuple[int, ...], str]]:
    """Candidates and what to call them; static ones are the ends of each half."""
    for name in ("low", "high"):
        layers = DoLa(name).candidates(model)
        yield layers, f"dynamic {name}"
        for layer in dict.fromkeys((layers[0], layers[-1])):
            yield (layer,), f"static block {layer}"


def matching_offset(published: Sequence[Answer], plain: Sequence[Answer]) -> float:
    """The constant for a token that gives the plain answers the same mean score."""
    totals = [sum(map(sum, answer.log_probs)) for answer in (*published, *plain)]
    shift = sum(totals[: len(plain)]) - sum(totals[len(plain) :])
    return shift / sum(len(tokens) for answer in plain for tokens in answer.log_probs)


@final
class Table:
    """Scores every line of answers in all ways."""

    def __init__(
        self, task: Factuality, requests: Sequence[Request], plain: Sequence[Answer]
    ) -> None:
        self.task = task
        self.requests = requests
        self.plain = plain
        self.groups = [request.group for request in requests]
        self.base = task.score(requests, plain)

    def row(self, variant: str, answers: Sequence[Answer]) -> Row:
        """A contrast, or the unsteered model."""
        scores = self.task.score(self.requests, answers)
        by_mean = replace(self.task, scoring="mean").score(self.requests, answers)
        return self._row(variant, 0.0, scores, by_mean=self._means(by_mean))

    def control(self, variant: str, published: Sequence[Answer]) -> list[Row]:
        """A published form, and the unsteered model with the offset that matches it."""
        offset = matching_offset(published, self.plain)
        scores = replace(self.task, offset=offset).score(self.requests, self.plain)
        row = self.row(variant, published)
        beyond = self._differences(self.task.score(self.requests, published), scores)
        name = f"  unsteered with {offset:+.2f} a token"
        return [replace(row, beyond=beyond), self._row(name, offset, scores)]

    def _row(
        self,
        variant: str,
        offset: float,
        scores: Sequence[Score],
        by_mean: dict[str, Estimate] | None = None,
    ) -> Row:
        spoilers = {name: sum(_column(scores, name)) / len(scores) for name in SPOILERS}
        gains = self._differences(scores, self.base)
        values = self._means(scores)
        return Row(variant, offset, values, gains, by_mean or {}, {}, spoilers)

    def _means(self, scores: Sequence[Score]) -> dict[str, Estimate]:
        return {m: cluster_share(_column(scores, m), self.groups) for m in METRICS}

    def _differences(
        self, one: Sequence[Score], other: Sequence[Score]
    ) -> dict[str, Estimate]:
        return {
            metric: cluster_difference(
                _column(one, metric), _column(other, metric), self.groups
            )
            for metric in METRICS
        }


def _column(scores: Sequence[Score], metric: str) -> list[float]:
    return [score.metrics[metric] for score in scores]


def rows_of(model: Model, task: Factuality) -> list[Row]:
    """The whole table, from one call of the model."""
    methods = variants(model)
    fitted = [method.fit(model, NO_DATA, seed=0) for method in methods.values()]
    requests = task.requests("test")
    plain, *lines = model.log_probs(
        requests, [UNSTEERED, *map(Steering, fitted)], progress=_tell
    )
    table = Table(task, requests, plain)
    rows = [table.row("unsteered", plain)]
    for (name, method), line in zip(methods.items(), lines, strict=True):
        if method.scores == "published":
            rows += table.control(name, line)
        else:
            rows.append(table.row(name, line))
    return rows


def _tell(share: float) -> None:
    print(f"\r{share:.0%} ", end="", file=sys.stderr, flush=True)


def as_markdown(rows: Sequence[Row]) -> str:
    """Two tables: the numbers, and how far they are ones of length or of a mask."""
    names = [m.upper() for m in METRICS]
    numbers = [["scored by", *names, *(f"gain in {n}" for n in names)]]
    doubts = [["scored by", *(f"{n} by mean" for n in names),
               *(f"{n} beyond the offset" for n in names),
               "tied", "ruled out", "above 0", "excess tokens"]]  # fmt: skip
    for row in rows:
        name = row.variant.replace("  ", "&nbsp;&nbsp;")
        numbers.append([name, *_cells(row.values), *_cells(row.gains)])
        spoilers = [f"{row.spoilers[spoiler]:.3g}" for spoiler in SPOILERS]
        doubts.append([name, *_cells(row.by_mean), *_cells(row.beyond), *spoilers])
    return "\n\n".join(map(_as_table, (numbers, doubts)))


def _cells(part: dict[str, Estimate]) -> list[str]:
    return [str(part[metric]) if part else "" for metric in METRICS]


def _as_table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"| --- |{' --: |' * (len(lines[0]) - 1)}", *body])


def main() -> None:
    """Read the command line, measure, print and keep."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dola_truthfulqa",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--source", default="truthfulqa", choices=Factuality.sources)
    parser.add_argument("--primer", default="short", choices=["short", "none"])
    parser.add_argument("--seed", type=int, default=0, help="of the sample of questions")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--mirror", type=Path, help="copy data from here")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    if options.mirror:
        os.environ["SEATRIAL_MIRROR"] = str(options.mirror)
    task = Factuality.of(options.source, seed=options.seed, limit=options.questions)
    task = replace(task, primer=options.primer)
    keep_freed_memory()
    if options.model == "tiny":
        model = tiny_model("llama")
    else:
        model = Model.load(options.model, dtype=options.dtype, device=options.device)
    start = time.perf_counter()
    rows = rows_of(model, task)
    seconds = time.perf_counter() - start
    asked = len(task.splits["test"])
    print(f"\n{model.card.name}, {asked} questions of {options.source}, {seconds:.0f} s\n")
    print(as_markdown(rows))
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{model.card.name}-{options.source.replace('/', '-')}.json"
    content = {
        "model": dict(model.header()),
        "source": options.source,
        "questions": [item.id for item in task.splits["test"]],
        "primer": options.primer,
        "seed": options.seed,
        "seconds": seconds,
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
    }
    file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(f"\nKept in {file}")


if __name__ == "__main__":
    main()
