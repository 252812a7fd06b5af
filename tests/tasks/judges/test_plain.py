"""Judges that need no server: each gives known texts the scores they deserve."""

import math

import pytest

from seatrial.data import load_concept, split
from seatrial.data.records import TextPair
from seatrial.errors import BadData, BadOption, JudgeFault
from seatrial.tasks.judges import (
    JUDGES,
    Classifier,
    Judge,
    Judged,
    Judgement,
    Lexicon,
    Likelihood,
    Regex,
    agreement,
    labelled_items,
)
from seatrial.tasks.judges.base import check_bound, check_readable
from seatrial.tasks.judges.likelihood import LACKS, SHOWS, weigh
from seatrial.types import Answer, Message, Request

GOOD, BAD = "What a lovely, wonderful evening!", "It was awful and I hated all of it."
PLAIN = "The train leaves at nine from platform two."


def judged(*texts):
    return [Judged("On Sunday", text, "speaks with delight") for text in texts]


def scores(judge, *texts):
    return [found.score for found in judge.judge(judged(*texts))]


def test_every_judge_has_a_line_about_itself():
    for name, kind in JUDGES.items():
        assert kind.name == name
        assert kind.summary and issubclass(kind, Judge)


def test_the_lexicon_tells_good_from_bad_and_leaves_the_rest_neutral():
    good, bad, plain, empty = scores(Lexicon(), GOOD, BAD, PLAIN, "")

    assert good > 0.5
    assert bad < -0.5
    assert plain == empty == 0


def test_the_lexicon_stays_on_its_scale_and_says_its_parts():
    [found] = Lexicon().judge(judged(GOOD * 200))

    assert Lexicon().scale.holds(found.score)
    assert found.parts["positive"] > 0.3
    assert found.parts["negative"] == 0


def test_the_lexicon_agrees_with_our_own_texts_of_sentiment():
    concept = load_concept("positive-sentiment")
    judge = Lexicon()

    found = agreement(judge, labelled_items(concept.items, concept.about, judge.scale))

    assert found.kappa.low > 0.6
    assert found.rank.low > 0.6


def test_a_pattern_is_found_or_not_and_shown():
    found = Regex("i (cannot|can't)").judge(judged("Sorry, I can't.", "I can.", ""))

    assert [one.score for one in found] == [1, 0, 0]
    assert [one.reply for one in found] == ["I can't", "", ""]


def test_case_counts_where_it_is_asked_to():
    assert scores(Regex("no"), "No.") == [1]
    assert scores(Regex("no", ignore_case=False), "No.") == [0]
    assert Regex("no").identity != Regex("no", ignore_case=False).identity


@pytest.mark.parametrize("pattern", ["", "a*", "x|", "$"])
def test_a_pattern_that_every_text_has_is_refused(pattern):
    with pytest.raises(BadOption, match="found in an empty text"):
        Regex(pattern)


def test_a_broken_pattern_is_said():
    with pytest.raises(BadOption, match=r"is no regular expression \(missing \)"):
        Regex("(a")


def test_the_classifier_learns_a_style_and_judges_unseen_texts():
    items = split(load_concept("formality").items, seed=0)
    judge = Classifier.of(items["select"])

    found = agreement(judge, labelled_items(items["test"], "writes formally", judge.scale))

    assert found.kappa.low > 0.5


def test_the_classifier_learns_nothing_from_texts_that_are_alike():
    """The same words on both sides: nothing to tell them apart by."""
    judge = Classifier(("red sky", "blue sea"), ("red sky", "blue sea"))

    assert scores(judge, "red sky", "green grass") == pytest.approx([0.5, 0.5], abs=1e-6)


def test_exchanged_examples_exchange_the_verdict():
    items = split(load_concept("formality").items, seed=0)["select"]
    judge = Classifier.of(items)
    texts = [item.matching_text for item in items[:5]] + ["", "!?", "lol gonna"]

    turned = scores(Classifier(judge.other, judge.matching), *texts)

    assert turned == pytest.approx([1 - score for score in scores(judge, *texts)], abs=1e-4)


def test_a_text_gets_the_same_score_whatever_stands_beside_it():
    judge = Classifier(("so very kind", "thank you"), ("go away", "not now"))
    texts = ["thank you so much", "go", "kind of not"]

    together = scores(judge, *texts)

    assert together == [scores(judge, text)[0] for text in texts]
    assert judge.judge([]) == []


