"""Interventions are joined and added up on purpose, and only where that has a meaning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seatrial.errors import BadOption, ForeignIntervention
from seatrial.steering import load, save
from seatrial.steering.compose import combine_files, combined, joined, weighted
from seatrial.steering.edits import Add, Project, Replace
from seatrial.steering.intervention import (
    UNSTEERED,
    Gate,
    Intervention,
    Part,
    PromptEdit,
    Steering,
)
from seatrial.steering.readout import ContrastLayers
from seatrial.testing import naive_log_probs
from seatrial.types import Origin, Request, Site

WIDTH = 32
REQUESTS = [
    Request("a", "a", "The answer is", (" yes and no", " no")),
    Request("b", "b", "What does the sea look like?", (" It is calm.",)),
]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
SCOPES = st.sampled_from(["all", "last", "from_last_prompt", "first_2", "at_1"])
WEIGHTS = st.floats(-2, 2).filter(lambda weight: abs(weight) > 0.1)
SEEDS = st.integers(0, 2**16)


def normal(seed, width=WIDTH):
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def push(seed=0, layer=0, tokens="all", width=WIDTH, **more):
    return Intervention({Site(layer): Add(normal(seed, width))}, tokens, **more)


def origin(method="caa", model="tiny", data="data", seed=3):
    return Origin(model, WIDTH, method, {"layer": 1}, data, seed)


def gate(threshold=0.1):
    return Gate(Site(1), torch.ones(WIDTH), threshold)


def numbers(lines):
    return torch.tensor(
        [x for line in lines for answer in line for row in answer.log_probs for x in row]
    )


@given(seed=SEEDS, tokens=SCOPES)
def test_joined_with_nothing_else_it_is_itself(seed, tokens):
    one = push(seed, tokens=tokens, prompt_edit=SEA, gate=gate())

    assert joined(one) is one


@settings(max_examples=5)
@given(drawn=st.lists(st.tuples(SEEDS, st.integers(0, 1), SCOPES), min_size=2, max_size=3))
def test_joined_they_do_one_after_the_other_what_each_does(tiny, drawn):
    model = tiny("llama")
    several = [push(seed, layer, tokens) for seed, layer, tokens in drawn]

    together = joined(*several)

    assert [part.tokens for part in together.parts] == [tokens for *_, tokens in drawn]
    under = [Steering(together, 0.5)]
    by_hand = Intervention(
        several[0].edits,
        several[0].tokens,
        also=tuple(Part(each.edits, each.tokens) for each in several[1:]),
    )
    assert model.log_probs(REQUESTS, under) == model.log_probs(
        REQUESTS, [Steering(by_hand, 0.5)]
    )


def test_the_order_is_kept_and_matters(tiny):
    model = tiny("llama")
    one, other = push(1), Intervention({Site(0): Replace(normal(2))})

    there, back = joined(one, other), joined(other, one)

    lines = model.log_probs(REQUESTS, [Steering(there, 0.5), Steering(back, 0.5)])
    assert (numbers(lines[:1]) - numbers(lines[1:])).abs().max() > 1e-3
    slow = naive_log_probs(model, REQUESTS, [Steering(there, 0.5), Steering(back, 0.5)])
    expected = torch.cat([x for line in slow for answers in line for x in answers])
    torch.testing.assert_close(numbers(lines), expected, atol=1e-4, rtol=0)


def test_joining_is_associative():
    one, two, three = push(1), push(2, 1, "last"), push(3, 1, "at_0")

    left, right = joined(joined(one, two), three), joined(one, joined(two, three))

    for a, b in zip(left.parts, right.parts, strict=True):
        assert (a.tokens, dict(a.edits)) == (b.tokens, dict(b.edits))


def test_prompt_edit_and_readout_join_the_edits(tmp_path):
    readout, one = ContrastLayers((0,)), gate()
    parts = [
        Intervention(prompt_edit=SEA, gate=one),
        push(1, tokens="last", gate=one),
        Intervention(readout=readout, gate=gate()),
    ]

    together = joined(*parts)

    assert (together.prompt_edit, together.readout) == (SEA, readout)
    assert together.gate is one
    assert [part.tokens for part in together.parts] == ["last"]
    save(together, tmp_path / "together")
    assert load(tmp_path / "together").readout == readout


@pytest.mark.parametrize(
    ("several", "message"),
    [
        ([], "there is nothing to join; give at least one intervention"),
        (
            [Intervention(prompt_edit=SEA), push(), Intervention(prompt_edit=SEA)],
            "2 prompt edits cannot be joined",
        ),
        (
            [Intervention(readout=ContrastLayers((k,))) for k in range(3)],
            "3 readouts cannot be joined",
        ),
        ([push(gate=gate()), push(1)], "with and without one, cannot be joined"),
        ([push(), push(1, gate=gate())], "with and without one, cannot be joined"),
        (
            [push(gate=gate()), push(1, gate=gate(0.2))],
            "with different gates",
        ),
    ],
    ids=["none", "prompts", "readouts", "conditional first", "conditional last", "two"],
)
def test_what_has_no_meaning_together_is_refused(several, message):
    with pytest.raises(BadOption, match=message):
        joined(*several)


@pytest.mark.parametrize("compose", [joined, lambda a, b: weighted({a: 1.0, b: 1.0})])
def test_steerings_of_different_models_are_refused(compose):
    parts = [push(k, origin=origin(model=f"model {k}")) for k in (0, 1)]

    with pytest.raises(ForeignIntervention, match="different models, model 0 and model 1;"):
        compose(*parts)


def test_where_the_parts_come_from_is_kept(tmp_path):
    one, other = push(1, origin=origin("caa")), push(2, origin=origin("repe"))

    same = joined(one, push(9), other)

    assert same.origin.method == "joined"
    assert (same.origin.model, same.origin.data, same.origin.seed) == ("tiny", "data", 3)
    methods = [part and part["method"] for part in same.origin.options["parts"]]
    assert methods == ["caa", None, "repe"]
    save(same, tmp_path / "a")
    assert load(tmp_path / "a").origin == same.origin


def test_other_data_gives_another_fingerprint():
    def together(*data):
        parts = [push(k, origin=origin(data=name)) for k, name in enumerate(data)]
        return joined(*parts).origin.data

    assert len({together("x", "y"), together("x", "z"), together("x", "x")}) == 3
    assert together("x", "y") == together("x", "y")


def test_of_parts_made_by_hand_nothing_is_known():
    assert joined(push(1), push(2)).origin is None
    assert weighted({push(1): 2.0}).origin is None


@given(
    seeds=st.lists(SEEDS, min_size=1, max_size=4, unique=True),
    weights=st.lists(WEIGHTS, min_size=4, max_size=4),
)
def test_weighted_vectors_are_the_weighted_sum(seeds, weights):
    parts = [push(seed, tokens="last") for seed in seeds]
    factors = weights[: len(seeds)]

    total = weighted(dict(zip(parts, factors, strict=True)))

    expected = sum(
        w * normal(seed).double() for w, seed in zip(factors, seeds, strict=True)
    )
    vector = total.edits[Site(0)].vector
    assert total.tokens == "last"
    torch.testing.assert_close(vector, expected.float(), atol=1e-6, rtol=1e-6)


@settings(max_examples=5)
@given(seed=SEEDS, a=WEIGHTS, b=WEIGHTS, tokens=SCOPES)
def test_a_weighted_sum_answers_as_one_after_the_other(tiny, seed, a, b, tokens):
    """Arithmetic is linear: adding a v + b w is adding a v, then b w."""
    model = tiny("llama")
    v, w = push(seed, tokens=tokens), push(seed + 1, tokens=tokens)

    at_once = weighted({v: a, w: b})
    in_turn = joined(weighted({v: a}), weighted({w: b}))
    by_hand = {Site(0): Add(a * normal(seed) + b * normal(seed + 1))}

    under = [at_once, in_turn, Intervention(by_hand, tokens)]
    once, turn, hand = model.log_probs(REQUESTS, [Steering(each) for each in under])
    torch.testing.assert_close(numbers([once]), numbers([turn]), atol=1e-4, rtol=0)
    torch.testing.assert_close(numbers([once]), numbers([hand]), atol=1e-4, rtol=0)
    assert once != model.log_probs(REQUESTS, [UNSTEERED])[0]


def test_a_weight_is_a_dose():
    model_doses = weighted({push(1): -0.5})

    h = normal(7)[None]
    one, other = push(1).edits[Site(0)], model_doses.edits[Site(0)]
    torch.testing.assert_close(other(h, 1.0), one(h, -0.5))


def test_parts_are_added_up_part_by_part():
    def two(seed):
        return joined(push(seed, 0, "at_1"), push(seed + 1, 0, "at_2"))

    total = weighted({two(1): 1.0, two(5): -1.0})

    assert [part.tokens for part in total.parts] == ["at_1", "at_2"]
    vectors = [part.edits[Site(0)].vector for part in total.parts]
    torch.testing.assert_close(vectors[0], normal(1) - normal(5))
    torch.testing.assert_close(vectors[1], normal(2) - normal(6))


def test_weights_are_kept_with_the_parts():
    total = weighted({push(1, origin=origin()): 2.0, push(2, origin=origin("repe")): -1.0})

    assert total.origin.method == "weighted"
    assert total.origin.options["weights"] == [2.0, -1.0]
    assert [p["method"] for p in total.origin.options["parts"]] == ["caa", "repe"]


PROJECT = Intervention({Site(0): Project(torch.eye(WIDTH)[:, :1])})


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([push(2, layer=1)], r"not at 0.resid \(all\) and 1.resid \(all\); join them"),
        ([push(2, tokens="last")], r"not at 0.resid \(all\) and 0.resid \(last\)"),
        ([joined(push(2), push(3))], r"and 0.resid \(all\); 0.resid \(all\)"),
        ([PROJECT], "one of these makes Project edits; join them instead"),
        ([UNSTEERED.intervention], "one of these makes no edits"),
        ([push(2, prompt_edit=SEA)], "one of these has a prompt edit"),
        ([push(2, readout=ContrastLayers((0,)))], "one of these has a readout"),
        ([push(2, gate=gate())], "one of these has a gate"),
        ([push(1)], "the weighted vectors cancel out at site 0.resid"),
    ],
    ids=str,
)
def test_what_cannot_be_added_up_is_refused(others, message):
    with pytest.raises(BadOption, match=message):
        weighted({push(1): 1.0, **dict.fromkeys(others, -1.0)})


def test_vectors_of_other_widths_are_refused():
    with pytest.raises(ForeignIntervention, match=r"at site 0.resid have the widths 32, 8"):
        weighted({push(1): 1.0, push(2, width=8): 1.0})


@pytest.mark.parametrize("weights", [[], [float("nan")], [float("inf")]])
def test_weights_that_are_no_numbers_are_refused(weights):
    with pytest.raises(BadOption, match="each with a weight that is a finite number"):
        weighted({push(k): weight for k, weight in enumerate(weights)})


def test_several_are_joined_or_weighted_by_whether_there_are_weights():
    one, other = push(1), push(2)

    assert len(combined([one, other]).parts) == 2
    [edit] = combined([one, other], [1.0, -0.5]).edits.values()
    torch.testing.assert_close(edit.vector, normal(1) - 0.5 * normal(2))
    [half] = combined([one], [0.5]).edits.values()
    torch.testing.assert_close(half.vector, 0.5 * normal(1))


@pytest.mark.parametrize(
    ("several", "weights", "message"),
    [
        ([push(1)], [], "a single steering has nothing to be joined with; name several"),
        ([push(1), push(2)], [1.0], "one weight for each steering, so 2 and not 1;"),
        ([], [], "there is nothing to join"),
    ],
)
def test_what_cannot_be_combined_is_refused(several, weights, message):
    with pytest.raises(BadOption, match=message):
        combined(several, weights)


def test_files_are_combined_and_none_of_them_is_written_over(tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, file in enumerate(files):
        save(push(seed), file)

    made = combine_files(files, tmp_path / "c", [1.0, 1.0])

    assert torch.equal(
        load(tmp_path / "c").edits[Site(0)].vector, made.edits[Site(0)].vector
    )
    with pytest.raises(BadOption, match="one of the files that are combined and would be"):
        combine_files(files, files[1])
    assert torch.equal(load(files[1]).edits[Site(0)].vector, normal(1))
