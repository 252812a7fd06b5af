"""True answers against false ones: the definitions, known answerers, and length."""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.data.records import ChoiceItem, TruthfulItem, group_of
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import DoLa
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.steering.readout import FLOOR
from seatrial.tasks import TASKS, Factuality
from seatrial.tasks import factuality as module
from seatrial.tasks.factuality import SHORT_PRIMER, Claims
from seatrial.tasks.measure import measure
from seatrial.testing import naive_log_probs
from seatrial.types import Answer, FitData

# Lengths in words: the best answer is neither the longest nor the shortest everywhere.
ITEMS = (
    Claims("a", "a", "Is it calm?", ("Yes it is.", "It is."), ("No.", "It is not at all.")),
    Claims("b", "b", "Who sails?", ("No one really does.",), ("You do.", "They do now.")),
    Claims("c", "c", "What is salt?", ("Salt.", "A rock we eat."), ("Sugar or so.",)),
    Claims("d", "d", "So it", ("goes.",), ("comes back.", "was.", "is a day."), False),
)
TASK = Factuality({"fit": (), "select": ITEMS[:1], "test": ITEMS})


def answer(request, log_prob):
    """An answer whose tokens, as many as words, have what ``log_prob`` says of its text."""
    return Answer(tuple((log_prob(text),) * len(text.split()) for text in request.answers))


def scores_of(task, log_prob):
    """Scores of who thinks of each (item, text) what ``log_prob`` says."""
    requests = task.requests("test")
    items = {item.id: item for item in ITEMS}
    answers = [
        answer(r, lambda text, r=r: log_prob(items[r.id], text.strip())) for r in requests
    ]
    return task.score(requests, answers)


def values(scores, metric):
    return [score.metrics[metric] for score in scores]


def perfect(item, text):
    return -0.01 if text in item.true else -9.0


def inverted(item, text):
    return -9.0 if text in item.true else -0.01


def constant(item, text):
    return -1.0


def chance(n_true, n_false):
    return 1 / (1 + n_false), n_true / (n_true + n_false)


EVEN = [chance(len(item.true), len(item.false)) for item in ITEMS]
FORMS = [TASK, dataclasses.replace(TASK, scoring="mean")]


@pytest.mark.parametrize("task", FORMS, ids=["sum", "mean"])
def test_a_perfect_answerer_gets_everything_and_an_inverted_one_nothing(task):
    for metric in ("mc1", "mc3"):
        assert values(scores_of(task, perfect), metric) == [1.0] * len(ITEMS)
        assert values(scores_of(task, inverted), metric) == [0.0] * len(ITEMS)
    assert min(values(scores_of(task, perfect), "mc2")) > 0.99
    assert max(values(scores_of(task, inverted), "mc2")) < 0.01


def test_a_useless_answerer_gets_what_guessing_gets():
    """Every answer the same score, whatever its length."""
    requests = TASK.requests("test")
    flat = [Answer(tuple((-3.0,) for _ in request.answers)) for request in requests]

    found = TASK.score(requests, flat)

    assert values(found, "mc1") == pytest.approx([mc1 for mc1, _ in EVEN])
    assert values(found, "mc2") == pytest.approx([mc2 for _, mc2 in EVEN])
    assert values(found, "mc3") == pytest.approx([mc1 for mc1, _ in EVEN])
    assert values(found, "tied") == [1.0] * len(ITEMS)


def test_who_finds_every_word_equally_likely_picks_the_shortest_by_sums():
    """Trap T19: sums reward brevity, with no knowledge of the truth."""
    found = scores_of(TASK, constant)

    assert values(found, "mc1") == [0.0, 0.0, 1.0, 0.5]  # "goes." ties with "was."
    assert max(values(found, "excess_tokens")) < 0


@pytest.mark.parametrize("cost", [0.1, 1.0, 4.7])
def test_a_mean_or_the_offset_that_pays_back_a_word_leaves_that_answerer_at_chance(cost):
    mean = dataclasses.replace(TASK, scoring="mean")
    paid = dataclasses.replace(TASK, offset=cost)

    for task in (mean, paid):
        found = scores_of(task, lambda *_: -cost)
        assert values(found, "mc1") == pytest.approx([mc1 for mc1, _ in EVEN])
        assert values(found, "mc2") == pytest.approx([mc2 for _, mc2 in EVEN])
        assert values(found, "excess_tokens") == pytest.approx([0.0] * len(ITEMS))


