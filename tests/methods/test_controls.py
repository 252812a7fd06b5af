"""Controls: as long as what they control, in the same place, and without its meaning."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from seatrial.data import load_concept
from seatrial.errors import BadData, BadOption
from seatrial.methods import CAA, METHODS, Instruction, Method, Random, Shuffled
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.tasks import Open, fit_data
from seatrial.testing import planted_concept, planted_model
from seatrial.types import FitData, Pair, Site, Text

REFERENCE = CAA(layer=1, read="completion")


@pytest.fixture(scope="module")
def planted():
    return planted_model()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    concept = load_concept(
        str(planted_concept(tmp_path_factory.mktemp("planted") / "c.jsonl"))
    )
    return fit_data(concept, Open({"fit": concept.items}))


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def cosine(a, b):
    return float(torch.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize("layer", [0, 1])
def test_caa_finds_the_planted_direction(planted, data, layer):
    model, direction = planted

    vector = vector_of(CAA(layer=layer, read="completion").fit(model, data, seed=0))

    assert cosine(vector, direction) > 0.99


@pytest.mark.parametrize("layer", [0, 1])
def test_caa_on_swapped_pairs_finds_its_opposite(planted, data, layer):
    model, direction = planted
    swapped = tuple(
        replace(p, positive=p.negative, negative=p.positive) for p in data.pairs
    )

    fitted = CAA(layer=layer, read="completion").fit(
        model, replace(data, pairs=swapped), seed=0
    )

    assert cosine(vector_of(fitted), direction) < -0.99


@pytest.mark.parametrize("seed", range(5))
def test_random_has_the_norm_of_its_reference(planted, data, seed):
    model, _ = planted
    goal = vector_of(REFERENCE.fit(model, data, seed=0)).norm()

    vector = vector_of(Random(REFERENCE).fit(model, data, seed=seed))

    torch.testing.assert_close(vector.norm(), goal, rtol=1e-6, atol=0)


def test_random_directions_are_nearly_orthogonal_to_the_truth_and_to_each_other(
    planted, data
):
    model, direction = planted
    drawn = [vector_of(Random(REFERENCE).fit(model, data, seed=seed)) for seed in range(30)]

    to_truth = torch.tensor([cosine(v, direction) for v in drawn])
    units = torch.stack(drawn) / drawn[0].norm()
    to_each_other = (units @ units.mT)[*torch.triu_indices(30, 30, 1)]

    # In d dimensions such cosines have mean 0 and standard deviation 1/sqrt(d), here 1/8.
    for cosines in (to_truth, to_each_other):
        assert float(cosines.abs().max()) < 0.6
        assert abs(float(cosines.mean())) < 0.1
        assert 0.5 < float(cosines.std()) * math.sqrt(len(direction)) < 1.5


def test_random_draws_each_site_on_its_own(planted, data):
    model, _ = planted
    fitted = Random(Everywhere()).fit(model, data, seed=0)

    one, other = (edit.vector for edit in fitted.edits.values())

    assert list(fitted.edits) == [Site(0), Site(1)]
    assert abs(cosine(one, other)) < 0.5


@dataclass(frozen=True)
class Everywhere(Method):
    """Adds a vector of ones at every block."""

    name: ClassVar[str] = "everywhere"
    summary: ClassVar[str] = "for tests"

    def fit(self, model, data, *, seed):
        return Intervention(
            {Site(k): Add(torch.ones(model.d_model)) for k in range(model.n_layers)}
        )


def test_random_refuses_a_reference_without_edits(planted, data):
    """It would be a control that does nothing, which everything beats."""
    with pytest.raises(
        BadOption, match="'random' turns edits of activations; 'instruction' makes none, so"
    ):
        Random(Instruction()).fit(planted[0], data, seed=0)


@dataclass(frozen=True)
class Recording(Method):
    """CAA, and a list of the data that it was fitted on."""

    name: ClassVar[str] = "recording"
    summary: ClassVar[str] = "for tests"

    seen: list[FitData] = field(default_factory=list)

    def fit(self, model, data, *, seed):
        self.seen.append(data)
        return REFERENCE.fit(model, data, seed=seed)


def swapped_of(model, data, seed):
    """Ids of the pairs that `shuffled` swaps."""
    recording = Recording()
    Shuffled(recording, rescale=False).fit(model, data, seed=seed)
    [seen] = recording.seen
    found = set()
    for before, after in zip(data.pairs, seen.pairs, strict=True):
        assert (before.id, before.group) == (after.id, after.group)
        if after != before:
            assert (after.positive, after.negative) == (before.negative, before.positive)
            found.add(before.id)
    return found


@pytest.mark.parametrize(("n", "half"), [(96, 48), (40, 20), (7, 3), (2, 1)])
def test_shuffled_swaps_exactly_half_of_the_pairs(planted, data, n, half):
    few = replace(data, pairs=data.pairs[:n])

    for seed in range(4):
        assert len(swapped_of(planted[0], few, seed)) == half


def test_shuffled_swaps_other_pairs_with_another_seed_and_every_pair_sometimes(
    planted, data
):
    draws = [frozenset(swapped_of(planted[0], data, seed)) for seed in range(20)]

    assert len(set(draws)) == 20
    assert frozenset().union(*draws) == {pair.id for pair in data.pairs}
    assert draws[3] == swapped_of(planted[0], data, 3)


def test_shuffled_leaves_the_data_as_it_was(planted, data):
    before = repr(data)

    Shuffled(REFERENCE).fit(planted[0], data, seed=0)

    assert repr(data) == before


def test_shuffled_shrinks_like_one_over_the_root_of_n(planted, data):
    """With balanced signs E|v|^2 is s^2/n, where s^2 is the variance of the differences."""
    model, _ = planted
    sizes = (8, 32, 96)
    ratios = []
    for n in sizes:
        few = replace(data, pairs=data.pairs[:: 96 // n])
        positive, negative = contrast(model, few.pairs, Site(1), "completion")
        differences = (positive - negative).double()
        s2 = float((differences - differences.mean(0)).square().sum() / (n - 1))
        method = Shuffled(REFERENCE, rescale=False)
        squares = [
            float(vector_of(method.fit(model, few, seed=seed)).double().square().sum())
            for seed in range(60)
        ]
        ratios.append(n * sum(squares) / len(squares) / s2)

    assert len(few.pairs) == 96
    assert ratios == pytest.approx([1.0, 1.0, 1.0], rel=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_gets_the_norm_of_its_reference_and_keeps_its_direction(
    planted, data, seed
):
    model, direction = planted
    honest = vector_of(REFERENCE.fit(model, data, seed=seed))
    short = vector_of(Shuffled(REFERENCE, rescale=False).fit(model, data, seed=seed))

    vector = vector_of(Shuffled(REFERENCE).fit(model, data, seed=seed))

    torch.testing.assert_close(vector.norm(), honest.norm(), rtol=1e-6, atol=0)
    assert cosine(vector, short) == pytest.approx(1.0, abs=1e-6)
    assert float(short.norm()) < 0.3 * float(honest.norm())
    assert abs(cosine(vector, direction)) < 0.5


def test_shuffled_refuses_a_single_pair(planted, data):
    """Half of one pair is none, so the control would be the method itself."""
    with pytest.raises(BadData, match="'shuffled' needs at least 2 pairs, got 1"):
        Shuffled(REFERENCE).fit(planted[0], replace(data, pairs=data.pairs[:1]), seed=0)


def test_shuffled_refuses_pairs_whose_differences_cancel(planted, data):
    """Four copies of one pair: what is left is 0 and has no direction to be rescaled."""
    copies = tuple(replace(data.pairs[0], id=f"copy {k}") for k in range(4))

    with pytest.raises(
        BadData, match=r"at site 1\.resid nothing is left .* all pairs differ alike"
    ):
        Shuffled(REFERENCE).fit(planted[0], replace(data, pairs=copies), seed=0)


@pytest.mark.parametrize("kind", [Random, Shuffled])
def test_controls_edit_where_the_method_edits(planted, data, kind):
    reference = CAA(layer=0, read="completion", tokens="generated")

    fitted = kind(reference).fit(planted[0], data, seed=0)

    assert (list(fitted.edits), fitted.tokens) == ([Site(0)], "generated")


@pytest.mark.parametrize("kind", [Random, Shuffled])
def test_controls_say_what_they_control_and_with_which_seed(planted, data, kind):
    origin = kind(REFERENCE).fit(planted[0], data, seed=11).origin

    assert (origin.method, origin.seed, origin.data) == (kind.name, 11, data.fingerprint)
    assert origin.options["reference"] == {
        "name": "caa", "layer": 1, "read": "completion", "tokens": "from_last_prompt",
    }  # fmt: skip


def test_exactly_these_are_controls():
    assert {name for name, kind in METHODS.items() if kind.is_control} == {
        "length",
        "orthogonal",
        "other-task",
        "random",
        "shuffled",
    }


@pytest.mark.parametrize("kind", [Random, Shuffled])
def test_controls_refuse_what_their_method_refuses(planted, kind):
    twin = Pair("twin", "g", Text("a", " b"), Text("a", " b"))

    with pytest.raises(BadData, match="pair 'twin' has the same text on both sides"):
        kind(REFERENCE).fit(planted[0], FitData("c", (twin, twin)), seed=0)
