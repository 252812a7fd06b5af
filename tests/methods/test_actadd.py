"""ActAdd adds the difference of two prompts row by row, at the front, once."""

from dataclasses import replace

import pytest
import torch

from seatrial.errors import BadData, BadOption, SteeringFault
from seatrial.methods import CAA, ActAdd, Orthogonal, Random
from seatrial.methods.actadd import states_of
from seatrial.steering import load, save
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.testing import CHECKS, naive_greedy, naive_log_probs
from seatrial.types import FitData, Request, Site

LOVE = {"positive": "Love", "negative": "Hate it"}
PROMPT = "Question: what does the sea look like today?"
REQUEST = Request("r", "r", PROMPT, (" It is calm and clear.", " Grey."))


def rows_of(fitted):
    """The added vectors by token."""
    [site] = fitted.edits
    return {
        int(part.tokens.removeprefix("at_")): part.edits[site].vector
        for part in fitted.parts
    }


def states(model, ids, layer):
    """Outputs of a block on a sequence, by a plain hook on a plain call."""
    kept = []
    hook = model.structure.blocks[layer].module.register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.inference_mode():
        model.engine.network(input_ids=torch.tensor([ids]))
    hook.remove()
    return kept[0].reshape(len(ids), -1)


def padded(model, *prompts):
    """The prompts as whole sequences, the shorter one with tokens of a space behind it."""
    encode = model.encoder.tokenizer
    ids = [encode(prompt).input_ids for prompt in prompts]
    [space] = encode(" ", add_special_tokens=False).input_ids
    k = max(map(len, ids))
    return [tuple(line + [space] * (k - len(line))) for line in ids]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "lfm2"])
@pytest.mark.parametrize("layer", [0, 1])
def test_its_rows_are_the_naive_difference_of_the_padded_prompts(
    tiny, example, family, layer
):
    model = tiny(family)

    fitted = ActAdd(layer=layer, coefficient=2.0, **LOVE).fit(model, example, seed=0)

    one, other = (states(model, ids, layer) for ids in padded(model, "Love", "Hate it"))
    found = rows_of(fitted)
    assert list(found) == list(range(1, len(one)))  # token 0 is the same in both
    for k, vector in found.items():
        naive = 2.0 * (one[k] - other[k])
        torch.testing.assert_close(vector, naive, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_states_differ_by_exactly_those_rows_and_all_others_not_by_a_bit(
    tiny, example, family
):
    """At the edited site, in the run that scores answers: c * D at 0 .. k-1, else 0."""
    model, dose = tiny(family), -1.5
    fitted = ActAdd(layer=1, coefficient=3.0, **LOVE).fit(model, example, seed=0)
    rows, entered = rows_of(fitted), []
    handle = model.structure.blocks[2].module.register_forward_pre_hook(
        lambda _, args, kwargs: entered.append((*args, *kwargs.values())[0].clone()),
        with_kwargs=True,
    )
    try:
        [plain] = naive_log_probs(model, [REQUEST], [UNSTEERED])
        [steered] = naive_log_probs(model, [REQUEST], [Steering(fitted, dose)])
    finally:
        handle.remove()

    n = len(REQUEST.answers)
    for unedited, edited in zip(entered[:n], entered[n:], strict=True):
        expected = unedited.clone()
        for k, vector in rows.items():
            expected[0, k] += dose * vector
        assert torch.equal(edited, expected)
        moved = (edited != unedited).any(-1)[0].nonzero()[:, 0].tolist()
        assert moved == list(rows)
    # And the engine says of the same steering what the naive run says.
    [answers] = model.log_probs([REQUEST], [Steering(fitted, dose)])
    for found, wanted in zip(answers[0].log_probs, steered[0], strict=True):
        torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-4, rtol=0)
    assert not torch.allclose(steered[0][0], plain[0][0], atol=1e-3)


def test_generated_tokens_are_never_edited(tiny, example):
    """One edit in the prefill; decoding reads its keys and values (trap T2)."""
    model = tiny("llama")
    fitted = ActAdd(coefficient=4.0, **LOVE).fit(model, example, seed=0)
    under = [UNSTEERED, Steering(fitted)]

    (plain,), (steered,) = model.generate([PROMPT], under, max_tokens=8)

    ids = model.encoder.prompt_ids(PROMPT)
    assert list(steered.token_ids) == naive_greedy(model, ids, Steering(fitted), 8)
    assert steered.text != plain.text
    edited = model.where(REQUEST, fitted)
    k = max(rows_of(fitted))
    assert [t.position for t in edited if t.answer == 0] == list(range(1, k + 1))
    assert {t.part for t in edited} == {"prompt"}


