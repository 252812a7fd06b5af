"""The pilot behind the quickstart: every built-in concept, on the select split only.

    .venv/bin/python benchmarks/pilot.py

Half the difference between doses 1 and -1, averaged over 24 items of the select split, for
CAA at four layers, one random and one shuffled control at each, and the prompt. The test
split is not touched, so that choosing concepts by this table costs no claim its honesty.
"""

from collections.abc import Sequence

from seatrial.data import CONCEPTS
from seatrial.methods import CAA, Instruction, Method, Random, Shuffled
from seatrial.model import Model
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.study import make_study
from seatrial.tasks import Contrastive, fit_data
from seatrial.types import FitData

LAYERS = (12, 15, 18, 21)


def effects(
    model: Model, task: Contrastive, data: FitData, methods: Sequence[tuple[Method, int]]
) -> tuple[float, list[float]]:
    """The unsteered mean of the metric, and each method's mean effect per dose."""
    requests = task.requests("select")
    under = [UNSTEERED]
    for method, seed in methods:
        fitted = method.fit(model, data, seed=seed)
        under += [Steering(fitted, -1.0), Steering(fitted, 1.0)]
    means = []
    for line in model.log_probs(requests, under):
        values = [score.metrics[task.about.metric] for score in task.score(requests, line)]
        means.append(sum(values) / len(values))
    pairs = zip(means[1::2], means[2::2], strict=True)
    return means[0], [(up - down) / 2 for down, up in pairs]


def main() -> None:
    """Print one line a concept and surface."""
    model = Model.load("smollm2-135m")
    methods: list[tuple[Method, int]] = [(Instruction(), 0)]
    for layer in LAYERS:
        caa = CAA(layer, read="completion")
        methods += [(caa, 0), (Random(caa), 1), (Shuffled(caa), 1)]
    print(f"{model.identity}; nats (open: per token) per dose; caa / random / shuffled")
    header = "".join(f"{f'layer {layer}':>27}" for layer in LAYERS)
    print(f"{'concept':20}{'surface':12}{'base':>7}{'prompt':>8}{header}")
    for name in CONCEPTS:
        plan = {
            "name": "pilot",
            "model": "smollm2-135m",
            "concepts": [name],
            "methods": [{"name": "caa", "read": "completion"}],
            "layers": list(LAYERS),
            "limits": {"select": 24},
        }
        behaviour = Behaviour(make_study(plan), name)
        data = fit_data(behaviour.concept, behaviour.targets["open"])
        for surface, task in behaviour.targets.items():
            base, (prompt, *rest) = effects(model, task, data, methods)
            cells = "".join(
                f"{f'{rest[k]:.3f} / {rest[k + 1]:.3f} / {rest[k + 2]:.3f}':>27}"
                for k in range(0, len(rest), 3)
            )
            print(f"{name:20}{surface:12}{base:7.3f}{prompt:8.3f}{cells}", flush=True)


if __name__ == "__main__":
    main()
