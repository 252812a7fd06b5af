"""Metrics that lie between two ends say so, so that their intervals do, too."""

import random

import numpy as np
import pytest

from seatrial.tasks import TASKS, Generation, Map, Written, in_condition
from seatrial.tasks.judges import Judge, Judgement, Scale
from seatrial.tasks.spec import with_options
from seatrial.types import Answer, Completion

FORMS = {
    "facts": ({}, {"form": "texts"}, {"form": "true_false"}),
    "map": ({}, {"shots": 2}),
    "propensity": ({}, {"form": "ab", "both_orders": True}),
}
OF_OTHER_FORMS = {"mmlu": ("called_true", "accuracy_of_sums")}
OF_OTHER_FORMS["bbh"] = OF_OTHER_FORMS["mmlu"]
"""Metrics of the forms in which facts are asked."""


def answered(request, rng):
    """Of somebody who answers by chance, and often leaves mass for something else."""
    firsts = np.log(rng.dirichlet(np.ones(len(request.answers) + 1)))
    lines, flags = [], []
    for first, text in zip(firsts, request.answers, strict=False):
        rest = (-rng.exponential(size=max(0, len(text.split()) - 1))).tolist()
        lines.append((float(first), *rest))
        flags.append(tuple((rng.random(len(lines[-1])) < 0.7).tolist()))
    kl = tuple(tuple(rng.exponential(size=len(line)).tolist()) for line in lines)
    return Answer(tuple(lines), kl, tuple(flags))


def written(rng):
    words = random.Random(int(rng.integers(1 << 30))).choices("abcdef", k=rng.integers(30))
    ids = tuple(range(len(words)))
    return Completion(
        " ".join(words), ids, (-1.0,) * len(ids), rng.choice(["length", "end"])
    )


def scores_by_chance(task):
    rng = np.random.default_rng(0)
    requests = task.requests("test")
    if isinstance(task, Written):
        return task.score(requests, [written(rng) for _ in requests])
    return task.score(requests, [answered(request, rng) for request in requests])


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("name", TASKS)
def test_fractions_are_within_the_bounds_that_they_declare(name):
    kind = TASKS[name]
    plain = kind.of(kind.sources[0], seed=0, limit=60)
    found = {}
    for options in FORMS.get(name, ({},)):
        task = with_options(plain, options)
        for score in scores_by_chance(task):
            for metric, value in score.metrics.items():
                found.setdefault(metric, []).append(value)

    assert set(task.about.bounds) - set(found) == set(OF_OTHER_FORMS.get(name, ()))
    for metric in set(task.about.bounds) & set(found):
        low, high = task.about.bounds[metric]
        assert low - 1e-9 <= min(found[metric]) and max(found[metric]) <= high + 1e-9
    fractions = {
        metric
        for metric, values in found.items()
        if min(values) >= 0 and max(values) <= 1 + 1e-9 and not set(values) <= {0.0, 1.0}
    }
    assert fractions <= set(task.about.bounds)


class Stars(Judge):
    """A judge of a third party."""

    scale = Scale(1.0, 5.0)
    identity = "stars"

    def judge(self, asked):
        return [Judgement(3.5) for _ in asked]


def test_a_score_lies_on_the_scale_of_the_judge_also_under_other_prompts():
    task = Generation.of("formality", seed=0, limit=4, judge=Stars())
    instructions = Map.instructions("antonym")
    conditioned = in_condition(task, "system-positive", instructions)

    assert task.about.bounds["score"] == (1.0, 5.0)
    assert conditioned.about.bounds == task.about.bounds