def test_exchanging_the_prompts_turns_every_sign_bit_for_bit(tiny, example):
    model = tiny("llama")
    one = ActAdd(layer=1, **LOVE).fit(model, example, seed=0)
    back = ActAdd(layer=1, positive="Hate it", negative="Love").fit(model, example, seed=0)

    assert list(rows_of(one)) == list(rows_of(back))
    for k, vector in rows_of(one).items():
        assert torch.equal(vector, -rows_of(back)[k])


def test_the_coefficient_scales_what_a_dose_of_one_adds(tiny, example):
    model = tiny("llama")

    one, five = (
        ActAdd(coefficient=c, **LOVE).fit(model, example, seed=0) for c in (1.0, 5.0)
    )

    for k, vector in rows_of(one).items():
        torch.testing.assert_close(5.0 * vector, rows_of(five)[k])


@pytest.mark.parametrize("bos", [True, False], ids=["with BOS", "without BOS"])
def test_what_both_prompts_begin_with_gets_no_edit(tiny, example, bos):
    model = tiny("llama", bos=bos)
    prompts = {"positive": "I love it", "negative": "I hate it"}

    fitted = ActAdd(layer=1, **prompts).fit(model, example, seed=0)

    one, other = padded(model, *prompts.values())
    same = next(k for k in range(len(one)) if one[k] != other[k])
    assert same >= 1 + bos
    assert list(rows_of(fitted)) == list(range(same, len(one)))
    read = states_of(model, one, other, Site(1))
    assert [len(each) for each in read] == [len(one)] * 2
    assert torch.equal(read[0][:same], read[1][:same])


def test_tokens_that_were_read_are_recorded(tiny, example):
    model = tiny("llama")

    read = ActAdd(**LOVE).fit(model, example, seed=0).origin.options["read"]

    words = [model.encoder.decode([i]) for i in padded(model, "Love", "Hate it")[0]]
    assert read[0] == words and len(read[0]) == len(read[1])
    assert read[0][0] == "<bos>" and read[0][-1] == " "


def test_without_prompts_of_its_own_it_takes_the_instructions(tiny, example):
    model = tiny("llama")

    own = ActAdd(layer=1).fit(model, example, seed=0)
    given = ActAdd(layer=1, positive="You are calm.", negative="You are wild.")

    wanted = rows_of(given.fit(model, FitData("none", ()), seed=0))
    assert {k: v.tolist() for k, v in rows_of(own).items()} == {
        k: v.tolist() for k, v in wanted.items()
    }


def test_the_pad_token_can_fill_up_instead_of_spaces(tiny, example):
    model = tiny("llama")
    pad = ActAdd(padding="pad", **LOVE).fit(model, example, seed=0)
    space = ActAdd(**LOVE).fit(model, example, seed=0)

    assert pad.origin.options["read"][0][-1] == "<pad>"
    last = max(rows_of(pad))
    assert not torch.allclose(rows_of(pad)[last], rows_of(space)[last], atol=1e-3)


def test_a_tokenizer_without_a_space_says_what_to_do(planted):
    model, _ = planted
    prompts = {"positive": "bright lovely", "negative": "dull"}

    with pytest.raises(BadOption, match=r"no space token to pad .*; use padding pad, or"):
        ActAdd(**prompts).fit(model, FitData("none", ()), seed=0)
    fitted = ActAdd(padding="pad", **prompts).fit(model, FitData("none", ()), seed=0)
    assert list(rows_of(fitted)) == [0, 1]  # no beginning-of-sequence token here


def test_the_planted_direction_is_what_it_adds_and_moves_the_behaviour(planted):
    model, direction = planted
    method = ActAdd(layer=0, positive="bright", negative="dull", coefficient=1.0)

    fitted = method.fit(model, FitData("none", ()), seed=0)

    [vector] = rows_of(fitted).values()
    assert float(torch.cosine_similarity(vector, direction, dim=0)) > 0.99
    asked = Request("r", "r", "kab", (" bright", " dull"))
    lines = model.log_probs([asked], [Steering(fitted, dose) for dose in (-1.0, 0.0, 1.0)])
    margins = [answer.sums[0] - answer.sums[1] for (answer,) in lines]
    assert margins[0] < margins[1] - 0.5 < margins[2] - 1.0


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](ActAdd(), tiny("gemma3"), example)


