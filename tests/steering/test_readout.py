"""What a contrast of layers does to a distribution, from the formulas of the paper."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from seatrial.errors import BadData, BadFile, BadOption
from seatrial.steering import load, save
from seatrial.steering.intervention import Intervention, Steering
from seatrial.steering.readout import (
    FLOOR,
    READOUTS,
    ContrastLayers,
    Depths,
    Offset,
    Readout,
    choice_of,
)

VOCABULARY = 12
SEEDS = st.integers(0, 2**16)
DOSES = st.floats(-3, 3, allow_subnormal=False).filter(lambda dose: dose != 0)
ALPHAS = st.sampled_from([0.0, 1e-6, 0.05, 0.1, 0.5, 0.9])
FORMS = pytest.mark.parametrize("form", ["textbook", "published"])


def log_dist(seed, rows=4, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(rows, VOCABULARY, generator=generator)).log_softmax(-1)


def depths(seed=0, layers=(0, 1, 2), rows=4):
    """A final distribution and one after each layer, all different."""
    early = {layer: log_dist(seed + 1 + layer, rows) for layer in layers}
    return Depths(log_dist(seed, rows), early)


def test_dose_zero_is_the_very_same_tensor():
    seen = depths()

    assert ContrastLayers((0, 1))(seen, 0.0) is seen.final


@given(seed=SEEDS, dose=DOSES, alpha=ALPHAS)
def test_probabilities_sum_to_one(seed, dose, alpha):
    changed = ContrastLayers((0, 1, 2), alpha)(depths(seed), dose)

    torch.testing.assert_close(changed.exp().sum(-1), torch.ones(4))
    assert bool(changed.isfinite().all())
    assert float(changed.max()) <= 1e-6


@given(seed=SEEDS, alpha=ALPHAS)
def test_an_early_layer_that_knows_everything_leaves_an_even_choice(seed, alpha):
    """M = N: nothing is left but the mask, so all plausible tokens are as likely."""
    final = log_dist(seed)

    changed = ContrastLayers((7,), alpha)(Depths(final, {7: final}), 1.0)

    plausible = final.exp() >= alpha * final.exp().amax(-1, keepdim=True)
    expected = -plausible.sum(-1, keepdim=True).float().log().expand_as(final)
    torch.testing.assert_close(changed[plausible], expected[plausible])
    assert set(changed[~plausible].tolist()) <= {FLOOR}


@given(seed=SEEDS, dose=DOSES)
def test_an_even_early_layer_changes_nothing(seed, dose):
    """Trap T17: if the early states give no information, the method is the baseline."""
    final = log_dist(seed)
    even = torch.full_like(final, -math.log(VOCABULARY))

    changed = ContrastLayers((3,), 0.0)(Depths(final, {3: even}), dose)

    torch.testing.assert_close(changed, final, atol=1e-5, rtol=1e-5)


@given(seed=SEEDS, dose=DOSES)
def test_without_plausibility_it_is_the_formula(seed, dose):
    seen = depths(seed, layers=(5,))

    changed = ContrastLayers((5,), 0.0)(seen, dose)

    p, q = seen.final.double().exp(), seen.early[5].double().exp()
    ratio = p / q**dose
    expected = (ratio / ratio.sum(-1, keepdim=True)).log()
    torch.testing.assert_close(changed.double(), expected, atol=1e-4, rtol=1e-4)


@given(seed=SEEDS, dose=DOSES)
def test_a_vanishing_plausibility_rules_nothing_out(seed, dose):
    seen = depths(seed)

    none = ContrastLayers((0, 1, 2), 0.0)(seen, dose)
    faint = ContrastLayers((0, 1, 2), 1e-30)(seen, dose)

    torch.testing.assert_close(faint, none)


@pytest.mark.parametrize("normalise", [True, False])
@given(seed=SEEDS, dose=DOSES, alpha=st.sampled_from([0.05, 0.1, 0.5, 0.9]))
def test_implausible_tokens_get_the_floor_and_the_others_keep_their_ratios(
    normalise, seed, dose, alpha
):
    seen = depths(seed, layers=(0,))

    changed = ContrastLayers((0,), alpha, normalise=normalise)(seen, dose)

    p = seen.final.exp()
    implausible = p < alpha * p.amax(-1, keepdim=True)
    assert set(changed[implausible].tolist()) <= {-1000.0}
    assert float(changed[~implausible].min()) > -1000.0
    free = seen.final - dose * seen.early[0]
    for row in range(4):
        kept = ~implausible[row]
        gap = changed[row, kept] - free[row, kept]
        torch.testing.assert_close(gap, gap[:1].expand_as(gap), atol=1e-4, rtol=1e-4)
        if not normalise:
            torch.testing.assert_close(gap, torch.zeros_like(gap), atol=1e-5, rtol=0)


def test_released_form_can_be_positive_so_it_is_no_log_probability():
    """Trap T14."""
    seen = depths(layers=(0,))

    released = ContrastLayers((0,), normalise=False)(seen, 1.0)

    assert float(released.max()) > 0
    normalised = ContrastLayers((0,))(seen, 1.0)
    assert float(normalised.max()) <= 0
    assert torch.equal(released.argmax(-1), normalised.argmax(-1))


@given(seed=SEEDS, dose=DOSES, alpha=st.sampled_from([0.05, 0.1, 0.5, 0.9]))
def test_ruled_out_after_normalising_leaves_the_others_what_they_had(seed, dose, alpha):
    """The released form: a plain log-softmax with a mask laid over it."""
    seen = depths(seed, layers=(0,))

    changed = ContrastLayers((0,), alpha, mask="after")(seen, dose)

    whole = ContrastLayers((0,), 0.0)(seen, dose)
    implausible = seen.final.exp() < alpha * seen.final.exp().amax(-1, keepdim=True)
    torch.testing.assert_close(changed[~implausible], whole[~implausible])
    assert set(changed[implausible].tolist()) <= {FLOOR}
    # What is ruled out is missing; it can be less than float32 sees beside 1.
    missing = whole.exp().masked_fill(~implausible, 0.0).sum(-1)
    torch.testing.assert_close(changed.exp().sum(-1), 1 - missing)


@given(seed=SEEDS)
def test_divergences_are_those_of_the_books(seed):
    seen = depths(seed, layers=(0,))

    textbook = seen.divergence(0, "textbook")
    published = seen.divergence(0, "published")

    for row in range(4):
        p, q = (x[row].double().exp().numpy() for x in (seen.final, seen.early[0]))
        mixture = (p + q) / 2
        assert float(textbook[row]) == pytest.approx(
            jensenshannon(p, q) ** 2, rel=1e-3, abs=1e-6
        )
        # The released code calls kl_div(log mixture-argument, ...) the other way round.
        swapped = (entropy(mixture, p) + entropy(mixture, q)) / 2
        assert float(published[row]) == pytest.approx(swapped, rel=1e-3, abs=1e-6)


@given(seed=SEEDS)
def test_published_divergence_is_what_the_calls_of_released_code_compute(seed):
    """Its two calls are ``kl_div(log_p, mixture)``: KL from the mixture, not to it."""
    seen = depths(seed, layers=(0,))
    p, q = seen.final, seen.early[0]
    mixture = (p.exp() + q.exp()) / 2

    def kl(log_input):
        return torch.nn.functional.kl_div(log_input, mixture, reduction="none").sum(-1)

    expected = (kl(p) + kl(q)) / 2
    torch.testing.assert_close(
        seen.divergence(0, "published"), expected, atol=1e-5, rtol=1e-4
    )


@FORMS
@given(seed=SEEDS)
def test_divergence_from_itself_is_nothing_and_otherwise_something(form, seed):
    final = log_dist(seed)
    seen = Depths(final, {0: final, 1: log_dist(seed + 1)})

    torch.testing.assert_close(seen.divergence(0, form), torch.zeros(4), atol=1e-6, rtol=0)
    assert float(seen.divergence(1, form).min()) > 0.01


def test_textbook_divergence_is_at_most_log_two_and_the_published_one_is_not():
    far = torch.full((2, VOCABULARY), -50.0)
    one, other = far.clone(), far.clone()
    one[:, 0] = other[:, 1] = 0.0
    seen = Depths(one.log_softmax(-1), {0: other.log_softmax(-1)})

    assert float(seen.divergence(0, "textbook")[0]) == pytest.approx(math.log(2))
    assert float(seen.divergence(0, "published")[0]) > 10


@FORMS
@given(seed=SEEDS, alpha=ALPHAS, dose=DOSES)
def test_the_farthest_layer_is_contrasted_row_by_row(form, seed, alpha, dose):
    seen = depths(seed, layers=(0, 3, 5))
    dynamic = ContrastLayers((0, 3, 5), alpha, divergence=form)

    changed = dynamic(seen, dose)

    for row in range(4):
        alone = {
            layer: Depths(seen.final[row : row + 1], {layer: seen.early[layer][row][None]})
            for layer in (0, 3, 5)
        }
        far = max(alone, key=lambda k: float(alone[k].divergence(k, form)))
        static = ContrastLayers((far,), alpha)(alone[far], dose)
        assert (0, 3, 5)[int(dynamic.chosen(seen)[row])] == far
        torch.testing.assert_close(changed[row], static[0])


def test_the_two_divergences_can_choose_different_layers():
    """Else the choice between them would be no option."""
    chosen = [
        [
            ContrastLayers((0, 1, 2), divergence=form).chosen(depths(seed, rows=8)).tolist()
            for seed in range(20)
        ]
        for form in ("textbook", "published")
    ]

    assert chosen[0] != chosen[1]


def test_the_first_of_equals_is_chosen():
    final, early = log_dist(0), log_dist(1)

    chosen = ContrastLayers((4, 2)).chosen(Depths(final, {2: early, 4: early}))

    assert chosen.tolist() == [0] * 4


@given(seed=SEEDS, dose=DOSES)
def test_rows_do_not_see_each_other(seed, dose):
    seen, readout = depths(seed), ContrastLayers((0, 1, 2))

    whole = readout(seen, dose)

    for row in range(4):
        alone = Depths(
            seen.final[row][None], {k: early[row][None] for k, early in seen.early.items()}
        )
        torch.testing.assert_close(readout(alone, dose)[0], whole[row])


def test_what_it_is_given_is_left_alone():
    seen = depths()
    before = seen.final.clone(), {k: early.clone() for k, early in seen.early.items()}

    for normalise in (True, False):
        for alpha in (0.0, 0.1):
            ContrastLayers((0, 1), alpha, normalise=normalise)(seen, 2.0).fill_(7.0)

    assert torch.equal(seen.final, before[0])
    assert all(torch.equal(seen.early[k], before[1][k]) for k in seen.early)


def test_a_divergence_is_computed_once_for_all_readouts():
    seen = depths()

    first = seen.divergence(1, "textbook")

    assert seen.divergence(1, "textbook") is first
    assert seen.divergence(1, "published") is not first


@pytest.mark.parametrize("layers", [(), (1, 1), (0, 2, 0)])
def test_layers_that_make_no_choice_are_refused(layers):
    with pytest.raises(
        BadOption, match="layers must name at least one block, each once, not "
    ):
        ContrastLayers(layers)


@pytest.mark.parametrize("alpha", [-0.1, 1.0, 2.0, math.nan])
def test_a_plausibility_out_of_range_is_refused(alpha):
    with pytest.raises(BadOption, match=r"plausibility must be at least 0 .* and below 1"):
        ContrastLayers((0,), alpha)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"norm": "last"}, "norm must be one of none, final, next_block, not 'last'"),
        (
            {"divergence": "kl"},
            "divergence must be one of textbook, published, not 'kl'",
        ),
        ({"mask": "never"}, "mask must be one of before, after, not 'never'"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(option, message):
    readout = ContrastLayers((0,))
    for name, value in option.items():
        # Tests check types as well, and would refuse these sooner than users' files do.
        object.__setattr__(readout, name, value)

    with pytest.raises(BadOption, match=message):
        readout.__post_init__()


EVERY_FIELD = ContrastLayers((5, -1, 2), 0.3, "none", "published", False, "after")


@pytest.mark.parametrize("readout", [ContrastLayers((0,)), EVERY_FIELD])
def test_a_readout_is_loaded_as_saved(tmp_path, readout):
    path = tmp_path / "readout.safetensors"

    save(Intervention(readout=readout), path)

    loaded = load(path)
    assert loaded.readout == readout
    assert isinstance(loaded.readout.layers, tuple)
    assert not loaded.edits and loaded.prompt_edit is None
    seen = depths(layers=readout.layers)
    assert torch.equal(loaded.readout(seen, 0.7), readout(seen, 0.7))


def test_every_field_is_saved():
    default = ContrastLayers((0,))

    for field in dataclasses.fields(ContrastLayers):
        assert getattr(EVERY_FIELD, field.name) != getattr(default, field.name)


def test_an_intervention_with_a_readout_is_not_empty():
    assert Intervention().is_empty
    assert not Intervention(readout=ContrastLayers((0,))).is_empty


class Flat(Readout):
    """A readout of somebody else."""

    layers = (0,)
    norm = "none"

    def __call__(self, depths, dose):
        return depths.final


def test_a_readout_of_an_unknown_kind_cannot_be_saved(tmp_path):
    message = (
        "a readout of kind 'Flat' cannot be saved; the kinds on disk are contrast-layers"
    )

    with pytest.raises(BadOption, match=message):
        save(Intervention(readout=Flat()), tmp_path / "flat.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "flat"}, "lacks or misnames a part .*'flat'"),
        ({"colour": "blue"}, "lacks or misnames a part .*colour"),
        ({"plausibility": 3.0}, "holds a value out of range .*not 3"),
        ({"layers": []}, "holds a value out of range .*at least one block"),
    ],
)
def test_a_file_with_another_readout_is_refused(tmp_path, change, message):
    path = tmp_path / "odd.safetensors"
    save(Intervention(readout=EVERY_FIELD), path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["seatrial"])
    header["readout"].update(change)
    save_file({"empty": torch.zeros(1)}, path, {"seatrial": json.dumps(header)})

    with pytest.raises(BadFile, match=message):
        load(path)


def test_the_table_names_every_kind():
    assert {"contrast-layers": ContrastLayers, "offset": Offset} == READOUTS


@pytest.mark.parametrize("dose", [0.0, 1.0])
def test_a_readout_that_looks_where_the_model_has_no_layer_is_refused(tiny, dose):
    model = tiny("llama")
    far = Steering(Intervention(readout=ContrastLayers((0, 3))), dose)
    message = (
        "the readout looks at layer 3, but 'tiny-llama-0' has the layers 0 to 2, and -1 "
        "for its embeddings"
    )

    with pytest.raises(BadOption, match=message):
        model.generate(["The answer is"], [far])


def test_numbers_are_those_of_numpy():
    """One row written out by hand."""
    final, early = np.array([0.7, 0.2, 0.06, 0.04]), np.array([0.4, 0.1, 0.3, 0.2])
    seen = Depths(
        torch.tensor(np.log(final)[None]).float(),
        {0: torch.tensor(np.log(early)[None]).float()},
    )

    changed = ContrastLayers((0,), 0.1)(seen, 1.0)[0]

    # 0.06 and 0.04 are below a tenth of 0.7; 0.7 / 0.4 = 1.75 and 0.2 / 0.1 = 2.
    expected = [math.log(1.75 / 3.75), math.log(2 / 3.75), FLOOR, FLOOR]
    assert changed.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_choice_of_layers_is_counted():
    """Trap T17: a dynamic choice that always takes one layer is a static one."""
    readout = ContrastLayers((0, 1, 2, 4))
    seen = depths(3, readout.layers, rows=50)

    found = choice_of(readout, seen)

    counts = [int((readout.chosen(seen) == k).sum()) for k in range(4)]
    assert found.shares == {
        layer: pytest.approx(n / 50)
        for layer, n in zip(readout.layers, counts, strict=True)
    }
    assert found.top_share == pytest.approx(max(counts) / 50)
    assert found.entropy == pytest.approx(entropy(counts))
    rows = [seen.early[readout.layers[k]][r] for r, k in enumerate(readout.chosen(seen))]
    mean = np.mean([entropy(row.double().exp()) for row in rows])
    assert found.early_entropy == pytest.approx(mean / math.log(VOCABULARY), rel=1e-5)


def test_an_even_early_layer_is_seen_in_the_choice():
    even = torch.full((6, VOCABULARY), -math.log(VOCABULARY))
    final = log_dist(0, rows=6)

    found = choice_of(ContrastLayers((3, 5)), Depths(final, {3: final, 5: even}))

    assert found.shares == {3: 0.0, 5: 1.0}
    assert (found.top_share, found.entropy) == (1.0, 0.0)
    assert found.early_entropy == pytest.approx(1.0)


def test_without_rows_there_is_no_choice():
    with pytest.raises(BadData, match="there are no rows to choose layers for"):
        choice_of(ContrastLayers((0, 1)), depths(rows=0))
