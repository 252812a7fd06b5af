"""Data shows what it is in a line or a small table, whatever its size."""

import pytest

from seatrial.data import CONCEPTS, MAPS, Concept, MapData, MapPair, load_concept, load_map
from seatrial.data.display import SHOWN, shortened
from seatrial.data.records import ChoiceItem

LONG = "<script>alert(1)</script> & more " * 500


def long_data():
    pairs = tuple(MapPair(f"m/{k}", f"g{k}", f"{LONG}{k}", LONG) for k in range(2000))
    items = tuple(
        ChoiceItem(f"c/{k}", f"g{k}", LONG, (LONG, "no"), 0, category=f"kind {k} {LONG}")
        for k in range(2000)
    )
    return [
        MapData(LONG, LONG, pairs),
        Concept(LONG, LONG, LONG, LONG, LONG, items),
        Concept("empty", "", "", "", "", ()),
    ]


@pytest.mark.parametrize(
    "data",
    [*map(load_concept, CONCEPTS), *map(load_map, MAPS), *long_data()],
    ids=lambda data: data.name[:30],
)
def test_a_repr_is_one_short_line_and_a_page_is_small(data):
    page = data._repr_html_()

    assert len(repr(data)) < 2000
    assert "\n" not in repr(data)
    assert len(page) < 10_000
    assert page.count("<tr>") <= 1 + SHOWN


def test_a_repr_says_what_a_concept_holds():
    shown = repr(load_concept("honesty"))

    assert shown.startswith("<Concept 'honesty': ")
    assert "items in" in shown and " yes" in shown and " no" in shown


def test_a_page_shows_the_first_items_and_says_how_many_there_are():
    data = load_map("country-capital")
    page = data._repr_html_()

    assert all(f"<td>{pair.input}</td>" in page for pair in data.pairs[:SHOWN])
    assert f"<td>{data.pairs[SHOWN].input}</td>" not in page
    assert f"and {len(data.pairs) - SHOWN} more" in page
    assert f"{len(data.pairs)} pairs in" in page


def test_no_text_of_the_data_is_markup():
    for data in long_data():
        page = data._repr_html_()

        assert "<script" not in page
        assert "&amp;" in page or not data.name.startswith("<")


def test_a_long_text_is_cut_and_becomes_one_line():
    assert shortened("one\n two") == "one two"
    assert shortened("x" * 61) == "x" * 57 + "..."
    assert shortened("x" * 60) == "x" * 60