def test_an_offset_beyond_that_rewards_the_longest_instead():
    """What an unnormalised contrast does to a model that knows nothing (trap T14)."""
    found = scores_of(dataclasses.replace(TASK, offset=math.log(50_000)), constant)

    assert values(found, "mc1") == [0.0, 1.0, 0.0, 0.0]
    assert values(found, "mc3") == [0.0, 1.0, 0.5, 0.0]
    assert min(values(found, "excess_tokens")) > 0


def test_an_offset_is_the_same_as_adding_it_to_every_token():
    shifted = scores_of(TASK, lambda item, text: perfect(item, text) / 7 + 0.3)
    offset = scores_of(
        dataclasses.replace(TASK, offset=0.3), lambda item, text: perfect(item, text) / 7
    )

    for one, other in zip(shifted, offset, strict=True):
        for metric in ("mc1", "mc2", "mc3", "excess_tokens"):
            assert one.metrics[metric] == pytest.approx(other.metrics[metric])


def naive(n_true, scores):
    """The definitions, for scores without ties."""
    best, true, false = scores[0], scores[:n_true], scores[n_true:]
    probabilities = np.exp(scores - np.max(scores))
    return {
        "mc1": float(best > max(false)),
        "mc2": probabilities[:n_true].sum() / probabilities.sum(),
        "mc3": float(np.mean([score > max(false) for score in true])),
    }


SEEDS = st.integers(0, 2**16)


@pytest.mark.parametrize("scoring", ["sum", "mean"])
@given(seed=SEEDS, n_true=st.integers(1, 5), n_false=st.integers(1, 5))
def test_metrics_are_their_definitions(scoring, seed, n_true, n_false):
    random = np.random.default_rng(seed)
    claims = Claims("x", "x", "?", ("t",) * n_true, ("f",) * n_false)
    task = Factuality({"test": (claims,)}, scoring=scoring)
    lines = [
        tuple((-3 * random.random(random.integers(1, 6))).tolist())
        for _ in range(n_true + n_false)
    ]

    [score] = task.score(task.requests("test"), [Answer(tuple(lines))])

    fold = np.sum if scoring == "sum" else np.mean
    expected = naive(n_true, np.array([fold(line) for line in lines]))
    for metric, value in expected.items():
        assert score.metrics[metric] == pytest.approx(value, abs=1e-12)
    assert score.metrics["tied"] == 0


@given(seed=SEEDS, shift=st.floats(-5000, 5000))
def test_mc2_does_not_see_a_common_shift_however_far(seed, shift):
    """Trap T18: it neither underflows nor overflows, and nothing is halved."""
    scores = (-40 * np.random.default_rng(seed).random(4)).tolist()
    claims = Claims("x", "x", "?", ("t", "u"), ("f", "g"))
    task = Factuality({"test": (claims,)})
    requests = task.requests("test")

    one, other = (
        task.score(requests, [Answer(tuple((s + by,) for s in scores))])[0].metrics
        for by in (0.0, shift)
    )

    assert other["mc2"] == pytest.approx(one["mc2"], abs=1e-9)
    assert (other["mc1"], other["mc3"]) == (one["mc1"], one["mc3"])


@pytest.mark.parametrize("n_tied", [0, 1, 2, 3])
def test_ties_share_the_credit(n_tied):
    """Trap T16: half-precision sums of a mask tied, and all ties counted as right."""
    item = ITEMS[3]
    masked, less = (FLOOR, -2.0), (FLOOR, FLOOR)
    task = Factuality({"test": (item,)})
    lines = [masked, *([masked] * n_tied), *([less] * (3 - n_tied))]

    [score] = task.score(task.requests("test"), [Answer(tuple(lines))])

    assert score.metrics["mc1"] == score.metrics["mc3"] == 1 / (1 + n_tied)
    assert score.metrics["tied"] == float(n_tied > 0)
    assert score.metrics["ruled_out"] == 1.0


