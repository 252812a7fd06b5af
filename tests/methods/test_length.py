"""The length control gives every token the same constant, and so knows no words."""

from dataclasses import replace

import pytest

from seatrial.errors import BadData, BadOption
from seatrial.methods import CAA, DoLa, Instruction, Length
from seatrial.methods.length import matching_constant
from seatrial.steering import load, save
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.steering.readout import Offset
from seatrial.testing import CHECKS
from seatrial.types import Answer, FitData, Pair, Request, Text

PUBLISHED = DoLa(layers=(0,), norm="none", scores="published", plausibility=0.0)
REQUESTS = tuple(
    Request(f"r{k}", f"g{k}", f"The answer {k} is", (" yes, and the sea is calm", " no"))
    for k in range(4)
)
DATA = FitData("truth", (), requests=REQUESTS, fingerprint="by hand")


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, example, check):
    CHECKS[check](Length(PUBLISHED), tiny("llama"), example)


def test_its_mean_score_per_token_is_that_of_the_readout(tiny):
    model = tiny("llama")
    control = Length(PUBLISHED).fit(model, DATA, seed=0)
    readout = PUBLISHED.fit(model, DATA, seed=0)

    steered, moved = model.log_probs(
        REQUESTS, [Steering(readout, 1.0), Steering(control, 1.0)]
    )

    total = sum(sum(answer.sums) for answer in steered)
    assert sum(sum(answer.sums) for answer in moved) == pytest.approx(total, rel=1e-4)


def test_every_token_moves_by_the_same_constant_times_the_dose(tiny):
    model = tiny("gpt2")
    control = Length(PUBLISHED).fit(model, DATA, seed=0)
    constant = control.readout.constant

    plain, half, zero = model.log_probs(
        REQUESTS, [UNSTEERED, Steering(control, 0.5), Steering(control, 0.0)]
    )

    assert abs(constant) > 0.01
    assert zero == plain
    for before, after in zip(plain, half, strict=True):
        for one, other in zip(before.log_probs, after.log_probs, strict=True):
            moved = [b - a for a, b in zip(one, other, strict=True)]
            assert moved == pytest.approx([constant / 2] * len(moved), abs=1e-4)


def test_answers_of_one_length_are_ranked_as_without_it(tiny):
    model = tiny("llama")
    control = Length(PUBLISHED).fit(model, DATA, seed=0)
    words = tuple(
        f" {word}"
        for word in ["calm", "day", "grey", "late", "road", "rough", "sea", "town", "up"]
    )
    texts = model.answer_tokens(Request("r", "g", "The sea is", words))
    lengths = [len(text.scored) for text in texts]
    alike = tuple(w for w, n in zip(words, lengths, strict=True) if n == lengths[0])
    asked = [Request("r", "g", "The sea is", alike)]

    plain, moved = model.log_probs(asked, [UNSTEERED, Steering(control, 1.0)])

    def ranked(answer):
        return sorted(range(len(alike)), key=lambda k: answer.sums[k])

    assert len(alike) > 2

    assert ranked(plain[0]) == ranked(moved[0])


def test_the_constant_by_hand():
    plain = [Answer(((-1.0, -2.0), (-3.0,)))]
    steered = [Answer(((0.0, -1.0), (1.0,)))]

    assert matching_constant(steered, plain) == pytest.approx((0.0 - -6.0) / 3)


def test_it_is_saved_and_read_again(tiny, tmp_path):
    fitted = Length(PUBLISHED).fit(tiny("llama"), DATA, seed=0)
    save(fitted, tmp_path / "length.safetensors")

    read = load(tmp_path / "length.safetensors")

    assert isinstance(read.readout, Offset)
    assert read.readout == fitted.readout


def test_the_texts_of_pairs_stand_in_for_requests(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))
    asked = (
        Request("p/positive", "g", "The sea", (" is calm",)),
        Request("p/negative", "g", "The sea", (" is rough",)),
    )
    model = tiny("llama")

    by_pairs = Length(PUBLISHED).fit(model, FitData("sea", (pair,)), seed=0)
    by_requests = Length(PUBLISHED).fit(model, FitData("sea", (), requests=asked), seed=0)

    assert by_pairs.readout == by_requests.readout


@pytest.mark.parametrize("reference", [CAA(layer=1), Instruction()])
def test_what_is_no_readout_has_other_controls(tiny, reference):
    with pytest.raises(
        BadOption, match="'length' controls methods that change the readout"
    ):
        Length(reference).fit(tiny("llama"), DATA, seed=0)


def test_without_answers_there_is_nothing_to_compare(tiny):
    with pytest.raises(BadData, match="'truth' has none; give requests, or pairs"):
        Length(PUBLISHED).fit(tiny("llama"), replace(DATA, requests=()), seed=0)
