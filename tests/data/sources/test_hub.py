"""Data sets through the package `datasets` itself, offline: skipped where it is absent."""

import json

import pytest

from seatrial.data.lint import lint
from seatrial.data.records import ChoiceItem, MapPair, TextPair
from seatrial.data.sources import load_dataset
from seatrial.errors import BadData, Unreachable

QUESTIONS = [
    {"q": f"Do you like {thing}?", "good": a, "bad": b, "k": k, "unused": [k]}
    for k, thing in enumerate(["tea", "rain", "jazz", "chess", "snow", "figs", "maps"])
    for a, b in [("Yes", "No") if k % 2 else ("No", "Yes")]
]
COLUMNS = '[columns]\nquestion = "q"\nmatching = "good"\nnot_matching = "bad"\n'
MORE = 'id = "k"\n'


@pytest.fixture(scope="module")
def datasets():
    return pytest.importorskip(
        "datasets", reason="needs the package datasets: pip install 'seatrial[datasets]'"
    )


@pytest.fixture
def folder(datasets, tmp_path, monkeypatch):
    """A data set as a folder beside the TOML file, with a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = tmp_path / "asked"
    folder.mkdir()
    return folder


def described(folder, kind="items", columns=COLUMNS, split="train", more=""):
    path = folder.parent / "mine.toml"
    path.write_text(
        f'kind = "{kind}"\ndataset = "asked"\nsplit = "{split}"\n{more}{columns}'
    )
    return path


def write(folder, rows, name):
    if name.endswith(".jsonl"):
        (folder / name).write_text("\n".join(map(json.dumps, rows)))
        return
    import polars

    frame = polars.DataFrame([{k: v for k, v in r.items() if k != "unused"} for r in rows])
    path = folder / name
    frame.write_csv(path) if name.endswith(".csv") else frame.write_parquet(path)


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.parquet"])
def test_a_folder_gives_the_items_that_its_columns_say(name, folder):
    write(folder, QUESTIONS, name)

    items = load_dataset(str(described(folder, columns=COLUMNS + MORE)))

    assert [type(item) for item in items] == [ChoiceItem] * 7
    assert [(i.id, i.question, i.sides) for i in items] == [
        (f"mine/{row['k']}", row["q"], (row["good"], row["bad"])) for row in QUESTIONS
    ]


def test_pairs_and_maps_are_read_too_and_splits_are_told_apart(folder):
    write(folder, QUESTIONS, "train.jsonl")
    write(folder, QUESTIONS[:2], "test.jsonl")
    pairs = '[columns]\npositive = "good"\nnegative = "bad"\nprompt = "q"\n'
    maps = '[columns]\ninput = "q"\noutput = "good"\n'

    (first, *_) = found = load_dataset(str(described(folder, "pairs", pairs)))
    assert (len(found), first.positive, first.negative) == (7, "No", "Yes")
    assert isinstance(first, TextPair) and first.prompt == "Do you like tea?"

    found = load_dataset(str(described(folder, "maps", maps, split="test")))
    assert len(found) == 2 and isinstance(found[0], MapPair)


def test_a_configuration_is_one_of_those_that_the_folder_declares(folder):
    for name, rows in (("one", QUESTIONS[:3]), ("two", QUESTIONS[3:])):
        (folder / name).mkdir()
        write(folder / name, rows, "train.jsonl")
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: one\n  data_files: one/*.jsonl\n"
        "- config_name: two\n  data_files: two/*.jsonl\n---\n"
    )

    items = load_dataset(str(described(folder, more='config = "two"\n')))

    assert [item.question for item in items] == [row["q"] for row in QUESTIONS[3:]]


def test_rows_are_looked_at_with_their_numbers(folder):
    write(folder, [*QUESTIONS, {**QUESTIONS[2], "k": 9, "bad": ""}], "train.jsonl")

    found = lint(described(folder))

    assert (found.unit, found.form, found.n_rows) == ("row", "items", 7)
    [error] = [finding for finding in found.findings if finding.severity == "error"]
    assert error.lines == (8,) and "bad is ''" in error.what


def test_a_broken_row_a_split_and_a_column_that_are_not_there_are_one_sentence(folder):
    write(folder, QUESTIONS, "train.jsonl")

    with pytest.raises(BadData, match=r"asked, row 1 has no 'g'; it has q, good, bad"):
        load_dataset(str(described(folder, columns=COLUMNS.replace('"good"', '"g"'))))
    with pytest.raises(BadData, match=r"the folder .*asked gives no rows \(test\): .*spl"):
        load_dataset(str(described(folder, split="test")))
    with pytest.raises(BadData, match="'asked' is a folder, which has no revision"):
        load_dataset(str(described(folder, more='revision = "main"\n')))


def test_without_a_network_a_data_set_of_the_hub_is_one_sentence(folder):
    path = described(folder, more=f'revision = "{"0" * 40}"\n')
    path.write_text(path.read_text().replace('"asked"', '"nobody/asked"'))

    with pytest.raises(Unreachable, match=r"the hub did not give nobody/asked \(train, 0+"):
        load_dataset(str(path))
