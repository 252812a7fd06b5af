"""The random control: of every kind of edit, as large, in the same place, elsewhere."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import ITI, LEACE, METHODS, Ablate, Angular, Method, MiMiC, Random
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance
from seatrial.methods.random import COUNTERPARTS, counterpart, like_states
from seatrial.steering.edits import (
    EDITS,
    Add,
    AddBySide,
    AddKeepingNorm,
    Affine,
    Ascend,
    Edit,
    Patch,
    Project,
    Replace,
    Rotate,
    RotateTo,
    Slerp,
)
from seatrial.steering.intervention import Intervention, Part, PromptEdit
from seatrial.testing import CHECKS
from seatrial.types import Example, Site

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
    generator = torch.Generator().manual_seed(seed)
    states = cloud() if states is None else states
    return counterpart(edit, generator, parts, lambda: states)


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


@dataclass(frozen=True, eq=False)
class Negate(Edit):
    """A kind of edit that nobody else knows."""

    def __call__(self, h, dose):
        return h - 2 * dose * h

    @property
    def width(self):
        return WIDTH


def test_an_unknown_kind_of_edit_is_refused():
    with pytest.raises(BadOption, match=r"no counterpart of an edit of kind 'Negate'; add"):
        drawn(Negate())


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


@pytest.mark.parametrize("kind", ["add", "add-keeping-norm", "slerp", "replace"])
def test_drawn_like_the_states_a_vector_is_as_long_and_varies_as_they_do(kind):
    edit, states = MADE[kind], cloud()
    name = {"slerp": "pole", "replace": "value"}.get(kind, "vector")
    start = states.mean(0) if kind == "replace" else torch.zeros(WIDTH)

    found = [
        getattr(like_states(edit, torch.Generator().manual_seed(seed), 1, cloud), name)
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
    drawn = like_states(Add(vector), torch.Generator().manual_seed(0), 4, cloud).vector

    for one, other in zip(vector.chunk(4), drawn.chunk(4), strict=True):
        assert float(other.norm()) == pytest.approx(float(one.norm()), rel=1e-5)


def test_states_that_do_not_vary_have_nothing_like_them():
    with pytest.raises(BadData, match="do not vary, so no direction can be drawn"):
        like_states(MADE["add"], torch.Generator(), 1, lambda: torch.ones(5, WIDTH))


def test_the_spread_of_a_random_control_is_an_option(tiny, many):
    model, caa = tiny("llama"), METHODS["caa"](layer=1)
    states = torch.cat(contrast(model, many.pairs, Site(1), "last"))
    wide = torch.linalg.eigh(covariance(states))[1][:, -5:].float()

    def share(spread, seed):
        [edit] = Random(caa, spread).fit(model, many, seed=seed).edits.values()
        assert float(edit.vector.norm()) == pytest.approx(length, rel=1e-5)
        return float((edit.vector @ wide).norm() / length) ** 2

    length = caa.fit(model, many, seed=0).norms()[Site(1)]
    even, like = (
        sum(share(spread, seed) for seed in range(20)) / 20 for spread in COUNTERPARTS
    )

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
