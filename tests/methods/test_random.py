"""The random control: of every kind of edit, as large, in the same place, elsewhere."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from seatrial.errors import BadOption, UnknownName
from seatrial.methods import ITI, LEACE, METHODS, Ablate, Angular, Method, MiMiC, Random
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance
from seatrial.methods.random import SPREADS
from seatrial.steering.edits import (
    Add,
    Project,
)
from seatrial.steering.intervention import Intervention, Part, PromptEdit
from seatrial.testing import CHECKS
from seatrial.types import Example, Site


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


FEW = {
    "function-vector": {"shots": 2, "mean_prompts": 3, "effect_prompts": 2, "heads": 2},
    "iti": {"heads": 3, "folds": 2},
    "k-steering": {"epochs": 4, "hidden": 8, "layer": 1},
    "layer-mean": {"shots": 2, "mean_prompts": 3},
    "task-vector": {"shots": 2},
}
"""What makes a method quick to fit; CHECKS fit it some twenty times."""

TURNED = {
    name: kind(**FEW.get(name, {}))
    for name, kind in METHODS.items()
    if not kind.is_control and kind.changes == "activations"
}


@pytest.fixture(scope="session")
def mapped(example):
    """The pairs of the example, and examples for the methods that learn a map."""
    words = ("sea calm", "train late", "walk slow", "day clear", "road rough", "sky grey")
    examples = tuple(Example(*word.split()) for word in words)
    return replace(example, examples=examples)


QUICK = {"leace", "k-steering"}
"""One that needs the mean state and one that needs all; the others are slow tests."""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in TURNED
    ],
)
def test_every_method_has_a_control_that_keeps_every_promise(tiny, mapped, name, check):
    CHECKS[check](Random(TURNED[name]), tiny("llama"), mapped)


@pytest.mark.parametrize("name", TURNED)
def test_it_edits_where_the_method_edits(tiny, mapped, name):
    model = tiny("gemma3")

    fitted = TURNED[name].fit(model, mapped, seed=3)
    control = Random(TURNED[name]).fit(model, mapped, seed=3)

    places = [[(p.tokens, s, type(e)) for p in x.parts for s, e in p.edits.items()]
              for x in (fitted, control)]  # fmt: skip
    assert places[0] == places[1]
    assert control.origin.options["reference"]["name"] == name


@pytest.mark.parametrize("reference", [Ablate(layer=1), Angular()])
def test_an_edit_that_is_used_at_many_sites_stays_one(tiny, example, reference):
    model = tiny("llama")

    bases = [e.basis for e in Random(reference).fit(model, example, seed=0).edits.values()]

    assert len(bases) > 2
    assert all(torch.equal(basis, bases[0]) for basis in bases)


def test_the_heads_that_iti_chose_keep_their_lengths(tiny, example):
    model, reference = tiny("qwen3"), ITI(heads=5)

    goal = reference.fit(model, example, seed=1).edits
    found = Random(reference).fit(model, example, seed=1).edits

    for site, edit in found.items():
        one, other = (x.vector.reshape(4, -1) for x in (goal[site], edit))
        torch.testing.assert_close(other.norm(dim=1), one.norm(dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reference", [LEACE, MiMiC])
def test_maps_of_real_states_keep_what_is_promised(planted, planted_data, reference):
    model, direction = planted
    method = reference(layer=1, read="completion")
    states = torch.cat(contrast(model, planted_data.pairs, Site(1), "completion"))
    mean = states.double().mean(0)

    [edit] = method.fit(model, planted_data, seed=0).edits.values()
    [found] = Random(method).fit(model, planted_data, seed=0).edits.values()

    one, other = (x.matrix.double() - torch.eye(64).double() for x in (edit, found))
    values = [torch.linalg.svdvals(x) for x in (one, other)]
    torch.testing.assert_close(*values, atol=1e-4, rtol=1e-4)
    shifts = [x.matrix.double() @ mean + x.bias.double() - mean for x in (edit, found)]
    assert float(shifts[1].norm()) == pytest.approx(float(shifts[0].norm()), abs=1e-4)
    written, looked = torch.linalg.svd(other)[0][:, 0], torch.linalg.svd(other)[2][0]
    assert max(abs(cosine(written, direction)), abs(cosine(looked, direction))) < 0.5
    # What leace erases, its control leaves.
    classes = found(states, 1.0).double().chunk(2)
    left = (classes[0].mean(0) - classes[1].mean(0)) @ direction.double()
    before = states.double().chunk(2)
    assert float(left) > 0.8 * float(
        (before[0].mean(0) - before[1].mean(0)) @ direction.double()
    )


@dataclass(frozen=True)
class Two(Method):
    """Edits under two token scopes, and a prompt."""

    name: ClassVar[str] = "two"
    summary: ClassVar[str] = "for tests"

    def fit(self, model, data, *, seed):
        one = {Site(0): Add(torch.ones(model.d_model))}
        other = {Site(1): Project(torch.eye(model.d_model)[:, :2])}
        words = PromptEdit("Be calm.", "Be wild.")
        return Intervention(one, "last", words, also=(Part(other, "prompt"),))


def test_edits_of_every_scope_are_turned_and_words_are_left_out(tiny, example):
    fitted = Random(Two()).fit(tiny("llama"), example, seed=0)

    [one, other] = fitted.parts
    assert (one.tokens, other.tokens, fitted.prompt_edit) == ("last", "prompt", None)
    assert abs(cosine(one.edits[Site(0)].vector, torch.ones(32))) < 0.9
    assert float(other.edits[Site(1)].basis[:2].abs().max()) < 0.9


def test_the_spread_of_a_random_control_is_an_option(tiny, many):
    model, caa = tiny("llama"), METHODS["caa"](layer=1)
    states = torch.cat(contrast(model, many.pairs, Site(1), "last"))
    wide = torch.linalg.eigh(covariance(states))[1][:, -5:].float()

    def share(spread, seed):
        [edit] = Random(caa, spread).fit(model, many, seed=seed).edits.values()
        assert float(edit.vector.norm()) == pytest.approx(length, rel=1e-5)
        return float((edit.vector @ wide).norm() / length) ** 2

    length = caa.fit(model, many, seed=0).norms()[Site(1)]
    even, like = (sum(share(spread, seed) for seed in range(20)) / 20 for spread in SPREADS)

    assert even < 0.35 and like > 0.5
    assert share("states", 3) == share("states", 3) != share("states", 4)


def test_a_spread_that_does_not_exist_is_refused(tiny, many):
    method = Random(METHODS["caa"](layer=1))
    object.__setattr__(method, "spread", "state")  # types are checked here, not by users

    with pytest.raises(UnknownName, match=r"unknown spread 'state'; .* mean 'states'"):
        method.fit(tiny("llama"), many, seed=0)


def test_maps_and_planes_are_not_drawn_like_states(tiny, many):
    with pytest.raises(BadOption, match="not an edit of kind 'Project'; leave out"):
        Random(Ablate(layer=1), "states").fit(tiny("llama"), many, seed=0)
