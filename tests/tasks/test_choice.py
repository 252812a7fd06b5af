"""Multiple choice: knowledge counts, letters and lengths do not."""

from collections import Counter

import pytest

from seatrial.data import load_facts
from seatrial.data.records import ChoiceItem
from seatrial.errors import BadData, BadOption, UnknownName, Unreachable
from seatrial.tasks import Bbh, Facts, Mmlu
from seatrial.tasks.measure import measure
from seatrial.types import Answer, Message

FORMS = ("letters", "texts")
LIKELY, UNLIKELY = -0.25, -3.0


def make_item(k):
    n = (2, 4)[k % 2]
    options = tuple(f"option {j} of {k}{' more' * (j * k % 4)}" for j in range(n))
    # Always the first one, as in a file whose writer put the right answer first.
    return ChoiceItem(f"item-{k}", f"group-{k // 2}", f"What is {k}?", options, 0)


ITEMS = tuple(make_item(k) for k in range(48))
SPLITS = {"fit": (), "select": ITEMS[:8], "test": ITEMS}
TASKS = {form: Facts(SPLITS, form) for form in FORMS}


def likes(index):
    return lambda request, text: LIKELY if text == request.answers[index] else UNLIKELY


@pytest.mark.parametrize("form", FORMS)
def test_a_perfect_answerer_makes_no_error_and_an_inverted_one_nothing_else(
    form, scores_of, mean_of
):
    perfect, inverted = scores_of(TASKS[form], likes(0)), scores_of(TASKS[form], likes(1))

    assert (mean_of(perfect, "error"), mean_of(perfect, "accuracy")) == (0, 1)
    assert (mean_of(inverted, "error"), mean_of(inverted, "accuracy")) == (1, 0)
    assert mean_of(perfect, "margin") == LIKELY - UNLIKELY
    assert mean_of(inverted, "margin") == UNLIKELY - LIKELY


@pytest.mark.parametrize("form", FORMS)
def test_a_useless_answerer_gets_chance_and_no_margin(form, scores_of):
    """Also where options differ in length: per token they are alike."""
    for score, item in zip(scores_of(TASKS[form], lambda *_: -1.0), ITEMS, strict=True):
        assert score.metrics["accuracy"] == 1 / len(item.options)
        assert score.metrics["error"] == 1 - 1 / len(item.options)
        assert score.metrics["margin"] == 0


@pytest.mark.parametrize("letter", ["(A)", "(B)"])
def test_who_likes_one_letter_gets_chance(letter, scores_of):
    scores = scores_of(
        TASKS["letters"], lambda request, text: LIKELY if text == letter else UNLIKELY
    )

    for n in (2, 4):
        own = [
            score.metrics["accuracy"]
            for score, item in zip(scores, ITEMS, strict=True)
            if len(item.options) == n
        ]
        assert sum(own) / len(own) == 1 / n


def test_in_the_published_order_who_likes_the_first_letter_looks_all_knowing(
    scores_of, mean_of
):
    """The check on the check, and what a replica asks for."""
    task = Facts(SPLITS, order="published")

    scores = scores_of(task, lambda r, text: LIKELY if text == "(A)" else UNLIKELY)

    assert mean_of(scores, "accuracy") == 1


@pytest.mark.parametrize("n", [3, 5, 9, 10, 23])
def test_positions_are_balanced_within_one_however_many_are_asked(n):
    requests = Facts({"test": ITEMS[1 : 2 * n : 2]}).requests("test")

    counts = [Counter(r.answers[0] for r in requests)[f"({x})"] for x in "ABCD"]
    assert sum(counts) == n
    assert max(counts) - min(counts) <= 1


def test_the_first_answer_is_the_letter_of_the_right_option_in_the_prompt():
    for request, item in zip(TASKS["letters"].requests("test"), ITEMS, strict=True):
        text = request.prompt[0].content
        assert f" {request.answers[0]} {item.options[item.correct]}" in text.splitlines()
        assert sorted(request.answers) == [f"({x})" for x in "ABCD"[: len(item.options)]]
        assert all(option in text for option in item.options)


FACTS = Facts.of("facts", seed=0)
CALLED = Facts(FACTS.splits, "true_false")


