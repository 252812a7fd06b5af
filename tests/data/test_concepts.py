"""The concepts that ship: many, balanced, unlike each other; and yours, read strictly."""

import difflib
import json
import re
from collections import Counter
from importlib.resources import files
from itertools import combinations
from statistics import mean

import pytest

from seatrial.data import CONCEPTS, Concept, Item, load_concept, load_prose
from seatrial.errors import BadData, UnknownName

TEXTS = ("statement", "prompt", "matching_text", "other_text")
EVERY_CONCEPT = pytest.mark.parametrize("name", CONCEPTS)

FUNCTION_WORDS = """
a an the i my me we our us you your he she his her him they them their it its this that
these those and or but so if of in on at to from for with by as is am are was were be
been being do did does have has had not no nor than then would could should will can
just when what who which how where there here all any some more most very too up out off
into about over after before again one
"""


def content_words(text):
    return frozenset(re.findall(r"[a-z0-9']+", text.lower())) - frozenset(
        FUNCTION_WORDS.split()
    )


def near_duplicates(texts):
    """Pairs of texts from different items that say nearly the same: ``[(one, other)]``.

    Content words with a Jaccard index of .6, or .25 and letters that match to .8.

    Args:
        texts: (item, text).
    """
    words = [content_words(text) for _, text in texts]
    places = {}
    for k, own in enumerate(words):
        for word in own:
            places.setdefault(word, []).append(k)
    shared = Counter(pair for ks in places.values() for pair in combinations(ks, 2))
    found = []
    for (a, b), n in shared.items():
        jaccard = n / (len(words[a]) + len(words[b]) - n)
        if texts[a][0] == texts[b][0] or jaccard < 0.25:
            continue  # the sides of an item are to be alike but for the behaviour
        matcher = difflib.SequenceMatcher(
            None, texts[a][1].lower(), texts[b][1].lower(), autojunk=False
        )
        if jaccard >= 0.6 or matcher.ratio() >= 0.8:
            found.append((texts[a][1], texts[b][1]))
    return found


@pytest.fixture(scope="module")
def concepts():
    return {name: load_concept(name) for name in CONCEPTS}


@EVERY_CONCEPT
def test_there_are_at_least_160_items_with_ids_of_their_own(concepts, name):
    ids = [item.id for item in concepts[name].items]

    assert len(ids) >= 160
    assert len(set(ids)) == len(ids)


def test_no_id_is_used_by_two_concepts(concepts):
    ids = [item.id for concept in concepts.values() for item in concept.items]

    assert len(set(ids)) == len(ids)


@EVERY_CONCEPT
def test_yes_matches_for_exactly_half_of_the_items_overall_and_in_every_group(
    concepts, name
):
    items = concepts[name].items
    counts = Counter((item.group, item.matching) for item in items)

    assert sum(item.matching == "yes" for item in items) * 2 == len(items)
    for group in {item.group for item in items}:
        assert counts[group, "yes"] == counts[group, "no"] > 0


@EVERY_CONCEPT
def test_there_are_enough_topics_to_split_by(concepts, name):
    assert len({item.group for item in concepts[name].items}) >= 30


@EVERY_CONCEPT
def test_continuations_are_as_long_on_both_sides(concepts, name):
    """Else length would tell the classes apart."""
    items = concepts[name].items
    matching, other = (
        mean(len(getattr(item, side).split()) for item in items)
        for side in ("matching_text", "other_text")
    )

    assert abs(matching - other) <= 0.6


@EVERY_CONCEPT
def test_statements_are_nearly_as_long_for_both_answers(concepts, name):
    items = concepts[name].items
    yes, no = (
        mean(len(item.statement.split()) for item in items if item.matching == answer)
        for answer in ("yes", "no")
    )

    assert abs(yes - no) <= 0.8


@EVERY_CONCEPT
def test_texts_are_plain_ascii_without_stray_space(concepts, name):
    for item in concepts[name].items:
        for field in ("id", "group", *TEXTS):
            text = getattr(item, field)
            assert text.isascii() and text.isprintable(), (item.id, text)
            assert " ".join(text.split()) == text, (item.id, text)


