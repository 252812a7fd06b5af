"""What `lint` must find, what it must not, and that a clean file can be used."""

import csv
import json
import random
from importlib.resources import as_file, files
from math import log

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.data import load_concept, load_map, split
from seatrial.data.lint import CHECKS, Finding, lint
from seatrial.data.lint.sheet import MOST, merged
from seatrial.data.sources import load_dataset
from seatrial.data.texts import ALIKE, near_copies, plain, words_of
from seatrial.errors import BadData, BadFile, SeatrialError

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
CORE = files("seatrial.data") / "items"
SHIPPED = sorted(
    entry.name
    for folder in (CORE, CORE / "maps")
    for entry in folder.iterdir()
    if entry.name.endswith(".jsonl")
)


class Words:
    """A source of unlike texts without any pattern."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def word(self):
        return "".join(self.random.choices(SYLLABLES, k=self.random.choice((2, 3, 4))))

    def text(self, n):
        return " ".join(self.word() for _ in range(n))

    def sentence(self, n):
        return self.text(n).capitalize() + "."


def concept_entries(groups=24, seed=0):
    words = Words(seed)
    return [
        {
            "id": f"own-{group:02d}-{k}",
            "group": f"topic-{group:02d}",
            "statement": words.sentence(7),
            "matching": "yes" if k % 2 else "no",
            "prompt": words.text(5).capitalize(),
            "matching_text": words.text(7) + ".",
            "other_text": words.text(7) + ".",
        }
        for group in range(groups)
        for k in range(4)
    ]


def map_entries(n=60, seed=0):
    words = Words(seed)
    return [{"input": words.text(2), "output": words.word()} for _ in range(n)]


def pair_entries(n=60, seed=0):
    words = Words(seed)
    return [
        {"positive": words.sentence(8), "negative": words.sentence(8)} for _ in range(n)
    ]


def item_entries(n=60, seed=0):
    words = Words(seed)
    return [
        {
            "question": words.sentence(9).replace(".", "?"),
            "matching": words.sentence(4),
            "not_matching": words.sentence(4),
        }
        for _ in range(n)
    ]


def lettered_entries(n=80, seed=0):
    """Balanced two by two, as the persona files are."""
    words = Words(seed)
    made = []
    for k in range(n):
        options = ("Yes", "No") if k % 4 < 2 else ("No", "Yes")
        matching = k % 2
        question = f"{words.sentence(9)}\n\nChoices:\n(A): {options[0]}\n(B): {options[1]}"
        answers = [" (A)", " (B)"]
        made.append(
            {
                "question": question,
                "matching": answers[matching],
                "not_matching": answers[1 - matching],
            }
        )
    return made


ENTRIES = {
    "concept": concept_entries,
    "map": map_entries,
    "pairs": pair_entries,
    "items": item_entries,
}


@pytest.fixture
def write(tmp_path):
    """Write lines (texts as they are, values as JSON) to a file; returns its path."""

    def make(lines, name="mine.jsonl"):
        path = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n", "utf-8")
        return path

    return make


@pytest.fixture
def linted(write):
    """The findings about some lines, as {check: finding}; each check finds one thing."""

    def look(lines, name="mine.jsonl"):
        found = lint(write(lines, name)).findings
        by_check = {finding.check: finding for finding in found}
        assert len(by_check) == len(found), found
        return by_check

    return look


def changed(entries, *places, **values):
    """The entries with fields replaced at some places; a function gets the old value."""
    entries = [dict(entry) for entry in entries]
    for k in places:
        for field, value in values.items():
            old = entries[k].get(field)
            entries[k][field] = value(old) if callable(value) else value
    return entries


def swapped(text, word, place=3):
    """The text with one of its words replaced."""
    words = text.split()
    return " ".join([*words[:place], word, *words[place + 1 :]])


more = Words(99).text
"""More text without a pattern."""


# What is in order.


@pytest.mark.parametrize("form", ENTRIES)
def test_nothing_is_found_in_texts_without_a_pattern(form, write):
    found = lint(write(ENTRIES[form]()))

    assert found.findings == ()
    assert (found.form, found.unit) == (form, "line")
    assert found.n_rows == len(ENTRIES[form]())


def test_false_alarms_are_rare(write):
    """Fifteen checks look at each file; each may cry wolf once in a hundred, at most."""
    alarms = [
        finding
        for seed in range(12)
        for form in ("concept", "pairs", "items")
        for finding in lint(write(ENTRIES[form](seed=seed))).findings
    ]

    assert len(alarms) <= 3, alarms


def test_a_balanced_file_of_letters_is_in_order(write):
    assert lint(write(lettered_entries())).findings == ()


@pytest.mark.parametrize("name", [*SHIPPED, "contexts.toml"])
def test_no_file_that_ships_has_an_error(name):
    folder = CORE if (CORE / name).is_file() else CORE / "maps"
    with as_file(folder / name) as path:
        found = lint(path)

    assert found.n_rows >= 30
    assert [f for f in found.findings if f.severity == "error"] == []


def test_a_description_of_the_concept_is_no_item(write):
    about = {"concept": {"about": "likes numbers"}}

    assert lint(write([about, *concept_entries()])).n_rows == 96


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", ["concept", "map"])
def test_a_file_without_an_error_can_be_loaded_and_split(form, seed, write):
    """Even one that was damaged at random."""
    chance = random.Random(seed)
    entries = ENTRIES[form](seed=seed)
    for _ in range(4):
        one, other = chance.sample(range(len(entries)), 2)
        field = chance.choice(sorted(entries[one]))
        entries[one][field] = chance.choice([entries[other][field], "", 3, "a\ufffdb"])
    path = write(entries)
    is_clean = not lint(path).count("error")

    try:
        data = (
            load_concept(str(path)).items
            if form == "concept"
            else load_map(str(path)).pairs
        )
        for split_seed in range(3):
            split(data, seed=split_seed)
        is_usable = True
    except BadData:
        is_usable = False

    assert is_usable or not is_clean


# What is found: each fault is planted alone, and nothing else is told.

CONCEPT, MAP, PAIRS, ITEMS = (make() for make in ENTRIES.values())
N = len(CONCEPT)
FAULTS = {
    "broken JSON": (
        [*CONCEPT[:3], '{"id": ', *CONCEPT[3:]],
        ("error", "reading", (4,), "this is no JSON", "one object a line"),
    ),
    "a list": (
        [*CONCEPT[:3], "[1]", *CONCEPT[3:]],
        ("error", "reading", (4,), "no object but list", "one object a line"),
    ),
    "a missing field": (
        [{k: v for k, v in CONCEPT[0].items() if k != "prompt"}, *CONCEPT[1:]],
        ("error", "reading", (1,), "has the fields group, id", "prompt"),
    ),
    "a wrong answer": (
        changed(CONCEPT, 4, matching="maybe"),
        ("error", "reading", (5,), "matching is 'maybe'", "yes or no"),
    ),
    "an empty text": (
        changed(CONCEPT, 2, prompt=" "),
        ("error", "reading", (3,), "prompt is empty", "fill it in"),
    ),
    "a number": (
        changed(MAP, 2, output=3),
        ("error", "reading", (3,), "output is 3", "a text in quotes"),
    ),
    "answers that are no list": (
        changed(MAP, 2, also="x"),
        ("error", "reading", (3,), "also is 'x'", "a list of texts"),
    ),
    "an id twice": (
        changed(CONCEPT, 5, id=CONCEPT[2]["id"]),
        ("error", "ids", (3, 6), "is used 2 times", "its own"),
    ),
    "equal sides": (
        changed(PAIRS, 7, negative=PAIRS[7]["positive"].upper()),
        ("error", "sides", (8,), "the same text", "remove the row"),
    ),
    "a side that begins the other": (
        changed(PAIRS, 7, negative=PAIRS[7]["positive"].rstrip(".") + " Maso dope lima."),
        ("warning", "sides", (8,), "how the other begins", "score per token"),
    ),
    "a text in two groups": (
        changed(CONCEPT, 40, statement=CONCEPT[2]["statement"].upper()),
        ("error", "leakage", (3, 41), "2 rows of several groups", "the same `group`"),
    ),
    "a prompt in two groups": (
        changed(CONCEPT, 40, prompt=CONCEPT[2]["prompt"]),
        ("warning", "leakage", (3, 41), "2 rows of several groups", "the same `group`"),
    ),
    "a text twice in a group": (
        changed(CONCEPT, 3, statement=CONCEPT[1]["statement"]),
        ("warning", "copies", (2, 4), "the same text stands in 2 rows", "counts twice"),
    ),
    "a text nearly in two groups": (
        changed(CONCEPT, 40, statement=CONCEPT[2]["statement"][:-1] + " tofu."),
        ("warning", "near copies", (3, 41), "nearly the same", "or rewrite one"),
    ),
    "a pair turned round": (
        changed(MAP, 9, input=MAP[4]["output"], output=MAP[4]["input"]),
        ("warning", "leakage", (5, 10), "the other way round", "the same `group`"),
    ),
    "five groups": (
        [{**entry, "group": f"g{k % 5}"} for k, entry in enumerate(PAIRS)],
        ("error", "groups", (), "5 groups are too few", "distinct `group`"),
    ),
    "one big group": (
        changed(PAIRS, *range(20), group="big") and [
            {**entry, "group": "big" if k < 20 else f"g{k}"}
            for k, entry in enumerate(PAIRS)
        ],
        ("warning", "groups", (), "'big' holds 20 of 60", "divide it by topic"),
    ),
    "one answer": (
        [{**entry, "output": "x"} for entry in MAP],
        ("error", "balance", (), "'x' in all 60 rows", "another answer"),
    ),
    "a common output": (
        changed(MAP, *range(20), output="x"),
        ("warning", "balance", (), "'x' in 33% of 60", "report that constant"),
    ),
    "outputs that begin alike": (
        changed(MAP, *range(0, 60, 3), output=lambda old: f"the {old}"),
        ("warning", "first words", tuple(range(1, 61, 3)), "20 of 60", "whole answers"),
    ),
    "copied inputs": (
        changed(MAP, 3, output=MAP[3]["input"]),
        ("warning", "prompt", (4,), "in the prompt of 1 of 60", "drop those"),
    ),
    "longer right sides": (
        changed(ITEMS, *range(45), matching=lambda old: f"{old[:-1]} {more(2)}."),
        ("warning", "length", (), "the longest side beats chance by 0.35", "longer"),
    ),
    "a word that gives it away": (
        changed(CONCEPT, *range(0, N, 2), matching_text=lambda old: swapped(old, "luma")),
        ("warning", "words", (), "'luma' stands more often on the right", "other words"),
    ),
    "a word that speaks against it": (
        changed(PAIRS, *range(0, 60, 2), negative=lambda old: swapped(old, "oh")),
        ("warning", "words", (), "'oh' stands more often on the other", "other words"),
    ),
    "a word of the statements": (
        changed(CONCEPT, *range(0, N, 2), statement=lambda old: swapped(old, "not")),
        ("warning", "words", (), "'not' stands in 0% of the", "gives the answer"),
    ),
    "long statements where yes matches": (
        changed(CONCEPT, *range(1, N, 2), statement=lambda old: f"{old} {more(3)}."),
        ("warning", "length", (), "statements with the answer yes are longer", "as long"),
    ),
    "a style": (
        changed(ITEMS, *range(60), matching=lambda old: old.replace(".", "!")),
        ("warning", "style", (), "the right side has an exclamation mark", "one style"),
    ),
    **{
        name: (changed(CONCEPT, 6, statement=lambda old, end=end: old + end), told)
        for name, end, told in (
            ("a lost character", "\ufffd",
             ("error", "characters", (7,), "statement holds U+FFFD", "from the source")),
            ("a control character", "\x07x",
             ("error", "characters", (7,), "control character U+0007", "remove it")),
            ("an invisible character", "\u200b",
             ("warning", "characters", (7,), "character U+200B", "unless the script")),
            ("an accent apart", " re\u0301.",
             ("warning", "characters", (7,), "an accent as a character of its", "NFC")),
        )
    },
    **{
        name: (changed(PAIRS, 6, positive=lambda old, by=by: old.replace(*by, 1)), told)
        for name, by, told in (
            ("a wrong encoding", ("a", "\u00c3\u00a9"),
             ("error", "characters", (7,), "'\u00c3\u00a9', which is '\u00e9'", "UTF-8")),
            ("an odd space", (" ", "\u00a0"),
             ("warning", "characters", (7,), "U+00A0, a space", "an ordinary space")),
            ("two alphabets", ("a", "\u0430"),
             ("warning", "characters", (7,), "mixes alphabets", "one alphabet")),
        )
    },
    **{
        f"space {name}": (
            changed(CONCEPT, 6, **{field: change}),
            ("warning", "spaces", (7,), f"{field} {what} white space", "remove"),
        )
        for name, field, change, what in (
            ("at an end", "prompt", lambda old: old + " ", "begins or ends with"),
            ("in a group", "group", lambda old: old + " ", "begins or ends with"),
        )
    },
    "spaces in a row": (
        changed(CONCEPT, 6, prompt=lambda old: old.replace(" ", "   ", 1)),
        ("warning", "spaces", (7,), "several spaces in a row", "remove"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_where_it_is_and_nothing_else(fault, linted):
    lines, (severity, check, where, what, remedy) = FAULTS[fault]

    found = linted(lines)

    assert list(found) == [check], found
    assert (found[check].severity, found[check].lines) == (severity, where)
    assert what in found[check].what
    assert remedy in found[check].remedy


def test_every_check_has_a_planted_fault():
    """`first_words` of sides, `splits`, `letters` and copying have tests of their own."""
    named = {told[1] for _, told in FAULTS.values()}

    assert len(CHECKS) == 17
    assert named == {
        "reading", "ids", "sides", "leakage", "copies", "near copies", "groups", "balance",
        "length", "words", "prompt", "style", "first words", "characters", "spaces",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (concept_entries(8), ["only 8 groups, and intervals rest on groups"]),
        (pair_entries(12), ["only 12 groups, and", "only 12 rows; hardly any effect"]),
    ],
)
def test_few_groups_and_rows_are_said(entries, words, write):
    found = lint(write(entries)).findings

    assert [f.check for f in found] == ["groups"] * len(words)
    assert all(word in f.what for word, f in zip(words, found, strict=True))


def test_groups_of_one_answer_are_told_with_the_split_that_they_spoil(linted):
    words = concept_entries()
    entries = [{**e, "matching": "yes" if k < 48 else "no"} for k, e in enumerate(words)]

    found = linted(entries)

    assert list(found) == ["splits"]
    assert "mix both answers in every group; 24 of 24 have one" in found["splits"].remedy
    assert found["splits"].lines == tuple(range(1, 97))


def test_a_first_word_of_a_side_is_found_in_groups_it_was_not_learnt_from(linted):
    """Twelve words for each side: none is common enough to be found alone."""
    right = [Words(k).word() for k in range(100, 112)]
    wrong = [Words(k).word() for k in range(200, 212)]
    entries = [
        {
            "positive": f"{right[k % 12].title()} {entry['positive'].lower()}",
            "negative": f"{wrong[k % 12].title()} {entry['negative'].lower()}",
        }
        for k, entry in enumerate(pair_entries(96))
    ]

    found = linted(entries)

    assert list(found) == ["first words"]
    assert "beats chance by 0.50" in found["first words"].what


def test_first_words_that_never_return_are_no_clue(write):
    """In-sample every word would tell its side."""
    entries = [
        {"positive": f"R{k} {e['positive']}", "negative": f"W{k} {e['negative']}"}
        for k, e in enumerate(pair_entries(96))
    ]

    assert lint(write(entries)).findings == ()


def test_sides_that_copy_the_prompt_are_found(linted):
    entries = []
    for entry in concept_entries():
        copied = entry["prompt"].lower().split()[1:4]
        rest = entry["matching_text"].split()[3:]
        entries.append({**entry, "matching_text": " ".join([*copied, *rest])})

    found = linted(entries)

    assert list(found) == ["prompt"]
    assert "repeats more words of the prompt beats chance by 0.5" in found["prompt"].what


def test_an_answer_that_stands_in_its_question_is_found(linted):
    entries = changed(ITEMS, 8, matching="Kalo mina", question="Is it kalo mina or what?")

    found = linted(entries)

    assert list(found) == ["prompt"]
    assert found["prompt"].lines == (9,)


@pytest.mark.parametrize("seed", range(3))
def test_more_yes_than_no_is_told_with_how_many_to_turn_round(seed, linted):
    entries = concept_entries(seed=seed)
    turned = [k for k in range(0, 40, 4)]

    found = linted(changed(entries, *turned, matching="yes"))

    assert list(found) == ["balance"]
    assert "'yes' in 60% of 96 rows" in found["balance"].what
    assert "turn round or drop 10 of its 58 rows" in found["balance"].remedy


def test_letters_and_words_that_go_together_are_found(linted):
    """Each letter and each word is right equally often, and still (A) means yes."""
    entries = []
    for k, entry in enumerate(lettered_entries()):
        stem = entry["question"].split("\n")[0]
        right = k % 2
        question = f"{stem}\n\nChoices:\n(A): Yes\n(B): No"
        answers = (" (A)", " (B)")
        entries.append(
            {
                "question": question,
                "matching": answers[right],
                "not_matching": answers[1 - right],
            }
        )

    found = linted(entries)

    assert list(found) == ["letters"]
    assert "(A) no: 0, (A) yes: 40, (B) no: 40, (B) yes: 0" in found["letters"].what


def test_a_letter_that_is_right_more_often_is_found(linted):
    entries = lettered_entries()
    for entry in entries[:24]:
        if entry["matching"] == " (B)":
            for old, new in (("(A): ", "(X): "), ("(B): ", "(A): "), ("(X): ", "(B): ")):
                entry["question"] = entry["question"].replace(old, new)
            entry["matching"], entry["not_matching"] = " (A)", " (B)"

    found = linted(entries)

    assert set(found) == {"balance", "letters"}
    assert "'(A)' in 65% of 80 rows" in found["balance"].what


def test_options_behind_letters_are_compared_in_length(linted):
    words = Words(5)
    entries = []
    for k in range(60):
        texts = [words.text(8), words.text(3)]
        if k % 2:
            texts.reverse()
        question = f"{words.sentence(8)}\n (A) {texts[0]}\n (B) {texts[1]}"
        long, short = (" (B)", " (A)") if k % 2 else (" (A)", " (B)")
        entries.append({"question": question, "matching": long, "not_matching": short})

    found = linted(entries)

    assert list(found) == ["length"]
    assert "picking the longest side beats chance by 0.500" in found["length"].what


def test_the_same_few_answers_are_choices_and_only_their_shares_matter(linted):
    words = Words(3)
    entries = [
        {"question": words.sentence(8), "matching": a, "not_matching": b}
        for k in range(60)
        for a, b in [("Yes", "No") if k % 3 else ("No", "Yes")]
    ]

    found = linted(entries)

    assert list(found) == ["balance"]
    assert (
        "'Yes' in 67% of 60 rows, where 2 answers would have 50%" in found["balance"].what
    )


def test_a_template_that_all_questions_share_is_not_what_is_shown_of_them(linted):
    template = "Is the following statement something you would say? "
    entries = [{**e, "question": template + e["question"]} for e in ITEMS]
    last = entries[40]["question"].removesuffix("?")
    copied = changed(entries, 9, question=f"{last} mo?", matching=ITEMS[40]["matching"])

    found = linted(changed(copied, 9, not_matching=ITEMS[40]["not_matching"]))

    assert list(found) == ["near copies"]
    assert f"'...{ITEMS[40]['question'][:20]}" in found["near copies"].what


# Many faults at once.


def test_what_is_said_of_many_lines_is_said_once(linted):
    found = linted(changed(CONCEPT, *range(20), prompt=lambda old: old + " "))

    assert found["spaces"].lines == tuple(range(1, 21))


def test_many_findings_of_a_check_are_shortened_and_keep_their_lines():
    findings = [Finding("error", "a", f"what {k}", "do", (k,)) for k in range(20)]
    other = Finding("warning", "b", "else", "do", (3,))

    found = merged([*findings, other])

    assert found[:MOST] == findings[:MOST]
    assert found[MOST].what == f"{20 - MOST} more findings of this check"
    assert found[MOST].lines == tuple(range(MOST, 20))
    assert found[MOST + 1 :] == [other]


def test_errors_stand_before_warnings(write):
    entries = changed(CONCEPT, 3, prompt=lambda old: old + " ")
    found = lint(write(changed(entries, 40, id=CONCEPT[2]["id"])))

    assert [f.severity for f in found.findings] == ["error", "warning"]
    assert (found.count("error"), found.count("warning")) == (1, 1)


def test_rows_that_can_be_read_are_checked_though_others_cannot(write):
    lines = ["{", *changed(CONCEPT, 40, id=CONCEPT[2]["id"])]

    assert {f.check: f.lines for f in lint(write(lines)).findings} == {
        "reading": (1,),
        "ids": (4, 42),
    }


# Forms of files.


def planted():
    entries = changed(PAIRS, 30, positive=PAIRS[3]["positive"])
    return changed(entries, 12, negative=lambda old: f"{old}\u200b")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("columns", ["ours", "theirs"])
def test_the_same_rows_give_the_same_findings_in_every_kind_of_file(
    suffix, columns, tmp_path
):
    entries = planted()
    if columns == "theirs":
        entries = [{"good": e["positive"], "bad": e["negative"]} for e in entries]
    data = tmp_path / f"rows.{suffix}"
    keys = list(entries[0])
    if suffix == "jsonl":
        data.write_text("\n".join(map(json.dumps, entries)), "utf-8")
    elif suffix == "parquet":
        pl.DataFrame(entries).write_parquet(data)
    else:
        with data.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(
                stream, keys, delimiter="\t" if suffix == "tsv" else ","
            )
            writer.writeheader()
            writer.writerows(entries)
    path = data
    if columns == "theirs":
        path = tmp_path / "own.toml"
        path.write_text(
            f'kind = "pairs"\nsource = "{data.name}"\n'
            '[columns]\npositive = "good"\nnegative = "bad"\n'
        )
        assert len(load_dataset(str(path))) == 60

    found = lint(path)

    shift = 1 if suffix in ("csv", "tsv") else 0  # the header is a line
    assert found.unit == ("row" if suffix == "parquet" else "line")
    assert found.form == "pairs"
    assert {f.check: f.lines for f in found.findings} == {
        "leakage": (4 + shift, 31 + shift),
        "characters": (13 + shift,),
    }


def caa_format(entries):
    keys = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    return [dict(zip(keys, map(str.strip, e.values()), strict=True)) for e in entries]


def test_a_list_in_the_format_of_caa_is_looked_at_like_lines(tmp_path):
    """The same questions as lines of items; only what is counted has another name."""
    path, lines = tmp_path / "mine.json", tmp_path / "mine.jsonl"
    entries = lettered_entries()
    entries = changed(entries, 40, question=lambda old: f"Now {old}\ufffd")
    entries = changed(entries, 12, question=entries[3]["question"])
    lines.write_text("\n".join(map(json.dumps, entries)), "utf-8")
    path.write_text(json.dumps(caa_format(entries)), "utf-8")

    ours, theirs = lint(lines), lint(path)

    assert {f.check for f in theirs.findings} == {"copies", "characters"}
    assert theirs.findings == ours.findings
    assert (ours.form, theirs.form, theirs.unit) == ("items", "items", "entry")
    assert len(load_dataset(str(path))) == theirs.n_rows == 80


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        ({"note": "x"}, "has the fields question, answer_matching", "wanted: question"),
        ({"question": "Why?"}, "does not end in options (A), (B)", "in order"),
        ({"answer_matching_behavior": "Yes"}, "'Yes' is none of (A) to (B)", "there"),
        ({"answer_matching_behavior": 3}, "answer_matching_behavior is 3", "wanted: str"),
    ],
)
def test_entries_that_cannot_be_read_do_not_hide_the_others(change, what, remedy, tmp_path):
    entries = caa_format(lettered_entries())
    entries[4] = {**entries[4], **change}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(entries))

    found = lint(path)

    [finding] = [f for f in found.findings if f.severity == "error"]
    assert (finding.check, finding.lines, found.n_rows) == ("reading", (5,), 79)
    assert what in finding.what and remedy in finding.remedy
    with pytest.raises(BadData, match="entry 5"):
        load_dataset(str(path))


def test_answers_of_published_files_may_begin_with_one_space(linted):
    entries = changed(
        ITEMS, *range(60), matching=lambda t: f" {t}", not_matching=lambda t: f" {t}"
    )

    assert linted(entries) == {}
    assert linted(changed(entries, 4, matching=lambda t: f" {t}"))["spaces"].lines == (5,)


def test_a_byte_order_mark_is_an_error_where_the_loader_refuses_it(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, CONCEPT)).encode())

    [found] = lint(path).findings

    assert (found.severity, found.lines) == ("error", (1,))
    assert "byte-order mark" in found.what
    with pytest.raises(BadData):
        load_concept(str(path))


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("mine.txt", "x", BadFile, r"mine.txt ends in '.txt'; give a file that ends in"),
        ("mine.jsonl", "", BadFile, "mine.jsonl holds no rows; give every row the fields"),
        ("mine.jsonl", '{"a": 1}', BadFile, r"has a; .* \(concept: id, group, statement"),
        ("mine.csv", "a,b\n1,2\n", BadFile, "has a, b; give every row the fields"),
        ("mine.csv", "id,text\n1,2\n", BadFile, "looks like prose, which is read from"),
        ("mine.json", "[", BadData, "mine.json is no JSON .*; write one list"),
        ("mine.json", "{}", BadData, "mine.json holds no JSON list; write one"),
        ("mine.toml", "= 3", BadData, "mine.toml is no TOML"),
        ("mine.toml", "kind = 3", BadData, "kind is 3; write one of pairs, maps, items"),
    ],
)
def test_a_file_that_says_nothing_is_refused(name, text, error, words, tmp_path):
    (tmp_path / name).write_text(text)

    with pytest.raises(error, match=words):
        lint(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"nowhere.jsonl is no file; give the path"):
        lint(tmp_path / "nowhere.jsonl")


def test_a_file_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "mine.jsonl").write_bytes(b'{"id": "\xff"}')

    with pytest.raises(SeatrialError, match="save it as UTF-8"):
        lint(tmp_path / "mine.jsonl")


# Texts that are alike.


def slowly(texts, alike):
    """Every pair compared with every other."""
    sets = [set(words_of(text)) for text in texts]
    weights = {
        word: log((len(texts) + 1) / sum(word in other for other in sets))
        for own in sets
        for word in own
    }

    def weigh(words):
        return sum(weights[word] for word in words)

    return {
        (a, b)
        for b in range(len(texts))
        for a in range(b)
        if weigh(sets[a] & sets[b]) >= alike * weigh(sets[a] | sets[b])
    }


@given(
    st.lists(
        st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6).map(" ".join),
        max_size=14,
    )
)
def test_near_copies_are_those_that_comparing_every_pair_finds(texts):
    """A similarity that is the threshold itself may fall to either side of it."""
    found = set(near_copies(texts))

    assert slowly(texts, ALIKE + 1e-9) <= found <= slowly(texts, ALIKE - 1e-9)


def test_a_template_that_all_texts_share_makes_no_copies():
    fills = [Words(k).text(5) for k in range(40)]
    texts = [f"Would you say that you like {fill} in the early morning?" for fill in fills]

    assert near_copies(texts) == []
    assert near_copies([*texts, f"{texts[3]} Really?"]) == [(3, 40)]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Now, then!", "now then", True),
        ("Na\u00efve", "na\u00efve.", True),
        ("?!", "?!", True),
        ("?!", "!", False),
        ("now", "know", False),
    ],
)
def test_copies_ignore_case_and_punctuation_but_not_signs_alone(one, other, is_same):
    assert (plain(one) == plain(other)) == is_same
