"""Methods that add vectors say how long the states are that they were fitted on."""

import pytest
import torch

from seatrial.methods import (
    CAA,
    CAST,
    ITI,
    ActAdd,
    FunctionVector,
    LayerMean,
    Logistic,
    MeanMatch,
    Orthogonal,
    OtherTask,
    Random,
    RepE,
    Shuffled,
)
from seatrial.methods.base import state_norms
from seatrial.methods.fitting.contrast import contrast
from seatrial.steering import load, save
from seatrial.steering.compare import STATE_NORMS, comparison
from seatrial.tasks.others import with_others
from seatrial.testing import tiny_model
from seatrial.types import Example, FitData, Site, Text

EXAMPLES = tuple(Example(word, word.upper()) for word in ("sea", "day", "road", "walk"))
UPPER = FitData("upper", (), examples=EXAMPLES)


def norms_of(fitted):
    return fitted.origin.options[STATE_NORMS]


def mean_length(*states):
    return float(torch.cat(states).norm(dim=-1).mean())


def near(lengths):
    return pytest.approx(lengths, rel=2e-6)


def test_it_is_the_mean_length_of_what_was_read():
    read = {
        Site(2): (torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[6.0, 8.0]])),
        Site(0, "attn"): [torch.tensor([[2.0, 0.0]])],
    }

    assert state_norms(read) == {STATE_NORMS: {"2.resid": 5.33333, "0.attn": 2.0}}


@pytest.mark.parametrize("read", ["last", "mean"])
@pytest.mark.parametrize(
    "kind", [CAA, Logistic, MeanMatch, RepE, CAST], ids=lambda kind: kind.name
)
def test_of_pairs_it_is_that_of_both_sides_where_they_were_read(tiny, example, kind, read):
    model = tiny("gemma3")

    fitted = kind(layer=1, read=read).fit(model, example, seed=0)

    sides = contrast(model, example.pairs, Site(1), read)
    assert norms_of(fitted) == near({"1.resid": mean_length(*sides)})


def test_every_block_and_form_has_its_own(tiny, example):
    model = tiny("llama")

    fitted = RepE(layer=0, blocks=3, form="piecewise").fit(model, example, seed=0)

    lengths = {
        f"{k}.resid": mean_length(*contrast(model, example.pairs, Site(k), "last"))
        for k in range(3)
    }
    assert norms_of(fitted) == near(lengths)
    found = comparison({"repe": fitted}).rows
    assert [row.ratio for row in found] == near(
        [row.norm / norms_of(fitted)[str(row.site)] for row in found]
    )


def test_of_heads_it_is_that_of_all_heads_side_by_side(tiny, example):
    model = tiny("qwen3")

    fitted = ITI(layer=1, heads=1).fit(model, example, seed=0)

    sides = contrast(model, example.pairs, Site(1, "heads"), "last")
    assert norms_of(fitted) == near({"1.heads": mean_length(*sides)})


def test_of_two_prompts_it_is_that_of_the_edited_tokens(tiny, example):
    model, method = tiny("llama"), ActAdd(layer=1, positive="Love", negative="Hate it")

    fitted = method.fit(model, example, seed=0)

    tokens = [int(part.tokens.removeprefix("at_")) for part in fitted.parts]
    ids = [model.encoder.prompt_ids(text) for text in ("Love", "Hate it")]
    filler = model.encoder.tokenizer(" ", add_special_tokens=False).input_ids
    k = max(map(len, ids))
    states = model.token_activations(
        [line + tuple(filler) * (k - len(line)) for line in ids], [Site(1)]
    )
    lengths = mean_length(*(found[Site(1)][tokens] for found in states))
    assert norms_of(fitted) == near({"1.resid": lengths})


def test_of_a_map_it_is_that_of_prompts_or_bare_queries(tiny):
    model, options = tiny("llama"), {"layer": 1, "shots": 2, "mean_prompts": 2}

    mean = LayerMean(**options).fit(model, UPPER, seed=0)
    function = FunctionVector(**options, heads=1, effect_prompts=1)

    bare = [Text(f"Q: {example.input}\nA:", "") for example in EXAMPLES]
    states = model.activations(bare, [Site(1)], "last")[Site(1)]
    found = function.fit(model, UPPER, seed=0)
    assert norms_of(found) == near({"1.resid": mean_length(states)})
    # The mean of two states is no longer than they are, and about as long.
    [row] = comparison({"mean": mean}).rows
    assert 0.5 < row.ratio < 1


@pytest.mark.parametrize("kind", [Random, Orthogonal, Shuffled, OtherTask])
def test_controls_stand_beside_the_same_states(tiny, example, kind):
    model, caa = tiny("llama"), CAA(layer=1)
    fitted = caa.fit(model, example, seed=0)

    control = kind(caa)
    data = with_others(example, control.references(example), seed=0)
    control = control.fit(model, data, seed=0)

    one, other = comparison({"caa": fitted, "control": control}).rows
    assert one.norm == pytest.approx(other.norm, rel=1e-5)
    if kind is OtherTask:  # it was fitted on other texts
        assert other.ratio > 0 and other.ratio != one.ratio
    else:
        assert other.ratio == pytest.approx(one.ratio, rel=1e-5)


def test_what_adds_no_vector_has_no_record(tiny, example):
    erased = MeanMatch(layer=1, erase=True).fit(tiny("llama"), example, seed=0)

    assert STATE_NORMS not in erased.origin.options


def test_it_costs_no_pass_of_its_own_and_is_kept_on_disk(example, tmp_path):
    model, calls = tiny_model("llama"), []  # of which nothing is remembered
    first = model.structure.blocks[0].module

    with first.register_forward_pre_hook(lambda *_: calls.append(1)):
        contrast(model, example.pairs, Site(1), "last")  # what the fit itself reads
        read = len(calls)
        fitted = CAA(layer=1).fit(model, example, seed=0)

    save(fitted, tmp_path / "caa.safetensors")
    loaded = load(tmp_path / "caa.safetensors")
    assert len(calls) == read > 0
    assert norms_of(loaded) == norms_of(fitted)
    assert norms_of(loaded)["1.resid"] > 0