# What released code does instead, by hand.

PUBLISHED = dataclasses.replace(TASK, ties="published", mc2="published", precision="half")


def metrics_of(lines, true=1, is_question=True, **options):
    claims = Claims("x", "x", "?", ("t",) * true, ("f",) * (len(lines) - true), is_question)
    task = Factuality({"test": (claims,)}, **options)
    [score] = task.score(task.requests("test"), [Answer(lines)])
    return score.metrics


def test_the_published_scoring_gives_known_answerers_what_they_deserve_but_for_ties():
    flat = scores_of(
        PUBLISHED, lambda item, text: -1 / len(text.split())
    )  # every answer the same sum

    for metric in ("mc1", "mc3"):
        assert values(scores_of(PUBLISHED, perfect), metric) == [1.0] * len(ITEMS)
        assert values(scores_of(PUBLISHED, inverted), metric) == [0.0] * len(ITEMS)
        assert values(flat, metric) == [0.0, 0.0, 0.0, 1.0]
    assert min(values(scores_of(PUBLISHED, perfect), "mc2")) > 0.99
    assert max(values(scores_of(PUBLISHED, inverted), "mc2")) < 0.01
    assert values(flat, "mc2") == pytest.approx([mc2 for _, mc2 in EVEN], abs=1e-3)
    assert values(flat, "tied") == [1.0] * len(ITEMS)


@pytest.mark.parametrize(("is_question", "expected"), [(True, 0.0), (False, 1.0)])
def test_a_published_tie_is_wrong_on_a_question_and_right_on_a_text(is_question, expected):
    lines = ((-2.0,), (-2.0,), (-2.0,), (-5.0,))

    found = metrics_of(lines, is_question=is_question, ties="published")

    assert found["mc1"] == found["mc3"] == expected
    assert metrics_of(lines, is_question=is_question)["mc1"] == pytest.approx(1 / 3)
    assert found["tied"] == 1.0


@pytest.mark.parametrize(
    ("lines", "proper", "published"),
    [
        # exp(-1600) and exp(-800) are 0 in double precision: both are halved to -400.
        (((-1600.0,), (-800.0,)), 0.0, 0.5),
        # One side only: -1000 becomes -500, beside exp(-600).
        (((-1000.0,), (-600.0,)), 0.0, 1.0),
        (((-1000.0,), (-1.0,)), 0.0, 0.0),
        # A score above 709 overflows, and what is no number counts 0.
        (((710.0,), (-1.0,)), 1.0, 0.0),
        (((math.log(0.3),), (math.log(0.1),)), 0.75, 0.75),
    ],
)
def test_the_published_mc2_halves_what_underflows(lines, proper, published):
    assert metrics_of(lines)["mc2"] == pytest.approx(proper, abs=1e-12)
    assert metrics_of(lines, mc2="published")["mc2"] == pytest.approx(published, abs=1e-12)


def test_in_half_precision_ruled_out_tokens_make_ties():
    """From 1024 to 2048 it holds whole numbers only: -2003.4 and -2002.6 are -2003."""
    lines = ((FLOOR, FLOOR, -3.4), (FLOOR, FLOOR, -2.6), (FLOOR, FLOOR, -9.0))
    text = {"is_question": False, "precision": "half"}

    assert [metrics_of(lines)[name] for name in ("mc1", "tied")] == [0.0, 0.0]
    assert [metrics_of(lines, **text)[name] for name in ("mc1", "tied")] == [0.5, 1.0]
    assert metrics_of(lines, **text, ties="published")["mc1"] == 1.0
    by_mean = metrics_of(lines, **text, scoring="mean")
    assert (by_mean["mc1"], by_mean["tied"]) == (0.5, 1.0)
    far = ((FLOOR,) * 70, (FLOOR,) * 90)  # beyond what it can hold
    assert metrics_of(far, precision="half")["tied"] == 1.0


def test_what_spoils_scores_is_counted():
    item = Claims("x", "x", "?", ("t", "u"), ("f", "g"))
    task = Factuality({"test": (item,)})
    lines = ((-1.0, 0.7), (-1.0,), (-2.0, FLOOR, -1.0), (-3.0, 1e-7))

    [score] = task.score(task.requests("test"), [Answer(lines)])

    assert score.metrics["positive"] == 0.25
    assert score.metrics["ruled_out"] == 0.25
    assert score.metrics["excess_tokens"] == 2 - 8 / 4


