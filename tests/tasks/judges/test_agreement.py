"""Agreement with labels, by the textbook and with intervals that cover the truth."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from seatrial.data import load_concept
from seatrial.errors import BadData
from seatrial.tasks.judges import (
    Judged,
    Labelled,
    Lexicon,
    Regex,
    Scale,
    agree,
    agreement,
    labelled_items,
)


def own_groups(n):
    return [f"group-{k}" for k in range(n)]


def draw(n, noise, seed):
    """Scores that follow labels of 0 to 10, more or less."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 11, n).astype(float)
    return np.clip(labels + noise * random.normal(size=n), 0, 10), labels


@pytest.mark.parametrize("noise", [0.0, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("cuts", [[5.0], [3.0, 7.0]])
def test_kappa_and_rank_correlation_are_those_of_the_textbooks(noise, cuts):
    scores, labels = draw(40, noise, seed=1)

    found = agree(scores.tolist(), labels.tolist(), own_groups(40), cuts=cuts)

    classes = [np.digitize(x, cuts) for x in (scores, labels)]
    assert found.kappa.value == pytest.approx(cohen_kappa_score(*classes))
    assert found.rank.value == pytest.approx(spearmanr(scores, labels).statistic)
    assert found.same.value == np.mean(classes[0] == classes[1])


LABELS = [0.0, 10.0] * 10


@pytest.mark.parametrize(
    ("scores", "kappa"),
    [(LABELS, 1), (LABELS[::-1], -1), ([7.0] * 20, 0), ([7.0, 7.0, 2.0, 2.0] * 5, 0)],
    ids=["perfect", "inverted", "constant", "useless"],
)
def test_known_judges_agree_as_they_should(scores, kappa):
    found = agree(scores, LABELS, own_groups(20), cuts=[5.0])

    assert found.kappa.value == pytest.approx(kappa)
    assert found.rank.value == pytest.approx(kappa)


def test_perfect_agreement_on_few_texts_is_no_certainty():
    for n in (6, 20, 100):
        labels = [float(k) for k in range(n)]

        found = agree(labels, labels, own_groups(n), cuts=[n / 2])

        for estimate in (found.kappa, found.rank):
            assert estimate.value == estimate.high == pytest.approx(1)
            assert estimate.low < 1
        assert found.kappa.low < 1 - 2 / n
        assert found.rank.low < {6: 0.9, 20: 0.999, 100: 1}[n]


def test_a_judge_that_gives_all_texts_one_score_has_no_order():
    found = agree([5.0] * 20, LABELS, own_groups(20), cuts=[5.0])

    assert (found.rank.value, found.rank.low, found.rank.high) == (0, -1, 1)


def test_unreadable_texts_are_counted_and_left_out():
    scores = [None, None, *LABELS[2:]]

    found = agree(scores, LABELS, own_groups(20), cuts=[5.0])

    assert (found.n, found.unreadable) == (18, 2)
    assert found.kappa.value == 1


def test_texts_of_one_group_are_one_piece_of_evidence():
    scores, labels = draw(60, 3.0, seed=0)

    alone = agree(scores.tolist(), labels.tolist(), own_groups(60), cuts=[5.0])
    grouped = agree(
        scores.tolist(), labels.tolist(), [f"g{k // 10}" for k in range(60)], cuts=[5.0]
    )

    assert grouped.rank.value == alone.rank.value
    assert grouped.rank.high - grouped.rank.low > 2 * (alone.rank.high - alone.rank.low)


def test_labels_of_one_class_cannot_tell():
    with pytest.raises(BadData, match=r"the 5 labels .* are all of one class"):
        agree([1.0] * 5, [9.0] * 5, own_groups(5), cuts=[5.0])


@pytest.mark.parametrize(("n", "noise"), [(12, 3.0), (30, 3.0), (60, 8.0)])
def test_the_intervals_cover_the_truth(n, noise):
    """An interval that were always [-1, 1] would too, so its width is bounded as well."""
    scores, labels = draw(40_000, noise, seed=99)
    rank = spearmanr(scores, labels).statistic
    kappa = cohen_kappa_score(scores >= 5, labels >= 5)
    covered, widths = {"rank": 0, "kappa": 0}, {"rank": 0.0, "kappa": 0.0}

    for seed in range(300):
        scores, labels = draw(n, noise, seed)
        found = agree(scores.tolist(), labels.tolist(), own_groups(n), cuts=[5.0])
        for name, truth in (("rank", rank), ("kappa", kappa)):
            estimate = getattr(found, name)
            covered[name] += estimate.low <= truth <= estimate.high
            widths[name] += (estimate.high - estimate.low) / 300

    for name in ("rank", "kappa"):
        assert covered[name] / 300 >= 0.93, "few texts make it wide: up to 99 %"
        assert widths[name] < 4.2 / n**0.5


def test_contrastive_items_are_a_labelled_set():
    items = load_concept("honesty").items[:3]

    found = labelled_items(items, "tells the truth", Scale(0.0, 10.0))

    assert [entry.label for entry in found] == [10, 0] * 3
    assert [entry.group for entry in found] == [i.group for i in items for _ in range(2)]
    assert found[1].text == Judged(
        items[0].prompt, f" {items[0].other_text}", "tells the truth"
    )


def test_a_judge_is_asked_and_cut_in_the_middle_of_its_scale():
    texts = ["It is lovely.", "It is wonderful.", "It is awful.", "It is bad."]
    labelled = [
        Labelled(Judged("x", text, "y"), label, text)
        for text, label in zip(texts, (1.0, 1.0, -1.0, -1.0), strict=True)
    ]

    assert agreement(Lexicon(), labelled).kappa.value == 1
    assert agreement(Regex("lovely"), labelled, cuts=[0.5]).kappa.value == 0.5