@EVERY_CONCEPT
def test_the_concept_is_described_and_has_instructions(concepts, name):
    concept = concepts[name]

    assert concept.name == name
    assert all((concept.category, concept.about, concept.encourage, concept.discourage))
    assert concept.encourage != concept.discourage


def test_no_text_is_nearly_that_of_another_item_of_any_concept(concepts):
    texts = [
        (item.id, getattr(item, field))
        for concept in concepts.values()
        for item in concept.items
        for field in TEXTS
    ]

    assert near_duplicates(texts) == []


def test_neutral_prose_shares_no_text_with_any_item(concepts):
    prose = load_prose()
    passages = [" ".join(re.findall(r"\w+", text.lower())) for _, text in prose]
    for concept in concepts.values():
        for item in concept.items:
            for field in TEXTS:
                text = " ".join(re.findall(r"\w+", getattr(item, field).lower()))
                assert not any(text in passage for passage in passages), (item.id, field)
    sentences = [
        (key, part) for key, text in prose for part in re.split(r"(?<=[.!?]) ", text)
    ]
    items = [
        (i.id, getattr(i, f)) for c in concepts.values() for i in c.items for f in TEXTS
    ]
    assert near_duplicates([*sentences, *items]) == []


def test_neutral_prose_has_distinct_passages_that_outlast_their_prompt():
    prose = load_prose()

    assert len(prose) >= 50
    assert len({key for key, _ in prose}) == len({text for _, text in prose}) == len(prose)
    assert min(len(text.split(" ")) for _, text in prose) >= 30
    assert all(text.isascii() and " ".join(text.split()) == text for _, text in prose)


@pytest.mark.parametrize(
    ("copy", "why"),
    [
        ("I would queue for hours in the rain to stand near the stage.", "reordered"),
        (
            "I would happily queue in the rain for hours to stand near the stage!",
            "one word more",
        ),
        (
            "I would queue in the rain for hours to land near the cage.",
            "few words, but the letters",
        ),
    ],
)
def test_the_search_for_near_duplicates_finds_planted_ones(copy, why):
    original = "I would queue in the rain for hours to stand near the stage."
    stranger = "My rain coat hangs on the stage door."

    found = near_duplicates([("a", original), ("b", stranger), ("c", copy)])

    assert found == [(original, copy)], why


def test_the_search_for_near_duplicates_leaves_the_two_sides_of_an_item_alone():
    assert (
        near_duplicates(
            [("a", "the bells made me smile"), ("a", "the bells made me frown")]
        )
        == []
    )


def test_the_package_ships_its_data():
    folder = files("seatrial.data") / "items"
    shipped = {entry.name for entry in folder.iterdir()}
    read = {"concepts.toml", "plain-prose.jsonl", *(f"{name}.jsonl" for name in CONCEPTS)}

    assert read <= shipped
    assert all((folder / name).read_bytes() for name in read)


# Your own concepts.


def make_entry(k=0, **changes):
    entry = {
        "id": f"own-{k}",
        "group": f"group-{k // 2}",
        "statement": f"I like number {k}.",
        "matching": "yes" if k % 2 else "no",
        "prompt": f"Number {k} came and",
        "matching_text": f"everybody liked number {k}.",
        "other_text": f"nobody saw number {k}.",
    }
    return {**entry, **changes}


@pytest.fixture
def write(tmp_path):
    """Write lines (or values, as JSON) to a file; returns its path."""

    def make(*lines, name="mine.jsonl"):
        path = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n", "utf-8")
        return str(path)

    return make


def test_your_own_file_is_read_item_by_item(write):
    path = write(make_entry(0), "", make_entry(1))

    concept = load_concept(path)

    assert concept == Concept(
        "mine", "own", "mine", "", "", (Item(**make_entry(0)), Item(**make_entry(1)))
    )


def test_your_own_file_may_describe_the_concept(write):
    about = {
        "about": "likes numbers",
        "encourage": "Like them.",
        "discourage": "Do not.",
        "category": "odd",
    }
    concept = load_concept(write({"concept": about}, make_entry(0), make_entry(1)))

    assert (concept.about, concept.encourage, concept.discourage, concept.category) == (
        "likes numbers", "Like them.", "Do not.", "odd",
    )  # fmt: skip


