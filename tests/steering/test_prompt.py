"""How a prompt edit writes instructions and demonstrations in front of a prompt."""

import pytest

from seatrial.errors import BadOption
from seatrial.steering.prompt import PromptEdit
from seatrial.types import Message, Text

SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
ASKED = Text((Message("user", "The sea?"),), "Blue.")
SHOWN = PromptEdit(
    "", "Be sad.", (Text("The sea is", " calm."), ASKED), (Text("The sea", " is grey."),)
)


def test_instruction_stands_before_plain_text():
    assert SEA("What is blue?", 1.0) == "Praise the sea.\n\nWhat is blue?"
    assert SEA("What is blue?", -1.0) == "Never praise the sea.\n\nWhat is blue?"


def test_instruction_becomes_the_system_message_of_a_conversation():
    question = Message("user", "What is blue?")

    assert SEA((question,), 1.0) == (Message("system", "Praise the sea."), question)


def test_instruction_stands_before_the_text_of_a_system_message():
    question = Message("user", "What is blue?")

    edited = SEA((Message("system", "Be brief."), question), -1.0)

    assert edited == (Message("system", "Never praise the sea.\n\nBe brief."), question)


@pytest.mark.parametrize("edit", [SEA, SHOWN], ids=["instruction", "demonstrations"])
@pytest.mark.parametrize("prompt", ["text", (Message("user", "text"),), ()])
def test_dose_zero_leaves_the_prompt_alone(edit, prompt):
    assert edit(prompt, 0.0) is prompt


@pytest.mark.parametrize("edit", [SEA, SHOWN], ids=["instruction", "demonstrations"])
@pytest.mark.parametrize("dose", [0.5, 2.0, -3.0, float("nan")])
def test_half_an_instruction_is_refused(edit, dose):
    with pytest.raises(BadOption, match=f"can only have the doses -1, 0 and 1, not {dose}"):
        edit("text", dose)


def test_demonstrations_are_paragraphs_before_plain_text():
    edited = SHOWN("The sky is", 1.0)

    assert edited == "The sea is calm.\n\nQuestion: The sea?\n\nAnswer: Blue.\n\nThe sky is"


def test_demonstrations_stand_after_the_instruction():
    assert SHOWN("The sky", -1.0) == "Be sad.\n\nThe sea is grey.\n\nThe sky"


def test_demonstrations_are_finished_exchanges_of_a_conversation():
    question = Message("user", "The sky?")

    assert SHOWN((question,), 1.0) == (
        Message("user", "The sea is"),
        Message("assistant", "calm."),
        Message("user", "The sea?"),
        Message("assistant", "Blue."),
        question,
    )


@pytest.mark.parametrize(
    ("dose", "said"), [(1.0, "Be brief."), (-1.0, "Be sad.\n\nBe brief.")]
)
def test_demonstrations_stand_after_the_system_message(dose, said):
    question = Message("user", "The sky?")

    system, *shown, last = SHOWN((Message("system", "Be brief."), question), dose)

    assert system == Message("system", said)
    assert [message.role for message in shown] == ["user", "assistant"] * (len(shown) // 2)
    assert last == question


def test_a_demonstration_whose_answer_has_begun_goes_on_with_it():
    begun = (
        Message("system", "Be good."),
        Message("user", "Hi"),
        Message("assistant", "I"),
    )
    edit = PromptEdit("", "", (Text(begun, " am well."),))

    assert edit("So", 1.0) == "Question: Hi\n\nAnswer: I am well.\n\nSo"
    assert edit((Message("user", "So?"),), 1.0)[:2] == (
        Message("user", "Hi"), Message("assistant", "I am well."),
    )  # fmt: skip
