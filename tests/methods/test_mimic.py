"""MiMiC: negative states get the mean and covariance of positive ones, at least cost."""

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import MiMiC
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import covariance, power
from seatrial.methods.mimic import transport
from seatrial.testing import CHECKS
from seatrial.types import FitData, Site

D = 6


def fit(model, data, **options):
    [edit] = MiMiC(layer=1, **options).fit(model, data, seed=0).edits.values()
    return edit


def moved(edit, states):
    """What the edit makes of states, computed in float64."""
    return states.double() @ edit.matrix.double().mT + edit.bias.double()


@pytest.fixture(scope="module")
def classes():
    """Points of two Gaussians, in float64."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for shift in (0.0, 2.0):
        mix = torch.randn(D, D, generator=generator, dtype=torch.float64)
        noise = torch.randn(400, D, generator=generator, dtype=torch.float64)
        found.append(noise @ mix + shift)
    return found


def test_transport_gives_the_source_the_covariance_of_the_target(classes):
    source, target = map(covariance, classes)

    a = transport(source, target)

    torch.testing.assert_close(a @ source @ a.mT, target, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(a, a.mT, rtol=1e-8, atol=1e-8)
    assert float(torch.linalg.eigvalsh(a).min()) > 0


def test_transport_moves_no_more_than_the_wasserstein_distance(classes):
    """The closed form of Gaussians; Cholesky factors give a map that costs more."""
    source, target = map(covariance, classes)
    x = classes[0] - classes[0].mean(0)

    def cost(matrix):
        return float((x - x @ matrix.mT).square().sum(1).mean())

    root = power(source, 0.5)
    wanted = (source + target - 2 * power(root @ target @ root, 0.5)).trace()
    assert cost(transport(source, target)) == pytest.approx(float(wanted), rel=1e-8)
    cholesky = torch.linalg.cholesky(target) @ torch.linalg.cholesky(source).inverse()
    torch.testing.assert_close(cholesky @ source @ cholesky.mT, target)
    assert cost(cholesky) > 1.05 * float(wanted)


def test_transport_between_equals_changes_nothing(classes):
    source = covariance(classes[0])
    few = covariance(classes[0][:3])

    for matrix in (source, few):
        torch.testing.assert_close(
            transport(matrix, matrix), torch.eye(D, dtype=torch.float64), rtol=0, atol=1e-8
        )


def test_a_regulariser_on_every_entry_would_miss_the_covariance(classes):
    """One released version adds to all entries and not to the diagonal (trap T31)."""
    source, target = map(covariance, classes)

    broken = transport(source + 0.1, target + 0.1)

    assert not torch.allclose(broken @ source @ broken.mT, target, rtol=1e-3, atol=1e-3)


def test_mean_and_covariance_match_where_states_are_many(tiny, many):
    positive, negative = contrast(tiny("gemma3"), many.pairs, Site(1), "last")

    after = moved(fit(tiny("gemma3"), many, shrinkage=0.0), negative)

    scale = float(positive.std())
    torch.testing.assert_close(
        after.mean(0), positive.double().mean(0), rtol=0, atol=1e-4 * scale
    )
    torch.testing.assert_close(
        covariance(after), covariance(positive), rtol=0, atol=1e-3 * scale**2
    )


@pytest.mark.parametrize("share", [None, 0.2, 0.9])
def test_means_match_and_shrunk_covariances_too_where_states_are_few(tiny, many, share):
    model, data = tiny("gemma3"), FitData("calm", many.pairs[:5])
    positive, negative = contrast(model, data.pairs, Site(1), "last")

    edit = fit(model, data, shrinkage=share)

    after = moved(edit, negative)
    scale = float(positive.std())
    torch.testing.assert_close(
        after.mean(0), positive.double().mean(0), rtol=0, atol=1e-4 * scale
    )
    # What no text varies in gets the shift and nothing else.
    sides = positive.double(), negative.double()
    within = torch.cat([x - x.mean(0) for x in sides])
    beside = torch.eye(32).double() - power(within.mT @ within, 0.0)
    torch.testing.assert_close(edit.matrix.double() @ beside, beside, rtol=0, atol=1e-5)
    assert int(torch.linalg.matrix_rank(beside)) == 32 - 8


def test_shrinkage_leads_from_the_full_map_to_a_pure_shift(tiny, many):
    model = tiny("gemma3")

    maps = [fit(model, many, shrinkage=share).matrix for share in (0.0, None, 0.9, 1.0)]

    gaps = [float((matrix - torch.eye(32)).norm()) for matrix in maps]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert gaps[3] < 1e-5


@pytest.mark.parametrize("turned", [False, True], ids=["as they are", "swapped"])
def test_it_finds_the_planted_direction(planted, planted_data, swap, turned):
    model, direction = planted
    data = swap(planted_data) if turned else planted_data
    _, negative = contrast(model, data.pairs, Site(1), "completion")

    after = moved(fit(model, data, read="completion"), negative)

    mean = (after - negative).mean(0).float()
    cosine = float(torch.cosine_similarity(mean, direction, dim=0))
    assert (cosine < -0.99) if turned else (cosine > 0.99)


def test_the_way_back_is_the_inverse_map(tiny, many, swap):
    model = tiny("gemma3")
    _, negative = contrast(model, many.pairs, Site(1), "last")

    there, back = fit(model, many), fit(model, swap(many))

    torch.testing.assert_close(
        moved(back, moved(there, negative)), negative.double(), rtol=0, atol=1e-3
    )


def test_a_single_pair_has_no_covariance(tiny, many):
    with pytest.raises(BadData, match="'mimic' needs at least 2 pairs"):
        fit(tiny("gemma3"), FitData("calm", many.pairs[:1]))


def test_a_share_outside_0_to_1_is_refused(tiny, many):
    with pytest.raises(BadOption, match="shrinkage must lie between 0"):
        fit(tiny("gemma3"), many, shrinkage=-1.0)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](MiMiC(layer=1), tiny("gemma3"), example)