def test_texts_may_hold_any_character(write):
    """U+2028 and U+0085 end lines for ``str.splitlines``, but not in JSON."""
    odd = "Ça\u2028va\u0085bien, \U0001f600?"
    line = json.dumps(make_entry(0, statement=odd), ensure_ascii=False)

    assert load_concept(write(line, make_entry(1))).items[0].statement == odd


def test_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes("\r\n".join(json.dumps(make_entry(k)) for k in range(2)).encode())

    assert len(load_concept(str(path)).items) == 2


def refused(write, *lines, match):
    with pytest.raises(BadData, match=match):
        load_concept(write(*lines))


def test_bad_json_is_refused_with_its_line(write):
    refused(
        write,
        make_entry(0),
        "{oops",
        match=r"mine\.jsonl, line 2 is no JSON .*; write one object a line",
    )


def test_a_missing_field_is_refused_with_the_wanted_ones(write):
    entry = make_entry(0)
    del entry["prompt"]

    refused(
        write,
        entry,
        match=r"line 1 has the fields group, id, .*; wanted: id, group, statement, match",
    )


def test_an_additional_field_is_refused(write):
    refused(
        write, make_entry(0, note="x"), match=r"line 1 has the fields .*note.*; wanted: id"
    )


def test_a_line_that_is_no_object_is_refused(write):
    refused(write, "[1, 2]", match="line 1 is list; write an object with the fields id")


def test_a_matching_answer_that_is_neither_yes_nor_no_is_refused(write):
    refused(
        write,
        make_entry(0, matching="Yes"),
        match="line 1: matching is 'Yes'; write yes or no",
    )


def test_an_empty_text_is_refused_by_field(write):
    refused(
        write,
        make_entry(0),
        make_entry(1, other_text="  "),
        match="line 2: other_text is empty; fill it in",
    )


@pytest.mark.parametrize("value", [7, None, ["a"], True])
def test_a_value_that_is_no_text_is_refused_by_field(write, value):
    refused(
        write,
        make_entry(0, prompt=value),
        match=r"line 1: prompt is .*; write a text in quotes",
    )


@pytest.mark.parametrize(
    ("about", "shown"),
    [("likes numbers", "'likes numbers'"), ({"encourge": "x"}, "encourge")],
)
def test_a_misspelt_description_is_refused_with_the_right_words(write, about, shown):
    refused(
        write, {"concept": about}, make_entry(0),
        match=f"described by category, about, encourage, discourage, not by {shown}",
    )  # fmt: skip


def test_an_empty_file_is_refused(write):
    refused(write, "", match=r"mine\.jsonl holds no items; give at least a few dozen")


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_one_sided_items_are_refused(write, answer):
    lines = [make_entry(k, matching=answer) for k in range(3)]

    refused(
        write,
        *lines,
        match=f"is one-sided: the matching answer is '{answer}' for all 3 items",
    )


def test_repeated_ids_are_refused(write):
    refused(
        write,
        make_entry(0),
        make_entry(1, id="own-0"),
        match="uses the id .* twice; give every item its own",
    )


def test_a_file_that_is_no_utf8_is_refused(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(
        json.dumps(make_entry(0, statement="Café"), ensure_ascii=False).encode("latin-1")
    )

    with pytest.raises(BadData, match=r"mine\.jsonl is no UTF-8 text .*; save it as UTF-8"):
        load_concept(str(path))


def test_an_unknown_concept_gets_the_nearest_name():
    with pytest.raises(
        UnknownName,
        match=r"unknown concept 'formalty'; known: .* Did you mean 'formality'\?",
    ):
        load_concept("formalty")


@pytest.mark.parametrize("name", ["no/such/file.jsonl", "LICENSE", ""])
def test_what_is_neither_concept_nor_file_is_unknown_and_files_are_mentioned(name):
    with pytest.raises(UnknownName, match=r"a path to your own \.toml, .*\.jsonl, .* file"):
        load_concept(name)


def test_the_fingerprint_follows_the_content_and_not_the_path(write):
    lines = [make_entry(0), make_entry(1)]

    one = load_concept(write(*lines, name="one.jsonl"))
    same = load_concept(write(*lines, name="same.jsonl"))
    other = load_concept(write(lines[0], make_entry(1, prompt="Else")))

    assert one.fingerprint == same.fingerprint != other.fingerprint
