"""Your own data by a TOML file: every kind, every format, and every slip."""

import json
import sys
from types import SimpleNamespace

import polars
import pytest

from seatrial.data.records import ChoiceItem, MapPair, TextPair
from seatrial.data.sources import load_dataset, read_own
from seatrial.errors import BadData, BadOption, Unreachable

ROWS = [
    {"q": "Sing?", "good": "Yes", "bad": "No"},
    {"q": "Dance?", "good": "No", "bad": "Yes"},
]
ITEMS = '[columns]\nquestion = "q"\nmatching = "good"\nnot_matching = "bad"\n'


@pytest.fixture
def write(tmp_path):
    """Write a mapping, and rows beside it; returns the path of the mapping."""

    def make(toml, rows=None, name="mine.toml"):
        if rows is not None:
            lines = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows)
            (tmp_path / "rows.jsonl").write_text(lines, "utf-8")
        (tmp_path / name).write_text(toml, "utf-8")
        return tmp_path / name

    return make


def local(kind="items", columns=ITEMS, source="rows.jsonl", more=""):
    return f'kind = "{kind}"\nsource = "{source}"\n{more}{columns}'


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_items_are_read_alike_from_every_format(suffix, write, tmp_path):
    rows = [{**row, "unused": "x"} for row in ROWS]
    frame = polars.DataFrame(rows)
    path = write(local(source=f"rows{suffix}"), rows)
    if suffix == ".parquet":
        frame.write_parquet(tmp_path / "rows.parquet")
    elif suffix in (".csv", ".tsv"):
        frame.write_csv(
            tmp_path / f"rows{suffix}", separator="\t" if suffix == ".tsv" else ","
        )

    items = load_dataset(str(path))

    assert [type(item) for item in items] == [ChoiceItem, ChoiceItem]
    assert [(i.id, i.question, i.options, i.correct, i.other) for i in items] == [
        ("mine/0", "Sing?", ("Yes", "No"), 0, 1),
        ("mine/1", "Dance?", ("No", "Yes"), 0, 1),
    ]
    assert items[0].group != items[1].group


def test_pairs_and_maps_become_their_records(write):
    pairs = write(
        local("pairs", '[columns]\npositive = "p"\nnegative = "n"\nprompt = "t"\n'),
        [{"p": "good", "n": "bad", "t": "It was"}],
    )
    assert read_own(pairs).load() == (
        TextPair("mine/0", read_own(pairs).load()[0].group, "good", "bad", "It was"),
    )
    maps = write(local("maps", '[columns]\ninput = "p"\noutput = "n"\n'))
    (pair,) = read_own(maps).load()
    assert pair == MapPair("mine/0", pair.group, "good", "bad")


def test_ids_and_groups_are_taken_where_they_are_named(write):
    columns = f'{ITEMS}id = "k"\ngroup = "topic"\n'
    rows = [{**row, "k": k, "topic": "music"} for k, row in enumerate(ROWS, 7)]

    items = load_dataset(str(write(local(columns=columns), rows)))

    assert [(item.id, item.group) for item in items] == [
        ("mine/7", "music"),
        ("mine/8", "music"),
    ]


def test_without_a_group_column_the_same_question_is_one_group(write):
    rows = [ROWS[0], {**ROWS[0], "q": " sing"}, ROWS[1]]

    items = load_dataset(str(write(local(), rows)))

    assert items[0].group == items[1].group != items[2].group


def test_licence_and_attribution_are_kept(write):
    more = 'licence = "CC0-1.0"\nattribution = "me"\n'

    own = read_own(write(local(more=more), ROWS))

    assert (own.licence, own.attribution) == ("CC0-1.0", "me")


@pytest.mark.parametrize(
    ("toml", "match"),
    [
        ("kind = ", r"mine\.toml is no TOML \("),
        (local("item"), r"mine\.toml: kind is 'item'; write one of pairs, maps, items"),
        (local(more='sauce = "x"\n'), r"mine\.toml has an unknown key 'sauce'; known: "),
        ('kind = "items"\nsource = "rows.jsonl"\n', r"needs a table \[columns\]"),
        (local(columns='[columns]\nquestion = "q"\nmatching = "m"\n'),
         r"\[columns\] does not say which column is 'not_matching'; items need question, "),
        (local(columns=f'{ITEMS}label = "x"\n'),
         r"mine\.toml, columns has an unknown key 'label'; known: question, matching"),
        (local(columns=f"{ITEMS}id = 3\n"), r"id is 3; write a text in quotes"),
        (f'kind = "items"\n{ITEMS}', r"needs either source, a file beside it, or dataset"),
        (local(more='dataset = "a/b"\n'), r"needs either source"),
        (local(more='split = "test"\n'), r"split belongs to dataset, not to source"),
        (local(source="rows.xlsx"), r"source is 'rows\.xlsx'; give a file that"),
        (local(source="gone.csv"), r"gone\.csv is no file; source is relative to the TOML"),
        (f'kind = "items"\ndataset = "a/b"\nsplit = "test"\n{ITEMS}',
         r"names the data set 'a/b' without revision; write split"),
    ],
)  # fmt: skip
def test_a_slip_in_the_mapping_is_one_sentence(toml, match, write):
    with pytest.raises(BadData, match=match):
        read_own(write(toml, ROWS)).load()


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("{oops", r"rows\.jsonl, line 3 is no JSON"),
        ({"q": "Why?"}, r"rows\.jsonl, line 3 has no 'good'; it has q"),
        ({**ROWS[0], "bad": " "}, r"line 3: bad is ' '; wanted: a text that is not empty"),
        ({**ROWS[0], "bad": 3}, r"line 3: bad is 3; wanted: a text"),
    ],
)
def test_a_broken_row_is_one_sentence_with_its_line(row, match, write):
    with pytest.raises(BadData, match=match):
        load_dataset(str(write(local(), [*ROWS, row])))


def test_no_rows_and_no_parquet_are_refused(write, tmp_path):
    with pytest.raises(BadData, match="mine holds no rows; give at least a few dozen"):
        load_dataset(str(write(local(), [])))
    (tmp_path / "rows.parquet").write_text("no parquet")
    with pytest.raises(BadData, match=r"rows\.parquet is no Parquet file \("):
        load_dataset(str(write(local(source="rows.parquet"))))


HUB = (
    'kind = "items"\ndataset = "a/b"\nconfig = "en"\n'
    f'split = "test"\nrevision = "{"0" * 40}"\n'
)


def test_a_data_set_of_the_hub_is_asked_for_by_revision(write, monkeypatch):
    asked = []

    def load(*args, **options):
        asked.append((args, options))
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))

    items = load_dataset(str(write(HUB + ITEMS)))

    assert [item.question for item in items] == ["Sing?", "Dance?"]
    assert asked == [(("a/b", "en"), {"split": "test", "revision": "0" * 40})]


def test_without_the_package_a_sentence_says_so(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it fails

    with pytest.raises(
        BadOption,
        match=r"names the data set 'a/b', for which the package datasets is needed",
    ):
        load_dataset(str(write(HUB + ITEMS)))


def test_a_hub_that_does_not_give_it_is_said(write, monkeypatch):
    def load(*args, **options):
        raise RuntimeError("no such split\nlong story")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))

    with pytest.raises(
        Unreachable, match=r"the hub did not give a/b \(test, 0+\): no such split\. Check"
    ):
        load_dataset(str(write(HUB + ITEMS)))
