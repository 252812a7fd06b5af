"""The facts that ship: balanced, distinct, not to be guessed; and read strictly."""

import json
import re
from collections import Counter
from itertools import combinations
from statistics import mean

import pytest

from seatrial.data.facts import Fact, load_facts, parse_facts
from seatrial.errors import BadData

FUNCTION_WORDS = frozenset(
    """
    a an the is are was were be does do did has have what which who whom whose how many
    much when where why of in on at to from for with by as and or it its this that these
    those about called one most into kind part made their there through around first
    """.split()  # noqa: SIM905
)


@pytest.fixture(scope="module")
def facts():
    return load_facts()


def credit(fact, pick):
    """What choosing by length is worth on an item; ties share."""
    lengths = [len(option) for option in fact.options]
    best = [k for k, length in enumerate(lengths) if length == pick(lengths)]
    return (fact.correct in best) / len(best)


def content_words(text):
    return frozenset(re.findall(r"[a-z0-9]+", text.lower())) - FUNCTION_WORDS


def near_duplicates(facts):
    """Pairs of ids from different groups whose true sentences share most of their words."""
    words = {fact.id: content_words(fact.true_statement) for fact in facts}
    return [
        (one.id, other.id)
        for one, other in combinations(facts, 2)
        if one.group != other.group
        and len(words[one.id] & words[other.id])
        >= 0.6 * len(words[one.id] | words[other.id])
    ]


def test_there_are_300_facts_in_15_domains_of_5_topics_with_4_items_each(facts):
    domains = {fact.domain for fact in facts}
    topics = Counter((fact.domain, fact.group) for fact in facts)

    assert len(facts) == 300
    assert len(domains) == 15
    assert len(topics) == len({group for _, group in topics}) == 75
    assert set(topics.values()) == {4}
    assert set(Counter(domain for domain, _ in topics).values()) == {5}


def test_every_position_is_right_once_in_every_topic(facts):
    """So a constant answerer gets exactly one in four, in whatever split by group."""
    seen = Counter((fact.group, fact.correct) for fact in facts)

    assert set(seen.values()) == {1}
    assert len(seen) == 75 * 4


def test_ids_questions_and_statements_are_all_different(facts):
    for field in ("id", "question", "true_statement", "false_statement"):
        assert len({getattr(fact, field) for fact in facts}) == len(facts), field
    assert not {f.true_statement for f in facts} & {f.false_statement for f in facts}


def test_no_true_statement_is_nearly_that_of_another_topic(facts):
    assert near_duplicates(facts) == []


def test_the_search_for_near_duplicates_finds_a_planted_one(facts):
    copy = Fact(
        **{
            **{name: getattr(facts[0], name) for name in Fact.__dataclass_fields__},
            "id": "copy",
            "group": "elsewhere",
            "true_statement": "Portugal's capital is Lisbon.",
        }
    )

    assert near_duplicates([*facts, copy]) == [(facts[0].id, "copy")]


@pytest.mark.parametrize("pick", [max, min], ids=["longest", "shortest"])
def test_length_does_not_give_the_right_option_away(facts, pick):
    """Choosing by length is worth no more than chance overall, and little anywhere."""
    domains = {fact.domain for fact in facts}

    assert mean(credit(fact, pick) for fact in facts) <= 0.25
    for domain in domains:
        own = [credit(fact, pick) for fact in facts if fact.domain == domain]
        assert mean(own) <= 0.35, domain


def test_avoiding_the_extreme_lengths_does_not_help_either(facts):
    """Else the right options would be the middling ones."""
    for pick in (max, min):
        assert mean(credit(fact, pick) for fact in facts) >= 0.2


def test_true_and_false_statements_are_as_long(facts):
    """A false sentence that is longer would lose by its length alone."""
    gaps = [len(fact.false_statement) - len(fact.true_statement) for fact in facts]

    assert abs(mean(gaps)) <= 0.05
    assert abs(sum(gap > 0 for gap in gaps) - sum(gap < 0 for gap in gaps)) <= 15


def test_statements_differ_in_the_answer_only(facts):
    for fact in facts:
        wrong = [option for k, option in enumerate(fact.options) if k != fact.correct]
        assert fact.answer in fact.true_statement, fact.id
        assert any(
            fact.false_statement == fact.true_statement.replace(fact.answer, option)
            or fact.false_statement
            == option.join(fact.true_statement.rsplit(fact.answer, 1))
            for option in wrong
        ), fact.id


def test_the_question_does_not_hold_what_tells_the_answer_from_the_other_options(facts):
    for fact in facts:
        shared = frozenset.intersection(*map(content_words, fact.options))
        telling = content_words(fact.answer) - shared
        assert not telling & content_words(fact.question), fact.id