@pytest.mark.parametrize("sides", [((), ("a",)), (("a",), (" ",))])
def test_a_classifier_without_examples_of_both_sides_is_refused(sides):
    with pytest.raises(BadData, match=r"a classifier needs (matching|other) texts"):
        Classifier(*sides)


def test_a_classifier_learns_from_pairs_as_from_items():
    items = load_concept("formality").items[:40]
    pairs = [TextPair(i.id, i.group, i.matching_text, i.other_text) for i in items]

    assert Classifier.of(pairs) == Classifier.of(items)
    with pytest.raises(BadData, match="a classifier needs matching texts"):
        Classifier.of([])


def test_identity_follows_what_a_classifier_was_trained_on():
    assert Classifier(("a",), ("b",)).identity != Classifier(("b",), ("a",)).identity


def answer(p_yes, mass=1.0):
    return Answer(((math.log(p_yes * mass),), (math.log((1 - p_yes) * mass),)))


@pytest.mark.parametrize(
    ("shows", "lacks", "score"),
    [(0.999, 0.001, 0.999), (0.001, 0.999, 0.001), (0.5, 0.5, 0.5), (0.9, 0.9, 0.5),
     (0.1, 0.1, 0.5), (0.8, 0.4, 0.7)],
    ids=["perfect", "inverted", "useless", "always yes", "always no", "torn"],
)  # fmt: skip
def test_who_always_says_yes_scores_one_half(shows, lacks, score):
    assert weigh(answer(shows), answer(lacks)).score == pytest.approx(score)


def test_what_a_model_would_rather_say_does_not_count_but_shows():
    found = weigh(answer(0.8, mass=0.01), answer(0.2, mass=0.03))

    assert found.score == pytest.approx(0.8)
    assert found.parts["mass"] == pytest.approx(0.02)


def test_very_sure_answers_do_not_overflow():
    sure = Answer(((-1e-9,), (-2000.0,))), Answer(((-2000.0,), (-1e-9,)))

    assert weigh(*sure).score == 1
    assert weigh(*reversed(sure)).score == 0


def test_a_model_is_asked_both_ways_round(tiny):
    model = tiny("llama", chat=True)
    item = Judged("On Sunday", f" {GOOD}", "speaks with delight")

    [found] = Likelihood(model).judge([item])

    requests = []
    for form in (SHOWS, LACKS):
        text = form.format(
            prompt="On Sunday", gap="", completion=f" {GOOD}", concept=item.concept
        )
        requests.append(Request("x", "x", (Message("user", text),), ("Yes", "No")))
    [[shows, lacks]] = model.log_probs(requests)
    odds = [math.exp(a.sums[0] - a.sums[1]) for a in (shows, lacks)]
    p = [x / (1 + x) for x in odds]
    assert found.score == pytest.approx((p[0] + 1 - p[1]) / 2, abs=1e-5)
    assert found.parts["shows"] == pytest.approx(p[0], abs=1e-5)


def test_a_model_judges_each_text_for_itself(tiny):
    judge = Likelihood(tiny("llama", chat=True))

    together = scores(judge, GOOD, BAD, PLAIN)

    assert together == pytest.approx(
        [scores(judge, text)[0] for text in (GOOD, BAD, PLAIN)], abs=1e-5
    )
    assert all(judge.scale.holds(score) for score in together)
    assert judge.identity != Likelihood(tiny("qwen2", chat=True)).identity


def test_unreadable_replies_are_tolerated_up_to_the_bound_and_not_beyond():
    check_readable(["?"], total=10, bound=0.1, kept="/here")
    check_readable([], total=0, bound=0.0, kept="/here")

    with pytest.raises(JudgeFault) as raised:
        check_readable(["I  cannot\nsay", "?"], total=10, bound=0.1, kept="/here")

    assert str(raised.value).startswith(
        "2 of 10 replies of the judge hold no score that can be read (20%; 10% are "
        "tolerated), such as 'I cannot say'. Raw replies are kept in /here."
    )


@pytest.mark.parametrize("bound", [-0.1, 1.0, float("nan")])
def test_a_bound_that_is_no_share_is_refused(bound):
    with pytest.raises(BadOption, match=r"must lie in \[0, 1\)"):
        check_bound(bound)


def test_a_judgement_without_a_score_is_none_and_not_zero():
    assert Judgement(None).score is None
