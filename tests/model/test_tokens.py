"""Which tokens are the prompt's, the answer's, read and edited."""

import copy
import inspect

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from seatrial.errors import BadData, BadOption
from seatrial.model import SELECTORS
from seatrial.model.tokens import Encoder
from seatrial.steering.edits import Add
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import tiny_tokenizer
from seatrial.types import EditedToken, Message, Request, Site, Text

QUESTION = (Message("user", "the sea is"),)
WITH_SYSTEM = (Message("system", "Be brief."), *QUESTION)
STRICT = """{% for m in messages %}{% if m['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate') }}{% endif %}
[{{ m['role'] }}]{{ m['content'] }}{% endfor %}
{% if add_generation_prompt %}[assistant]{% endif %}""".replace("\n", "")


@pytest.fixture(params=[True, False], ids=["bos", "no-bos"])
def bos(request):
    return request.param


def encoder(bos=True, chat=False, template=None):
    tokenizer = tiny_tokenizer(bos=bos, chat=chat)
    if template is not None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template = template
    return Encoder(tokenizer)


def pieces(encoder, ids):
    return [
        token.replace("Ġ", " ") for token in encoder.tokenizer.convert_ids_to_tokens(ids)
    ]


def split(encoder, prompt, *answers):
    """Prompt tokens and scored tokens of each answer."""
    texts = encoder.encode(prompt, answers)
    return [
        (pieces(encoder, t.ids[: t.n_prompt]), pieces(encoder, t.scored)) for t in texts
    ]


def test_text_begins_with_bos_where_the_tokenizer_has_one(bos):
    ids = encoder(bos).prompt_ids("The answer is")

    assert pieces(encoder(bos), ids) == ["<bos>"] * bos + ["The", " answer", " is"]
    assert encoder(bos).prefix == ((0,) if bos else ())


def test_text_that_begins_with_bos_gets_no_second_one():
    assert pieces(encoder(), encoder().prompt_ids("<bos>The answer")) == [
        "<bos>",
        "The",
        " answer",
    ]


def test_leading_space_belongs_to_the_answer(bos):
    (prompt, scored), _ = split(encoder(bos), "The answer is", " the answer", " no")

    assert prompt == ["<bos>"] * bos + ["The", " answer", " is"]
    assert scored == [" the", " answer"]


def test_answer_that_merges_with_the_prompt_moves_the_boundary(bos):
    """The model would see " no" as one token, so that is what is scored (T34)."""
    ((prompt, scored),) = split(encoder(bos), "The answer is ", "no")

    assert (prompt[-1], scored) == (" is", [" no"])


def test_boundary_is_common_to_all_answers(bos):
    (prompt, no), (same, b) = split(encoder(bos), "The answer is ", "no", "B")

    assert prompt == same == ["<bos>"] * bos + ["The", " answer", " is"]
    assert (no, b) == ([" no"], [" ", "B"])


def test_trailing_space_that_merges_with_no_answer_stays_with_the_prompt():
    ((prompt, scored),) = split(encoder(), "The answer is ", "B")

    assert (prompt[-1], scored) == (" ", ["B"])


def test_answers_sharing_a_beginning_share_its_tokens():
    (_, short), (_, long) = split(encoder(), "The answer is", " the", " the answer")

    assert long[: len(short)] == short


def test_prompt_of_no_text_is_the_bos():
    assert split(encoder(), "", " no") == [(["<bos>"], [" no"])]


def test_nothing_before_the_answer_is_refused():
    with pytest.raises(
        BadData, match=r"nothing precedes the answer ' no': .* give prompt text"
    ):
        encoder(bos=False).encode("", (" no",))
    with pytest.raises(
        BadData, match="the prompt has no tokens and the tokenizer adds none"
    ):
        encoder(bos=False).prompt_ids("")


@pytest.mark.parametrize("answer", ["", " ", "\n\t "])
def test_answer_without_text_is_refused(answer):
    with pytest.raises(
        BadData, match=r"has no tokens of its own after the prompt 'The answer'"
    ):
        encoder().encode("The answer", (" no", answer))