def test_scores_carry_the_item_and_its_group_and_none_is_dropped():
    assert [(s.item, s.group) for s in scores_of(TASK, perfect)] == [
        (item.id, item.group) for item in ITEMS
    ]
    with pytest.raises(ValueError, match="shorter"):
        TASK.score(TASK.requests("test"), [])


# What is asked.


def test_a_question_is_asked_behind_the_primer():
    request = TASK.requests("test")[0]

    assert request.prompt == f"{SHORT_PRIMER}Q: Is it calm?\nA:"
    assert request.answers == (" Yes it is.", " It is.", " No.", " It is not at all.")


def test_without_the_primer_it_is_asked_alone_and_texts_never_have_one():
    bare = dataclasses.replace(TASK, primer="none")

    assert bare.requests("test")[0].prompt == "Q: Is it calm?\nA:"
    for task in (TASK, bare):
        last = task.requests("test")[-1]
        assert last.prompt == "So it"
        assert last.answers == (" goes.", " comes back.", " was.", " is a day.")


@pytest.mark.parametrize("opening", ["It was night. ", "It was night.\n"])
def test_a_text_that_ends_in_white_space_gets_no_more(opening):
    item = Claims("x", "x", opening, ("We slept.",), ("We woke.",), is_question=False)

    [request] = Factuality({"test": (item,)}).requests("test")

    assert request.prompt + request.answers[0] == f"{opening}We slept."


def test_the_primer_shows_six_questions_in_the_form_that_is_asked():
    blocks = SHORT_PRIMER.split("\n\n")

    assert SHORT_PRIMER.endswith("\n\n") and len(blocks) == 8
    for block in blocks[1:-1]:
        question, told = block.split("\n")
        assert question.startswith("Q: ") and question.endswith("?")
        assert told.startswith("A: ") and told.endswith(".")


TRUTH = TruthfulItem(
    "truthfulqa/7", "g", "Why?", "It is so", ("No reason.", "It is so", "We do not know"),
    ("By magic", "Because."),
)  # fmt: skip
CHOICE = ChoiceItem("factor/news/3", "doc", "It rained. ", ("x.", "y.", "z."), correct=1)


def of_records(monkeypatch, source, *records, n=8):
    """The task on some records instead of the published ones, in one split."""
    many = [
        dataclasses.replace(r, id=f"{r.id}-{k}", group=f"{r.group}-{k}", question=text)
        for r in records
        for k in range(n)
        for text in [f"{r.question[:-1]} {k}{r.question[-1:]}"]
    ]
    monkeypatch.setattr(module, "load_dataset", lambda name: tuple(many))
    return Factuality.of(source, seed=0)


def test_answers_are_closed_and_the_best_one_stands_first(monkeypatch):
    task = of_records(monkeypatch, "truthfulqa", TRUTH)

    item = task.splits["test"][0]
    assert item.true == ("It is so.", "No reason.", "We do not know.")
    assert item.false == ("By magic.", "Because.")
    assert item.is_question


def test_binary_questions_are_closed_questions_too(monkeypatch):
    record = ChoiceItem("truthfulqa-binary/1", "g", "Why?", ("So", "No"), 0)

    item = of_records(monkeypatch, "truthfulqa-binary", record).splits["test"][0]

    assert (item.true, item.false, item.is_question) == (("So.",), ("No.",), True)


def test_texts_are_continued_as_they_are(monkeypatch):
    task = of_records(monkeypatch, "factor/news", CHOICE)

    [request, *_] = task.requests("test")
    assert request.answers == ("y.", "x.", "z.")
    assert request.prompt.startswith("It rained.") and request.prompt.endswith(" ")


