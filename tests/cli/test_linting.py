"""`seatrial lint`: a table, a sentence, and an exit code that a script can rely on."""

import json
import random

import pytest

from seatrial import cli
from seatrial.data import CONCEPTS
from seatrial.data.concepts import FOLDER

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def entries():
    """Forty questions without a fault."""
    chance = random.Random(0)

    def text(n):
        return " ".join("".join(chance.choices(SYLLABLES, k=3)) for _ in range(n))

    return [
        {"question": f"{text(8)}?", "matching": text(4), "not_matching": text(4)}
        for _ in range(40)
    ]


@pytest.fixture
def write(tmp_path):
    def make(rows):
        path = tmp_path / "mine.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return path

    return make


def test_a_clean_file_is_one_sentence(write, call):
    code, out, err = call("lint", write(entries()))

    assert (code, err) == (0, "")
    assert out == (
        "mine.jsonl: 40 rows in 40 groups, read as items; 0 errors, 0 warnings.\n"
    )


def test_warnings_are_a_table_and_exit_code_0(write, call):
    rows = entries()
    for row in rows[3:12]:
        row["question"] += " "

    code, out, err = call("lint", write(rows))

    assert (code, err) == (0, "")
    for cell in ("severity", "check", "lines", "what is wrong", "what to do"):
        assert cell in out
    assert "4, 5, 6, 7, 8, 9 and 3 more" in out
    assert "question begins or ends with white space" in out
    assert out.endswith("read as items; 0 errors, 1 warning.\n")


def test_errors_are_a_table_a_sentence_and_exit_code_2(write, call):
    rows = entries()
    rows[20]["matching"] = rows[20]["not_matching"]
    rows[30] = {**rows[2], "question": rows[2]["question"].upper(), "group": "another"}
    rows = [{"group": f"g{k}", **row} for k, row in enumerate(rows)]

    code, out, err = call("lint", write(rows))

    assert code == 2
    assert "both sides are the same text" in out
    assert "3, 31" in out
    assert err == (
        "seatrial: mine.jsonl: 40 rows in 40 groups, read as items; 2 errors, 0 warnings. "
        "Mend the errors before measuring anything on it.\n"
    )


def test_a_list_in_the_format_of_caa_is_read_entry_by_entry(tmp_path, call):
    chance = random.Random(1)
    rows = []
    for k, entry in enumerate(entries()):
        options = [" ".join(chance.choices(SYLLABLES, k=5)) for _ in range(2)]
        question = f"{entry['question']}\n (A) {options[0]}\n (B) {options[1]}"
        letters = ("(A)", "(B)") if k % 2 else ("(B)", "(A)")
        keys = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
        rows.append(dict(zip(keys, (question, *letters), strict=True)))
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(rows))

    assert call("lint", path) == (
        0,
        "mine.json: 40 rows in 40 groups, read as items; 0 errors, 0 warnings.\n",
        "",
    )

    rows[5]["answer_matching_behavior"] = "(C)"
    path.write_text(json.dumps(rows))
    code, out, err = call("lint", path)
    assert code == 2
    assert "entries" in out and "the answer '(C)' is none of (A) to (B)" in out
    assert "mine.json: 39 rows in 39 groups, read as items; 1 error, 0 warn" in err


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_is_readable_at_every_width(width, write, call, monkeypatch):
    rows = entries()
    rows[20]["matching"] = rows[20]["not_matching"]
    rows[21] = {"a_name_of_thirty_signs_or_more": 1, "question": "Why?"}
    monkeypatch.setattr(cli.OUT, "width", width)

    _, out, _ = call("lint", write(rows))

    assert max(map(len, out.splitlines())) <= width
    # Words may be divided between lines, but none is cut.
    assert "\u2026" not in out


def test_markup_in_the_data_is_printed_as_it_is(write, call):
    rows = entries()
    for k, row in enumerate(rows):
        answers = ("[bold]Yes[/x]", "No")
        row["matching"], row["not_matching"] = answers if k % 4 else answers[::-1]

    _, out, _ = call("lint", write(rows))

    assert "'[bold]Yes[/x]' in 75% of 40 rows" in out


def test_a_concept_that_ships_is_in_order(call):
    code, out, _ = call("lint", FOLDER / f"{CONCEPTS[0]}.jsonl")

    assert code == 0
    assert "read as concept; 0 errors" in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.jsonl", "nowhere.jsonl is no file; give the path of a data file"),
        ("mine.txt", "ends in '.txt'; give a file that ends in .toml, .json, .jsonl"),
    ],
)
def test_a_file_that_cannot_be_looked_at_is_one_sentence(name, words, tmp_path, refused):
    (tmp_path / "mine.txt").write_text("x")

    assert words in refused("lint", tmp_path / name)
