"""What models write, judged: known writers get the scores they deserve."""

import inspect

import pytest

from seatrial.data import load_concept
from seatrial.data.records import Question
from seatrial.data.sources import load_dataset
from seatrial.errors import BadData, BadOption, JudgeFault, UnknownName
from seatrial.steering.intervention import UNSTEERED
from seatrial.tasks import TASKS, Generation
from seatrial.tasks.base import instructions_of
from seatrial.tasks.generation import concept_of
from seatrial.tasks.judges import Classifier, Judge, Judgement, Lexicon, Regex, Scale
from seatrial.tasks.measure import measure
from seatrial.tasks.repetition import written_words
from seatrial.types import Completion, Message, Request

GOOD, BAD, PLAIN = (
    " loved every minute of it.",
    " hated it, it was awful.",
    " took the bus.",
)
ITEMS = load_concept("positive-sentiment").items[:12]
SPLITS = {"fit": (), "select": (), "test": ITEMS}
ABOUT = "speaks of things with delight and praise"


def written(text):
    ids = tuple(range(len(text.split())))
    return Completion(text, ids, (-1.0,) * len(ids), "end")


def scores_of(task, writer):
    requests = task.requests("test")
    return task.score(requests, [written(writer(k)) for k in range(len(requests))])


def values(scores):
    return [score.metrics["score"] for score in scores]


def test_known_writers_get_the_scores_they_deserve():
    task = Generation(SPLITS, ABOUT)

    assert min(values(scores_of(task, lambda k: GOOD))) > 0.5
    assert max(values(scores_of(task, lambda k: BAD))) < -0.5
    assert set(values(scores_of(task, lambda k: PLAIN))) == {0}
    assert set(values(scores_of(task, lambda k: ""))) == {0}
    mixed = values(scores_of(task, lambda k: GOOD if k % 2 else BAD))
    assert all((value > 0) == bool(k % 2) for k, value in enumerate(mixed))


def test_scores_carry_the_item_its_group_the_length_and_the_parts():
    scores = scores_of(Generation(SPLITS, ABOUT), lambda k: PLAIN)

    assert [(s.item, s.group) for s in scores] == [(i.id, i.group) for i in ITEMS]
    assert scores[0].metrics == {
        "score": 0, "positive": 0, "negative": 0,
        "degenerate": 0, "distinct_2": 1, "tokens": 3,
    }  # fmt: skip


def test_a_parrot_that_pleases_the_judge_is_seen_to_repeat_itself():
    """Trap T58: success by score alone."""
    task = Generation(SPLITS, ABOUT)

    parrot, honest, silent = (
        scores_of(task, lambda k, text=text: text)[0].metrics
        for text in (" what joy, what joy" * 6, GOOD, "")
    )

    assert parrot["score"] > honest["score"] > 0.5
    # "what joy, what joy what joy, ...": of 27 4-grams 5 differ, of 29 pairs 4.
    words = len(written_words(" what joy, what joy" * 6))
    assert words == 30
    assert parrot["degenerate"] == pytest.approx(1 - 5 / 27)
    assert parrot["distinct_2"] == pytest.approx(4 / 29)
    assert honest["degenerate"] == 0
    assert (silent["degenerate"], "distinct_2" in silent) == (1, False)


def test_a_writer_of_the_opposite_gets_the_opposite_score_from_a_classifier():
    """A perfect, an inverted and a constant writer of formal and informal texts."""
    task = Generation.of("formality", seed=0)
    items = task.splits["test"]
    requests = task.requests("test")

    def mean(text_of):
        texts = [written(text_of(item)) for item in items]
        found = values(task.score(requests, texts))
        return sum(found) / len(found)

    perfect, inverted = mean(lambda i: i.matching_text), mean(lambda i: i.other_text)
    assert inverted < 0.3 < 0.7 < perfect
    assert 0.3 < (perfect + inverted) / 2 < 0.7
    same = {score for score in values(task.score(requests, [written(" Hm.")] * len(items)))}
    assert len(same) == 1


class Moody(Judge):
    """A judge of a third party, whose replies cannot be read for some texts."""

    scale = Scale(0.0, 10.0)
    identity = "moody"

    def judge(self, asked):
        return [
            Judgement(None, "No comment.")
            if "?" in item.completion
            else Judgement(9.0, "9")
            for item in asked
        ]


def test_an_unreadable_reply_leaves_no_metric_at_all():
    task = Generation(SPLITS, ABOUT, Moody(), max_unreadable=0.1)

    scores = scores_of(task, lambda k: "?" if k == 3 else "!")

    assert [score.metrics for score in scores if score.item == ITEMS[3].id] == [{}]
    assert {score.metrics["score"] for score in scores if score.metrics} == {9}


def test_too_many_unreadable_replies_are_refused():
    task = Generation(SPLITS, ABOUT, Moody())

    with pytest.raises(JudgeFault, match=r"2 of 12 replies .*17%; 5% .*'No comment.'"):
        scores_of(task, lambda k: "?" if k < 2 else "!")


def test_a_passage_is_given_as_it_is_and_its_answers_are_free():
    for request, item in zip(
        Generation(SPLITS, ABOUT).requests("test"), ITEMS, strict=True
    ):
        assert request == Request(item.id, item.group, item.prompt, ())