def test_long_prompt_is_shortened_in_the_message():
    with pytest.raises(BadData, match=r"after the prompt '\.\.\.[a-z ]{40}';"):
        encoder().encode("the sea and the sea and " * 9, ("",))


def test_request_without_answers_is_refused():
    with pytest.raises(BadData, match="at least one answer to score"):
        encoder().encode("The answer", ())


def test_conversation_is_tokenized_as_its_template_says(bos):
    house = encoder(bos, chat=True)
    messages = [{"role": m.role, "content": m.content} for m in WITH_SYSTEM]

    ids = house.prompt_ids(WITH_SYSTEM)

    theirs = house.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert list(ids) == theirs["input_ids"]
    assert ids.count(0) == bos  # at most one BOS (T23)


def test_template_without_bos_gets_none_from_the_tokenizer():
    house = encoder(bos=True, template=STRICT)

    ids = house.prompt_ids(QUESTION)

    assert 0 not in ids
    assert house.decode(ids) == "[user]the sea is[assistant]"


def test_answer_follows_the_template_directly():
    ((prompt, scored),) = split(encoder(chat=True), QUESTION, "no")

    assert "".join(prompt) == "<bos><|user|>the sea is<eos><|assistant|>"
    assert scored == ["n", "o"]


def test_open_assistant_turn_is_continued(bos):
    house = encoder(bos, chat=True)

    rendered = house.render((*QUESTION, Message("assistant", "It is")))

    assert rendered.text.endswith("<|assistant|>It is")
    assert not rendered.text.endswith("<eos>")


def test_system_message_joins_the_question_where_the_template_refuses_it():
    rendered = encoder(template=STRICT).render(WITH_SYSTEM)

    assert rendered.text == "[user]Be brief.\n\nthe sea is[assistant]"


def test_template_that_takes_a_system_message_keeps_it():
    assert (
        encoder(chat=True).render(WITH_SYSTEM).text.startswith("<bos><|system|>Be brief.")
    )


@pytest.mark.parametrize("prompt", [QUESTION * 2, (Message("system", "Be brief."),)])
def test_conversation_that_the_template_refuses_is_one_sentence(prompt):
    with pytest.raises(
        BadData, match=r"template refuses this conversation \((Roles|System)"
    ):
        encoder(template=STRICT).render(prompt)


def test_base_model_is_asked_in_questions_and_answers():
    conversation = (*WITH_SYSTEM, Message("assistant", "calm"), Message("user", "and blue"))

    rendered = encoder().render(conversation)

    assert rendered.text == (
        "Be brief.\n\nQuestion: the sea is\n\nAnswer: calm\n\nQuestion: and blue\n\nAnswer:"
    )
    assert not encoder().is_chat


def test_base_model_continues_an_open_answer():
    rendered = encoder().render((*QUESTION, Message("assistant", "calm")))

    assert rendered.text == "Question: the sea is\n\nAnswer: calm"


def test_answer_of_a_base_model_has_its_space():
    ((prompt, scored),) = split(encoder(), QUESTION, "no")

    assert (prompt[-1], scored) == (":", [" no"])


@pytest.mark.parametrize("chat", [True, False])
def test_conversation_without_messages_is_refused(chat):
    with pytest.raises(BadData, match="needs at least one message"):
        encoder(chat=chat).prompt_ids(())


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("last", [")"]),
        ("second_last", ["A"]),
        ("last_prompt", [" is"]),
        ("completion", [" (", "A", ")"]),
        ("mean", ["The", " answer", " is", " (", "A", ")"]),
    ],
)
def test_selector_reads_these_tokens(bos, at, expected):
    house = encoder(bos)
    text = house.encode_text(Text("The answer is", " (A)"))

    start, stop = house.read_span(text, at)

    assert pieces(house, text.ids[start:stop]) == expected


def test_every_selector_is_tested():
    assert SELECTORS == ("last", "second_last", "last_prompt", "completion", "mean")


