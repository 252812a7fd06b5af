"""A behaviour among other things: they are there, and nothing else has changed."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from seatrial.data import Item, load_concept, load_contexts, load_dialogues
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.tasks import TASKS, TRANSFERS, Application, Open, Propensity
from seatrial.tasks.application import LARGEST
from seatrial.tasks.base import Contrastive
from seatrial.tasks.measure import measure
from seatrial.tasks.spec import options_of, with_options
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
EVERY_CONDITION = pytest.mark.parametrize("condition", LARGEST)
LIKELY, UNLIKELY = -0.25, -3.0


def said(request):
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
    asked = Application(INNER[inner], condition, size).requests("test")

    for one, other in zip(plain, asked, strict=True):
        assert (other.id, other.group, other.answers) == (one.id, one.group, one.answers)
        assert said(other).endswith("\n\n" + said(one))
        if not isinstance(one.prompt, str) and condition != "retrieval":
            assert other.prompt[-1] == one.prompt[-1]


@EVERY_INNER
@EVERY_CONDITION
@pytest.mark.parametrize("size", [1, 3])
def test_so_many_contexts_stand_before_it_word_for_word(inner, condition, size):
    task = Application(INNER[inner], condition, size)
    contexts = contexts_of(condition)

    for request in task.requests("test"):
        text = said(request)
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
        assert Application(inner, condition, 0).requests("test") == inner.requests("test")


@pytest.mark.parametrize(
    ("condition", "roles"),
    [
        ("dialogue", ["user", "assistant", "user", "assistant", "user"]),
        ("system", ["system", "user"]),
        ("retrieval", ["user"]),
    ],
)
def test_who_says_what(condition, roles):
    for request in Application(INNER["ab"], condition, 2).requests("test"):
        assert [message.role for message in request.prompt] == roles


def test_tools_are_used_in_turns_that_every_template_knows():
    for request in Application(INNER["ab"], "tools", 2).requests("test"):
        roles = [message.role for message in request.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert len([m for m in request.prompt if m.content.startswith("Call: ")]) >= 2


def test_passages_are_numbered_like_search_results():
    [text, *_] = [
        said(r) for r in Application(INNER["ab"], "retrieval", 2).requests("test")
    ]

    assert text.startswith("Search results:\n\n[1] ")
    assert text.count("\n\n[2] ") == 1
    assert "[3]" not in text


def test_a_question_in_plain_text_has_the_talk_before_it_in_plain_text():
    for request in Application(INNER["open"], "dialogue", 1).requests("test"):
        blocks = request.prompt.split("\n\n")
        assert [block.split(": ")[0] for block in blocks[:2]] == ["User", "Assistant"]
        assert len(blocks) == 3


# Which context: by the item alone, so that conditions are paired.


@EVERY_CONDITION
def test_an_item_has_its_context_whatever_else_is_asked(condition):
    few = Propensity({**SPLITS, "test": ITEMS[5:9][::-1]})

    all_of_them = {
        r.id: r.prompt for r in Application(INNER["yes_no"], condition).requests("test")
    }

    for request in Application(few, condition).requests("test"):
        assert request.prompt == all_of_them[request.id]


@EVERY_CONDITION
def test_contexts_vary_from_item_to_item(condition):
    task = Application(INNER["open"], condition, 1)

    assert len({said(r).split("Somebody saw")[0] for r in task.requests("test")}) >= 5


@EVERY_CONDITION
def test_a_larger_size_adds_to_the_contexts_of_a_smaller_one(condition):
    inner = INNER["open"]
    small, large = (Application(inner, condition, n).requests("test") for n in (1, 2))

    for plain, one, two in zip(inner.requests("test"), small, large, strict=True):
        assert two.prompt.startswith(one.prompt.removesuffix(plain.prompt))


@EVERY_CONDITION
def test_every_size_up_to_the_largest_can_be_asked_and_no_other(condition):
    largest = LARGEST[condition]()

    for size in range(largest + 1):
        assert Application(INNER["ab"], condition, size).requests("test")
    for size in (-1, largest + 1):
        with pytest.raises(BadOption, match=f"{condition}' is 0 to {largest}, not {size}"):
            Application(INNER["ab"], condition, size)


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

    task = Application(INNER[inner], condition, 2)

    scores = scores_of(task, log_prob)

    assert [s.metrics[task.about.metric] for s in scores] == pytest.approx([deserved] * 16)
    assert scores == scores_of(INNER[inner], log_prob)


@EVERY_CONDITION
@pytest.mark.parametrize(("inner", "word"), [("yes_no", "Yes"), ("ab", "(A)")])
def test_who_always_says_one_thing_scores_zero_on_average(
    inner, condition, word, scores_of, mean_of
):
    scores = scores_of(
        Application(INNER[inner], condition),
        lambda request, text: LIKELY if text == word else UNLIKELY,
    )

    assert mean_of(scores, "propensity") == 0


@EVERY_CONDITION
def test_who_only_reads_the_context_scores_zero_on_average(condition, scores_of, mean_of):
    """The contexts are neutral: they do not say yes more often than no."""

    def log_prob(request, text):
        context = said(request).split("Is the following statement")[0]
        return float(context.lower().split().count(text.lower()))

    scores = scores_of(Application(INNER["yes_no"], condition), log_prob)

    assert abs(mean_of(scores, "propensity")) < 0.5


def test_a_model_that_is_asked_answers_otherwise_than_without_the_context(tiny):
    model = tiny("bloom", chat=True)  # reads texts of any length
    inner = Propensity({**SPLITS, "test": ITEMS[:4]})
    plain, context = (
        measure(model, task)[0] for task in (inner, Application(inner, "system", 1))
    )

    assert [s.item for s in plain] == [s.item for s in context]
    for one, other in zip(plain, context, strict=True):
        assert one.metrics["propensity"] != other.metrics["propensity"]


# What it is about, and how it is made.


@EVERY_INNER
def test_metric_and_unit_are_those_of_the_inner_task(inner):
    task = Application(INNER[inner])

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

    task = Application(Shout(SPLITS), "system", 1)

    assert (task.about.metric, task.needs_top) == ("loud", True)
    for request in task.requests("test"):
        system, user = request.prompt
        assert system.content.endswith("\n\nBe loud.")
        assert user.content.startswith("I like number")
    talk = replace(task, condition="dialogue").requests("test")[0].prompt
    assert talk[0] == Message("system", "Be loud.")


def test_passages_need_a_message_of_the_user():
    class Silent(Propensity):
        def requests(self, split):
            return [Request("a", "b", (Message("assistant", "Well,"),), ("Yes", "No"))]

    with pytest.raises(
        BadOption, match="this conversation has none; use another condition"
    ):
        Application(Silent(SPLITS), "retrieval", 1).requests("test")


def test_an_unknown_condition_is_refused_with_the_known_ones():
    task = Application(INNER["ab"])
    object.__setattr__(task, "condition", "noise")  # types are checked here, not by users

    with pytest.raises(BadOption, match="dialogue, system, retrieval, tools, not 'noise'"):
        task.__post_init__()


def test_it_is_made_from_a_concept_like_propensity():
    task = Application.of("formality", seed=3, limit=10)

    assert task.inner == Propensity.of("formality", seed=3, limit=10)
    assert len(task.requests("test")) == 10
    with pytest.raises(UnknownName, match="unknown concept 'formalty'"):
        Application.of("formalty", seed=0)


def test_it_is_in_the_table_as_a_transfer():
    assert TASKS["application"] is TRANSFERS["application"] is Application
    assert Application.about.role == "transfer"
    assert Application.about.metric == Propensity.about.metric


def test_no_context_holds_a_text_of_the_concepts_that_ship():
    texts = {
        item.statement
        for name in ("formality", "honesty")
        for item in load_concept(name).items
    }
    for condition in LARGEST:
        for parts in contexts_of(condition):
            assert not any(text in part for part in parts for text in texts)


# Options by name.


def test_options_are_the_fields_with_defaults_and_the_inner_task():
    assert options_of(Propensity(SPLITS)) == {
        "form": None,
        "prompt": "clean",
        "both_orders": False,
    }
    assert options_of(Application(INNER["ab"])) == {
        "inner": INNER["ab"],
        "condition": "dialogue",
        "size": 2,
    }


def test_options_are_set_together_whatever_their_order():
    task = Application(INNER["yes_no"])

    for options in (
        {"size": 9, "condition": "retrieval", "inner": "open"},
        {"inner": "open", "condition": "retrieval", "size": 9},
    ):
        assert with_options(task, options) == Application(INNER["open"], "retrieval", 9)
    assert task == Application(INNER["yes_no"])


def test_an_inner_task_has_options_behind_a_dot():
    task = with_options(Application(INNER["yes_no"]), {"inner.form": "ab", "size": 1})

    assert task == Application(INNER["ab"], size=1)
    again = with_options(task, {"inner": "propensity", "inner.form": "ab"})
    assert again == task


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sise": 1}, "unknown option of 'application' 'sise'; known: .* mean 'size'"),
        ({"splits": 1}, "unknown option of 'application' 'splits'"),
        ({"size.x": 1}, "unknown option of 'application' 'size.x'"),
        ({"inner.splits": 1}, "unknown option of 'propensity' 'splits'; known: .*form"),
        ({"inner": "opne"}, "unknown concept task 'opne'; .* mean 'open'"),
        ({"size": "two"}, r"size of 'application': input should be a valid integer"),
        ({"size": 2.5}, r"size of 'application': .* \(got 2.5\)"),
        ({"size": 99}, "the size of the condition 'dialogue' is 0 to 6, not 99"),
        ({"condition": "noise"}, "condition of 'application': input should be 'dialogue'"),
        ({"inner.form": "abc"}, "form of 'propensity': input should be 'yes_no' or 'ab'"),
    ],
)
def test_a_bad_option_is_one_sentence(options, words):
    with pytest.raises((BadOption, UnknownName, BadData), match=words):
        with_options(Application(INNER["yes_no"]), options)


def test_a_judge_is_set_by_its_name_or_as_it_is():
    from seatrial.tasks import Generation
    from seatrial.tasks.judges import Lexicon, Regex

    task = Generation({"test": ITEMS}, "numbers")

    for judge, told in ((Regex("a:b"), "regex:a:b"), (Lexicon(), "vader")):
        assert with_options(task, {"judge": told}).judge == judge
        assert with_options(task, {"judge": judge}).judge == judge
    with pytest.raises(BadOption, match="'endpoint' needs more than its name; give it to"):
        with_options(task, {"judge": "endpoint"})
    with pytest.raises(UnknownName, match="unknown judge 'oracle'; known: classifier, "):
        with_options(task, {"judge": "oracle"})
    assert with_options(task, {"max_tokens": 8}).max_tokens == 8