@pytest.mark.parametrize("control", [Random, Orthogonal])
def test_controls_keep_its_places_and_lengths(tiny, example, control):
    model = tiny("llama")
    method = ActAdd(layer=1, **LOVE)

    fitted, beside = (m.fit(model, example, seed=0) for m in (method, control(method)))

    assert list(rows_of(beside)) == list(rows_of(fitted))
    for k, vector in rows_of(fitted).items():
        assert float(rows_of(beside)[k].norm()) == pytest.approx(float(vector.norm()))
        assert not torch.allclose(rows_of(beside)[k], vector, atol=1e-2)


@pytest.mark.parametrize(("layers", "block"), [(3, 0), (12, 0), (24, 2), (48, 5)])
def test_an_eighth_of_the_way_is_the_published_block_of_gpt2_xl(
    tiny, example, monkeypatch, layers, block
):
    model = tiny("llama")
    asked = []

    def site(layer):
        asked.append(layer)
        return Site(0)

    monkeypatch.setattr(type(model), "n_layers", layers)
    monkeypatch.setattr(model, "site", site)
    ActAdd(**LOVE).fit(model, example, seed=0)

    assert asked == [block]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"positive": "Love"},
            BadOption,
            "two prompts, not 'Love' and ''; give both",
        ),
        ({"negative": "Hate"}, BadOption, "needs two prompts, not '' and 'Hate'"),
        ({"positive": "Go", "negative": "Go"}, BadOption, "'Go' and 'Go' are the same tok"),
        ({"positive": "Go", "negative": "Go "}, BadOption, "are the same tokens"),
        ({"coefficient": 0.0}, BadOption, r"must be a number but 0, not 0\.0"),
        ({"coefficient": float("nan")}, BadOption, "must be a number but 0, not nan"),
        ({"layer": 3}, BadOption, "layer 3 does not exist"),
    ],
    ids=str,
)
def test_what_it_cannot_use_is_refused(tiny, example, options, error, message):
    with pytest.raises(error, match=message):
        ActAdd(**options).fit(tiny("llama"), example, seed=0)


def test_data_without_instructions_needs_prompts(tiny, example):
    data = replace(example, discourage="")

    with pytest.raises(BadData, match="'actadd' needs instructions, and concept 'calm'"):
        ActAdd().fit(tiny("llama"), data, seed=0)


def test_a_prompt_that_is_too_short_is_refused(tiny, example):
    model = tiny("llama")
    fitted = ActAdd(**LOVE).fit(model, example, seed=0)
    short = Request("r", "r", "So", (" it goes on and on and on",))

    with pytest.raises(BadData, match=r"edits token .* give longer prompts, or a steering"):
        model.log_probs([short], [Steering(fitted)])
    with pytest.raises(BadData, match=r"edits token .* give longer prompts, or a steering"):
        model.generate(["So"], [Steering(fitted)])


def test_at_the_last_layer_it_can_reach_no_score(tiny, example):
    model = tiny("llama")
    fitted = ActAdd(layer="last", **LOVE).fit(model, example, seed=0)

    with pytest.raises(SteeringFault, match=r"edits nothing that a score .* earlier layer"):
        model.log_probs([REQUEST], [Steering(fitted)])


def test_it_is_saved_and_loaded_row_by_row(tiny, example, tmp_path):
    fitted = ActAdd(**LOVE).fit(tiny("llama"), example, seed=0)

    save(fitted, tmp_path / "love")

    loaded = load(tmp_path / "love")
    assert [part.tokens for part in loaded.parts] == [p.tokens for p in fitted.parts]
    for k, vector in rows_of(fitted).items():
        assert torch.equal(rows_of(loaded)[k], vector)
    total = torch.stack(list(rows_of(fitted).values())).norm()
    assert loaded.norms() == {Site(0): pytest.approx(float(total))}


def test_it_is_no_mean_difference(tiny, example):
    """A mean over pairs at the last token is CAA: other places, another vector."""
    model = tiny("llama")
    caa = CAA(layer=0).fit(model, example, seed=0)
    actadd = ActAdd(layer=0).fit(model, example, seed=0)

    one, other = model.log_probs([REQUEST], [Steering(caa), Steering(actadd)])
    assert one != other
