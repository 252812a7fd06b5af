"""Norms and cosines of added vectors are those of torch, beside the states they meet."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadOption, ForeignIntervention
from seatrial.steering import load, save
from seatrial.steering.compare import STATE_NORMS, comparison
from seatrial.steering.compose import joined, weighted
from seatrial.steering.edits import Add, AddBySide, AddKeepingNorm, Replace
from seatrial.steering.intervention import Intervention, Part
from seatrial.types import Origin, Site


def normal(seed, width=6):
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def along(length, width=6):
    return torch.eye(width)[0] * length


def beside(*lengths):
    """An origin whose fit has read states of these lengths, site by site."""
    norms = {str(Site(layer)): length for layer, length in enumerate(lengths)}
    return Origin("model", 6, "caa", {STATE_NORMS: norms}, "data", 0)


@given(seeds=st.lists(st.integers(0, 2**16), min_size=1, max_size=4))
def test_norms_and_cosines_are_those_of_torch(seeds):
    vectors = [normal(seed) for seed in seeds]

    table = comparison(
        {str(k): Intervention({Site(2): Add(v)}) for k, v in enumerate(vectors)}
    )

    assert [row.intervention for row in table.rows] == [str(k) for k in range(len(seeds))]
    for row, vector in zip(table.at(Site(2)), vectors, strict=True):
        assert row.norm == pytest.approx(float(torch.linalg.norm(vector)))
        cosines = [float(torch.cosine_similarity(vector, v, dim=0)) for v in vectors]
        assert list(row.cosines) == pytest.approx(cosines, abs=1e-6)


def test_every_vector_stands_in_the_row_of_its_site_and_tokens():
    one = Intervention(
        {Site(1): Add(normal(1)), Site(0): Add(normal(2))},
        "at_1",
        also=(Part({Site(1): Add(normal(3))}, "at_2"),),
    )
    other = Intervention({Site(1): AddKeepingNorm(normal(4)), Site(3): Replace(normal(5))})
    third = Intervention({Site(0): AddBySide(normal(6))}, "last")

    table = comparison(
        {"one": one, "silent": Intervention(), "other": other, "third": third}
    )

    assert [
        (str(r.site), r.intervention, r.tokens, len(r.cosines)) for r in table.rows
    ] == [
        ("0.resid", "one", "at_1", 2),
        ("0.resid", "third", "last", 2),
        ("1.resid", "one", "at_1", 3),
        ("1.resid", "one", "at_2", 3),
        ("1.resid", "other", "all", 3),
    ]
    assert table.at(Site(3)) == ()
    assert table.without == ("silent",)


def test_as_text_it_is_a_table():
    up, right = torch.tensor([3.0, 4.0]), torch.tensor([-4.0, 3.0])

    text = str(
        comparison(
            {
                "caa": Intervention({Site(0): Add(up)}, "last", origin=beside(40.0)),
                "repe": Intervention({Site(0): AddBySide(right)}),
            }
        )
    )

    assert text.splitlines() == [
        "site     steering  tokens  norm  |v|/|h|  cosines, in the order of the rows",
        "0.resid  caa       last    5     0.125    +1.000 +0.000",
        "0.resid  repe      all     5              +0.000 +1.000",
    ]


def ratios(**interventions):
    return [row.ratio for row in comparison(interventions).rows]


def test_a_length_stands_beside_that_of_the_states_at_its_site():
    edits = {Site(0): Add(along(3.0)), Site(1): AddBySide(along(4.0))}
    read = Intervention(edits, origin=beside(6.0, 2.0))
    half_read = Intervention(edits, origin=beside(6.0))
    turned = Intervention({Site(1): AddKeepingNorm(along(0.1))}, origin=beside(6.0, 2.0))

    assert ratios(a=read) == [0.5, 2.0]
    assert ratios(a=half_read) == [0.5, None]
    assert ratios(a=Intervention(edits)) == [None, None]
    assert ratios(a=turned) == [pytest.approx(0.1)]  # it is added to states of length 1


def test_vectors_of_another_length_have_another_ratio(tmp_path):
    one = Intervention({Site(0): Add(along(3.0))}, origin=beside(6.0))
    other = Intervention({Site(0): Add(along(9.0))}, origin=beside(10.0))

    both = joined(one, other)
    save(both, tmp_path / "both.safetensors")
    loaded = load(tmp_path / "both.safetensors")

    assert ratios(a=weighted({one: -2.0})) == [1.0]
    # Where several have read, their states are as long as on average.
    assert ratios(a=both) == ratios(a=loaded) == [3 / 8, 9 / 8]
    alone = Intervention({Site(0): Add(along(9.0))})
    assert ratios(a=joined(one, alone)) == [0.5, 1.5]


@pytest.mark.parametrize("edits", [{}, {Site(0): Replace(torch.ones(6))}])
def test_without_vectors_there_is_nothing_to_compare(edits):
    with pytest.raises(BadOption, match="none of these interventions adds a vector"):
        comparison({"a": Intervention(edits)})


def test_a_vector_of_zeros_has_no_direction():
    with pytest.raises(BadOption, match=r"the vector of 'a' at site 0.resid is 0"):
        comparison({"a": Intervention({Site(0): Add(torch.zeros(6))})})


def test_other_widths_are_refused_by_name():
    with pytest.raises(ForeignIntervention, match=r"'b' at site .* is 4 wide, .*'a' 6;"):
        comparison(
            {
                "a": Intervention({Site(0): Add(normal(0))}),
                "b": Intervention({Site(0): Add(normal(0, 4))}),
            }
        )


def test_steerings_of_different_models_are_refused():
    def fitted(model):
        origin = Origin(model, 6, "caa", {}, "data", 0)
        return Intervention({Site(0): Add(normal(0))}, origin=origin)

    with pytest.raises(ForeignIntervention, match="fitted on different models, x and y;"):
        comparison({"a": fitted("x"), "b": fitted("y")})
