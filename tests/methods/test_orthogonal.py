"""The orthogonal control: same size and place, and nothing of the direction."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from seatrial.errors import BadOption
from seatrial.methods import (
    ACE,
    CAA,
    ICV,
    ITI,
    Ablate,
    Angular,
    Instruction,
    Method,
    Orthogonal,
    RepE,
    Spherical,
)
from seatrial.steering.edits import Add, Project
from seatrial.steering.intervention import Intervention
from seatrial.testing import CHECKS
from seatrial.types import Site

REFERENCE = CAA(layer=1, read="completion")


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_orthogonal_to_its_reference_and_as_long(planted, planted_data, seed):
    model, direction = planted
    goal = vector_of(REFERENCE.fit(model, planted_data, seed=seed))

    vector = vector_of(Orthogonal(REFERENCE).fit(model, planted_data, seed=seed))

    assert abs(cosine(vector, goal)) < 1e-6
    assert abs(cosine(vector, direction)) < 0.05
    torch.testing.assert_close(vector.norm(), goal.norm(), rtol=1e-6, atol=0)


def test_seeds_give_different_directions_and_one_seed_one(planted, planted_data):
    model, _ = planted

    drawn = [
        vector_of(Orthogonal(REFERENCE).fit(model, planted_data, seed=seed))
        for seed in (0, 1, 2, 0)
    ]

    assert torch.equal(drawn[0], drawn[3])
    assert max(abs(cosine(drawn[a], drawn[b])) for a, b in ((0, 1), (0, 2), (1, 2))) < 0.5


def test_it_draws_each_added_vector_on_its_own(planted, planted_data):
    model, _ = planted
    reference = RepE(layer=0, blocks=2, read="completion", tokens="generated")

    fitted = Orthogonal(reference).fit(model, planted_data, seed=0)

    goal = reference.fit(model, planted_data, seed=0)
    one, other = (edit.vector for edit in fitted.edits.values())
    assert (list(fitted.edits), fitted.tokens) == ([Site(0), Site(1)], "generated")
    assert abs(cosine(one, other)) < 0.5
    for site, edit in fitted.edits.items():
        assert abs(cosine(edit.vector, goal.edits[site].vector)) < 1e-6


def test_a_projection_is_replaced_by_one_on_the_same_rank_everywhere(planted, planted_data):
    model, _ = planted
    reference = Ablate(layer=1, read="completion")

    fitted = Orthogonal(reference).fit(model, planted_data, seed=0)

    goal = reference.fit(model, planted_data, seed=0)
    [edit] = set(fitted.edits.values())
    [removed] = set(goal.edits.values())
    assert list(fitted.edits) == list(goal.edits)
    assert float((edit.basis.mT @ removed.basis).abs().max()) < 1e-6


@dataclass(frozen=True)
class Handmade(Method):
    """Makes the edit it is given."""

    name: ClassVar[str] = "handmade"
    summary: ClassVar[str] = "for tests"

    edit: Add | Project

    def fit(self, model, data, *, seed):
        return Intervention({Site(0): self.edit})


def test_a_subspace_of_any_rank_gets_an_orthogonal_one(planted, planted_data):
    basis = torch.linalg.qr(torch.randn(64, 5, generator=torch.manual_seed(0))).Q

    fitted = Orthogonal(Handmade(Project(basis))).fit(planted[0], planted_data, seed=3)

    [edit] = fitted.edits.values()
    assert edit.basis.shape == (64, 5)
    assert float((edit.basis.mT @ basis).abs().max()) < 1e-6


def test_a_subspace_that_leaves_no_room_is_refused(planted, planted_data):
    half_and_more = Project(torch.eye(64)[:, :33])

    with pytest.raises(BadOption, match="no subspace of rank 33 orthogonal to one"):
        Orthogonal(Handmade(half_and_more)).fit(planted[0], planted_data, seed=0)


@pytest.mark.parametrize(
    ("reference", "vector"),
    [(ICV(point="resid"), "vector"), (Spherical(layer=1), "pole")],
)
def test_vectors_that_are_not_just_added_get_orthogonal_ones(
    planted, planted_data, reference, vector
):
    model, _ = planted

    fitted = Orthogonal(reference).fit(model, planted_data, seed=0)

    goal = reference.fit(model, planted_data, seed=0)
    assert list(fitted.edits) == list(goal.edits)
    for site, edit in fitted.edits.items():
        one, other = (getattr(x, vector) for x in (edit, goal.edits[site]))
        assert type(edit) is type(goal.edits[site])
        assert abs(cosine(one, other)) < 1e-6
        torch.testing.assert_close(one.norm(), other.norm(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", [{"form": "to"}, {"form": "by", "angle": 30.0}])
def test_a_plane_gets_an_orthogonal_one_and_keeps_its_angle(planted, planted_data, form):
    model, _ = planted
    reference = Angular(read="completion", **form)

    fitted = Orthogonal(reference).fit(model, planted_data, seed=0)

    goal = reference.fit(model, planted_data, seed=0)
    [edit], [turned] = set(fitted.edits.values()), set(goal.edits.values())
    assert type(edit) is type(turned)
    assert float((edit.basis.mT @ turned.basis).abs().max()) < 1e-6
    assert edit.angle == turned.angle


def test_heads_get_directions_of_their_own(tiny, example):
    model, reference = tiny("qwen3"), ITI(heads=5)

    fitted = Orthogonal(reference).fit(model, example, seed=0)

    goal = reference.fit(model, example, seed=0)
    for site, edit in fitted.edits.items():
        one, other = (x.vector.reshape(4, -1) for x in (edit, goal.edits[site]))
        torch.testing.assert_close(one.norm(dim=1), other.norm(dim=1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close((one * other).sum(1), torch.zeros(4), atol=1e-4, rtol=0)


def test_it_refuses_a_reference_without_a_direction(planted, planted_data):
    with pytest.raises(
        BadOption, match=r"'ace' makes a Affine edit, which has none\. Use 'random' or"
    ):
        Orthogonal(ACE(layer=1)).fit(planted[0], planted_data, seed=0)


def test_it_refuses_a_reference_without_edits(planted, planted_data):
    with pytest.raises(BadOption, match="'instruction' edits no activation"):
        Orthogonal(Instruction()).fit(planted[0], planted_data, seed=0)


def test_it_says_what_it_controls_and_with_which_seed(planted, planted_data):
    origin = Orthogonal(REFERENCE).fit(planted[0], planted_data, seed=11).origin

    assert (origin.method, origin.seed) == ("orthogonal", 11)
    assert origin.options["reference"]["name"] == "caa"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("reference", [CAA(layer=1), Ablate(layer=1)])
def test_it_keeps_every_promise_with_wide_heads(tiny, example, reference, check):
    CHECKS[check](Orthogonal(reference), tiny("gemma3"), example)
