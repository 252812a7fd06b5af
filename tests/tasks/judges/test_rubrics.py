"""What is asked, how a rating is found in a reply, and what ratings add up to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean

from seatrial.errors import BadOption, UnknownName
from seatrial.tasks.judges import RUBRICS, Aspect, Judged, Rubric, Scale
from seatrial.tasks.judges.rubrics import read_rating, rubric_named
from seatrial.types import Message

TEN = Scale(0.0, 10.0)
ITEM = Judged("On Sunday I", " sang {all} day.", "loves music")


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Rating: 7", 7),
        ("The writer sings of it.\n\nRating: 7\n", 7),
        ("rating is 7.", 7),
        ("**Rating:** 7", 7),
        ("**Rating: 7**", 7),
        ("Rating: [[7]]", 7),
        ("Rating:\n7", 7),
        ("Final score - 3", 3),
        ("Rating = 6", 6),
        ("Rating: 7.5", 7.5),
        ("Rating: 8, since it is warm.", 8),
        ("Rating: 0", 0),
        ("Rating: 10", 10),
        ("Rating: 7/10", 7),
        ("Rating: 7 out of 10", 7),
        ("Rating (0-10): 8", 8),
        ("7", 7),
        (" [[7]]. ", 7),
        ("7/10", 7),
        ("I first thought of a rating of sorts. Rating: 5\nRating: 8", 8),
        ("Rating: 8\n\nThat is my rating.", 8),
        ("<think>Perhaps Rating: 3?</think>\nRating: 8", 8),
        ("Perhaps Rating: 3?</think>8", 8),
    ],
)
def test_a_rating_is_read(reply, rating):
    assert read_rating(reply, TEN) == rating


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I would rather not put a number on this.",
        "I counted 3 songs and 2 concerts.",
        "Rating:",
        "Rating: N",
        "Rating: none. It has 3 songs.",
        "Rating: high",
        "Rating: 11",
        "Rating: -3",
        "-3",
        "Rating: 7-8",
        "Rating: 10-12",
        "Rating: 5 to 6",
        "Rating: 7,5",
        "Rating: 3/5",
        "Rating: 70%",
        "Rating: 1e3",
        "Rating: 5\nRating: N/A",
        "<think>Perhaps Rating: 3",
    ],
)
def test_what_holds_no_rating_gives_none_and_never_a_number(reply):
    assert read_rating(reply, TEN) is None


@given(st.text(), st.integers(0, 10))
def test_whatever_a_judge_says_first_its_last_line_counts(words, rating):
    said = f"{words.replace('think', 'thnk')}\nRating: {rating}"

    assert read_rating(said, TEN) == rating


@given(st.text())
def test_no_reply_breaks_the_reader_or_leaves_the_scale(reply):
    found = read_rating(reply, Scale(0.0, 2.0))

    assert found is None or 0 <= found <= 2


@pytest.mark.parametrize("name", RUBRICS)
def test_a_question_holds_all_that_it_is_about(name):
    for aspect in RUBRICS[name].aspects:
        asked = aspect.ask(ITEM)

        for part in (ITEM.prompt, ITEM.completion, ITEM.concept, aspect.question[:30]):
            assert part in asked
        assert f"from 0 to {aspect.scale.high:g}" in asked
        assert read_rating(asked, aspect.scale) is None, "an echo would be a rating"


def test_a_conversation_is_shown_with_its_speakers():
    prompt = (Message("system", "Be kind."), Message("user", "How was it?"))

    asked = RUBRICS["caa"].aspects[0].ask(Judged(prompt, "Fine.", "is kind"))

    assert "System: Be kind.\n\nUser: How was it?" in asked


def test_the_scales_are_those_of_the_papers():
    assert RUBRICS["caa"].scale == (0, 10)
    assert RUBRICS["axbench"].scale == (0, 2)
    assert [aspect.name for aspect in RUBRICS["axbench"].aspects] == [
        "concept", "instruction", "fluency",
    ]  # fmt: skip


@pytest.mark.parametrize("ratings", [(2, 2, 2), (1, 2, 2), (1, 1, 2), (1, 1, 1)])
def test_axbench_combines_by_the_harmonic_mean(ratings):
    named = dict(
        zip(("concept", "instruction", "fluency"), map(float, ratings), strict=True)
    )

    assert RUBRICS["axbench"].combine(named) == pytest.approx(hmean(ratings))


@pytest.mark.parametrize("lost", ["concept", "instruction", "fluency"])
def test_a_text_that_fails_in_one_aspect_scores_zero(lost):
    named = {"concept": 2.0, "instruction": 2.0, "fluency": 2.0, lost: 0.0}

    assert RUBRICS["axbench"].combine(named) == 0


@pytest.mark.parametrize("rating", [0.0, 3.5, 10.0])
def test_one_rating_is_its_own_score(rating):
    assert RUBRICS["caa"].combine({"shows": rating}) == pytest.approx(rating)


def test_the_version_follows_every_word_that_is_asked():
    rubric = Rubric("x", "x", "x", (Aspect("a", "How red?", TEN),))
    other = Rubric("x", "x", "x", (Aspect("a", "How red is it?", TEN),))
    wider = Rubric("x", "x", "x", (Aspect("a", "How red?", Scale(0.0, 5.0)),))

    assert len({rubric.version, other.version, wider.version}) == 3
    assert rubric.version == Rubric("y", "z", "z", rubric.aspects).version


@pytest.mark.parametrize(
    "ends", [(), ((1.0, 5.0),), ((0.0, 5.0), (0.0, 2.0)), ((0.0, 0.0),)]
)
def test_a_rubric_whose_ratings_cannot_be_combined_is_refused(ends):
    aspects = tuple(Aspect(str(k), "?", Scale(*end)) for k, end in enumerate(ends))

    with pytest.raises(BadOption, match="needs at least one aspect, all on one scale"):
        Rubric("x", "x", "x", aspects)


def test_an_unknown_rubric_is_said():
    assert rubric_named("caa") is RUBRICS["caa"]
    with pytest.raises(UnknownName, match="unknown rubric 'caaa'; known: axbench, caa"):
        rubric_named("caaa")