@pytest.mark.parametrize(
    ("says", "accuracy", "called_true"),
    [
        (lambda r, text: LIKELY if text == r.answers[0] else UNLIKELY, 1.0, 0.5),
        (lambda r, text: LIKELY if text == r.answers[1] else UNLIKELY, 0.0, 0.5),
        (lambda r, text: -1.0, 0.5, 0.5),
        (lambda r, text: LIKELY if text == "True" else UNLIKELY, 0.5, 1.0),
        (lambda r, text: LIKELY if text == "False" else UNLIKELY, 0.5, 0.0),
        (lambda r, text: LIKELY if f"{text.lower()} or" in str(r) else UNLIKELY, 0.5, None),
    ],
    ids=["perfect", "inverted", "useless", "always true", "always false", "first word"],
)
def test_who_calls_statements_true_or_false_gets_what_is_deserved(
    says, accuracy, called_true, scores_of, mean_of
):
    scores = scores_of(CALLED, says)

    assert [s.item for s in scores] == [item.id for item in CALLED.splits["test"]]
    assert {s.metrics["accuracy"] for s in scores} == {accuracy}
    assert {s.metrics["error"] for s in scores} == {1 - accuracy}
    half = mean_of(scores, "called_true")
    assert half == called_true if called_true is not None else abs(half - 0.5) < 0.01
    assert mean_of(scores, "margin") == pytest.approx((2 * accuracy - 1) * 2.75)


def test_both_statements_of_each_fact_are_asked_in_one_order():
    facts = {fact.id: fact for fact in load_facts()}
    requests = CALLED.requests("test")

    firsts = Counter()
    for true, false in zip(requests[::2], requests[1::2], strict=True):
        fact = facts[true.id.removesuffix("/true")]
        assert (false.id, false.group) == (f"{fact.id}/false", fact.group)
        asked = true.prompt[0].content
        assert fact.true_statement in asked.split("\n")
        assert false.prompt[0].content == asked.replace(
            fact.true_statement, fact.false_statement
        )
        assert (true.answers, false.answers) == (("True", "False"), ("False", "True"))
        firsts["statement true or false?" in asked] += 1
    assert firsts[True] == firsts[False] == len(requests) / 4


def test_items_without_statements_cannot_be_called_true():
    with pytest.raises(BadOption, match="item-0 has no true and false statement; form=tr"):
        Facts(SPLITS, "true_false")


def test_a_tiny_model_calls_statements_true_or_false(tiny):
    task = Facts({"test": FACTS.splits["test"][:3]}, "true_false")

    [scores] = measure(tiny("llama", chat=True), task)

    assert len(scores) == 3
    assert all(0 < s.metrics["mass"] < 1 and s.metrics["margin"] for s in scores)


def test_letters_follow_the_seed():
    asked = [[r.answers[0] for r in Facts(SPLITS, seed=s).requests("test")] for s in (0, 1)]

    assert asked[0] != asked[1]
    assert asked[0] == [r.answers[0] for r in Facts(SPLITS, seed=0).requests("test")]


def test_the_form_of_texts_shows_the_question_only_and_asks_for_every_option():
    for request, item in zip(TASKS["texts"].requests("test"), ITEMS, strict=True):
        assert request.prompt == (Message("user", item.question),)
        assert request.answers[0] == item.options[item.correct]
        assert sorted(request.answers) == sorted(item.options)


def test_texts_count_by_the_mean_and_totals_stand_beside():
    task = Facts({"test": ITEMS[:1]}, "texts")
    long = Answer(((-1.0, -1.0, -1.0), (-2.0,)))

    [score] = task.score(task.requests("test"), [long])

    assert score.metrics == {
        "error": 0.0, "accuracy": 1.0, "margin": 1.0, "accuracy_of_sums": 0.0,
    }  # fmt: skip


def test_letters_count_by_the_sum_and_their_mass_shows_what_else_was_likely():
    task = Facts({"test": ITEMS[:1]})
    split_up = Answer(((-1.0, -0.5), (-1.25, -1.0)))

    [score] = task.score(task.requests("test"), [split_up])

    assert score.metrics == pytest.approx(
        {"error": 0.0, "accuracy": 1.0, "margin": 0.75, "mass": 0.328529}, abs=1e-6
    )


def test_ties_share_the_credit():
    task = Facts({"test": ITEMS[1:2]})
    request = task.requests("test")

    def accuracy(*log_probs):
        [score] = task.score(request, [Answer(tuple((x,) for x in log_probs))])
        return score.metrics["accuracy"]

    assert accuracy(-1.0, -1.0, -1.0, -2.0) == pytest.approx(1 / 3)
    assert accuracy(-2.0, -1.0, -1.0, -2.0) == 0


def test_the_facts_that_ship_are_all_dealt_by_topic():
    task = Facts.of("facts", seed=0)
    parts = {name: {i.group for i in items} for name, items in task.splits.items()}
    items = {item.id: item for part in task.splits.values() for item in part}

    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 75
    assert {f.id: f.answer for f in load_facts()} == {
        key: item.options[item.correct] for key, item in items.items()
    }
    assert len(task.splits["test"]) == 208


