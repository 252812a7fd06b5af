"""Each condition changes prompts as it says, and nothing else of the task."""

import pickle
from dataclasses import dataclass, replace
from typing import ClassVar, final

import pytest

from seatrial.data import load_concept
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.tasks import (
    Fluency,
    Generation,
    Instructions,
    Map,
    Open,
    Propensity,
    Prose,
)
from seatrial.tasks.base import Scored, instructions_of
from seatrial.tasks.conditions import TAN as CONDITIONS
from seatrial.tasks.conditions import Condition, in_condition
from seatrial.tasks.measure import measure
from seatrial.types import Answer, Completion, Message, Metric, Request, Score

CONCEPT = load_concept("formality")
FOR, AGAINST = CONCEPT.encourage, CONCEPT.discourage
INSTRUCTIONS = instructions_of(CONCEPT)
CARRYING = CONDITIONS[1:]
SYSTEM, USER = Message("system", "Be short."), Message("user", "Who?")
REPLY, AGAIN = Message("assistant", "Me."), Message("user", "Why?")


def asked_in(prompt, condition, instruction):
    return Condition(condition).around(prompt, "item", instruction)


@pytest.fixture(scope="module")
def tasks():
    """Scored and written tasks, on conversations and on plain text."""
    return {
        "propensity": Propensity.of("formality", seed=0, limit=8),
        "open": Open.of("formality", seed=0, limit=8),
        "map": Map.of("antonym", seed=0, limit=8),
        "prose": Prose.of("prose", seed=0, limit=2),
        "fluency": Fluency.of("dialogues", seed=0, limit=3),
    }


NAMES = ("propensity", "open", "map", "prose", "fluency")


def test_there_are_the_five_conditions_of_tan_et_al():
    assert CONDITIONS == (
        "base", "system-positive", "system-negative", "user-positive", "user-negative",
    )  # fmt: skip


@pytest.mark.parametrize("prompt", ["Text.", (USER,), (SYSTEM, USER, REPLY, AGAIN)])
def test_base_asks_as_ever(prompt):
    assert asked_in(prompt, "base", "") == prompt


@pytest.mark.parametrize("condition", ["system-positive", "system-negative"])
def test_the_system_message_is_the_instruction_and_replaces_what_was_there(condition):
    told = Message("system", "Do it.")

    assert asked_in((USER,), condition, "Do it.") == (told, USER)
    assert asked_in((SYSTEM, USER, REPLY, AGAIN), condition, "Do it.") == (
        told, USER, REPLY, AGAIN,
    )  # fmt: skip


@pytest.mark.parametrize("condition", ["user-positive", "user-negative"])
def test_the_user_says_it_before_the_last_question_and_a_blank_line(condition):
    told = Message("user", "Do it.\n\nWhy?")

    assert asked_in((SYSTEM, USER, REPLY, AGAIN), condition, "Do it.") == (
        SYSTEM, USER, REPLY, told,
    )  # fmt: skip


def test_a_reply_that_is_begun_stays_at_the_end():
    begun = Message("assistant", "Because")

    found = asked_in((AGAIN, begun), "user-positive", "Do it.")

    assert found == (Message("user", "Do it.\n\nWhy?"), begun)


@pytest.mark.parametrize("condition", CARRYING)
def test_plain_text_gets_it_as_a_paragraph_in_front(condition):
    assert asked_in("Text.", condition, "Do it.") == "Do it.\n\nText."


@pytest.mark.parametrize("name", NAMES)
def test_each_condition_carries_its_own_instruction_and_no_other(name, tasks):
    plain = tasks[name].requests("test")

    for condition in CONDITIONS:
        requests = in_condition(tasks[name], condition, INSTRUCTIONS).requests("test")
        wanted = {"base": ""}.get(condition, AGAINST if "negative" in condition else FOR)
        assert len(requests) == len(plain) > 0
        for one, other in zip(plain, requests, strict=True):
            assert other == replace(one, prompt=other.prompt)
            texts = (
                [other.prompt]
                if isinstance(other.prompt, str)
                else [message.content for message in other.prompt]
            )
            for words in (FOR, AGAINST):
                times = sum(text.count(words) for text in texts)
                assert times == (words == wanted)


