"""All data that ships, taken together: nothing stands in two files."""

from collections import Counter
from importlib.resources import as_file, files

import pytest

from seatrial.data import MAPS
from seatrial.data.lint.read import read_sheet
from seatrial.data.texts import near_copies, plain

CORE = files("seatrial.data") / "items"
NAMES = sorted(
    entry.name
    for entry in CORE.iterdir()
    if entry.name.endswith(".jsonl") or entry.name == "contexts.toml"
)

ALIKE = {("fact-155", "control-059")}
"""One plain fact is asked in both files, neither of which anything is fitted on."""


@pytest.fixture(scope="module")
def rows():
    """Every row but those of maps, with the file it stands in."""
    found = []
    for name in NAMES:
        with as_file(CORE / name) as path:
            found += [(name, row) for row in read_sheet(path)[0].rows]
    return found


def test_no_text_of_a_file_is_nearly_one_of_another(rows):
    """Else a guard would be about a behaviour, or a context would give an answer away."""
    texts = [
        (name, row.id, text)
        for name, row in rows
        for text in dict.fromkeys((*row.contents, *row.shared))
    ]

    found = near_copies([text for *_, text in texts])

    across = {(texts[a][1], texts[b][1]) for a, b in found if texts[a][0] != texts[b][0]}
    assert across == ALIKE


def test_no_id_is_used_twice_in_all_files(rows):
    counts = Counter(row.id for _, row in rows)

    assert [identity for identity, n in counts.items() if n > 1] == []


def test_no_line_of_any_file_is_left_out(rows):
    by_file = Counter(name for name, _ in rows)

    assert set(by_file) == set(NAMES)
    for name in NAMES:
        if name.endswith(".jsonl"):
            text = (CORE / name).read_text("utf-8")
            assert by_file[name] == len([line for line in text.split("\n") if line.strip()])


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_read_by_the_checks_as_by_the_loader(name):
    from seatrial.data import load_map

    with as_file(CORE / "maps" / f"{name}.jsonl") as path:
        rows = read_sheet(path)[0].rows

    assert [(row.id, row.group, row.prompt, row.right) for row in rows] == [
        (pair.id, pair.group, pair.input, pair.output) for pair in load_map(name).pairs
    ]
    assert all(plain(row.label) for row in rows)
