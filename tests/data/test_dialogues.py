"""Dialogues and contexts: as many as promised, alternating, distinct, and read strictly."""

import json
import re
from collections import Counter

import pytest

from seatrial.data import CONCEPTS, load_concept, load_prose
from seatrial.data.dialogues import (
    Conversation,
    Turn,
    load_contexts,
    load_dialogues,
    parse_contexts,
    parse_dialogues,
)
from seatrial.errors import BadData, BadOption
from seatrial.types import Message


@pytest.fixture(scope="module")
def dialogues():
    return load_dialogues()


@pytest.fixture(scope="module")
def contexts():
    return load_contexts()


def spoken(dialogue):
    return [text for turn in dialogue.turns for text in (turn.user, turn.assistant)]


def passages(dialogues, contexts):
    """Every text of ours as (id, text)."""
    return [
        *((dialogue.id, text) for dialogue in dialogues for text in spoken(dialogue)),
        *((part.id, part.text) for part in (*contexts.system, *contexts.paragraphs)),
        *(
            (transcript.id, message.content)
            for transcript in contexts.transcripts
            for message in transcript.messages
        ),
    ]


def runs(text, length):
    """All runs of so many words."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[k : k + length]) for k in range(len(words) - length + 1)}


def test_there_are_40_dialogues_ten_of_each_length_from_3_to_6_turns(dialogues):
    assert len(dialogues) == 40
    assert Counter(len(d.turns) for d in dialogues) == {3: 10, 4: 10, 5: 10, 6: 10}
    assert len({d.id for d in dialogues}) == len({d.group for d in dialogues}) == 40


def test_no_message_is_said_twice(dialogues):
    texts = [text for dialogue in dialogues for text in spoken(dialogue)]

    assert len(set(texts)) == len(texts)


def test_replies_are_long_enough_to_measure_perplexity_on(dialogues):
    for dialogue in dialogues:
        assert len(dialogue.turns[-1].assistant.split()) >= 5, dialogue.id
        words = [len(turn.assistant.split()) for turn in dialogue.turns]
        assert sum(words) >= 30, dialogue.id


def test_replies_are_neutral_in_tone(dialogues):
    """No praise, no exclamation, no first person to show a character by."""
    shown = re.compile(
        r"!|\b(i|i'm|my|great|wonderful|terrible|awful|sorry|glad|happy|love|hate|music)\b",
        re.IGNORECASE,
    )

    for dialogue in dialogues:
        for turn in dialogue.turns:
            assert not shown.search(turn.assistant), (dialogue.id, turn.assistant)


def test_roles_alternate_and_the_reply_follows_what_was_asked(dialogues):
    for dialogue in dialogues:
        messages = dialogue.history(len(dialogue.turns))
        roles = [message.role for message in messages]

        assert roles == ["user", "assistant"] * len(dialogue.turns)
        for turn in range(len(dialogue.turns)):
            asked = dialogue.before_reply(turn)
            assert asked == messages[: 2 * turn + 1]
            assert asked[-1].role == "user"
            assert messages[2 * turn + 1].content == dialogue.turns[turn].assistant


def test_a_history_holds_so_many_turns():
    dialogue = Conversation("own", "talk", (Turn("one?", "1."), Turn("two?", "2.")))

    assert dialogue.history(0) == ()
    assert dialogue.history(1) == (Message("user", "one?"), Message("assistant", "1."))
    assert dialogue.before_reply(1) == (*dialogue.history(1), Message("user", "two?"))


@pytest.mark.parametrize("turns", [-1, 3])
def test_a_history_longer_than_the_dialogue_is_refused(turns):
    dialogue = Conversation("own", "talk", (Turn("one?", "1."), Turn("two?", "2.")))

    with pytest.raises(BadOption, match=rf"own has 2 turns.*0 to 2 of them, not {turns}"):
        dialogue.history(turns)


@pytest.mark.parametrize("turn", [-1, 2])
def test_a_turn_that_is_not_there_is_refused(turn):
    dialogue = Conversation("own", "talk", (Turn("one?", "1."), Turn("two?", "2.")))

    with pytest.raises(BadOption, match=rf"own has no turn {turn}; its turns are 0 to 1"):
        dialogue.before_reply(turn)


def test_there_are_12_system_prompts_12_paragraphs_and_8_transcripts(contexts):
    assert len(contexts.system) == 12
    assert len(contexts.paragraphs) == 12
    assert len(contexts.transcripts) == 8


def test_contexts_are_long_enough_to_distract(contexts):
    assert min(len(prompt.text.split()) for prompt in contexts.system) >= 40
    assert min(len(paragraph.text.split()) for paragraph in contexts.paragraphs) >= 50


def test_transcripts_use_one_two_and_three_tools_and_calls_look_like_calls(contexts):
    assert {len(t.steps) for t in contexts.transcripts} == {1, 2, 3}
    for transcript in contexts.transcripts:
        for step in transcript.steps:
            assert re.fullmatch(r'[a-z_]+\((\w+=("[^"]*"|\d+)(, )?)+\)', step.call)


def test_a_transcript_is_a_conversation_in_two_alternating_roles(contexts):
    for transcript in contexts.transcripts:
        messages = transcript.messages

        assert len(messages) == 2 + 2 * len(transcript.steps)
        assert [m.role for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert messages[0].content == transcript.request
        assert messages[1].content == f"Call: {transcript.steps[0].call}"
        assert messages[2].content == f"Result: {transcript.steps[0].result}"
        assert messages[-1].content == transcript.reply


def test_texts_are_plain_ascii_without_stray_space(dialogues, contexts):
    for identity, text in passages(dialogues, contexts):
        assert text.isascii() and text.isprintable(), (identity, text)
        assert " ".join(text.split()) == text, (identity, text)


def test_no_two_texts_share_a_run_of_seven_words(dialogues, contexts):
    seen = {}
    for identity, text in passages(dialogues, contexts):
        if identity.startswith("transcript"):
            continue  # a reply there repeats the request on purpose
        for run in runs(text, 7):
            assert seen.setdefault(run, text) == text, (identity, run)


def test_nothing_stands_in_the_prose_or_in_the_items_of_a_concept(dialogues, contexts):
    items = [item for name in CONCEPTS for item in load_concept(name).items]
    fields = ("statement", "prompt", "matching_text", "other_text")
    others = [getattr(item, field) for item in items for field in fields]
    taken = {
        run
        for text in (*others, *(text for _, text in load_prose()))
        for run in runs(text, 6)
    }

    for identity, text in passages(dialogues, contexts):
        assert runs(text, 6).isdisjoint(taken), (identity, runs(text, 6) & taken)


def make_dialogue(k=0, **changes):
    entry = {
        "id": f"own-{k}",
        "group": "talk",
        "turns": [{"user": "One?", "assistant": "Two."}],
    }
    return {**entry, **changes}


def read(*entries):
    return parse_dialogues([json.dumps(entry) for entry in entries], "mine.jsonl")


def test_your_own_dialogue_is_read_turn_by_turn():
    (dialogue,) = read(make_dialogue())

    assert dialogue == Conversation("own-0", "talk", (Turn("One?", "Two."),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mood": "x"}, r"mine\.jsonl, line 1 has the fields .*; wanted: id, group, turns"),
        ({"group": 3}, r"line 1: group is 3; write a text in quotes"),
        ({"turns": []}, r"line 1: turns is \[\]; write a list of entries with the fields"),
        ({"turns": "hello"}, r"line 1: turns is 'hello'; write a list of entries"),
        ({"turns": ["hello"]}, r"line 1, turns 1 is str; write an object with the fields"),
        ({"turns": [{"user": "One?"}]}, r"turns 1 has the fields user; wanted: user, assi"),
        (
            {"turns": [{"user": "One?", "assistant": " "}]},
            r"line 1, turns 1: assistant is empty; fill it in",
        ),
    ],
)
def test_a_bad_dialogue_is_refused_with_what_is_wrong(changes, message):
    with pytest.raises(BadData, match=message):
        read(make_dialogue(**changes))


def test_a_repeated_id_is_refused():
    with pytest.raises(BadData, match="uses the id 'own-0' twice"):
        read(make_dialogue(), make_dialogue())


SYSTEM = '[[system]]\nid = "s"\ntext = "You sort post."\n'
PARAGRAPH = '[[paragraph]]\nid = "p"\ntitle = "Post"\ntext = "It is sorted."\n'
TRANSCRIPT = '[[transcript]]\nid = "t"\nrequest = "Sort."\nreply = "Sorted."\n'
STEP = '[[transcript.steps]]\ncall = "sort()"\nresult = "done"\n'
WHOLE = SYSTEM + PARAGRAPH + TRANSCRIPT + STEP


def test_your_own_contexts_are_read():
    contexts = parse_contexts(WHOLE, "mine.toml")

    assert contexts.system[0].text == "You sort post."
    assert contexts.paragraphs[0].title == "Post"
    assert [m.content for m in contexts.transcripts[0].messages] == [
        "Sort.", "Call: sort()", "Result: done", "Sorted.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[system", r"mine\.toml is no TOML .*; correct it there"),
        (SYSTEM + PARAGRAPH, r"has the fields paragraph, system; wanted: system, parag"),
        (WHOLE + "[other]\n", r"has the fields other, .*; wanted: system, paragraph, tr"),
        (WHOLE.replace("text", "body", 1), r"system 1 has the fields body, id; wanted: id"),
        (WHOLE.replace('"You sort post."', "3"), r"system 1: text is 3; write a text in"),
        (WHOLE.replace('"Post"', '""'), r"paragraph 1: title is empty; fill it in"),
        (WHOLE.replace(STEP, ""), r"transcript 1 has the fields id, reply, request; want"),
        (
            WHOLE.replace(STEP, "steps = []\n"),
            r"transcript 1: steps is \[\]; write a list of entries with the fields call",
        ),
        (WHOLE.replace("result", "answer"), r"steps 1 has the fields answer, call; want"),
        (WHOLE.replace('"t"', '"s"'), r"mine\.toml uses the id 's' twice"),
    ],
)
def test_bad_contexts_are_refused_with_what_is_wrong(text, message):
    with pytest.raises(BadData, match=message):
        parse_contexts(text, "mine.toml")
