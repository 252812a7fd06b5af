"""Counterparts drawn at random: of every kind of edit, as large, elsewhere."""

import math
from dataclasses import dataclass

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods.fitting.linear_algebra import covariance
from seatrial.steering.edits import (
    EDITS,
    Add,
    AddBySide,
    AddKeepingNorm,
    Affine,
    Ascend,
    Draw,
    Edit,
    Patch,
    Project,
    Replace,
    Rotate,
    RotateTo,
    Slerp,
)
from seatrial.steering.edits.drawing import random_beside, random_turn

WIDTH = 24


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orthonormal(rank, seed=0):
    return torch.linalg.qr(normal(WIDTH, rank, seed=seed)).Q


def cloud(spread=None, n=4000, seed=0):
    """States far from the origin, by default much wider in some directions."""
    points = normal(n, WIDTH, seed=seed).double()
    if spread is None:
        spread = torch.linspace(0.2, 4.0, WIDTH).double()
    else:  # exactly alike in all directions
        points = torch.linalg.qr(points - points.mean(0)).Q * math.sqrt(n)
    return (points * spread + 10 * normal(WIDTH, seed=9).double()).float()


def climb(bias=0.5):
    parts = normal(8, WIDTH, seed=3) / 4, torch.full((8,), bias), normal(5, 8, seed=4)
    return Ascend(*parts, torch.full((5,), bias), normal(5, seed=5), torch.tensor([0.7]))


MADE = {
    "add": Add(normal(WIDTH)),
    "replace": Replace(5 + normal(WIDTH)),
    "project": Project(orthonormal(3)),
    "affine": Affine(normal(WIDTH, WIDTH) / 4, normal(WIDTH, seed=1)),
    "add-keeping-norm": AddKeepingNorm(normal(WIDTH) / 10),
    "rotate": Rotate(orthonormal(2), torch.tensor(0.4)),
    "rotate-to": RotateTo(orthonormal(2), torch.tensor(0.4), torch.tensor(-math.inf)),
    "add-by-side": AddBySide(normal(WIDTH)),
    "slerp": Slerp(normal(WIDTH), *map(torch.tensor, (20.0, 0.7, -0.15))),
    "ascend": climb(),
    "patch": Patch(normal(WIDTH), torch.arange(WIDTH) % 3 == 0),
}
"""One edit of each kind that can be saved."""


def drawn(edit, seed=0, states=None, parts=1):
    states = cloud() if states is None else states
    return edit.turned(Draw(generator(seed), lambda: states, parts))


def moved(edit, states):
    """Mean squared length of the steps at dose 1."""
    states = states.double()
    return float((edit(states, 1.0) - states).square().sum(-1).mean())


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


def parts_of(edit):
    return [getattr(edit, name) for name in edit.__dataclass_fields__]


@pytest.mark.parametrize("kind", EDITS)
def test_every_kind_of_edit_has_a_counterpart_of_its_kind(kind):
    one, again, other = (drawn(MADE[kind], seed) for seed in (0, 0, 1))

    assert type(one) is type(MADE[kind]) is EDITS[kind]
    assert all(map(torch.equal, parts_of(one), parts_of(again)))
    assert not all(map(torch.equal, parts_of(one), parts_of(other)))
    assert not all(map(torch.equal, parts_of(one), parts_of(MADE[kind])))
    assert {part.dtype for part in parts_of(one)} <= {torch.float32, torch.bool}


@pytest.mark.parametrize("kind", ["add", "add-by-side", "add-keeping-norm", "slerp"])
def test_vectors_keep_their_length_and_nothing_of_their_direction(kind):
    edit = MADE[kind]
    vector = edit.pole if kind == "slerp" else edit.vector

    found = [drawn(edit, seed) for seed in range(40)]

    vectors = [one.pole if kind == "slerp" else one.vector for one in found]
    lengths = torch.stack([v.double().norm() for v in vectors])
    torch.testing.assert_close(
        lengths, vector.double().norm().expand(40), rtol=1e-6, atol=0
    )
    cosines = torch.tensor([cosine(v, vector) for v in vectors])
    # In d dimensions they have mean 0 and standard deviation 1/sqrt(d).
    assert abs(float(cosines.mean())) < 3 / math.sqrt(40 * WIDTH)
    assert 0.6 < float(cosines.std()) * math.sqrt(WIDTH) < 1.4


