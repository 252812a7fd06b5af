"""Known answerers get the scores they deserve, and every task asks what it says it asks."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from seatrial.data import CONCEPTS, Item, load_concept
from seatrial.studies.behaviour import BASE, Behaviour
from seatrial.studies.expand import Shape
from seatrial.studies.study import read_study
from seatrial.tasks import (
    GUARDS,
    TARGETS,
    TASKS,
    TRANSFERS,
    Open,
    Propensity,
    Prose,
    fit_data,
)
from seatrial.types import Answer, Message

FORMS = ("yes_no", "ab")


def make_item(k, matching):
    return Item(
        f"item-{k}",
        f"group-{k // 4}",
        f"I like number {k}.",
        matching,
        f"Somebody saw number {k} and",
        f"liked it {'very ' * k}much.",
        f"left it {'quite ' * (k % 3)}alone.",
    )


ITEMS = tuple(make_item(k, ("yes", "yes", "no", "no")[k % 4]) for k in range(16))
SPLITS = {"fit": ITEMS[:8], "select": (), "test": ITEMS}
LIKELY, UNLIKELY = -0.25, -3.0


def tokens(text):
    """Half a dozen words are as many tokens."""
    return max(1, len(text.split()))


def answer(request, log_prob, kl=None):
    """An answer whose tokens all have the log-probability that is given to its text."""
    lines = tuple((log_prob(text),) * tokens(text) for text in request.answers)
    return Answer(lines, None if kl is None else tuple((kl,) * len(line) for line in lines))


def scores_of(task, log_prob, split="test"):
    """Scores of an answerer who thinks of each (request, text) what ``log_prob`` says."""
    requests = task.requests(split)
    answers = [answer(r, lambda text, r=r: log_prob(r, text)) for r in requests]
    return task.score(requests, answers)


def values(scores, metric):
    return [score.metrics[metric] for score in scores]


def perfect(request, text):
    return LIKELY if text == request.answers[0] else UNLIKELY


def inverted(request, text):
    return UNLIKELY if text == request.answers[0] else LIKELY


def useless(request, text):
    return -1.0


def always(word):
    return lambda request, text: LIKELY if word in text else UNLIKELY


def means(letter):
    """Who likes the letter that stands for a word in this very question."""

    def log_prob(request, text):
        [message] = request.prompt
        return LIKELY if f"{text} {letter}" in message.content else UNLIKELY

    return log_prob  # fmt: skip


TASKS_OF_TARGETS = [Open(SPLITS), *(Propensity(SPLITS, form) for form in FORMS)]


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_a_perfect_answerer_scores_the_full_difference_on_every_item(task):
    found = values(scores_of(task, perfect), task.about.metric)

    assert found == [LIKELY - UNLIKELY] * len(ITEMS)


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_an_inverted_answerer_scores_its_negative(task):
    found = values(scores_of(task, inverted), task.about.metric)

    assert found == [UNLIKELY - LIKELY] * len(ITEMS)


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_a_useless_answerer_scores_zero_on_every_item(task):
    """Also where the two continuations differ in length."""
    found = values(scores_of(task, useless), task.about.metric)

    assert found == [0.0] * len(ITEMS)


@pytest.mark.parametrize("word", ["Yes", "No"])
def test_who_always_says_one_word_scores_zero_on_average(word):
    task = Propensity(SPLITS)

    found = values(scores_of(task, always(word)), "propensity")

    assert sorted(set(found)) == [UNLIKELY - LIKELY, LIKELY - UNLIKELY]
    assert sum(found) == 0


@pytest.mark.parametrize("letter", ["A", "B"])
def test_who_always_picks_one_letter_scores_zero_on_average_within_each_kind(letter):
    """The trap of letter imbalance, T36."""
    found = values(scores_of(Propensity(SPLITS, "ab"), always(letter)), "propensity")

    for kind in ("yes", "no"):
        assert (
            sum(v for v, item in zip(found, ITEMS, strict=True) if item.matching == kind)
            == 0
        )


@pytest.mark.parametrize("word", ["Yes", "No"])
def test_who_always_says_one_word_scores_zero_on_average_behind_letters_too(word):
    found = values(scores_of(Propensity(SPLITS, "ab"), means(word)), "propensity")

    assert len(set(found)) == 2
    assert sum(found) == 0


@pytest.mark.parametrize("form", FORMS)
def test_asked_in_both_orders_every_item_is_rid_of_a_taste_for_place_or_letter(form):
    """Trap T36: balance alone leaves it in the spread between items."""
    task = Propensity(SPLITS, form, both_orders=True)

    def named_first(request, text):
        is_first = text == "(A)" or f"with {text.lower()}" in request.prompt[0].content
        return LIKELY if is_first else UNLIKELY

    found = {who: scores_of(task, who) for who in (perfect, inverted, useless, named_first)}
    full = LIKELY - UNLIKELY
    for who, (value, order) in zip(
        found, [(full, 0.0), (-full, 0.0), (0.0, 0.0), (0.0, full)], strict=True
    ):
        assert values(found[who], "propensity") == [value] * len(ITEMS)
        assert values(found[who], "order") == [order] * len(ITEMS)
        assert [(s.item, s.group) for s in found[who]] == [(i.id, i.group) for i in ITEMS]
    once = values(scores_of(Propensity(SPLITS, "ab"), always("A")), "propensity")
    assert len(set(once)) == 2  # The check on the check.


def test_in_both_orders_an_item_is_asked_twice_and_fitted_on_once():
    for form in FORMS:
        task = Propensity(SPLITS, form, both_orders=True)
        first, second = task.requests("test")[:2]
        assert (first.id, second.id) == ("item-0/first", "item-0/second")
        lines = [r.prompt[0].content.splitlines() for r in (first, second)]
        assert lines[0][:2] == lines[1][:2]
        assert lines[0] != lines[1]
        assert task.pairs("fit") == Propensity(SPLITS, form).pairs("fit")


def test_who_writes_everything_equally_fluently_scores_zero_on_open_whatever_the_length():
    """Per token: a sum would say that the shorter continuation is the more likely one."""
    lengths = {
        tokens(a) - tokens(b) for a, b in (r.answers for r in Open(SPLITS).requests("test"))
    }

    found = values(scores_of(Open(SPLITS), lambda *_: -2.5), "open")

    assert len(lengths) > 3
    assert set(found) == {0.0}


def test_a_constant_taste_in_texts_scores_the_opposite_where_the_texts_are_exchanged():
    """It has a score on some items, and none on items that are balanced in it."""
    exchanged = tuple(
        replace(item, matching_text=item.other_text, other_text=item.matching_text)
        for item in ITEMS
    )

    one, other = (
        values(scores_of(Open({"test": items}), lambda _, text: -len(text) / 9), "open")
        for items in (ITEMS, exchanged)
    )

    assert any(one)
    assert one == [-value for value in other]


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_promoting_and_suppressing_are_kept_apart(task):
    for score in scores_of(task, perfect):
        assert score.metrics["matching"] == LIKELY
        assert score.metrics["other"] == UNLIKELY
        assert set(score.metrics) == {task.about.metric, "matching", "other"}


def test_propensity_adds_the_tokens_of_an_answer_and_open_averages_them():
    long = Answer(((-1.0, -2.0), (-4.0,)))
    asked = {task: task(SPLITS).requests("test")[:1] for task in (Propensity, Open)}

    [added] = Propensity(SPLITS).score(asked[Propensity], [long])
    [averaged] = Open(SPLITS).score(asked[Open], [long])

    assert (added.metrics["propensity"], added.metrics["matching"]) == (1.0, -3.0)
    assert (averaged.metrics["open"], averaged.metrics["matching"]) == (2.5, -1.5)


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_scores_carry_the_item_and_its_group(task):
    found = [(score.item, score.group) for score in scores_of(task, perfect)]

    assert found == [(item.id, item.group) for item in ITEMS]


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_fewer_answers_than_requests_are_not_scored_silently(task):
    requests = task.requests("test")
    answers = [answer(r, lambda _: -1.0) for r in requests[:-1]]

    with pytest.raises(ValueError, match="shorter"):
        task.score(requests, answers)


PASSAGES = (
    ("prose-1", "One two three four five six seven eight."),
    ("prose-2", "A bridge carries its load by passing weight down to the ground."),
)


def prose_scores(log_prob, kl):
    task = Prose({"test": PASSAGES})
    requests = task.requests("test")
    answers = [answer(r, lambda _: log_prob, kl) for r in requests]
    return task.score(requests, answers)


def test_prose_gives_who_knows_every_word_no_loss_and_a_guesser_that_of_guessing():
    assert values(prose_scores(0.0, 0.0), "loss") == [0.0, 0.0]
    assert values(prose_scores(-math.log(50), 0.0), "loss") == pytest.approx(
        [math.log(50)] * 2
    )


def test_prose_costs_the_inverted_more_than_guessing_and_so_it_does_the_constant():
    """The inverted is surest of what is not there, the constant of one word."""
    inverted = values(prose_scores(-2 * math.log(50), 0.0), "loss")
    texts = (text.split()[5:] for _, text in PASSAGES)
    lines = [[math.log(0.9 if w == "the" else 0.1 / 49) for w in text] for text in texts]
    constant = Prose({"test": PASSAGES}).score(
        Prose({"test": PASSAGES}).requests("test"),
        [Answer((tuple(x),), ((0.0,) * len(x),)) for x in lines],
    )

    assert min(inverted) > math.log(50)
    assert values(constant, "loss")[0] == pytest.approx(math.log(490))
    assert math.log(50) < values(constant, "loss")[1] < math.log(490)


def test_prose_averages_loss_and_kl_over_tokens_so_that_length_does_not_count():
    found = prose_scores(-2.0, 0.5)

    assert values(found, "tokens") == [3.0, 7.0]
    assert values(found, "loss") == pytest.approx([2.0, 2.0])
    assert values(found, "kl") == pytest.approx([0.5, 0.5])


def test_prose_averages_unequal_tokens_as_they_are():
    task = Prose({"test": PASSAGES[:1]})

    [score] = task.score(
        task.requests("test"), [Answer(((-1.0, -2.0, -6.0),), ((0.0, 0.3, 0.6),))]
    )

    assert score.metrics == pytest.approx({"loss": 3.0, "kl": 0.3, "tokens": 3.0})


def test_prose_has_five_words_of_prompt_and_loses_no_text():
    requests = Prose({"test": PASSAGES}).requests("test")

    assert requests[0].prompt == "One two three four five"
    for request, (identity, text) in zip(requests, PASSAGES, strict=True):
        assert (request.id, request.group) == (identity, identity)
        assert request.prompt + request.answers[0] == text


def test_a_task_stands_in_the_table_of_its_role_and_only_guards_on_text_need_kl():
    tables = {"target": TARGETS, "transfer": TRANSFERS, "guard": GUARDS}
    for role, table in tables.items():
        assert {kind.about.role for kind in table.values()} == {role}
    needs_kl = {name for name, kind in TASKS.items() if getattr(kind, "needs_kl", False)}
    assert needs_kl == {"prose", "dialogue"}


@pytest.mark.parametrize("form", FORMS)
def test_propensity_prompts_contain_the_statement_verbatim(form):
    for request, item in zip(Propensity(SPLITS, form).requests("test"), ITEMS, strict=True):
        [message] = request.prompt
        assert message.role == "user"
        assert f'"{item.statement}"' in message.content


def test_the_yes_no_form_asks_this():
    request = Propensity(SPLITS).requests("test")[0]

    assert request.prompt == (
        Message(
            "user",
            "Is the following statement something you would say?\n"
            '"I like number 0."\nAnswer with yes or no.',
        ),
    )
    assert request.answers == ("Yes", "No")


def test_the_ab_form_asks_this():
    first, second = Propensity(SPLITS, "ab").requests("test")[:2]

    question = (
        "Is the following statement something you would say?\n"
        '"I like number {}."\n\nChoices:\n'
    )
    assert first.prompt[0].content == question.format(0) + " (A) Yes\n (B) No"
    assert first.answers == ("(A)", "(B)")
    assert second.prompt[0].content == question.format(1) + " (A) No\n (B) Yes"
    assert second.answers == ("(B)", "(A)")


def test_open_prompts_and_continuations_are_the_items_words():
    for request, item in zip(Open(SPLITS).requests("test"), ITEMS, strict=True):
        assert request.prompt == item.prompt
        assert request.answers == (f" {item.matching_text}", f" {item.other_text}")


@pytest.mark.parametrize("task", TASKS_OF_TARGETS, ids=["open", "yes_no", "ab"])
def test_the_positive_of_a_pair_is_the_matching_side(task):
    pairs, requests = task.pairs("fit"), task.requests("fit")

    assert len(pairs) == len(requests) == 8
    for pair, request in zip(pairs, requests, strict=True):
        assert (pair.id, pair.group) == (request.id, request.group)
        assert pair.positive.prompt == pair.negative.prompt == request.prompt
        assert (pair.positive.completion, pair.negative.completion) == request.answers


def test_the_matching_side_of_propensity_is_what_the_item_says():
    for pair, item in zip(Propensity(SPLITS).pairs("fit"), ITEMS[:8], strict=True):
        assert pair.positive.completion == item.matching.title()
        assert pair.negative.completion == {"yes": "No", "no": "Yes"}[item.matching]


def test_the_matching_letter_stands_before_the_matching_word():
    for pair, item in zip(Propensity(SPLITS, "ab").pairs("fit"), ITEMS[:8], strict=True):
        text = pair.positive.prompt[0].content
        assert f" {pair.positive.completion} {item.matching.title()}" in text
        assert f" {pair.negative.completion} {item.matching.title()}" not in text


def test_the_second_last_token_of_a_lettered_pair_is_its_letter(tiny):
    for chat in (False, True):
        encoder = tiny("llama", chat=chat).encoder
        for pair in Propensity(SPLITS, "ab").pairs("fit"):
            for text in (pair.positive, pair.negative):
                encoded = encoder.encode_text(text)
                start, stop = encoder.read_span(encoded, "second_last")
                read = encoder.tokenizer.decode(list(encoded.ids[start:stop]))
                assert read.strip("(") == text.completion.strip("()")


LIMITS = {
    "all items": {},
    "the quickstart's": {"select": 24, "test": 48},
    "small": {"fit": 20, "select": 12, "test": 8},
}


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("concept", CONCEPTS)
def test_letters_and_answers_are_balanced_two_by_two_in_every_split_of_a_study(
    concept, limits
):
    for seed in range(3):
        plan = {
            "models": ["m"],
            "behaviours": [concept],
            "methods": ["caa"],
            "limit": LIMITS[limits],
            "seeds": [seed],
            "split": {"seed": seed},
        }
        [whole] = read_study(plan).plans
        behaviour = Behaviour(whole, whole.behaviours[0], seed, Shape(2, 4))
        for target in behaviour.targets:
            task = behaviour.task(target, behaviour.points(target)[0], BASE)
            for split, items in task.splits.items():
                requests = Propensity(task.splits, "ab").requests(split)
                cells = Counter(
                    (item.matching, r.answers[0])
                    for item, r in zip(items, requests, strict=True)
                )
                assert len(cells) == 4 and len(set(cells.values())) == 1, (split, cells)


@pytest.mark.parametrize("n", [5, 6, 7])
def test_letters_are_balanced_within_one_where_the_items_are_odd(n):
    requests = Propensity({"test": ITEMS[:n]}, "ab").requests("test")

    for kind in ("yes", "no"):
        letters = Counter(
            r.answers[0]
            for r, item in zip(requests, ITEMS, strict=False)
            if item.matching == kind
        )
        assert abs(letters["(A)"] - letters["(B)"]) <= 1


def test_items_are_described_in_words():
    item = ITEMS[2]

    assert Propensity(SPLITS).describe(item) == "I like number 2. (matching answer: no)"
    assert Open(SPLITS).describe(item) == (
        "Somebody saw number 2 and … liked it very very much. / "
        "… left it quite quite alone."
    )


def test_every_task_has_a_line_about_itself():
    for name, kind in TASKS.items():
        assert kind.name == name
        assert kind.summary and kind.about.unit and kind.about.metric


def test_fit_data_is_the_fit_split_and_the_instructions_and_nothing_else():
    concept = load_concept("formality")
    splits = {
        "fit": concept.items[:8],
        "select": concept.items[8:16],
        "test": concept.items[16:],
    }

    data = fit_data(concept, Open(splits))

    assert data.pairs == Open(splits).pairs("fit")
    assert (data.encourage, data.discourage) == (concept.encourage, concept.discourage)
    everything = repr(data)
    assert not any(item.prompt in everything for item in concept.items[8:])


def test_the_fingerprint_of_fit_data_follows_what_a_method_sees_and_nothing_else():
    concept = load_concept("formality")
    fit, rest = concept.items[:8], concept.items[8:]

    def fingerprint(kind, items, others):
        return fit_data(
            concept, kind({"fit": items, "select": others, "test": others})
        ).fingerprint

    base = fingerprint(Open, fit, rest)
    assert fingerprint(Open, fit, rest[:4]) == base
    assert fingerprint(Open, fit[:-1], rest) != base
    assert fingerprint(Propensity, fit, rest) != base
