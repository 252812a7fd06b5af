"""What the linear methods have in common: layer, read token and token scope are heeded."""

from dataclasses import fields

import pytest
import torch

from seatrial.errors import BadData, BadOption
from seatrial.methods import METHODS, make_method, options_of
from seatrial.steering.compare import STATE_NORMS
from seatrial.steering.intervention import SCOPES
from seatrial.types import FitData, Pair, Text

LINEAR = (
    "ablate", "ace", "conceptor", "iti", "leace", "logistic", "mean-match", "mimic", "repe",
)  # fmt: skip


def tensors(fitted):
    """All that is fitted, side by side."""
    return torch.cat(
        [
            getattr(edit, part.name).flatten()
            for edit in fitted.edits.values()
            for part in fields(edit)
        ]
    )


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("scope", [*SCOPES, "first_3"])
def test_every_token_scope_is_passed_on(tiny, example, name, scope):
    method = METHODS[name](layer=1, tokens=scope)

    assert method.fit(tiny("llama"), example, seed=0).tokens == scope


@pytest.mark.parametrize("name", LINEAR)
def test_an_unknown_token_scope_is_refused(tiny, example, name):
    with pytest.raises(BadOption, match="'first' is no token scope; choose one of"):
        METHODS[name](layer=1, tokens="first").fit(tiny("llama"), example, seed=0)


@pytest.mark.parametrize("name", LINEAR)
def test_every_read_token_gives_a_fit_of_its_own(tiny, example, name):
    made = [
        tensors(METHODS[name](layer=1, read=read).fit(tiny("llama"), example, seed=0))
        for read in ("last", "second_last", "completion", "mean")
    ]

    for k, one in enumerate(made):
        assert not any(torch.allclose(one, other, rtol=1e-2) for other in made[k + 1 :])


@pytest.mark.parametrize("name", LINEAR)
def test_every_layer_gives_a_fit_of_its_own_and_layers_have_names(tiny, example, name):
    first, second, middle = (
        METHODS[name](layer=layer).fit(tiny("llama"), example, seed=0)
        for layer in (0, 1, "middle")
    )

    assert not torch.allclose(tensors(first), tensors(second), rtol=1e-2)
    assert torch.equal(tensors(second), tensors(middle))


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("layer", [3, -1])
def test_a_layer_that_does_not_exist_is_refused(tiny, example, name, layer):
    with pytest.raises(BadOption, match=rf"layer {layer} does not exist .* 0 to 2"):
        METHODS[name](layer=layer).fit(tiny("llama"), example, seed=0)


@pytest.mark.parametrize("name", LINEAR)
def test_no_pairs_are_refused(tiny, name):
    with pytest.raises(BadData):
        METHODS[name](layer=1).fit(tiny("llama"), FitData("calm", ()), seed=0)


@pytest.mark.parametrize("name", LINEAR)
def test_a_pair_with_equal_sides_is_refused_by_name(tiny, example, name):
    same = Pair("twin", "g", Text("The sea", " is"), Text("The sea", " is"))
    data = FitData("calm", (*example.pairs, same))

    with pytest.raises(BadData, match="pair 'twin' has the same text on both sides"):
        METHODS[name](layer=1).fit(tiny("llama"), data, seed=0)


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_fitted_is_finite_and_in_float32(tiny, example, name):
    found = tensors(METHODS[name](layer=1).fit(tiny("gpt2"), example, seed=0))

    assert found.dtype == torch.float32
    assert bool(found.isfinite().all()) and float(found.norm()) > 0


@pytest.mark.parametrize("name", LINEAR)
def test_it_can_be_made_from_plain_values_as_a_study_has_them(name):
    method = make_method(name, {"layer": 2, "tokens": "all"})

    assert options_of(method) | {"layer": 2, "tokens": "all"} == options_of(method)


@pytest.mark.parametrize("name", LINEAR)
def test_the_origin_holds_the_options(tiny, example, name):
    method = METHODS[name](layer=1)

    origin = method.fit(tiny("llama"), example, seed=7).origin

    assert (origin.method, origin.seed, origin.data) == (name, 7, "made by hand")
    # Beside it stands what the fit has found out.
    told = {key: origin.options[key] for key in origin.options if key != STATE_NORMS}
    assert {"name": name, **told} == options_of(method)