@pytest.mark.parametrize("kind", ["project", "rotate", "rotate-to"])
def test_subspaces_and_planes_keep_their_rank_and_lie_anywhere(kind):
    basis = MADE[kind].basis.double()
    rank = basis.shape[1]

    found = [drawn(MADE[kind], seed).basis.double() for seed in range(40)]

    for one in found:
        torch.testing.assert_close(
            one.mT @ one, torch.eye(rank).double(), atol=1e-6, rtol=0
        )
    shared = sum(float((basis.mT @ one).square().sum()) for one in found) / 40
    # A random subspace of rank r shares r^2/d squared cosines with one of that rank.
    assert shared == pytest.approx(rank**2 / WIDTH, rel=0.4)


@pytest.mark.parametrize("kind", ["rotate", "rotate-to", "slerp"])
def test_angles_and_thresholds_stay(kind):
    found = drawn(MADE[kind])

    for name in set(found.__dataclass_fields__) - {"basis", "pole"}:
        assert torch.equal(getattr(found, name), getattr(MADE[kind], name))


@pytest.mark.parametrize("kind", ["add", "replace", "patch"])
def test_states_are_moved_as_far_on_average(kind):
    states = cloud()

    lengths = [moved(drawn(MADE[kind], seed, states), states) for seed in range(5)]

    assert lengths == pytest.approx([moved(MADE[kind], states)] * 5, rel=1e-5)


def test_a_replacing_state_is_as_far_from_the_mean_state():
    states, edit = cloud(), MADE["replace"]

    found = drawn(edit, states=states)

    mean = states.double().mean(0)
    one, other = edit.value.double() - mean, found.value.double() - mean
    assert float(other.norm()) == pytest.approx(float(one.norm()), rel=1e-6)
    assert abs(cosine(one, other)) < 0.6


def test_a_patch_keeps_to_its_coordinates():
    edit, states = MADE["patch"], cloud()

    found = drawn(edit, states=states)

    assert torch.equal(found.where, edit.where)
    before, after = states, found(states, 1.0)
    assert torch.equal(after[:, ~edit.where], before[:, ~edit.where])
    assert not torch.isclose(found.value[edit.where], edit.value[edit.where]).any()


def test_a_map_keeps_its_eigenvalues_and_moves_the_mean_as_far():
    edit, states = MADE["affine"], cloud()
    mean = states.double().mean(0)

    for seed in range(3):
        found = drawn(edit, seed, states)

        for spectrum in (torch.linalg.eigvals, torch.linalg.svdvals):
            wanted, got = (
                torch.view_as_real(spectrum(x.matrix.double()).to(torch.complex128))
                for x in (edit, found)
            )
            distances = torch.cdist(wanted, got)
            assert float(distances.amin(0).max()) < 1e-5
            assert float(distances.amin(1).max()) < 1e-5
        steps = [x.matrix.double() @ mean + x.bias.double() - mean for x in (edit, found)]
        assert float(steps[1].norm()) == pytest.approx(float(steps[0].norm()), rel=1e-5)
        assert abs(cosine(*steps)) < 0.7


def test_a_map_moves_states_as_far_where_they_vary_alike_in_all_directions():
    states, edit = cloud(spread=1.3), MADE["affine"]

    lengths = [moved(drawn(edit, seed, states), states) for seed in range(5)]

    assert lengths == pytest.approx([moved(edit, states)] * 5, rel=1e-4)


def test_over_seeds_a_map_moves_states_as_their_total_spread_says():
    """``|E(m) - m|^2 + |A - I|^2 tr(S) / d``: the docstring's caveat as a formula."""
    states, edit = cloud(), MADE["affine"]
    mean, one = states.double().mean(0), torch.eye(WIDTH).double()
    spread = (states.double() - mean).square().sum(-1).mean()
    shift = edit.matrix.double() @ mean + edit.bias.double() - mean
    strength = (edit.matrix.double() - one).square().sum()
    expected = float(shift.square().sum() + strength * spread / WIDTH)

    lengths = [moved(drawn(edit, seed, states), states) for seed in range(60)]

    assert sum(lengths) / 60 == pytest.approx(expected, rel=0.03)


