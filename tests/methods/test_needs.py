"""What every method needs to be fitted, and that what does not fit is refused at once."""

from dataclasses import replace

import pytest

from seatrial.errors import BadData
from seatrial.methods import (
    CAA,
    CAST,
    METHODS,
    ActAdd,
    DoLa,
    Instruction,
    LayerMean,
    Length,
    Shuffled,
)
from seatrial.methods.base import needs_of
from seatrial.types import Example, FitData, Pair, Text

PAIRS = tuple(
    Pair(f"p{k}", f"g{k}", Text(f"Day {k}", " is calm"), Text(f"Day {k}", " is rough"))
    for k in range(4)
)
EXAMPLES = tuple(Example(word, word.upper()) for word in ("sea", "day", "road", "walk"))
WHOLE = FitData("calm", PAIRS, "Be calm.", "Be wild.", "by hand", EXAMPLES)
WITHOUT = {
    "pairs": replace(WHOLE, pairs=()),
    "examples": replace(WHOLE, examples=()),
    "instructions": replace(WHOLE, encourage=" "),
}
OTHER_NEEDS = {
    "actadd": ("instructions",),
    "dola": (),
    "few-shot": ("pairs", "examples"),
    "function-vector": ("examples",),
    "instruction": ("instructions",),
    "layer-mean": ("examples",),
    "length": (),
    "task-vector": ("examples",),
}
"""All others need pairs."""


def method_of(name):
    kind = METHODS[name]
    if name == "length":
        return Length(reference=DoLa())
    return kind(reference=CAA(layer=1)) if kind.is_control else kind()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_needs(name):
    assert needs_of(method_of(name)) == OTHER_NEEDS.get(name, ("pairs",))


@pytest.mark.parametrize("name", METHODS)
def test_what_lacks_all_that_a_method_needs_is_refused_with_the_sentence(tiny, name):
    method, data = method_of(name), WHOLE
    assert method.misfit(WHOLE) is None
    for need in needs_of(method):
        data = replace(
            data,
            pairs=() if need == "pairs" else data.pairs,
            examples=() if need == "examples" else data.examples,
            encourage="" if need == "instructions" else data.encourage,
        )

    reason = method.misfit(data)

    assert (reason is None) == (name in ("dola", "length"))
    if reason:
        with pytest.raises(BadData) as refusal:
            method.fit(tiny("llama"), data, seed=0)
        assert str(refusal.value) == reason


@pytest.mark.parametrize("lack", WITHOUT)
@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_does_not_need_may_be_missing(name, lack):
    method = method_of(name)
    needs = needs_of(method)

    assert (method.misfit(WITHOUT[lack]) is None) == (needs != (lack,))


@pytest.mark.parametrize(
    ("method", "lack", "sentence"),
    [
        (
            CAA(),
            "pairs",
            r"'caa' learns from pairs, and 'calm' has none; give at least one",
        ),
        (
            LayerMean(),
            "examples",
            "'layer-mean' learns from the examples of a map, and 'cal",
        ),
        (
            Instruction(),
            "instructions",
            "'calm' has no instruction .* give your own as opt",
        ),
        (Shuffled(LayerMean()), "examples", "'layer-mean' learns from the examples of a m"),
    ],
)
def test_the_sentence_says_what_to_do(tiny, method, lack, sentence):
    with pytest.raises(BadData, match=sentence):
        method.fit(tiny("llama"), WITHOUT[lack], seed=0)


def test_own_words_take_the_place_of_instructions():
    data = replace(WITHOUT["instructions"], discourage="Be wild.")

    assert ActAdd(positive="Love", negative="Hate").misfit(data) is None
    assert Instruction(encourage="Be calm.").misfit(data) is None
    assert Instruction(discourage="Be wild.").misfit(data) is not None


def test_other_data_that_are_not_filled_in_are_asked_for(tiny):
    method = CAST(gate_on="honesty")

    assert list(method.references(WHOLE)) == ["gate"]
    assert Shuffled(method).references(WHOLE) == method.references(WHOLE)
    assert CAST().references(WHOLE) == {}
    with pytest.raises(BadData, match="'cast' reads 'honesty' beside 'calm', and these da"):
        method.fit(tiny("llama"), WHOLE, seed=0)
