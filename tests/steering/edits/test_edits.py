"""The laws that every edit obeys, and what each kind does."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadOption
from seatrial.steering.edits import (
    EDITS,
    Add,
    AddBySide,
    Affine,
    Ascend,
    Patch,
    Project,
    Replace,
    Rotate,
    RotateTo,
    Slerp,
)

WIDTH = 6

DOSES = st.floats(-4, 4, allow_subnormal=False)
SHAPES = st.lists(st.integers(0, 4), max_size=3)
SEEDS = st.integers(0, 2**16)
EVERY_KIND = pytest.mark.parametrize("kind", EDITS)
CURVED = ("add-keeping-norm", "rotate", "rotate-to", "slerp", "ascend")
"""Kinds that say in their docstring that they do not move along a straight line."""


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(kind, seed=0):
    """A random edit of a kind."""
    if kind == "project":
        return Project(torch.linalg.qr(normal(seed, WIDTH, 2)).Q)
    if kind == "affine":
        return Affine(normal(seed, WIDTH, WIDTH), normal(seed + 1, WIDTH))
    if kind == "rotate":
        return Rotate(plane(seed), 2 * normal(seed + 1, 1)[0])
    if kind == "rotate-to":
        return RotateTo(plane(seed), 2 * normal(seed + 1, 1)[0], torch.tensor(-math.inf))
    if kind == "slerp":
        return slerp(normal(seed, WIDTH))
    if kind == "ascend":
        return Ascend(*network(seed), torch.tensor([0.3, 0.2]))
    if kind == "patch":
        return Patch(normal(seed, WIDTH), torch.arange(WIDTH) % 2 == 0)
    return EDITS[kind](normal(seed, WIDTH))


def plane(seed=0):
    """Two orthonormal columns."""
    return torch.linalg.qr(normal(seed, WIDTH, 2)).Q


def slerp(pole, kappa=2.0, alpha=0.7, beta=-0.9):
    return Slerp(pole, *map(torch.tensor, (kappa, alpha, beta)))


def network(seed=0):
    """Two hidden layers, 5 and 4 wide, and a goal."""
    return tuple(
        normal(seed + k, *shape)
        for k, shape in enumerate([(5, WIDTH), (5,), (4, 5), (4,), (4,)])
    )


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


@pytest.mark.parametrize("kind", [kind for kind in EDITS if kind not in CURVED])
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


def test_adding_by_side_pushes_each_state_further_to_its_own_side():
    v = torch.tensor([3.0, 4.0])
    h = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [4.0, -3.0]])

    edited, opposite = (AddBySide(each)(h, 0.5) for each in (v, -v))

    assert edited.tolist() == [[2.5, 4.0], [-2.5, -4.0], [4.0, -3.0]]
    assert torch.equal(edited, opposite)


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


def aside(h, pole):
    """What of h is at right angles to the pole."""
    pole = pole / pole.norm()
    return h - (h @ pole)[..., None] * pole


def angle_between(h, v):
    """In radians, by a formula that is exact at 0 and at pi."""
    a, b = h / h.norm(dim=-1, keepdim=True), (v / v.norm()).expand_as(h)
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


@pytest.mark.parametrize("kind", ["add-keeping-norm", "rotate", "rotate-to", "slerp"])
@pytest.mark.parametrize(
    ("dtype", "rtol"),
    [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)],
)
@given(dose=DOSES, seed=SEEDS)
def test_what_turns_keeps_the_length(kind, dtype, rtol, dose, seed):
    h = 30 * normal(seed + 2, 4, WIDTH).to(dtype)

    edited = example(kind, seed)(h, dose)

    lengths, before = edited.double().norm(dim=-1), h.double().norm(dim=-1)
    torch.testing.assert_close(lengths, before, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("kind", ["add-keeping-norm", "rotate", "rotate-to", "slerp"])
def test_what_turns_does_turn(kind):
    h = normal(9, 5, WIDTH)

    edited = example(kind)(h, 1.0)

    assert float((edited - h).norm(dim=-1).min()) > 0.01


@pytest.mark.parametrize("kind", CURVED)
def test_an_activation_of_zero_has_no_direction_to_turn(kind):
    edited = example(kind)(torch.zeros(2, WIDTH), 1.0)

    assert bool(edited.isfinite().all())
    assert kind == "ascend" or not bool(edited.any())


@pytest.mark.parametrize("kind", EDITS)
def test_only_edits_that_may_find_nothing_to_do_are_gated(kind):
    assert example(kind).is_gated == (kind in ("slerp", "ascend", "patch"))


@given(seed=SEEDS, dose=DOSES)
def test_adding_with_the_length_kept_is_the_published_formula(seed, dose):
    edit, h = example("add-keeping-norm", seed), normal(seed + 1, WIDTH).double()
    v = edit.vector.double() * (1 if dose >= 0 else -1)

    edited = edit(h, dose)

    s = 1 + max(0.0, float(torch.cosine_similarity(h, -v, dim=0)))
    mixed = h / h.norm() + abs(dose) * s * v
    torch.testing.assert_close(edited, h.norm() * mixed / mixed.norm())


@pytest.mark.parametrize("kind", ["add-keeping-norm", "slerp"])
@given(seed=SEEDS, dose=DOSES)
def test_the_opposite_dose_is_the_edit_of_the_opposite_vector(kind, seed, dose):
    edit, h = example(kind, seed), normal(seed + 1, 3, WIDTH)
    first, *rest = vars(edit).values()

    assert torch.equal(edit(h, -dose), type(edit)(-first, *rest)(h, dose))


@given(seed=SEEDS, one=DOSES, other=DOSES)
def test_rotations_add_up(seed, one, other):
    """R(s) R(t) = R(s + t)."""
    rotate, h = example("rotate", seed), normal(seed + 2, 3, WIDTH).double()

    twice, once = rotate(rotate(h, one), other), rotate(h, one + other)

    torch.testing.assert_close(twice, once, atol=1e-5, rtol=0)  # the basis is float32


@given(seed=SEEDS, dose=DOSES)
def test_rotating_there_and_back_is_doing_nothing(seed, dose):
    rotate, h = example("rotate", seed), normal(seed + 2, 3, WIDTH)

    torch.testing.assert_close(rotate(rotate(h, dose), -dose), h, atol=1e-5, rtol=0)


def test_a_quarter_turn_takes_the_first_column_to_the_second():
    basis = plane()
    rotate = Rotate(basis, torch.tensor(math.pi / 2))

    torch.testing.assert_close(rotate(basis.T, 1.0), torch.stack([basis.T[1], -basis.T[0]]))


@pytest.mark.parametrize("kind", ["rotate", "rotate-to"])
def test_what_is_outside_the_plane_keeps_its_bits(kind):
    edit = example(kind)
    _, *rest = vars(edit).values()
    edit, h = type(edit)(torch.eye(WIDTH)[:, 1:3], *rest), normal(3, 4, WIDTH)

    edited = edit(h, 0.7)

    assert bits(edited[:, [0, 3, 4, 5]]) == bits(h[:, [0, 3, 4, 5]])
    assert not torch.isclose(edited[:, 1:3], h[:, 1:3]).any()


@given(seed=SEEDS, angle=st.floats(-7, 7))
def test_rotating_to_an_angle_is_the_published_formula(seed, angle):
    basis, h = plane(seed).double(), normal(seed + 2, 4, WIDTH).double()
    edit = RotateTo(basis, torch.tensor(angle), torch.tensor(-math.inf))
    b1, b2 = basis.T

    edited = edit(h, 1.0)

    inside = h @ basis @ basis.T
    goal = math.cos(angle) * b1 + math.sin(angle) * b2
    expected = h - inside + inside.norm(dim=-1, keepdim=True) * goal
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=0)


@given(seed=SEEDS)
def test_rotating_to_the_angle_that_it_has_is_doing_nothing(seed):
    basis, h = plane(seed), normal(seed + 2, WIDTH)
    own = torch.atan2(h @ basis[:, 1], h @ basis[:, 0])

    edited = RotateTo(basis, own, torch.tensor(-math.inf))(h, 1.0)

    torch.testing.assert_close(edited, h, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", [170.0, -170.0, 10.0, 100.0])
def test_a_share_of_the_way_to_an_angle_goes_the_shorter_way_round(start):
    x = math.radians(start)
    h = torch.tensor([math.cos(x), math.sin(x), 5.0])
    goal = torch.tensor(math.radians(-150.0))
    edit = RotateTo(torch.eye(3)[:, :2], goal, torch.tensor(-math.inf))

    edited = edit(h, 0.5)

    way = (-150.0 - start + 180) % 360 - 180
    reached = math.radians(start + way / 2)
    expected = torch.tensor([math.cos(reached), math.sin(reached), 5.0])
    torch.testing.assert_close(edited, expected)


def test_a_floor_spares_what_is_not_above_it():
    edit = RotateTo(torch.eye(3)[:, :2], torch.tensor(math.pi), torch.tensor(0.5))
    h = torch.tensor([[0.6, 0.1, 1.0], [0.5, 0.1, 1.0], [-2.0, 0.1, 1.0]])

    edited = edit(h, 1.0)

    assert edit.is_gated
    assert bits(edited[1:]) == bits(h[1:])
    assert float(edited[0, 0]) < -0.6


@pytest.mark.parametrize("kind", [Rotate, RotateTo])
def test_a_plane_that_is_not_orthonormal_is_refused(kind):
    numbers = [torch.tensor(0.0)] * (len(kind.__dataclass_fields__) - 1)

    with pytest.raises(BadOption, match=f"columns of a {kind.__name__} basis must be"):
        kind(torch.ones(WIDTH, 2), *numbers)


@given(seed=SEEDS, dose=st.floats(0, 4))
def test_on_the_sphere_the_angle_to_the_pole_shrinks_by_the_share(seed, dose):
    edit, h = example("slerp", seed), normal(seed + 1, 4, WIDTH).double()
    pole = edit.pole.double()
    angle = angle_between(h, pole)

    edited = edit(h, dose)

    lack = -torch.tanh(2.0 * angle.cos())
    full = (0.7 * (lack + 0.9) / 1.9).clamp(0, 1) * (lack > -0.9)
    share = (dose * full).clamp(max=1)
    torch.testing.assert_close(
        angle_between(edited, pole), (1 - share) * angle, atol=1e-6, rtol=0
    )
    # It moves along the great circle: what is beside the pole keeps its direction.
    before, after = aside(h, pole), aside(edited, pole)
    moved = share < 0.99
    cosine = torch.cosine_similarity(before, after, dim=-1)[moved]
    torch.testing.assert_close(cosine, torch.ones_like(cosine), atol=1e-6, rtol=0)


def test_the_whole_way_on_the_sphere_lands_on_the_pole():
    pole, h = normal(0, WIDTH), normal(1, 5, WIDTH)

    edited = slerp(pole, alpha=1e3, beta=-1.0)(h, 1.0)

    expected = h.norm(dim=-1, keepdim=True) * pole / pole.norm()
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=0)


def test_what_lacks_no_more_than_beta_keeps_its_bits():
    pole, h = normal(0, WIDTH), normal(1, 400, WIDTH)
    lack = -torch.tanh(2.0 * torch.cosine_similarity(h, pole, dim=-1))

    edited = slerp(pole, beta=0.4)(h, 1.0)

    spared = lack <= 0.4
    assert 100 < int(spared.sum()) < 390
    assert bits(edited[spared]) == bits(h[spared])
    assert bool((edited[~spared] != h[~spared]).any(-1).all())


@pytest.mark.parametrize("nearness", [0.0, 1e-12, 1e-7, 1e-4])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_sphere_is_stable_at_both_poles(nearness, side):
    pole = normal(0, WIDTH)
    h = side * pole + nearness * normal(1, WIDTH)
    edit = slerp(pole, alpha=0.5, beta=-1.0)

    edited = edit(h, 1.0)

    torch.testing.assert_close(edited.norm(), h.norm())
    lack = math.tanh(2.0 * -side)
    angle = (1 - 0.5 * (lack + 1) / 2) * (0 if side > 0 else math.pi)
    assert float(angle_between(edited, pole)) == pytest.approx(angle, abs=2e-3)


def score(edit, h):
    """The network of an `Ascend`, in plain words for autograd."""
    hidden = torch.relu(edit.first.double() @ h + edit.first_bias)
    return edit.goal.double() @ torch.relu(edit.second.double() @ hidden + edit.second_bias)


@given(seed=SEEDS, dose=DOSES)
def test_a_patch_leaves_other_coordinates_their_bits(seed, dose):
    where, value, h = (
        torch.arange(WIDTH) % 3 == 0,
        normal(seed, WIDTH),
        normal(seed + 9, 7, WIDTH),
    )

    edited = Patch(value, where)(h, dose)

    assert torch.equal(edited[:, ~where], h[:, ~where])
    assert torch.equal(edited[:, where], Replace(value)(h, dose)[:, where])
    assert torch.equal(Patch(value, where)(h, 1.0)[:, where], value[where].expand(7, -1))


@given(seed=SEEDS)
def test_the_gradient_is_that_of_autograd(seed):
    edit, h = example("ascend", seed), 2 * normal(seed + 9, 7, WIDTH).double()

    by_hand = edit.gradient(h)

    by_autograd = torch.func.vmap(torch.func.grad(lambda row: score(edit, row)))(h)
    torch.testing.assert_close(by_hand, by_autograd)


@given(seed=SEEDS)
def test_a_small_step_raises_the_score_by_the_squared_gradient(seed):
    edit, h = example("ascend", seed), 2 * normal(seed + 9, 7, WIDTH).double()
    step = 1e-7

    edited = Ascend(*network(seed), torch.tensor([step]).double())(h, 1.0)

    rise = torch.stack(
        [score(edit, b) - score(edit, a) for a, b in zip(h, edited, strict=True)]
    )
    expected = step * edit.gradient(h).square().sum(-1)
    torch.testing.assert_close(rise, expected, rtol=1e-3, atol=1e-11)


@given(seed=SEEDS, dose=DOSES)
def test_climbing_a_linear_score_adds_a_constant_vector(seed, dose):
    """With every unit on, the network is linear."""
    first, _, second, _, goal = network(seed)
    always_on = torch.full((5,), 1e3), torch.full((4,), 1e5)
    edit = Ascend(first, always_on[0], second, always_on[1], goal, torch.tensor([0.3, 0.2]))
    h = normal(seed + 9, 7, WIDTH)

    edited = edit(h, dose)

    expected = Add(0.5 * goal @ second @ first)(h, dose)
    torch.testing.assert_close(edited, expected, atol=1e-4, rtol=1e-4)


@given(seed=SEEDS, dose=DOSES)
def test_one_step_is_along_the_gradient_and_further_steps_look_again(seed, dose):
    h, steps = (
        normal(seed + 9, 4, WIDTH).double(),
        torch.tensor([0.3, 0.2], dtype=torch.float64),
    )
    one, two = (Ascend(*network(seed), steps[:n]) for n in (1, 2))

    after_one = one(h, dose)

    torch.testing.assert_close(after_one, h + dose * 0.3 * one.gradient(h))
    expected = after_one + dose * 0.2 * one.gradient(after_one)
    torch.testing.assert_close(two(h, dose), expected)


def test_a_step_does_not_depend_on_how_many_tokens_are_in_the_call():
    """Released code divides each step by the number of tokens (trap T26)."""
    edit, h = example("ascend"), normal(4, 12, WIDTH)

    torch.testing.assert_close(edit(h, 1.0)[5:6], edit(h[5:6], 1.0))


@pytest.mark.parametrize("kind", CURVED)
def test_edits_run_where_gradients_are_off(kind):
    edit = example(kind)

    with torch.inference_mode():
        edited = edit(normal(4, 3, WIDTH), 1.0)

    assert torch.equal(edited, edit(normal(4, 3, WIDTH), 1.0))