def test_a_climb_has_as_long_a_gradient_and_looks_elsewhere():
    states, edit = cloud(), climb()

    found = drawn(edit, states=states)

    assert math.sqrt(moved(found, states)) != 0
    one, other = (x(states, 1.0) - states for x in (edit, found))
    lengths = [float(x.norm(dim=-1).mean()) for x in (one, other)]
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-5)
    assert abs(float(torch.cosine_similarity(one, other).mean())) < 0.6
    # At the mean state the network itself is the same, only what it looks at is turned.
    mean = states.double().mean(0).float()
    hidden = [x.first @ mean + x.first_bias for x in (edit, found)]
    torch.testing.assert_close(*hidden, rtol=1e-4, atol=1e-4)


def test_a_climb_that_is_flat_once_turned_is_refused():
    narrow = torch.zeros(1, WIDTH)
    narrow[0, 0] = 1.0
    on = torch.ones(1, 1), torch.zeros(1), torch.ones(1), torch.ones(1)
    edit = Ascend(narrow, torch.tensor([-1.0]), *on)
    states = torch.zeros(2, WIDTH)
    states[:, 0] = torch.tensor([2.0, -2.0])  # only the first is within reach

    with pytest.raises(BadData, match=r"is flat at all fit states once it is turned at"):
        drawn(edit, states=states)


def test_heads_are_turned_each_in_its_own_space():
    vector = normal(WIDTH)
    vector[6:12] = 0.0

    found = drawn(Add(vector), parts=4).vector

    lengths = [torch.stack([h.norm() for h in x.chunk(4)]) for x in (vector, found)]
    torch.testing.assert_close(lengths[1], lengths[0], rtol=1e-6, atol=1e-7)
    assert cosine(vector, found) < 0.9


@pytest.mark.parametrize("kind", ["project", "affine", "patch"])
def test_heads_do_not_mix(kind):
    """An edit of the first head's coordinates stays one."""
    first = torch.arange(WIDTH) < 6
    one = torch.eye(WIDTH)
    inside = one * first
    edit = {
        "project": Project(one[:, :2]),
        "affine": Affine(
            one - inside @ (normal(WIDTH, WIDTH) * first), normal(WIDTH) * first
        ),
        "patch": Patch(normal(WIDTH), first),
    }[kind]
    states = cloud()

    found = drawn(edit, states=states, parts=4)

    steps = found(states, 1.0) - states
    assert float(steps[:, ~first].abs().max()) < 1e-3
    assert float(steps[:, first].abs().max()) > 0.1


@pytest.mark.parametrize("kind", ["add", "add-keeping-norm", "slerp", "replace"])
def test_drawn_like_the_states_a_vector_is_as_long_and_varies_as_they_do(kind):
    edit, states = MADE[kind], cloud()
    name = {"slerp": "pole", "replace": "value"}.get(kind, "vector")
    start = states.mean(0) if kind == "replace" else torch.zeros(WIDTH)

    found = [
        getattr(edit.turned(Draw(generator(seed), cloud, manner="states")), name)
        for seed in range(300)
    ]

    rows = (torch.stack(found) - start).double()
    length = (getattr(edit, name) - start).norm().double()
    torch.testing.assert_close(rows.norm(dim=1), length.expand(300), rtol=1e-5, atol=0)
    spread = covariance(states).diagonal()
    share = rows.square().mean(0) / rows.square().mean(0).sum()
    assert float(torch.corrcoef(torch.stack([share, spread]))[0, 1]) > 0.95
    assert float(share[0]) < 0.01 < float(share[-1])


def test_drawn_like_the_states_every_head_keeps_its_length():
    vector = normal(WIDTH) * (torch.arange(WIDTH) >= 6)
    drawn = Add(vector).turned(Draw(generator(), cloud, 4, "states")).vector

    for one, other in zip(vector.chunk(4), drawn.chunk(4), strict=True):
        assert float(other.norm()) == pytest.approx(float(one.norm()), rel=1e-5)