def test_in_a_chat_the_passage_is_to_be_continued():
    request = Generation(SPLITS, ABOUT, form="chat").requests("test")[0]

    [message] = request.prompt
    assert message.role == "user"
    assert message.content.endswith(f"\n\n{ITEMS[0].prompt}")


def test_a_question_is_asked_in_a_conversation():
    splits = {"test": (Question("q", "g", ("How was your day?",)),)}

    [request] = Generation(splits, ABOUT).requests("test")

    assert request.prompt == (Message("user", "How was your day?"),)


def test_a_question_of_two_turns_is_refused():
    splits = {"test": (Question("q", "g", ("How?", "And then?")),)}

    with pytest.raises(BadData, match="q has 2 turns"):
        Generation(splits, ABOUT).requests("test")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("source", [s for s in Generation.sources if ":" not in s])
def test_every_source_has_a_judge_that_can_tell(source, seed):
    task = Generation.of(source, seed=seed, limit=5)

    assert len(task.requests("test")) == 5
    concept = load_concept(source)
    assert task.concept == concept.about
    lexicon = source == "positive-sentiment"
    assert isinstance(task.judge, Lexicon if lexicon else Classifier)


def test_the_default_judge_has_not_learnt_from_what_methods_are_fitted_on():
    task = Generation.of("formality", seed=0)

    fitted = {item.matching_text for item in (*task.splits["fit"], *task.splits["test"])}
    assert not fitted & set(task.judge.matching)
    assert set(task.judge.matching) == {i.matching_text for i in task.splits["select"]}


def test_a_concept_that_no_judge_of_ours_can_tell_is_refused_without_one():
    with pytest.raises(
        BadData, match=r"can tell texts that show 'honesty' .*kappa .*Endpoint"
    ):
        Generation.of("honesty", seed=0)

    task = Generation.of("honesty", seed=0, judge=Regex("told"))

    assert task.judge == Regex("told")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("source", "concept", "n"),
    [
        ("alpaca-eval:positive-sentiment", "positive-sentiment", 805),
        ("mt-bench:formality", "formality", 80),
    ],
)
def test_a_concept_is_looked_for_in_replies_to_instructions(source, concept, n):
    task = Generation.of(source, seed=0, limit=7)
    plain = Generation.of(concept, seed=0)

    assert concept_of(source) == load_concept(concept)
    assert (task.concept, task.judge) == (plain.concept, plain.judge)
    asked = {item.turns[0]: item for item in load_dataset(source.partition(":")[0])}
    assert len(asked) >= n - 5
    assert len(task.splits["test"]) == 7
    for request in task.requests("test"):
        [message] = request.prompt
        assert asked[message.content].group == request.group
    scores = scores_of(task, lambda k: GOOD)
    assert len(values(scores)) == 7
    assert Generation.instructions(source) == instructions_of(load_concept(concept))


def test_instructions_need_a_concept_and_know_all_of_them():
    with pytest.raises(BadOption, match=r"concept behind a colon, such as mt-bench:form"):
        Generation.of("mt-bench", seed=0)
    with pytest.raises(UnknownName, match="unknown concept 'joy'"):
        Generation.of("mt-bench:joy", seed=0)


def test_an_unknown_concept_is_said():
    with pytest.raises(UnknownName, match="unknown concept 'joy'"):
        Generation.of("joy", seed=0)


def test_a_bound_that_is_no_share_is_refused():
    with pytest.raises(BadOption, match="must lie in"):
        Generation(SPLITS, ABOUT, max_unreadable=1.0)


def test_a_form_that_there_is_not_is_refused():
    task = object.__new__(Generation)
    past_the_type_checker = inspect.unwrap(Generation.__init__)

    with pytest.raises(BadOption, match="the form of prompts is text or chat, not 'poem'"):
        past_the_type_checker(task, SPLITS, ABOUT, form="poem")


def test_it_is_in_the_table_as_a_target():
    assert TASKS["generation"] is Generation
    assert Generation.about.role == "target"


def test_a_model_writes_greedily_or_by_chance_and_is_judged(tiny, push):
    model = tiny("llama")
    under = (UNSTEERED, push(model, dose=40.0))
    splits = {"test": ITEMS[:4]}
    judge = Regex("[aeiou]")

    greedy = Generation(splits, ABOUT, judge, max_tokens=8)
    chance = Generation(splits, ABOUT, judge, max_tokens=8, temperature=1.5)

    plain, steered = measure(model, greedy, under=under)
    assert [score.item for score in plain] == [item.id for item in ITEMS[:4]]
    prompts = [item.prompt for item in ITEMS[:4]]
    lines = model.generate(prompts, under, max_tokens=8)
    for found, line in zip((plain, steered), lines, strict=True):
        wanted = [float(any(c in "aeiouAEIOU" for c in text.text)) for text in line]
        assert [score.metrics["score"] for score in found] == wanted
    assert measure(model, greedy, under=under, seed=1) == [plain, steered]
    drawn = [measure(model, chance, seed=seed) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert any(drawn[0] != other for other in drawn[2:]) or len(set(wanted)) == 1
