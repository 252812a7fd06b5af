"""The table of data sets agrees with the manifest of the mirror, file by file."""

import csv
import re

import pytest

from seatrial.data.sources import (
    DATASETS,
    describe_datasets,
    find_datasets,
    known_files,
    load_dataset,
    pull_dataset,
)
from seatrial.data.split import split
from seatrial.errors import UnknownName, Unreachable

LEFT_OUT = {
    "paradetox": 11927,  # rows of several rewrites each
    "bbh/movie_recommendation": 250,
    "bbh/ruin_names": 250,
    "bbh/snarks": 178,
}
"""Sets whose records are not the rows of the file, with the number of rows."""


def test_every_data_set_has_a_file_and_every_file_a_data_set():
    assert set(DATASETS) == set(known_files())


def test_the_table_agrees_with_the_manifest(mirror):
    with (mirror / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dataset"] != "licence"]
    listed = {
        (r["owner"], r["repo"], r["commit"], r["path"], r["bytes"], r["sha256"]): r
        for r in rows
    }

    assert len(listed) == len(DATASETS) == 97
    for name, entry in DATASETS.items():
        f = entry.file
        row = listed[f.owner, f.repo, f.commit, f.path, str(f.n_bytes), f.sha256]
        assert int(row["rows"]) == LEFT_OUT.get(name, f.n_items)
        assert row["licence"] == f.licence


@pytest.mark.parametrize("name", DATASETS)
def test_every_published_file_loads_with_its_count_and_ids_of_its_own(load, name):
    items = load(name)

    assert len(items) == DATASETS[name].n_items
    assert len({item.id for item in items}) == len(items)
    assert all(item.id.startswith(f"{name}/") and item.group for item in items)
    assert len({type(item) for item in items}) == 1


def test_every_line_names_count_and_licence():
    lines = describe_datasets()

    assert list(lines) == list(DATASETS)
    assert lines["gsm8k"] == (
        "arithmetic word problems with solutions, test split (1,319 items, MIT)"
    )
    for name, line in lines.items():
        assert re.search(r"\([\d,]+ items, .+\)$", line), name
        assert DATASETS[name].attribution


def test_what_must_not_be_sold_and_what_offends_is_said():
    lines = describe_datasets()

    assert all("NC" in lines[f"maps/english-{x}"] for x in ("french", "german", "spanish"))
    assert "non-commercial" in lines["alpaca-eval"]
    assert "offensive" in lines["paradetox"] and "offensive" in lines["crows-pairs"]
    assert "WITHOUT" in lines["ai-risk-human/survival-instinct"]


def test_a_split_by_group_shares_no_question(load):
    """Groups are what the split goes by, so the same question never straddles."""
    from seatrial.data import Item

    items = [item for item in load("ai-risk/myopic-reward") if item.question]
    cards = [
        Item(i.id, i.group, f"s {i.group}", "yes", f"p {i.group}", "a", "b") for i in items
    ]
    parts = split(cards, {"fit": 0.4, "select": 0.1, "test": 0.5}, seed=0)
    question = {item.id: " ".join(item.question.lower().split()) for item in items}
    assert len(set(question.values())) < len(items) - 100
    seen = [{question[card.id] for card in cards} for cards in parts.values()]

    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_pull_fetches_one_set_or_a_family_and_says_whom_to_credit(mirror, tmp_path):
    said = []

    one = pull_dataset("gsm8k", mirror=mirror, cache=tmp_path, say=said.append)
    family = pull_dataset("bbh", mirror=mirror, cache=tmp_path, say=said.append)

    assert [path.name for path in one] == ["test.jsonl"]
    assert len(family) == 8 and all(path.is_file() for path in family)
    assert said[0].startswith("MIT; credit: Cobbe et al.")
    assert len(said) == 2 and "Suzgun et al." in said[1]


def test_a_family_is_found_by_its_name_and_not_by_a_beginning():
    assert len(find_datasets("persona")) == 21
    assert len(find_datasets("ai-risk")) == 16
    assert [d.name for d in find_datasets("truthfulqa")] == ["truthfulqa"]
    assert find_datasets("ai") == find_datasets("") == ()


def test_an_unknown_name_gets_the_nearest_one_of_its_family():
    with pytest.raises(
        UnknownName,
        match=r"unknown data set 'maps/antonyms'; known: maps/antonym, .* or a path to "
        r"your own file\. Did you mean 'maps/antonym'\?",
    ):
        load_dataset("maps/antonyms")
    with pytest.raises(UnknownName, match=r"'gsm'; known: ai-risk, .*persona.*'gsm8k'\?"):
        load_dataset("gsm")
    with pytest.raises(
        UnknownName, match="unknown data set 'persona'; known: persona/anti"
    ):
        load_dataset("persona")
    with pytest.raises(UnknownName, match="unknown data set 'nothing'"):
        pull_dataset("nothing")


def test_load_takes_the_mirror_of_the_environment(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("SEATRIAL_MIRROR", str(mirror))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert len(load_dataset("mt-bench")) == 80
    assert len(list((tmp_path / "seatrial" / "data").rglob("question.jsonl"))) == 1


def test_offline_without_mirror_the_sentence_names_the_set(offline):
    with pytest.raises(Unreachable, match=r"^cannot fetch gsm8k: .* Go online, or name a"):
        load_dataset("gsm8k")