def test_text_without_completion_is_its_prompt(bos):
    house = encoder(bos)
    text = house.encode_text(Text("The answer is", ""))

    assert pieces(house, text.ids)[-1] == " is"
    assert house.read_span(text, "last") == house.read_span(text, "last_prompt")
    with pytest.raises(
        BadData, match=r"The answer is' has no token at 'completion'; read at"
    ):
        house.read_span(text, "completion")


@pytest.mark.parametrize("at", ["second_last", "mean"])
def test_token_that_is_not_there_is_refused(at):
    house = encoder()

    with pytest.raises(BadData, match=f"has no token at '{at}'"):
        house.read_span(house.encode_text(Text("", "")), at)


def test_unknown_selector_lists_the_known_ones():
    house = encoder()
    text = house.encode_text(Text("The answer", ""))

    with pytest.raises(
        BadOption, match=r"'first' is no token position .* last, second_last"
    ):
        inspect.unwrap(Encoder.read_span)(house, text, "first")  # past the type checker


def test_generated_text_keeps_its_leading_space():
    house = encoder()
    ids = house.prompt_ids("The answer")
    new = house.tokenizer(" is no", add_special_tokens=False).input_ids

    assert house.decode_after(ids, new) == " is no"
    assert house.decode_after(ids, []) == ""


def test_leading_space_survives_a_decoder_that_drops_it():
    """Decoders of SentencePiece strip the first space of whatever they are given."""
    words = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1}, unk_token="▁a"))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    house = Encoder(PreTrainedTokenizerFast(tokenizer_object=words))

    assert house.decode([1]) == "b"
    assert house.decode_after((0,), [1]) == " b"


def request(*answers):
    return Request("a", "a", "The answer is", answers)


def listed(house, scope, *answers):
    found = house.where(
        request(*answers), Intervention({Site(0): Add(torch.ones(32))}, scope)
    )
    return [(t.position, t.token, t.part, t.answer, t.predicts_scored) for t in found]


def test_audit_lists_the_edited_tokens_answer_by_answer():
    assert listed(encoder(), "from_last_prompt", " the answer", " no") == [
        (3, " is", "prompt", 0, True),
        (4, " the", "answer", 0, True),
        (5, " answer", "answer", 0, False),
        (3, " is", "prompt", 1, True),
        (4, " no", "answer", 1, False),
    ]


@pytest.mark.parametrize(
    ("scope", "positions"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("prompt", [0, 1, 2, 3]),
        ("last", [3]),
        ("generated", [4, 5]),
        ("first_2", [0, 1]),
        ("at_2", [2]),
    ],
)
def test_audit_follows_the_scope(scope, positions):
    assert [line[0] for line in listed(encoder(), scope, " the answer")] == positions


def test_audit_of_no_edit_is_empty():
    assert encoder().where(request(" no"), UNSTEERED.intervention) == []


def test_audit_line_is_a_record():
    assert isinstance(
        encoder().where(request(" no"), Intervention({Site(0): Add(torch.ones(2))}))[0],
        EditedToken,
    )


@pytest.mark.parametrize("family", ["llama", "bloom", "lfm2"])
@pytest.mark.parametrize(
    "scope", ["all", "prompt", "last", "from_last_prompt", "generated", "first_3", "at_1"]
)
def test_audit_lists_exactly_the_states_that_change(tiny, family, scope):
    """The next block is watched: what enters it differs at the listed tokens only (T2)."""
    model = tiny(family)
    intervention = Intervention({Site(0): Add(torch.linspace(-1, 1, 32))}, scope)
    asked = request(" the answer and no")
    entered = []
    handle = model.structure.blocks[1].module.register_forward_pre_hook(
        lambda module, args: entered.append(args[0][0].clone())
    )

    try:
        model.log_probs([asked], [Steering(intervention)])
    finally:
        handle.remove()

    plain, edited = entered[-2:]
    # What is shared with the unsteered pass is not run again.
    first = len(plain) - len(edited)
    changed = [first + int(k) for k in (plain[first:] != edited).any(-1).nonzero()]
    assert changed == [
        t.position for t in model.where(asked, intervention) if t.predicts_scored
    ]
