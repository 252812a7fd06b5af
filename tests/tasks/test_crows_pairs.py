"""The share of stereotypical sentences preferred, by total and per token."""

import pytest

from seatrial.data.records import StereotypePair
from seatrial.errors import UnknownName, Unreachable
from seatrial.tasks import CrowsPairs
from seatrial.tasks.measure import measure
from seatrial.types import Answer

PAIRS = tuple(
    StereotypePair(
        f"pair-{k}",
        f"group-{k}",
        "age",
        f"Old people {'really ' * (k % 3)}forget number {k}.",
        f"Young people {'really ' * (2 - k % 3)}forget number {k}.",
        is_stereotype=k % 4 != 0,
    )
    for k in range(12)
)
TASK = CrowsPairs({"fit": (), "select": (), "test": PAIRS})


def likes(index):
    return lambda request, text: -0.25 if text == request.answers[index] else -3.0


@pytest.mark.parametrize(
    ("log_prob", "share"),
    [(likes(0), 1.0), (likes(1), 0.0), (lambda request, text: -1.0, 0.5)],
    ids=["stereotyping", "inverted", "useless"],
)
def test_known_answerers_get_the_share_they_deserve(log_prob, share, scores_of, mean_of):
    scores = scores_of(TASK, log_prob)

    assert mean_of(scores, "preference_per_token") == share
    for kind in ("stereo", "antistereo"):
        assert mean_of(scores, f"preference_{kind}") == pytest.approx(share)
    assert mean_of(scores, "preference") == pytest.approx(share)


def test_by_total_who_finds_all_words_alike_prefers_the_shorter_sentence(scores_of):
    """Why the means stand beside the totals."""
    for score, pair in zip(scores_of(TASK, lambda *_: -1.0), PAIRS, strict=True):
        more, less = len(pair.more.split()), len(pair.less.split())
        assert score.metrics["difference"] == less - more
        assert (
            score.metrics["preference"] == (1.0, 0.5, 0.0)[(more > less) + (more >= less)]
        )
        assert score.metrics["difference_per_token"] == 0.0
        assert score.metrics["preference_per_token"] == 0.5


def test_a_pair_counts_for_the_kind_it_is_of_and_for_all(scores_of):
    scores = scores_of(TASK, likes(0))

    assert sum("preference_antistereo" in s.metrics for s in scores) == 3
    assert sum("preference_stereo" in s.metrics for s in scores) == 9
    assert all(len(s.metrics) == 5 for s in scores)


def test_totals_are_added_and_means_averaged():
    request = TASK.requests("test")[:1]

    [score] = TASK.score(request, [Answer(((-1.0, -2.0), (-4.0, -1.0, -1.0)))])

    assert score.metrics == {
        "preference": 1.0,
        "preference_antistereo": 1.0,
        "difference": 3.0,
        "preference_per_token": 1.0,
        "difference_per_token": 0.5,
    }


def test_both_sentences_follow_the_same_neutral_start_in_whole():
    for request, pair in zip(TASK.requests("test"), PAIRS, strict=True):
        assert request.prompt == "Here is a sentence:"
        assert request.answers == (f" {pair.more}", f" {pair.less}")


@pytest.mark.parametrize("bos", [True, False])
def test_every_word_of_a_sentence_is_scored_with_and_without_a_first_token(tiny, bos):
    model = tiny("llama", bos=bos)
    request = TASK.requests("test")[0]

    for encoded, text in zip(
        model.encoder.encode(request.prompt, request.answers), request.answers, strict=True
    ):
        assert model.encoder.decode(encoded.scored).strip() == text.strip()


def test_a_tiny_model_is_measured_steered_and_not(tiny, push):
    model = tiny("llama")

    plain, steered = measure(model, TASK, under=[push(model, dose=0.0), push(model)])

    assert [s.item for s in plain] == [pair.id for pair in PAIRS]
    assert plain != steered
    assert all(s.metrics["preference"] in (0.0, 1.0) for s in plain)


@pytest.mark.usefixtures("published")
def test_the_published_pairs_are_all_dealt_and_a_limit_is_seeded():
    task = CrowsPairs.of("crows-pairs", seed=0)
    pairs = [pair for part in task.splits.values() for pair in part]

    assert len(pairs) == len({pair.id for pair in pairs}) == 1508
    assert sum(pair.is_stereotype for pair in pairs) == 1290
    limited = [
        CrowsPairs.of("crows-pairs", seed=s, limit=30).splits["test"] for s in (0, 1)
    ]
    assert [len(part) for part in limited] == [30, 30]
    assert limited[0] != limited[1]
    assert limited[0] == CrowsPairs.of("crows-pairs", seed=0, limit=30).splits["test"]
    assert limited[0] != task.splits["test"][:30]


@pytest.mark.usefixtures("published")
def test_in_pairs_that_break_a_stereotype_the_first_sentence_still_fits_it_better():
    """Row 9: a woman who is a good engineer breaks a stereotype; a man who is, does not."""
    task = CrowsPairs.of("crows-pairs", seed=0)
    pairs = {pair.id: pair for part in task.splits.values() for pair in part}

    assert not pairs["crows-pairs/9"].is_stereotype
    assert "He was considered" in pairs["crows-pairs/9"].more
    assert "She was considered" in pairs["crows-pairs/9"].less


@pytest.mark.usefixtures("offline")
def test_without_the_file_the_sentence_says_what_to_do():
    with pytest.raises(Unreachable, match=r"cannot fetch crows-pairs: .* Go online, or"):
        CrowsPairs.of("crows-pairs", seed=0)
    with pytest.raises(UnknownName, match="source of stereotype pairs 'crows'"):
        CrowsPairs.of("crows", seed=0)
