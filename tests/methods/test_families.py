"""Every method steers every tiny family, or says in one sentence why it cannot."""

from math import isfinite

import pytest

from seatrial.errors import SeatrialError
from seatrial.methods import CAA, METHODS, DoLa
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks.others import with_others
from seatrial.testing import FAMILIES
from seatrial.types import Example, FitData, Pair, Request, Text

CHEAP = {
    "cast": {"similarity": "published", "gate_read": "last", "tokens": "all"},
    "few-shot": {"shots": 2},
    "function-vector": {"heads": 1, "shots": 2, "mean_prompts": 2, "effect_prompts": 1},
    "iti": {"folds": 2},
    "k-steering": {"epochs": 2, "hidden": 8},
    "layer-mean": {"shots": 2, "mean_prompts": 2},
    "length": {"reference": DoLa()},
    "other-task": {"reference": CAA(layer=1)},
    "orthogonal": {"reference": CAA(layer=1)},
    "random": {"reference": CAA(layer=1)},
    "shuffled": {"reference": CAA(layer=1)},
    # By default tokens that lack little of the behaviour are left alone: in falcon-alibi
    # all are, but for what rounding does on some processors. With beta -1 none is left
    # alone, and with a small kappa even one close to the pole moves visibly.
    "spherical": {"kappa": 2.0, "beta": -1.0},
    "task-vector": {"shots": 2, "dummies": 1},
}
"""Options that make a fit quick or its edit act, and references of controls; elsewhere the
defaults."""

NOISE = 1e-4
"""Nats that rounding may make up; what acts moves some answer by more."""

NO_HEADS = "no attention heads were found"
REFUSED = {
    "falcon_h1": {"function-vector": NO_HEADS, "iti": NO_HEADS, "icv": "'mlp'"},
}
"""Family -> method -> what the sentence says."""

SIDES = {
    "The sea is": (" calm", " rough"),
    "The train is": (" slow", " fast"),
    "Today it is": (" so", " no"),
}
PAIRS = tuple(
    Pair(f"{prompt} {k}", prompt, Text(prompt, good + more), Text(prompt, bad + more))
    for prompt, (good, bad) in SIDES.items()
    for k, more in enumerate(("", ", I say", " and clear"))
)
CONCEPT = FitData("calm", PAIRS, "Say yes.", "Say no.", "made by hand")
EXAMPLES = tuple(Example(word, word.upper()) for word in ("sea", "day", "road", "walk"))
MAP = FitData("upper", (), "", "", "made by hand, too", EXAMPLES)
OF_MAPS = ("function-vector", "layer-mean", "task-vector")

ASKED = [
    Request(prompt + side, prompt, prompt + side, (" and clear",))
    for prompt, sides in SIDES.items()
    for side in sides
]
"""What was fitted on, so that gates and thresholds let some through; longer than the
instructions of ActAdd, and so short that narrow windows of attention see its edit."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_steers_this_family_or_says_why_not(tiny, family):
    model, refused, under = tiny(family), {}, {}
    for name, kind in METHODS.items():
        method = kind(**CHEAP.get(name, {}))
        try:
            data = MAP if name in OF_MAPS else CONCEPT
            data = with_others(data, method.references(data), seed=0)
            fitted = method.fit(model, data, seed=0)
        except SeatrialError as error:
            refused[name] = str(error)
        else:
            under[name] = Steering(fitted)

    plain, *steered = model.log_probs(ASKED, [UNSTEERED, *under.values()])

    wanted = REFUSED.get(family, {})
    assert set(refused) == set(wanted), refused
    assert all(wanted[name] in said for name, said in refused.items()), refused
    answers = dict(zip(under, steered, strict=True))
    odd = [name for name, line in answers.items() if not all(map(is_finite, line))]
    idle = [name for name, line in answers.items() if furthest(line, plain) <= NOISE]
    assert (odd, idle) == ([], [])


def is_finite(answer):
    return all(isfinite(x) for tokens in answer.log_probs for x in tokens)


def furthest(steered, plain):
    """How far any token's log-probability is moved, in nats."""
    return max(
        abs(after - before)
        for answer, other in zip(steered, plain, strict=True)
        for tokens, others in zip(answer.log_probs, other.log_probs, strict=True)
        for after, before in zip(tokens, others, strict=True)
    )
