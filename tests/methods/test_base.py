"""What methods share: their options, their layer, and lengths that can be compared."""

import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods import CAA, METHODS, FewShot, Instruction, Random, Shuffled
from seatrial.methods.base import (
    doses_of,
    has_one_layer,
    heads_at,
    options_of,
    rescaled,
    with_edits,
)
from seatrial.steering.edits import Add, Affine
from seatrial.steering.intervention import Intervention, Part
from seatrial.types import Site


def ones(size):
    return Add(torch.full((4,), float(size)))


def lengths(fitted):
    return [float(e.vector.norm()) for part in fitted.parts for e in part.edits.values()]


def test_vectors_get_the_lengths_of_others_site_by_site():
    found = Intervention({Site(0): ones(1), Site(2): ones(2)})
    goal = Intervention({Site(0): ones(3), Site(2): ones(1)})

    assert lengths(rescaled(found, goal, "")) == pytest.approx([6.0, 2.0])


def test_at_other_sites_vectors_get_their_total_length():
    """As those of ITI with its heads: site by site there would be nothing to compare."""
    found = Intervention({Site(0): ones(1), Site(2): ones(1)})
    goal = Intervention({Site(1): ones(5)})

    made = rescaled(found, goal, "")

    assert lengths(made) == pytest.approx([50**0.5] * 2)
    assert list(made.edits) == [Site(0), Site(2)]


def test_vectors_of_every_scope_are_scaled_alike_even_beside_a_zero():
    """As those of ActAdd, which adds one to each of the first tokens, 0 to the first."""
    parts = (Part({Site(0): ones(3)}, "at_1"), Part({Site(0): ones(4)}, "at_2"))
    found = Intervention({Site(0): ones(0)}, "at_0", also=parts)
    goal = Intervention({Site(0): ones(10)}, "last")

    made = rescaled(found, goal, "")

    assert lengths(made) == pytest.approx([0.0, 12.0, 16.0])
    assert [part.tokens for part in made.parts] == ["at_0", "at_1", "at_2"]


def test_what_has_no_length_is_left_alone():
    kept = Affine(torch.eye(4), torch.ones(4))
    found = Intervention({Site(0): kept, Site(1): ones(1)})
    goal = Intervention({Site(0): Affine(torch.eye(4), torch.zeros(4)), Site(1): ones(2)})

    made = rescaled(found, goal, "")

    assert made.edits[Site(0)] is kept
    assert float(made.edits[Site(1)].vector.norm()) == pytest.approx(4.0)
    alone = Intervention({Site(0): kept})
    assert rescaled(alone, alone, "") is alone


def test_a_vector_of_zeros_is_said_with_its_site():
    found, goal = Intervention({Site(1): ones(0)}), Intervention({Site(1): ones(1)})

    with pytest.raises(BadData, match=r"^nothing at 1\.resid in \{braces\}$"):
        rescaled(found, goal, "nothing at {site} in {braces}")


def test_edits_are_changed_in_their_places():
    fitted = Intervention({Site(0): ones(1)}, "last", also=(Part({Site(1): ones(2)}),))

    seen = []

    made = with_edits(fitted, lambda site, _: seen.append(site) or ones(10 + site.layer))

    assert (seen, lengths(made)) == ([Site(0), Site(1)], pytest.approx([20.0, 22.0]))
    assert [part.tokens for part in made.parts] == ["last", "all"]
    assert lengths(fitted) == pytest.approx([2.0, 4.0])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *[(name, True) for name in ("caa", "ablate", "function-vector", "task-vector")],
        *[(name, False) for name in ("icv", "iti", "angular", "few-shot", "instruction")],
    ],
)
def test_a_method_has_one_layer_to_choose_or_not(name, wanted):
    assert has_one_layer(METHODS[name]) == wanted


def test_a_control_has_the_doses_of_what_it_controls():
    assert doses_of(CAA()) is doses_of(Random(CAA())) is None
    assert doses_of(Shuffled(FewShot())) == doses_of(Instruction()) == (-1.0, 0.0, 1.0)


def test_only_at_their_own_site_do_heads_lie_side_by_side(tiny):
    model = tiny("llama")

    assert heads_at(model, Site(1, "heads")) == 4
    assert {heads_at(model, Site(1, point)) for point in ("resid", "attn", "mlp")} == {1}


def test_cells_are_named_without_defaults_that_came_later():
    """So what was stored before is not measured again; the record has them all."""
    assert options_of(Instruction(), brief=True) == {"name": "instruction", "version": 1}
    told = options_of(Instruction(encourage="Be calm."), brief=True)
    assert set(told) == {"name", "version", "encourage"}
    inside = options_of(Random(CAA(layer=1)), brief=True)
    assert set(inside) == {"name", "version", "reference"}
    assert inside["reference"]["version"] == CAA.version
    assert set(options_of(Random(CAA(layer=1)))) == {"name", "reference", "spread"}
