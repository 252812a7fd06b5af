"""The prompt baseline: words in the place that the model's template gives them."""

import pytest

from seatrial.errors import BadData, BadOption
from seatrial.methods import Instruction
from seatrial.steering.intervention import Steering
from seatrial.types import FitData, Message, Request

DATA = FitData("calm", (), "You are calm.", "You are wild.", "made by hand")
USER = Message("user", "How is the sea?")
PLAIN, TALK = "The sea is", (USER,)
SYSTEM_TALK = (Message("system", "Be brief."), USER)


def rendered(model, prompt, dose):
    fitted = Instruction().fit(model, DATA, seed=0)
    return model.encoder.render(fitted.prompt_edit(prompt, dose)).text


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "base"])
@pytest.mark.parametrize(
    "prompt", [PLAIN, TALK, SYSTEM_TALK], ids=["plain", "talk", "system"]
)
def test_dose_zero_leaves_the_token_ids_identical(tiny, chat, prompt):
    model = tiny("llama", chat=chat)
    fitted = Instruction().fit(model, DATA, seed=0)

    ids = model.encoder.prompt_ids(fitted.prompt_edit(prompt, 0.0))

    assert ids == model.encoder.prompt_ids(prompt)


@pytest.mark.parametrize(
    ("dose", "words"), [(1.0, "You are calm."), (-1.0, "You are wild.")]
)
@pytest.mark.parametrize(
    ("chat", "prompt", "expected"),
    [
        (True, TALK, "<bos><|system|>{}<eos><|user|>How is the sea?<eos><|assistant|>"),
        (
            True,
            SYSTEM_TALK,
            "<bos><|system|>{}\n\nBe brief.<eos><|user|>How is the sea?<eos><|assistant|>",
        ),
        (False, TALK, "{}\n\nQuestion: How is the sea?\n\nAnswer:"),
        (False, PLAIN, "{}\n\nThe sea is"),
        (True, PLAIN, "{}\n\nThe sea is"),
    ],
)
def test_the_instruction_stands_in_the_system_place(
    tiny, chat, prompt, expected, dose, words
):
    model = tiny("llama", chat=chat)

    assert rendered(model, prompt, dose) == expected.format(words)


def test_its_answers_are_those_to_the_edited_prompt(tiny):
    model = tiny("llama", chat=True)
    fitted = Instruction().fit(model, DATA, seed=0)
    by_hand = (Message("system", "You are calm."), USER)

    [[steered]] = model.log_probs(
        [Request("a", "a", TALK, ("Calm.",))], [Steering(fitted, 1.0)]
    )

    [[asked]] = model.log_probs([Request("a", "a", by_hand, ("Calm.",))])
    assert steered == asked


def test_half_an_instruction_is_refused(tiny):
    fitted = Instruction().fit(tiny("llama"), DATA, seed=0)

    with pytest.raises(
        BadOption, match=r"a prompt can only have the doses -1, 0 and 1, not 0\.5"
    ):
        tiny("llama").log_probs(
            [Request("a", "a", "So", (" it is",))], [Steering(fitted, 0.5)]
        )


@pytest.mark.parametrize(
    ("encourage", "discourage"), [("", "x"), ("x", ""), ("  \n", "x"), ("", "")]
)
def test_missing_instructions_are_refused_with_what_to_write(tiny, encourage, discourage):
    data = FitData("calm", (), encourage, discourage)

    with pytest.raises(BadData, match=r"'calm' has no instruction .* add a line \{\"con"):
        Instruction().fit(tiny("llama"), data, seed=0)


def test_it_edits_no_activation_and_needs_no_pairs(tiny):
    fitted = Instruction().fit(tiny("llama"), DATA, seed=0)

    assert not fitted.edits
    assert fitted.origin.method == "instruction"


def test_a_sentence_of_ones_own_takes_the_place_of_the_concepts(tiny):
    own = Instruction(encourage="Stay very calm, please.")

    fitted = own.fit(tiny("llama"), DATA, seed=0)
    bare = Instruction("Be calm.", "Be wild.").fit(
        tiny("llama"), FitData("calm", ()), seed=0
    )

    assert fitted.prompt_edit(PLAIN, 1.0) == f"Stay very calm, please.\n\n{PLAIN}"
    assert fitted.prompt_edit(PLAIN, -1.0) == f"You are wild.\n\n{PLAIN}"
    assert (bare.prompt_edit.encourage, bare.prompt_edit.discourage) == (
        "Be calm.",
        "Be wild.",
    )


@pytest.mark.parametrize("bos", [True, False])
def test_its_length_in_tokens_is_recorded(tiny, bos):
    model = tiny("llama", bos=bos)

    origin = Instruction(encourage="Be calm, " * 5).fit(model, DATA, seed=0).origin

    sentences = {"encourage": "Be calm, " * 5, "discourage": "You are wild."}
    for side, sentence in sentences.items():
        ids = model.encoder.prompt_ids(sentence)
        assert origin.options[f"{side}_tokens"] == len(ids) - bos
    assert (origin.options["encourage"], origin.options["discourage"]) == (
        "Be calm, " * 5, "",
    )  # fmt: skip