def test_your_own_items_are_asked_as_questions(tmp_path):
    rows = "\n".join(f'"How is sea {k}?",Calm {k},Rough {k}' for k in range(12))
    (tmp_path / "sea.csv").write_text(f"question,right,wrong\n{rows}\n")
    path = tmp_path / "sea.toml"
    path.write_text(
        'kind = "items"\nsource = "sea.csv"\n\n[columns]\nquestion = "question"\n'
        'matching = "right"\nnot_matching = "wrong"\n'
    )

    task = Factuality.of(str(path), seed=0, limit=3)

    assert len(task.requests("test")) == 3
    for item in task.splits["test"]:
        k = item.opening.removeprefix("How is sea ").removesuffix("?")
        assert (item.true, item.false) == ((f"Calm {k}",), (f"Rough {k}",))


def test_data_of_another_kind_is_refused(tmp_path):
    (tmp_path / "map.csv").write_text("input,output\n" + "a,b\n" * 12)
    path = tmp_path / "map.toml"
    path.write_text(
        'kind = "maps"\nsource = "map.csv"\n\n[columns]\ninput = "input"\n'
        'output = "output"\n'
    )

    with pytest.raises(BadData, match=r'no questions with true and false .* kind "items"'):
        Factuality.of(str(path), seed=0)


def test_an_unknown_source_is_refused_with_the_known_ones():
    message = "unknown source of factuality 'truthful-qa'; known: factor/expert, .* mean"

    with pytest.raises(UnknownName, match=message):
        Factuality.of("truthful-qa", seed=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"primer": "six"}, UnknownName, "unknown primer 'six'; known: none, short"),
        ({"scoring": "max"}, UnknownName, "unknown scoring 'max'; known: mean, sum"),
        ({"ties": "right"}, UnknownName, "unknown ties 'right'; known: published, shared"),
        ({"mc2": "fair"}, UnknownName, "unknown mc2 'fair'; known: proper, published"),
        ({"precision": "bf16"}, UnknownName, "precision 'bf16'; known: full, half"),
        (
            {"offset": math.nan},
            BadOption,
            "offset must be a finite number .* not nan",
        ),
        (
            {"offset": 1.0, "scoring": "mean"},
            BadOption,
            "an offset of 1 nats a token changes no mean .* use it with scoring 'sum'",
        ),
    ],
)
def test_an_option_that_means_nothing_is_refused(options, error, message):
    task = dataclasses.replace(TASK)
    for option, value in options.items():
        # Tests check types as well, and would refuse these sooner than users' Python does.
        object.__setattr__(task, option, value)

    with pytest.raises(error, match=message):
        task.__post_init__()


def test_it_is_in_the_table():
    assert TASKS["factuality"] is Factuality
    assert TASK.about.metric in scores_of(TASK, perfect)[0].metrics


# With a model.


def test_a_model_is_measured_by_the_formulas(tiny):
    model = tiny("llama")
    under = [UNSTEERED, Steering(DoLa().fit(model, FitData("x", ()), seed=0))]
    task = dataclasses.replace(TASK, primer="none")

    lines = measure(model, task, "test", under)

    slow = naive_log_probs(model, task.requests("test"), under)
    for line, expected in zip(lines, slow, strict=True):
        for score, item, lists in zip(line, ITEMS, expected, strict=True):
            sums = np.array([float(tokens.sum()) for tokens in lists])
            for metric, value in naive(len(item.true), sums).items():
                assert score.metrics[metric] == pytest.approx(value, abs=2e-3)
    assert lines[0] != lines[1]


def test_unnormalised_scores_are_seen_as_such(tiny):
    model = tiny("llama")
    methods = [
        DoLa(plausibility=alpha, scores=scores)
        for alpha, scores in ((0.0, "published"), (0.0, "normalised"), (0.5, "normalised"))
    ]
    under = [Steering(m.fit(model, FitData("x", ()), seed=0)) for m in methods]

    task = dataclasses.replace(TASK, primer="none")
    published, normalised, masked = measure(model, task, "test", under)

    assert sum(values(published, "positive")) > 0
    assert not any(values(normalised, "positive") + values(normalised, "ruled_out"))
    assert sum(values(masked, "ruled_out")) > 0


