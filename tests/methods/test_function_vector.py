"""Function vectors: the planted head, its true share behind norms, and what is recorded."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from seatrial.data.templates import TEMPLATES
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import (
    FunctionVector,
    LayerMean,
    Method,
    Random,
    Shuffled,
    make_method,
)
from seatrial.methods.fitting.heads import mean_contribution
from seatrial.methods.fitting.patching import best, effects, survey
from seatrial.steering import load, save
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.testing import CHECKS, planted_map
from seatrial.testing.planted import CARRIER
from seatrial.types import Example, FitData, Request, Site

SMALL = FunctionVector(heads=3, shots=2, effect_prompts=4)


@pytest.fixture(scope="module")
def upper():
    words = ("sea", "day", "road", "a house", "walk slowly", "it")
    examples = tuple(Example(word, word.upper()) for word in words)
    return FitData("upper", (), fingerprint="made by hand", examples=examples)


@pytest.fixture(scope="module")
def letters():
    model, examples = planted_map()
    return model, FitData("capitals", (), fingerprint="planted", examples=examples)


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


def zero_shot(model, examples, *under):
    """Mean probability of the right answer without examples, under each steering."""
    requests = [
        Request(e.input, e.input, TEMPLATES["qa"].prompt((), e.input), (f" {e.output}",))
        for e in examples
    ]
    lines = model.log_probs(requests, under)
    return [
        float(torch.tensor([answer.sums[0] for answer in line]).exp().mean())
        for line in lines
    ]


@pytest.mark.parametrize("write", ["residual", "textbook"])
def test_without_examples_the_planted_task_is_done(letters, write):
    """Fitted on some letters, right on the others; the mean state is not enough."""
    model, data = letters
    half = replace(data, examples=data.examples[:6])
    fv = FunctionVector(layer=0, heads=1, shots=4, write=write).fit(model, half, seed=0)
    mean = LayerMean(layer=0, shots=4).fit(model, half, seed=0)
    under = [UNSTEERED, Steering(fv), Steering(mean)]

    plain, steered, averaged = zero_shot(model, data.examples[6:], *under)

    assert [entry[:2] for entry in fv.origin.options["chosen"]] == [list(CARRIER)]
    assert plain < 0.05
    assert steered > 0.9
    assert averaged < 0.1


def test_shuffled_labels_and_random_directions_do_not_do_it(letters):
    model, data = letters
    method = FunctionVector(layer=0, heads=1, shots=4)
    under = [
        Steering(control.fit(model, data, seed=seed))
        for control in (Shuffled(method), Random(method))
        for seed in range(2)
    ]

    assert max(zero_shot(model, data.examples, *under)) < 0.2


def test_too_late_a_layer_is_of_no_use(letters):
    model, data = letters
    late = FunctionVector(layer=1, heads=1, shots=4).fit(model, data, seed=0)

    plain, steered = zero_shot(model, data.examples, UNSTEERED, Steering(late))

    assert steered == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize("write", ["residual", "textbook"])
@pytest.mark.parametrize("family", ["gemma3", "gpt2"])
def test_the_vector_is_the_sum_of_the_best_heads_shares(tiny, upper, family, write):
    model = tiny(family)
    method = replace(SMALL, write=write)

    fitted = method.fit(model, upper, seed=3)

    table = effects(model, upper, shots=2, effect_prompts=4, seed=3)
    states = survey(
        model,
        upper,
        shots=2,
        mean_prompts=100,
        effect_prompts=4,
        only_solved=False,
        template="qa",
        seed=3,
    ).states
    heads = best(model, table, 3)
    assert torch.equal(vector_of(fitted), mean_contribution(model, states, heads, write))
    found = fitted.origin.options["chosen"]
    assert found == [[*head, float(table[head])] for head in heads]
    values = [effect for *_, effect in found]
    assert values == sorted(values, reverse=True)


def test_all_heads_of_a_block_add_what_its_attention_does(tiny, upper):
    """Behind the norm of Gemma, up to nothing at all; the textbook sum is another."""
    model = tiny("gemma2")
    options = {"use": tuple((1, head) for head in range(4)), "shots": 2}

    residual = vector_of(FunctionVector(**options).fit(model, upper, seed=0))
    textbook = vector_of(
        FunctionVector(write="textbook", **options).fit(model, upper, seed=0)
    )

    found = survey(
        model,
        upper,
        shots=2,
        mean_prompts=100,
        effect_prompts=0,
        only_solved=False,
        template="qa",
        seed=0,
    )
    wanted = found.states[Site(1, "attn")].mean(0)
    torch.testing.assert_close(residual, wanted, rtol=1e-5, atol=1e-5)
    assert float(torch.cosine_similarity(textbook, wanted, dim=0)) < 0.98


def test_given_heads_are_used_and_nothing_is_patched(tiny, upper, monkeypatch):
    model = tiny("llama", seed=5)
    monkeypatch.setattr("seatrial.methods.fitting.patching.indirect_effects", None)

    fitted = replace(SMALL, use=((2, 1), (0, 3))).fit(model, upper, seed=0)

    assert fitted.origin.options["chosen"] == [[2, 1, None], [0, 3, None]]
    assert "prompts_patched" not in fitted.origin.options


def test_heads_can_be_given_in_a_plan():
    method = make_method("function-vector", {"use": [[2, 1], [0, 3]], "write": "textbook"})

    assert method == FunctionVector(use=((2, 1), (0, 3)), write="textbook")


def test_heads_that_the_model_lacks_are_refused(tiny, upper):
    with pytest.raises(
        BadOption, match="head 9 of layer 0 does not exist in 'tiny-llama-0'"
    ):
        replace(SMALL, use=((0, 9),)).fit(tiny("llama"), upper, seed=0)


def test_only_solved_queries_are_used_and_their_number_is_recorded(letters):
    model, data = letters
    wrong = [
        Example(e.input, data.examples[k - 1].output) for k, e in enumerate(data.examples)
    ]
    mixed = replace(data, examples=(*wrong[:2], *data.examples[2:]))
    method = FunctionVector(layer=0, heads=1, shots=4)

    every, some = (
        replace(method, only_solved=flag).fit(model, mixed, seed=0).origin.options
        for flag in (False, True)
    )

    assert (every["prompts_asked"], every["prompts_read"]) == (12, 12)
    assert (some["prompts_asked"], some["prompts_read"]) == (12, 10)
    assert some["prompts_patched"] == 10


@pytest.mark.parametrize(("layer", "found"), [("third", 1), ("first", 0), (2, 2)])
def test_it_is_added_at_one_block(tiny, upper, layer, found):
    fitted = replace(SMALL, layer=layer).fit(tiny("llama"), upper, seed=0)

    assert list(fitted.edits) == [Site(found)]
    assert fitted.tokens == "last"


def test_prompts_heads_and_seeds_make_a_difference(tiny, upper):
    model = tiny("llama")
    changes = [
        {},
        {"heads": 2},
        {"shots": 3},
        {"mean_prompts": 3},
        {"template": "arrow"},
    ]

    made = [vector_of(replace(SMALL, **c).fit(model, upper, seed=0)) for c in changes]
    made.append(vector_of(SMALL.fit(model, upper, seed=1)))

    for k, one in enumerate(made):
        assert not any(torch.allclose(one, other) for other in made[k + 1 :])


@pytest.mark.parametrize("options", [{"heads": 0}, {"effect_prompts": 0}])
def test_no_heads_or_effects_are_refused(tiny, upper, options):
    with pytest.raises(BadOption, match="needs at least 1 head and 1 effect prompt"):
        replace(SMALL, **options).fit(tiny("llama"), upper, seed=0)


def test_a_concept_an_unknown_template_and_too_few_examples_are_refused(
    tiny, example, upper
):
    model = tiny("llama")

    with pytest.raises(
        BadData, match="'function-vector' learns from the examples of a map"
    ):
        SMALL.fit(model, replace(example, examples=()), seed=0)
    with pytest.raises(UnknownName, match="unknown template 'q'"):
        replace(SMALL, template="q").fit(model, upper, seed=0)
    with pytest.raises(BadData, match="10 demonstrations need as many examples"):
        FunctionVector().fit(model, upper, seed=0)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, upper, check):
    CHECKS[check](SMALL, tiny("gemma3"), upper)


def test_generated_tokens_can_be_steered_too(tiny, upper):
    method = replace(SMALL, write="textbook", tokens="generated")

    CHECKS["cached generation equals recomputation"](method, tiny("gpt2"), upper)


def test_it_keeps_its_promises_where_there_are_pairs_too(tiny, upper, example):
    both = replace(example, examples=upper.examples)

    for name in ("only the given pairs are read", "saving and loading is exact"):
        CHECKS[name](SMALL, tiny("llama"), both)


@dataclass(frozen=True)
class Peeks(Method):
    """Reads an example that it was not given."""

    name: ClassVar[str] = "peeks"
    summary: ClassVar[str] = "for tests"

    def fit(self, model, data, *, seed):
        more = (*data.examples, Example("train", "TRAIN"))
        return SMALL.fit(model, replace(data, examples=more), seed=seed)


def test_the_check_of_what_is_read_bites(tiny, upper):
    with pytest.raises(AssertionError, match="which is not in the data"):
        CHECKS["only the given pairs are read"](Peeks(), tiny("llama"), upper)


def test_a_saved_one_does_the_same(letters, tmp_path):
    model, data = letters
    fitted = FunctionVector(layer=0, heads=2, shots=4).fit(model, data, seed=0)
    save(fitted, tmp_path / "v.safetensors")

    loaded = load(tmp_path / "v.safetensors")

    assert torch.equal(vector_of(loaded), vector_of(fitted))
    assert loaded.origin.options["chosen"] == fitted.origin.options["chosen"]