@pytest.mark.parametrize(("name", "n"), [("propensity", 5), ("fluency", 5), ("open", 3)])
def test_conditions_ask_different_things_where_roles_are_known(name, n, tasks):
    asked = {
        tuple(r.prompt for r in in_condition(tasks[name], c, INSTRUCTIONS).requests("test"))
        for c in CONDITIONS
    }

    assert len(asked) == n


@pytest.mark.parametrize("name", NAMES)
def test_a_task_in_a_condition_is_in_all_else_the_task(name, tasks):
    task = tasks[name]
    keys = ["about", "version", "sources", "summary"]
    keys += ["needs_kl", "needs_top"] if isinstance(task, Scored) else []
    keys += ["max_tokens", "temperature"] if name == "fluency" else []

    found = in_condition(task, "user-negative", INSTRUCTIONS)

    assert found.name == f"{name}@user-negative"
    assert {key: getattr(found, key) for key in keys} == {
        key: getattr(task, key) for key in keys
    }


def test_a_condition_of_one_task_leaves_the_others_alone(tasks):
    first = in_condition(tasks["map"], "base", INSTRUCTIONS)
    second = in_condition(tasks["open"], "user-positive", INSTRUCTIONS)

    assert (first.name, first.about.metric, first.needs_top) == (
        "map@base",
        "accuracy",
        True,
    )
    assert (second.name, second.about.metric, second.needs_top) == (
        "open@user-positive", "open", False,
    )  # fmt: skip
    assert (tasks["map"].name, Map.name) == ("map", "map")