@pytest.mark.parametrize("letter", "ABCD")
def test_who_likes_one_letter_knows_a_quarter_of_the_facts(letter, scores_of, mean_of):
    for limit in (None, 40):
        task = Facts.of("facts", seed=7, limit=limit)
        scores = scores_of(task, lambda r, text: LIKELY if letter in text else UNLIKELY)
        assert mean_of(scores, "accuracy") == 0.25


def test_who_likes_long_options_knows_about_a_quarter_of_the_facts(scores_of, mean_of):
    task = Facts({"test": Facts.items("facts")}, "texts")

    scores = scores_of(task, lambda request, text: -1 / len(text))

    assert 0.15 < mean_of(scores, "accuracy") < 0.35


def test_a_limit_is_a_seeded_sample_and_not_the_first_items():
    parts = [Facts.of("facts", seed=seed, limit=20).splits["test"] for seed in (0, 1)]
    whole = Facts.of("facts", seed=0).splits["test"]

    assert [len(part) for part in parts] == [20, 20]
    assert parts[0] == Facts.of("facts", seed=0, limit=20).splits["test"] != parts[1]
    assert parts[0] != whole[:20]
    assert set(parts[0]) < set(whole)


def write_own(folder, kind="items"):
    lines = [f"What is {k}?,yes {k},no {k}" for k in range(12)]
    names = {"items": "question,matching,not_matching", "pairs": "prompt,positive,negative"}
    (folder / "own.csv").write_text("\n".join([names[kind], *lines]) + "\n")
    columns = "\n".join(f'{name} = "{name}"' for name in names[kind].split(","))
    path = folder / "own.toml"
    path.write_text(f'kind = "{kind}"\nsource = "own.csv"\n[columns]\n{columns}\n')
    return str(path)


def test_your_own_items_are_asked_from_a_toml_file(tmp_path, scores_of, mean_of):
    task = Facts.of(write_own(tmp_path), seed=0)

    assert sum(map(len, task.splits.values())) == 12
    assert all(r.answers[0] in ("(A)", "(B)") for r in task.requests("test"))
    assert mean_of(scores_of(task, likes(0)), "accuracy") == 1


def test_other_records_and_unknown_sources_are_refused(tmp_path):
    with pytest.raises(BadData, match=r"of the kind TextPair, this task asks ChoiceItem"):
        Facts.of(write_own(tmp_path, "pairs"), seed=0)
    with pytest.raises(
        UnknownName, match=r"source of facts 'fact'; known: facts, or a path"
    ):
        Facts.of("fact", seed=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chat", [False, True])
def test_a_tiny_model_is_measured_steered_and_not(form, chat, tiny, push):
    model = tiny("llama", chat=chat)
    task = Facts({"test": ITEMS[:6]}, form)

    plain, steered = measure(model, task, under=[push(model, dose=0.0), push(model)])

    assert [s.item for s in plain] == [item.id for item in ITEMS[:6]]
    assert plain != steered
    assert all(s.metrics["accuracy"] in (0.0, 1.0) for s in plain)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("kind", "source", "n"),
    [
        (Mmlu, "mmlu-two-option", 570),
        (Bbh, "bbh", 1820),
        (Bbh, "bbh/hyperbaton", 250),
        (Bbh, "bbh/snarks", 177),
        (Bbh, "bbh/penguins_in_a_table", 146),
    ],
)
def test_published_questions_are_all_dealt_and_one_letter_is_chance(
    kind, source, n, scores_of, mean_of
):
    task = kind.of(source, seed=0)
    items = [item for part in task.splits.values() for item in part]
    chance = [1 / len(item.options) for item in task.splits["test"]]

    scores = scores_of(task, lambda r, text: LIKELY if text == "(B)" else UNLIKELY)

    assert len(items) == len({item.id for item in items}) == n
    assert mean_of(scores, "accuracy") == pytest.approx(sum(chance) / len(chance), abs=0.03)


@pytest.mark.usefixtures("published")
def test_the_published_order_is_the_published_text_in_clean_words():
    task = Mmlu(Mmlu.of("mmlu-two-option", seed=0).splits, order="published")

    for request, item in zip(task.requests("test"), task.splits["test"], strict=True):
        words = item.published.split()
        assert request.prompt[0].content.split() == words
        assert request.answers[0] == f"({'AB'[item.correct]})"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("kind", "source"), [(Mmlu, "mmlu-two-option"), (Bbh, "bbh/snarks")]
)
def test_without_the_file_the_sentence_says_what_to_do(kind, source):
    with pytest.raises(Unreachable, match=rf"cannot fetch {source}: .* Go online, or"):
        kind.of(source, seed=0)
