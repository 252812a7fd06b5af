"""Broken lines are refused by one sentence that says where."""

import pytest

from seatrial.data.sources.read import json_lines, json_list, read_table
from seatrial.errors import BadData

FIELDS = {"q": str, "n": int}
GOOD = '{"q": "why", "n": 1}'


@pytest.fixture
def write(tmp_path):
    def make(text, name="toy.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_lines_are_read_with_their_place(write):
    path = write(f"{GOOD}\r\n\n{GOOD}\n")

    assert list(json_lines(path, FIELDS)) == [
        ("toy.txt, line 1", {"q": "why", "n": 1}),
        ("toy.txt, line 3", {"q": "why", "n": 1}),
    ]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{oops", r"toy\.txt, line 2 is no JSON \(.*\); write one object a line"),
        ("[1]", r"toy\.txt, line 2 is no JSON object but list; write \{\.\.\.\}"),
        ('{"q": "why"}', r"line 2 has the fields q; wanted: q, n"),
        ('{"q": "why", "n": 1, "x": 0}', r"line 2 has the fields q, n, x; wanted: q, n"),
        ('{"q": "why", "n": "1"}', r"line 2: n is '1'; wanted: int"),
        ('{"q": " ", "n": 1}', r"line 2: q is empty; fill it in"),
    ],
)
def test_a_broken_line_is_one_sentence_with_its_number(line, match, write):
    with pytest.raises(BadData, match=match) as caught:
        list(json_lines(write(f"{GOOD}\n{line}\n"), FIELDS))

    assert "\n" not in str(caught.value)


def test_optional_fields_are_checked_where_they_are(write):
    path = write('{"q": "why", "n": 1, "x": 2}')

    assert len(list(json_lines(path, FIELDS, {"x": int}))) == 1
    with pytest.raises(BadData, match="line 1: x is 2; wanted: str"):
        list(json_lines(path, FIELDS, {"x": str}))


def test_a_list_is_read_entry_by_entry(write):
    path = write(f'{{"canary": "c", "list": [{GOOD}]}}')

    assert list(json_list(path, FIELDS, key="list")) == [
        ("toy.txt, entry 1", {"q": "why", "n": 1})
    ]
    with pytest.raises(BadData, match="holds no JSON list; write one"):
        list(json_list(path, FIELDS))
    with pytest.raises(BadData, match="holds no JSON list under 'items'; write one"):
        list(json_list(path, FIELDS, key="items"))


def test_a_bad_entry_of_a_list_is_named_by_its_number(write):
    with pytest.raises(BadData, match=r"toy\.txt, entry 2 has the fields q; wanted: q, n"):
        list(json_list(write(f'[{GOOD}, {{"q": "x"}}]'), FIELDS))


def test_a_table_keeps_quoted_breaks_and_skips_the_byte_order_mark(write):
    path = write('\ufeffa,b\n"x\r\ny",2\n3,\n')

    assert list(read_table(path, ["a", "b"], may_be_empty=["b"])) == [
        ("toy.txt, line 3", {"a": "x\r\ny", "b": "2"}),
        ("toy.txt, line 4", {"a": "3", "b": ""}),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,c\n1,2\n", r"toy\.txt has the columns a, c; wanted: a, b"),
        ("a,b\n1,2\n1,2,3\n", r"line 3 has another number of cells than the header"),
        ("a,b\n1\n", r"line 2 has another number of cells"),
        ("a,b\n1, \n", r"line 2: b is empty; fill it in"),
        ('a,b\n"1,2\n', r"line \d is no row of a table \(.*\); close every quote"),
    ],
)
def test_a_broken_row_is_one_sentence_with_its_line(text, match, write):
    with pytest.raises(BadData, match=match):
        list(read_table(write(text), ["a", "b"]))


def test_other_encodings_and_missing_files_are_said(write, tmp_path):
    with pytest.raises(
        BadData, match=r"toy\.txt is no UTF-8 text \(.*\); save it as UTF-8"
    ):
        list(json_lines(write("é".encode("latin-1")), FIELDS))
    with pytest.raises(BadData, match=r"gone\.txt cannot be read \(No such file"):
        list(json_lines(tmp_path / "gone.txt", FIELDS))