def test_states_that_do_not_vary_have_nothing_like_them():
    with pytest.raises(BadData, match="do not vary, so no direction can be drawn"):
        MADE["add"].turned(Draw(generator(), lambda: torch.ones(5, WIDTH), manner="states"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("turn", [random_turn, random_beside])
@pytest.mark.parametrize("columns", [1, 3])
def test_turned_columns_keep_their_lengths_and_angles(turn, columns):
    points = torch.randn(12, columns, generator=generator(1))
    wide = points.double()

    turned = turn(points, generator())

    torch.testing.assert_close(turned.mT @ turned, wide.mT @ wide)
    assert turned.dtype == torch.float64
    assert torch.equal(turned, turn(points, generator()))
    assert not torch.allclose(turned, turn(points, generator(1)))


def test_what_lies_beside_columns_shares_nothing_with_them():
    points = torch.randn(12, 4, generator=generator(1))

    beside = random_beside(points, generator())

    assert float((points.double().mT @ beside).abs().max()) < 1e-12


def test_columns_that_leave_no_room_beside_them_are_refused():
    with pytest.raises(BadOption, match="no subspace of rank 7 orthogonal to one of that"):
        random_beside(torch.eye(12)[:, :7], generator())


def test_random_rotations_are_uniform():
    """Every entry has mean 0 and mean square 1/d; LAPACK's signs alone would be biased."""
    d, n = 6, 400
    drawn = torch.stack([random_turn(torch.eye(d), generator(k)) for k in range(n)])

    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(d).double().expand(n, d, d))
    assert float(drawn.mean(0).abs().max()) < 4 / math.sqrt(n * d)
    torch.testing.assert_close(
        drawn.square().mean(0), torch.full((d, d), 1 / d).double(), atol=0.05, rtol=0
    )
    assert 0.4 < float((torch.linalg.det(drawn) > 0).double().mean()) < 0.6


@pytest.mark.parametrize("turn", [random_turn, random_beside])
def test_parts_are_turned_within_themselves(turn):
    points = torch.randn(12, 1, generator=generator(1))
    points[4:8] = 0.0

    turned = turn(points, generator(), parts=3)

    lengths = [
        torch.stack([p.norm() for p in x.double().chunk(3)]) for x in (points, turned)
    ]
    torch.testing.assert_close(*lengths)
    assert not torch.allclose(points.double(), turned, atol=0.1)


def test_columns_that_repeat_each_other_are_turned_alike():
    points = torch.randn(12, 1, generator=generator(1)).expand(12, 3) * torch.tensor(
        [1.0, 2.0, 0.0]
    )

    turned = random_turn(points, generator())

    torch.testing.assert_close(
        turned, turned[:, :1] * torch.tensor([1.0, 2.0, 0.0]).double()
    )


@dataclass(frozen=True, eq=False)
class Negate(Edit):
    """A kind of edit that has no direction."""

    def __call__(self, h, dose):
        return h - 2 * dose * h

    def turned(self, draw):
        raise draw.refusal(self)

    @property
    def width(self):
        return WIDTH


NO_DIRECTION = ("replace", "affine", "ascend", "patch")
NO_VECTOR = ("project", "affine", "rotate", "rotate-to", "ascend", "patch")


@pytest.mark.parametrize(
    ("edit", "manner", "message"),
    [
        (Negate(), "even", "no counterpart of an edit of kind 'Negate'; use 'shuffled'"),
        *(
            (
                MADE[kind],
                "states",
                f"not an edit of kind '{EDITS[kind].__name__}'; leave out",
            )
            for kind in NO_VECTOR
        ),
        *(
            (
                MADE[kind],
                "beside",
                f"'caa' makes a {EDITS[kind].__name__} edit, which has none",
            )
            for kind in NO_DIRECTION
        ),
    ],
)
def test_a_kind_of_edit_that_cannot_be_drawn_in_a_manner_is_refused(edit, manner, message):
    with pytest.raises(BadOption, match=message):
        edit.turned(Draw(generator(), cloud, 1, manner, "caa"))


def test_an_edit_must_say_how_it_is_turned():
    class Silent(Edit):
        width = 2

        def __call__(self, h, dose):
            return h

    with pytest.raises(TypeError, match="turned"):
        Silent()


GOLDEN = {
    ("even", "add", "1"): {"vector": -1.3576038109256312},
    ("even", "add", "4"): {"vector": 3.474197341801914},
    ("even", "replace", "1"): {"value": -47.14539582266903},
    ("even", "replace", "4"): {"value": 14.348251029501277},
    ("even", "project", "1"): {"basis": 0.46605112177853497},
    ("even", "project", "4"): {"basis": -0.14721776094182593},
    ("even", "affine", "1"): {"matrix": 5.0039926315614665, "bias": -94.33405915131073},
    ("even", "affine", "4"): {"matrix": 8.731665566098547, "bias": -58.5914038126163},
    ("even", "add-keeping-norm", "1"): {"vector": -0.13576038878969346},
    ("even", "add-keeping-norm", "4"): {"vector": 0.3474197286265639},
    ("even", "rotate", "1"): {"basis": 0.3215898562350889},
    ("even", "rotate", "4"): {"basis": 1.086111706350171},
    ("even", "rotate-to", "1"): {"basis": 0.3215898562350889},
    ("even", "rotate-to", "4"): {"basis": 1.086111706350171},
    ("even", "add-by-side", "1"): {"vector": -1.3576038109256312},
    ("even", "add-by-side", "4"): {"vector": 3.474197341801914},
    ("even", "slerp", "1"): {"pole": -1.3576038109256312},
    ("even", "slerp", "4"): {"pole": 3.474197341801914},
    ("even", "ascend", "1"): {
        "first": 2.354228940542731,
        "first_bias": 14.209636095082638,
        "steps": 0.3804240264680307,
    },
    ("even", "ascend", "4"): {
        "first": 6.927206920396122,
        "first_bias": 31.826797945503678,
        "steps": 0.37873460918547697,
    },
    ("even", "patch", "1"): {"value": -0.3400579912271269},
    ("even", "patch", "4"): {"value": -15.07008562702164},
    ("states", "add", "1"): {"vector": -4.6314763844783755},
    ("states", "add", "4"): {"vector": -6.846889447965573},
    ("states", "replace", "1"): {"value": -93.67177391633004},
    ("states", "replace", "4"): {"value": -120.8358922370775},
    ("states", "add-keeping-norm", "1"): {"vector": -0.4631476545040769},
    ("states", "add-keeping-norm", "4"): {"vector": -0.6846889553792028},
    ("states", "add-by-side", "1"): {"vector": -4.6314763844783755},
    ("states", "add-by-side", "4"): {"vector": -6.846889447965573},
    ("states", "slerp", "1"): {"pole": -4.6314763844783755},
    ("states", "slerp", "4"): {"pole": -6.846889447965573},
    ("beside", "add", "1"): {"vector": -1.2550001680720466},
    ("beside", "add", "4"): {"vector": 3.0200580041137903},
    ("beside", "project", "1"): {"basis": -0.48019121094968853},
    ("beside", "project", "4"): {"basis": -0.9653208512442786},
    ("beside", "add-keeping-norm", "1"): {"vector": -0.12550001159961868},
    ("beside", "add-keeping-norm", "4"): {"vector": 0.30200578677439405},
    ("beside", "rotate", "1"): {"basis": 0.49006495532282246},
    ("beside", "rotate", "4"): {"basis": 0.769889743101603},
    ("beside", "rotate-to", "1"): {"basis": 0.49006495532282246},
    ("beside", "rotate-to", "4"): {"basis": 0.769889743101603},
    ("beside", "add-by-side", "1"): {"vector": -1.2550001680720466},
    ("beside", "add-by-side", "4"): {"vector": 3.0200580041137903},
    ("beside", "slerp", "1"): {"pole": -1.2550001680720466},
    ("beside", "slerp", "4"): {"pole": 3.0200580041137903},
}
"""By manner, kind and parts: each changed field's sum with weights cos(1), cos(2), ...

Taken from commit 04465a4, where controls knew the kinds of edits one by one; there the
numbers were equal bit for bit, which another processor need not keep.
"""


@pytest.mark.parametrize(("manner", "kind", "parts"), GOLDEN)
def test_controls_have_the_numbers_that_they_always_had(manner, kind, parts):
    edit = MADE[kind]

    found = edit.turned(Draw(generator(3), lambda: cloud(n=400), int(parts), manner))

    golden = GOLDEN[manner, kind, parts]
    for name in edit.__dataclass_fields__:
        value = getattr(found, name)
        if name not in golden:
            assert torch.equal(value, getattr(edit, name))
            continue
        weights = torch.arange(1.0, value.numel() + 1).double().cos()
        total = float(value.double().flatten() @ weights)
        assert total == pytest.approx(golden[name], rel=1e-5, abs=1e-5)
