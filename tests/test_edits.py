"""The laws that every edit obeys, and what each kind does."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.edits import EDITS, Add, Affine, Project, Replace
from seatrial.errors import BadOption

WIDTH = 6

DOSES = st.floats(-4, 4, allow_subnormal=False)
SHAPES = st.lists(st.integers(0, 4), max_size=3)
SEEDS = st.integers(0, 2**16)
EVERY_KIND = pytest.mark.parametrize("kind", EDITS)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(kind, seed=0):
    """A random edit of a kind."""
    if kind == "project":
        return Project(torch.linalg.qr(normal(seed, WIDTH, 2)).Q)
    if kind == "affine":
        return Affine(normal(seed, WIDTH, WIDTH), normal(seed + 1, WIDTH))
    return EDITS[kind](normal(seed, WIDTH))


def bits(h):
    """The bytes of a tensor, for which -0.0 is not 0.0 and NaN is itself."""
    return h.contiguous().view(torch.uint8).tolist()


def test_examples_cover_every_kind():
    assert {type(example(kind)) for kind in EDITS} == set(EDITS.values())


@EVERY_KIND
@given(shape=SHAPES, seed=SEEDS, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_dose_zero_changes_no_bit(kind, shape, seed, dtype):
    h = normal(seed, *shape, WIDTH).to(dtype)

    edited = example(kind, seed)(h, 0.0)

    assert bits(edited) == bits(h)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dose_zero_keeps_negative_zeros_infinities_and_nans(kind, dtype):
    odd = [-0.0, 0.0, math.inf, -math.inf, math.nan, 1e-40]
    h = torch.tensor([odd, odd[::-1]], dtype=dtype)

    edited = example(kind)(h, torch.tensor([0.0, -0.0]))

    assert bits(edited) == bits(h)


@EVERY_KIND
@given(n=st.integers(2, 5), seed=SEEDS, dose=DOSES)
def test_a_position_depends_on_that_position_only(kind, n, seed, dose):
    edit, h = example(kind, seed), normal(seed + 2, n, WIDTH)
    other = h.clone()
    other[1:] = math.nan

    alone = edit(h[:1], dose)

    assert torch.equal(edit(other, dose)[:1], edit(h, dose)[:1])
    torch.testing.assert_close(alone, edit(h, dose)[:1])


@EVERY_KIND
@given(shape=SHAPES, seed=SEEDS, dose=DOSES)
def test_the_input_is_left_alone_and_shares_no_memory_with_the_result(
    kind, shape, seed, dose
):
    h = normal(seed, *shape, WIDTH)
    before = h.clone()

    example(kind, seed)(h, dose).fill_(7.0)

    assert torch.equal(h, before)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dose", [1.5, torch.tensor([1.5, 0.0])])
def test_dtype_and_device_follow_the_activations(kind, dtype, dose):
    h = normal(0, 2, WIDTH).to(dtype)

    edited = example(kind)(h, dose)

    assert (edited.dtype, edited.device) == (h.dtype, h.device)


@EVERY_KIND
@given(doses=st.lists(DOSES, min_size=1, max_size=5), seed=SEEDS)
def test_one_dose_a_row_equals_one_row_at_a_time(kind, doses, seed):
    edit, h = example(kind, seed), normal(seed + 2, len(doses), 3, WIDTH)

    together = edit(h, torch.tensor(doses)[:, None].expand(-1, 3))

    alone = torch.stack([edit(rows, dose) for rows, dose in zip(h, doses, strict=True)])
    torch.testing.assert_close(together, alone)


@EVERY_KIND
@given(dose=DOSES, seed=SEEDS)
def test_edits_move_along_the_straight_line_to_dose_one(kind, dose, seed):
    edit, h = example(kind, seed), normal(seed + 2, 3, WIDTH)

    edited = edit(h, dose)

    torch.testing.assert_close(edited, h + dose * (edit(h, 1.0) - h), atol=1e-4, rtol=1e-4)


@EVERY_KIND
def test_width_is_that_of_the_activations(kind):
    assert example(kind).width == WIDTH


@given(dose=DOSES, seed=SEEDS)
def test_adding_is_odd_in_the_dose(dose, seed):
    add, h = example("add", seed), normal(seed + 1, 3, WIDTH)

    there_and_back = add(add(h, dose), -dose)

    torch.testing.assert_close(there_and_back, h, atol=1e-5, rtol=1e-5)


def test_adding_at_dose_one_adds_the_vector_once():
    v = torch.tensor([1.0, 2.0, 4.0])

    assert torch.equal(Add(v)(torch.zeros(2, 3), 1.0), torch.stack([v, v]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_replacing_at_dose_one_lands_exactly_on_the_value(dtype):
    h, value = 1e4 * normal(0, 50, WIDTH).to(dtype), 1e-3 * normal(1, WIDTH).to(dtype)

    assert torch.equal(Replace(value)(h, 1.0), value.expand(50, WIDTH))


def test_replacing_at_dose_one_overcomes_infinity():
    h = torch.full((1, WIDTH), math.inf)

    assert torch.equal(Replace(torch.ones(WIDTH))(h, 1.0), torch.ones(1, WIDTH))


@given(seed=SEEDS)
def test_projecting_twice_is_projecting_once(seed):
    project, h = example("project", seed), normal(seed + 1, 4, WIDTH)

    once = project(h, 1.0)

    torch.testing.assert_close(once @ project.basis, torch.zeros(4, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(project(once, 1.0), once, atol=1e-5, rtol=0)


@given(seed=SEEDS)
def test_reflecting_twice_is_doing_nothing(seed):
    project, h = example("project", seed), normal(seed + 1, 4, WIDTH)

    once = project(h, 2.0)

    torch.testing.assert_close(once @ project.basis, -h @ project.basis, atol=1e-5, rtol=0)
    torch.testing.assert_close(project(once, 2.0), h, atol=1e-5, rtol=0)


def test_projecting_leaves_the_rest_of_space_alone():
    project = Project(torch.eye(WIDTH)[:, :2])

    edited = project(torch.arange(1.0, WIDTH + 1), 1.0)

    assert edited.tolist() == [0, 0, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "basis",
    [torch.ones(WIDTH, 1), torch.ones(WIDTH, 2) / math.sqrt(WIDTH), torch.zeros(WIDTH, 1)],
    ids=["long", "parallel", "zero"],
)
def test_a_basis_that_is_not_orthonormal_is_refused(basis):
    with pytest.raises(BadOption, match="must be orthonormal; orthonormalise them first"):
        Project(basis)


def test_a_basis_in_half_precision_counts_as_orthonormal():
    assert Project(example("project").basis.half()).width == WIDTH


@given(seed=SEEDS)
def test_affine_at_dose_one_is_the_map(seed):
    edit, h = example("affine", seed), normal(seed + 2, 4, WIDTH)

    torch.testing.assert_close(edit(h, 1.0), h @ edit.matrix.T + edit.bias)


def test_affine_acts_on_column_vectors():
    swap_and_drop = torch.tensor([[0.0, 1.0], [0.0, 0.0]])

    edited = Affine(swap_and_drop, torch.zeros(2))(torch.tensor([3.0, 5.0]), 1.0)

    assert edited.tolist() == [5.0, 0.0]