def test_it_is_a_value_like_every_task(tasks):
    task = tasks["propensity"]
    one, same = (in_condition(task, "user-positive", INSTRUCTIONS) for _ in range(2))

    assert one == same != in_condition(task, "user-negative", INSTRUCTIONS)
    assert pickle.loads(pickle.dumps(one)).name == one.name
    assert (
        replace(one, condition=Condition("system-positive")).name
        == "propensity@system-positive"
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_scores_are_those_of_the_task(condition, tasks):
    task = tasks["propensity"]
    found = in_condition(task, condition, INSTRUCTIONS)
    requests = found.requests("test")
    answers = [Answer(((-float(k),), (-2.0,))) for k in range(len(requests))]

    assert found.score(requests, answers) == task.score(task.requests("test"), answers)


def test_scores_of_written_texts_are_those_of_the_task(tasks):
    task = tasks["fluency"]
    found = in_condition(task, "system-positive", INSTRUCTIONS)
    requests = found.requests("test")
    texts = [Completion("a b c d a b c d", (1, 2), (-1.0, -1.0), "end")] * len(requests)

    assert found.score(requests, texts) == task.score(task.requests("test"), texts)


@final
@dataclass(frozen=True)
class Pressed(Scored):
    """A task whose answerer can be told: it looks for the instruction in the prompt."""

    name: ClassVar[str] = "pressed"
    summary: ClassVar[str] = "x"
    about: ClassVar[Metric] = Metric("value", "nats", "target")
    sources: ClassVar[tuple[str, ...]] = ("none",)

    @classmethod
    def of(cls, source, *, seed, limit=None):
        return cls()

    def requests(self, split):
        return [Request("1", "1", (USER,), (" yes", " no"))]

    def score(self, requests, answers):
        return [
            Score(r.id, r.group, {"value": a.sums[0] - a.sums[1]})
            for r, a in zip(requests, answers, strict=True)
        ]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_who_does_as_told_is_seen_to(condition):
    """A perfect, an inverted and a stubborn answerer of instructions."""

    def value(for_, against):
        task = in_condition(Pressed(), condition, INSTRUCTIONS)
        [request] = task.requests("test")
        text = "\n".join(message.content for message in request.prompt)
        yes = for_ if FOR in text else against if AGAINST in text else -1.0
        [score] = task.score([request], [Answer(((yes,), (-1.0,)))])
        return score.metrics["value"]

    sign = {"base": 0.0}.get(condition, -1.0 if "negative" in condition else 1.0)
    assert value(0.0, -2.0) == sign
    assert value(-2.0, 0.0) == -sign
    assert value(-1.0, -1.0) == 0.0


def test_a_task_on_a_concept_or_a_map_has_instructions_for_its_source():
    assert Propensity.instructions("formality") == INSTRUCTIONS
    assert Generation.instructions("mt-bench:formality") == INSTRUCTIONS
    of_map = Map.instructions("antonym")
    data = Map.of("antonym", seed=0).fit_data(shots=0)
    assert (of_map.encourage, of_map.discourage) == (data.encourage, data.discourage)
    assert of_map.encourage and of_map.encourage != of_map.discourage


@pytest.mark.parametrize("name", ["prose", "fluency"])
def test_a_task_about_nothing_has_no_instructions(name, tasks):
    instructions = type(tasks[name]).instructions(tasks[name].sources[0])

    assert instructions is None
    with pytest.raises(BadOption, match=f"{name} is about no concept.*name a concept: "):
        in_condition(tasks[name], "user-positive", instructions)


def test_both_kinds_are_measured(tiny, tasks):
    model = tiny("llama", chat=True)
    few = {name: replace(tasks[name], splits={"test": tasks[name].splits["test"][:2]})
           for name in ("map", "fluency")}  # fmt: skip
    mine = Instructions("mine", "Do.", "Don't.")

    [scores] = measure(model, in_condition(few["map"], "user-positive", mine))
    [plain] = measure(model, few["map"])
    short = replace(few["fluency"], max_tokens=3)
    [written] = measure(model, in_condition(short, "system-positive", mine))

    assert [s.item for s in scores] == [s.item for s in plain]
    assert [s.metrics for s in scores] != [s.metrics for s in plain]
    assert all(score.metrics["tokens"] <= 3 for score in written)


def test_an_unknown_condition_is_refused(tasks):
    with pytest.raises(UnknownName, match="unknown condition 'user-pos'; known: base, "):
        in_condition(tasks["map"], "user-pos", INSTRUCTIONS)


@pytest.mark.parametrize(
    ("condition", "side"), [("user-positive", "for"), ("system-negative", "against")]
)
def test_a_concept_without_instructions_is_refused(condition, side, tasks):
    with pytest.raises(BadData, match=f"'formality' has no instruction {side} the"):
        in_condition(tasks["map"], condition, Instructions("formality", "", " "))


def test_base_needs_no_instruction(tasks):
    found = in_condition(tasks["map"], "base")

    assert found.requests("test") == list(tasks["map"].requests("test"))


def test_a_task_is_in_one_condition(tasks):
    once = in_condition(tasks["map"], "user-positive", INSTRUCTIONS)

    with pytest.raises(
        BadOption, match="map@user-positive is in a condition already; take"
    ):
        in_condition(once, "user-negative", INSTRUCTIONS)


def test_a_conversation_without_the_user_is_refused_where_the_user_is_to_speak():
    with pytest.raises(BadData, match="'user-positive' needs a message of the user"):
        asked_in((SYSTEM,), "user-positive", "Do it.")


def test_it_is_not_made_from_a_source(tasks):
    for name in ("map", "fluency"):
        kind = type(in_condition(tasks[name], "base", INSTRUCTIONS))
        with pytest.raises(BadOption, match="not made from a source such as 'antonym'"):
            kind.of("antonym", seed=0)