def test_texts_are_plain_ascii_sentences(facts):
    for fact in facts:
        texts = (fact.question, *fact.options, fact.true_statement, fact.false_statement)
        for text in texts:
            assert text.isascii() and " ".join(text.split()) == text, (fact.id, text)
        assert fact.question.endswith("?"), fact.id
        assert re.search(r'\.$|\."$', fact.true_statement), fact.id
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", fact.group), fact.id


OPERATIONS = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
    "divided by": lambda a, b: a / b,
}


def test_sums_come_out_right(facts):
    pattern = re.compile(rf"What is (\d+) ({'|'.join(OPERATIONS)}) (\d+)\?")
    found = [(fact, pattern.fullmatch(fact.question)) for fact in facts]
    sums = [(fact, *match.groups()) for fact, match in found if match]

    assert len(sums) == 12
    for fact, a, sign, b in sums:
        assert OPERATIONS[sign](int(a), int(b)) == int(fact.answer), fact.id


def make_entry(k=0, **changes):
    options = ["one", "two", "three", "four"]
    entry = {
        "id": f"own-{k}",
        "domain": "numbers",
        "group": f"group-{k}",
        "question": f"What is number {k}?",
        "options": options,
        "correct": k % 4,
        "true_statement": f"Item {k} is {options[k % 4]}.",
        "false_statement": f"Item {k} is {options[(k + 1) % 4]}.",
    }
    return {**entry, **changes}


def read(*entries):
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    return parse_facts(lines, "mine.jsonl")


def test_your_own_lines_are_read_item_by_item():
    one, other = read(make_entry(0), "", make_entry(1))

    assert one.options == ("one", "two", "three", "four")
    assert (one.answer, other.answer) == ("one", "two")
    assert other == Fact(**{**make_entry(1), "options": one.options})


def test_the_answer_may_stand_in_the_sentence_more_than_once():
    own = {
        "options": ["9", "7", "8", "6"],
        "true_statement": "81 over 9 is 9.",
        "false_statement": "81 over 9 is 7.",
    }

    assert read(make_entry(0, **own))[0].false_statement == "81 over 9 is 7."


def without(key):
    return {name: value for name, value in make_entry().items() if name != key}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", r"mine\.jsonl, line 1 is no JSON .*; write one object a line"),
        ("[1]", r"line 1 is list; write an object with the fields id, domain, group"),
        ("{}", r"line 1 has the fields none; wanted: id, domain"),
        (without("domain"), r"line 1 has the fields correct, .*; wanted: id, domain"),
        (make_entry(note="x"), r"has the fields .*note.*; wanted"),
        (make_entry(question=7), r"line 1: question is 7; write a text in quotes"),
        (make_entry(group=" "), r"line 1: group is empty; fill it in"),
        (make_entry(options=["one", "two"]), r"options is .*; write a list of 4 texts"),
        (make_entry(options="four"), r"options is 'four'; write a list of 4 texts"),
        (make_entry(options=["one", "two", "three", 4]), r"option 3: text is 4; write a"),
        (make_entry(options=["one", "two", "three", ""]), r"option 3: text is empty"),
        (make_entry(options=["one", "two", "two ", "x"]), r"two options are the same"),
        (make_entry(options=["one", "One", "two", "x"]), r"two options are the same"),
        (make_entry(correct=4), r"correct is 4; write the index .* 0 to 3"),
        (make_entry(correct=-1), r"correct is -1; write the index"),
        (make_entry(correct=True), r"correct is True; write the index"),
        (make_entry(correct="0"), r"correct is '0'; write the index"),
        (make_entry(correct=2), r"must differ in the answer only; .* with 'three' and"),
        (make_entry(false_statement="Item 0 is five."), r"must differ in the answer only"),
        (make_entry(false_statement="Item 1 is two."), r"must differ in the answer only"),
        (make_entry(false_statement="Item 0 is one."), r"must differ in the answer only"),
    ],
)
def test_a_bad_line_is_refused_with_what_is_wrong(line, message):
    with pytest.raises(BadData, match=message):
        read(line)


def test_an_empty_file_is_refused():
    with pytest.raises(BadData, match=r"mine\.jsonl holds no items; write one JSON object"):
        read("", " ")


def test_a_repeated_id_is_refused_by_name():
    with pytest.raises(BadData, match="uses the id 'own-0' twice; give every item its own"):
        read(make_entry(0), make_entry(1, id="own-0"))


def test_facts_whose_right_option_never_moves_are_refused():
    with pytest.raises(BadData, match="is one-sided: option 0 is right in all 2 items"):
        read(make_entry(0), make_entry(4))
