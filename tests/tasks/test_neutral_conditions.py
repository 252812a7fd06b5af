"""Something neutral before the question: it is there, and nothing else has changed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from seatrial.data import Item, load_concept, load_contexts, load_dialogues
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.files import fingerprint
from seatrial.tasks import Open, Propensity
from seatrial.tasks.base import Contrastive
from seatrial.tasks.conditions import (
    NEUTRAL,
    SIZE,
    Condition,
    in_condition,
    largest_size,
    read_condition,
)
from seatrial.tasks.measure import measure
from seatrial.types import Message, Metric, Request

ITEMS = tuple(
    Item(
        f"item-{k}",
        f"group-{k // 4}",
        f"I like number {k}.",
        "no" if k % 4 > 1 else "yes",
        f"Somebody saw number {k} and",
        f"liked it {'very ' * k}much.",
        f"left it {'quite ' * (k % 3)}alone.",
    )
    for k in range(16)
)
SPLITS = {"fit": ITEMS[:8], "select": (), "test": ITEMS}
INNER = {
    "yes_no": Propensity(SPLITS),
    "ab": Propensity(SPLITS, "ab"),
    "open": Open(SPLITS),
}
EVERY_INNER = pytest.mark.parametrize("inner", INNER)
EVERY_CONDITION = pytest.mark.parametrize("condition", NEUTRAL)
LIKELY, UNLIKELY = -0.25, -3.0


def within(task, condition="dialogue", size=SIZE):
    return in_condition(task, Condition(condition, size))


def words_of(request):
    """All that the model reads, whoever says it."""
    if isinstance(request.prompt, str):
        return request.prompt
    return "\n\n".join(message.content for message in request.prompt)


def contexts_of(condition):
    """Texts of which each context is made, by context."""
    contexts = load_contexts()
    if condition == "dialogue":
        return [[m.content for m in d.history(len(d.turns))] for d in load_dialogues()]
    if condition == "system":
        return [[prompt.text] for prompt in contexts.system]
    if condition == "retrieval":
        return [[p.title, p.text] for p in contexts.paragraphs]
    return [[m.content for m in t.messages] for t in contexts.transcripts]


# Nothing of the question is lost.


@EVERY_INNER
@EVERY_CONDITION
@pytest.mark.parametrize("size", [1, 3])
def test_the_question_stands_unchanged_at_the_end(inner, condition, size):
    plain = INNER[inner].requests("test")
    asked = within(INNER[inner], condition, size).requests("test")

    for one, other in zip(plain, asked, strict=True):
        assert (other.id, other.group, other.answers) == (one.id, one.group, one.answers)
        assert words_of(other).endswith("\n\n" + words_of(one))
        if not isinstance(one.prompt, str) and condition != "retrieval":
            assert other.prompt[-1] == one.prompt[-1]


@EVERY_INNER
@EVERY_CONDITION
@pytest.mark.parametrize("size", [1, 3])
def test_so_many_contexts_stand_before_it_word_for_word(inner, condition, size):
    task = within(INNER[inner], condition, size)
    contexts = contexts_of(condition)

    for request in task.requests("test"):
        text = words_of(request)
        there = [[part for part in parts if part in text] for parts in contexts]
        if condition == "dialogue":
            [turns] = [found for found in there if found]  # of one dialogue only
            assert len(turns) == 2 * size
        else:
            whole = [f for f, parts in zip(there, contexts, strict=True) if f == parts]
            assert len(whole) == size


@EVERY_CONDITION
def test_size_0_is_the_inner_task(condition):
    for inner in INNER.values():
        assert within(inner, condition, 0).requests("test") == inner.requests("test")


@pytest.mark.parametrize(
    ("condition", "roles"),
    [
        ("dialogue", ["user", "assistant", "user", "assistant", "user"]),
        ("system", ["system", "user"]),
        ("retrieval", ["user"]),
    ],
)
def test_who_says_what(condition, roles):
    for request in within(INNER["ab"], condition, 2).requests("test"):
        assert [message.role for message in request.prompt] == roles


def test_tools_are_used_in_turns_that_every_template_knows():
    for request in within(INNER["ab"], "tools", 2).requests("test"):
        roles = [message.role for message in request.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert len([m for m in request.prompt if m.content.startswith("Call: ")]) >= 2


def test_passages_are_numbered_like_search_results():
    [text, *_] = [words_of(r) for r in within(INNER["ab"], "retrieval", 2).requests("test")]

    assert text.startswith("Search results:\n\n[1] ")
    assert text.count("\n\n[2] ") == 1
    assert "[3]" not in text


def test_a_question_in_plain_text_has_the_talk_before_it_in_plain_text():
    for request in within(INNER["open"], "dialogue", 1).requests("test"):
        blocks = request.prompt.split("\n\n")
        assert [block.split(": ")[0] for block in blocks[:2]] == ["User", "Assistant"]
        assert len(blocks) == 3


# Which context: by the item alone, so that conditions are paired.


@EVERY_CONDITION
def test_an_item_has_its_context_whatever_else_is_asked(condition):
    few = Propensity({**SPLITS, "test": ITEMS[5:9][::-1]})

    all_of_them = {
        r.id: r.prompt for r in within(INNER["yes_no"], condition).requests("test")
    }

    for request in within(few, condition).requests("test"):
        assert request.prompt == all_of_them[request.id]


@EVERY_CONDITION
def test_contexts_vary_from_item_to_item(condition):
    task = within(INNER["open"], condition, 1)

    assert len({words_of(r).split("Somebody saw")[0] for r in task.requests("test")}) >= 5


@EVERY_CONDITION
def test_a_larger_size_adds_to_the_contexts_of_a_smaller_one(condition):
    inner = INNER["open"]
    small, large = (within(inner, condition, n).requests("test") for n in (1, 2))

    for plain, one, two in zip(inner.requests("test"), small, large, strict=True):
        assert two.prompt.startswith(one.prompt.removesuffix(plain.prompt))


@EVERY_CONDITION
def test_every_size_up_to_the_largest_can_be_asked_and_no_other(condition):
    largest = largest_size(condition)

    for size in range(largest + 1):
        assert within(INNER["ab"], condition, size).requests("test")
    for size in (-1, largest + 1):
        with pytest.raises(BadOption, match=f"{condition}' is 0 to {largest}, not {size}"):
            within(INNER["ab"], condition, size)


# Answerers get what they deserve.


@EVERY_INNER
@EVERY_CONDITION
@pytest.mark.parametrize(
    ("likes", "deserved"),
    [
        (lambda request, text: text == request.answers[0], LIKELY - UNLIKELY),
        (lambda request, text: text != request.answers[0], UNLIKELY - LIKELY),
        (lambda request, text: True, 0.0),
    ],
    ids=["perfect", "inverted", "useless"],
)
def test_every_answerer_scores_as_on_the_inner_task(
    inner, condition, likes, deserved, scores_of
):
    def log_prob(request, text):
        likelihood = LIKELY if likes(request, text) else UNLIKELY
        return likelihood / max(1, len(text.split())) if inner != "open" else likelihood

    task = within(INNER[inner], condition, 2)

    scores = scores_of(task, log_prob)

    assert [s.metrics[task.about.metric] for s in scores] == pytest.approx([deserved] * 16)
    assert scores == scores_of(INNER[inner], log_prob)


@EVERY_CONDITION
@pytest.mark.parametrize(("inner", "word"), [("yes_no", "Yes"), ("ab", "(A)")])
def test_who_always_says_one_thing_scores_zero_on_average(
    inner, condition, word, scores_of, mean_of
):
    scores = scores_of(
        within(INNER[inner], condition),
        lambda request, text: LIKELY if text == word else UNLIKELY,
    )

    assert mean_of(scores, "propensity") == 0


@EVERY_CONDITION
def test_who_only_reads_the_context_scores_zero_on_average(condition, scores_of, mean_of):
    """The contexts are neutral: they do not say yes more often than no."""

    def log_prob(request, text):
        context = words_of(request).split("Is the following statement")[0]
        return float(context.lower().split().count(text.lower()))

    scores = scores_of(within(INNER["yes_no"], condition), log_prob)

    assert abs(mean_of(scores, "propensity")) < 0.5


def test_a_model_that_is_asked_answers_otherwise_than_without_the_context(tiny):
    model = tiny("bloom", chat=True)  # reads texts of any length
    inner = Propensity({**SPLITS, "test": ITEMS[:4]})
    plain, context = (
        measure(model, task)[0] for task in (inner, within(inner, "system", 1))
    )

    assert [s.item for s in plain] == [s.item for s in context]
    for one, other in zip(plain, context, strict=True):
        assert one.metrics["propensity"] != other.metrics["propensity"]


# What it is about, and how it is made.


@EVERY_INNER
def test_metric_and_unit_are_those_of_the_inner_task(inner):
    task = within(INNER[inner])

    assert task.about is INNER[inner].about
    assert (task.about.metric, task.about.unit) == (
        INNER[inner].about.metric,
        INNER[inner].about.unit,
    )
    assert (task.needs_kl, task.needs_top) == (False, False)


def test_a_task_of_somebody_else_can_be_inside(scores_of):
    @dataclass(frozen=True)
    class Shout(Contrastive):
        name: ClassVar[str] = "shout"
        summary: ClassVar[str] = "shouts"
        about: ClassVar[Metric] = Metric("loud", "dB", "target")
        needs_top: ClassVar[bool] = True

        splits: dict

        def requests(self, split):
            system = Message("system", "Be loud.")
            return [
                Request(i.id, i.group, (system, Message("user", i.statement)), ("Ah", "Oh"))
                for i in self.splits[split]
            ]

        def score(self, requests, answers):
            asked = zip(requests, answers, strict=True)
            return [Open(SPLITS).score([r], [a])[0] for r, a in asked]

        def pairs(self, split):
            return ()

        def describe(self, item):
            return item.statement

    task = within(Shout(SPLITS), "system", 1)

    assert (task.about.metric, task.needs_top) == ("loud", True)
    for request in task.requests("test"):
        system, user = request.prompt
        assert system.content.endswith("\n\nBe loud.")
        assert user.content.startswith("I like number")
    talk = replace(task, condition=Condition("dialogue")).requests("test")[0].prompt
    assert talk[0] == Message("system", "Be loud.")


def test_passages_need_a_message_of_the_user():
    class Silent(Propensity):
        def requests(self, split):
            return [Request("a", "b", (Message("assistant", "Well,"),), ("Yes", "No"))]

    with pytest.raises(BadData, match="'retrieval' needs a message of the user, and this"):
        within(Silent(SPLITS), "retrieval", 1).requests("test")


def test_no_context_holds_a_text_of_the_concepts_that_ship():
    texts = {
        item.statement
        for name in ("formality", "honesty")
        for item in load_concept(name).items
    }
    for condition in NEUTRAL:
        for parts in contexts_of(condition):
            assert not any(text in part for part in parts for text in texts)


# The same requests as the task ``application`` asked until it became these conditions.


GOLDEN = json.loads((Path(__file__).parent / "application_04465a4.json").read_text())
"""Content hashes of its requests, by concept, inner task, condition and size, made with
commit 04465a4."""


@pytest.mark.parametrize("source", ["formality", "confidence"])
def test_requests_are_those_of_the_task_application(source):
    asked = Propensity.of(source, seed=0, limit=12)
    tasks = {
        "propensity": asked,
        "propensity form=ab": replace(asked, form="ab"),
        "open": Open.of(source, seed=0, limit=12),
    }

    made = {
        f"{source}, {name}, {condition} {size}": fingerprint(
            [repr(request) for request in within(task, condition, size).requests("test")]
        )
        for name, task in tasks.items()
        for condition in NEUTRAL
        for size in (0, 1, 2, 5)
    }

    assert made == {key: value for key, value in GOLDEN.items() if key in made}
    assert len(made) * 2 == len(GOLDEN)


# From plain values.


def test_a_condition_is_its_name_or_a_table():
    assert read_condition("tools") == Condition("tools")
    assert read_condition({"name": "tools", "size": 3}) == Condition("tools", 3)
    assert read_condition(Condition("base")) == Condition("base")
    assert in_condition(INNER["ab"], {"name": "tools", "size": 3}).name == (
        "propensity@tools size=3"
    )


@pytest.mark.parametrize("condition", NEUTRAL)
def test_the_usual_size_need_not_be_said(condition):
    said, unsaid = (within(INNER["ab"], condition, size) for size in (2, None))

    assert said.requests("test") == unsaid.requests("test")
    assert said.name == unsaid.name == f"propensity@{condition}"


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("noise", UnknownName, "unknown condition 'noise'; known: base, dialogue, retr"),
        ({"name": "tools", "sise": 2}, UnknownName, "unknown key of a condition 'sise'"),
        ({"name": "tools", "size": "2"}, BadOption, "is a whole number, not '2'"),
        ({"name": "tools", "size": 99}, BadOption, "'tools' is 0 to 8, not 99"),
        ({"name": "base", "size": 2}, BadOption, "'base' has no size; dialogue, system"),
    ],
)
def test_what_is_no_condition_is_refused(value, error, words):
    with pytest.raises(error, match=words):
        read_condition(value)