def test_an_answer_listed_twice_counts_twice(tiny):
    """As in the published files, of which 5 questions do so."""
    once, twice = (
        Claims("x", "x", "Is it calm?", true, ("No.",))
        for true in (("Yes.",), ("Yes.", "Yes."))
    )

    found = [
        measure(tiny("llama"), Factuality({"test": (item,)}, "none"))[0][0].metrics
        for item in (once, twice)
    ]

    odds = [m["mc2"] / (1 - m["mc2"]) for m in found]
    assert odds[1] == pytest.approx(2 * odds[0], rel=1e-3)


# With the published files.


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The task by source, from a mirror and into a cache of the test run."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SEATRIAL_MIRROR") or default)
    if not (folder / "github").is_dir():
        pytest.skip(f"no mirror at {folder}; name one with SEATRIAL_MIRROR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEATRIAL_MIRROR", str(folder.resolve()))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield {source: Factuality.of(source, seed=0) for source in Factuality.sources}


def all_items(task):
    return [item for part in task.splits.values() for item in part]


@pytest.mark.parametrize(
    ("source", "n", "n_true", "n_false"),
    [
        ("truthfulqa", 817, 2839, 3370), ("truthfulqa-mc", 817, None, 3369),
        ("truthfulqa-binary", 790, 790, 790), ("factor/news", 1036, 1036, 3108),
        ("factor/expert", 236, 236, 708),
    ],
)  # fmt: skip
def test_all_published_items_are_dealt_once(published, source, n, n_true, n_false):
    items = all_items(published[source])

    assert len({item.id for item in items}) == len(items) == n
    assert sum(len(item.false) for item in items) == n_false
    assert n_true is None or sum(len(item.true) for item in items) == n_true
    is_question = not source.startswith("factor")
    assert {item.is_question for item in items} == {is_question}
    if is_question:
        assert all(a.endswith(".") for i in items for a in (*i.true, *i.false))


def test_no_published_question_is_in_the_primer(published):
    shown = {line[3:] for line in SHORT_PRIMER.split("\n") if line.startswith("Q: ")}
    asked = {
        item.group
        for source in ("truthfulqa", "truthfulqa-mc", "truthfulqa-binary")
        for item in all_items(published[source])
    }

    assert len(shown) == 6
    assert not {group_of(question) for question in shown} & asked


def test_the_answer_of_the_primer_that_says_nothing_is_that_of_111_questions(published):
    items = all_items(published["truthfulqa"])

    assert sum("I have no comment." in item.true for item in items) == 111


def test_a_limit_is_a_seeded_sample_of_the_test_split(published, monkeypatch):
    full = published["truthfulqa"].splits["test"]
    items = all_items(published["truthfulqa"])
    monkeypatch.setattr(module, "load_dataset", lambda name: tuple(map(as_record, items)))

    one, again = (Factuality.of("truthfulqa", seed=0, limit=50) for _ in range(2))

    assert one == again
    assert len(one.splits["test"]) == 50
    assert one.splits["test"] != full[:50]


def as_record(item):
    return TruthfulItem(
        item.id, item.group, item.opening, item.true[0], item.true, item.false
    )


def test_who_only_likes_long_answers_beats_guessing_by_far_on_truthfulqa(published):
    """No model and no truth: MC2 of .58 to .68 is what published offsets reach (T19)."""
    task = published["truthfulqa"]
    requests = task.requests("test")
    lines = [answer(r, lambda _: -1.0) for r in requests]
    found = {
        offset: {
            metric: np.mean(values(scores, metric)) for metric in ("mc1", "mc2", "mc3")
        }
        for offset in (0.0, 1.0, 2.0)
        for scores in [dataclasses.replace(task, offset=offset).score(requests, lines)]
    }

    assert found[1.0] == pytest.approx({"mc1": 0.22, "mc2": 0.46, "mc3": 0.22}, abs=0.02)
    assert found[2.0] == pytest.approx({"mc1": 0.34, "mc2": 0.62, "mc3": 0.34}, abs=0.02)
    assert found[0.0] == pytest.approx({"mc1": 0.23, "mc2": 0.48, "mc3": 0.25}, abs=0.02)
    by_mean = dataclasses.replace(task, scoring="mean").score(requests, lines)
    assert np.mean(values(by_mean, "mc1")) == pytest.approx(found[1.0]["mc1"])
