"""A table of values becomes all of its combinations, in numbers of the model."""

import string
from itertools import pairwise, product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadOption
from seatrial.studies.expand import Shape, expand, resolve, shown, sources_of, spread

SHAPE = Shape(n_layers=30, n_heads=270)
VALUES = st.one_of(
    st.integers(-5, 5),
    st.text(string.printable, max_size=4),
    st.floats(-2, 2),
    st.booleans(),
)
AXES = st.dictionaries(
    st.text(string.ascii_lowercase, min_size=1, max_size=3).filter(
        lambda name: name not in ("layer", "layers", "heads")
    ),
    st.lists(VALUES, min_size=1, max_size=3, unique_by=shown),
    max_size=3,
)


@given(AXES)
def test_every_combination_stands_there_once_with_a_label_of_its_own(axes):
    points = expand(axes, SHAPE)

    assert len(points) == prod(map(len, axes.values()))
    assert len({point.label for point in points}) == len(points)
    assert [tuple(point.values.values()) for point in points] == [*product(*axes.values())]
    assert all(list(point.values) == list(axes) for point in points)


def test_without_axes_there_is_one_point_without_a_label():
    assert expand({}, SHAPE) == [("", {})]


def test_labels_read_as_the_options_do():
    axes = {"template": ["qa"], "context_words": [0], "both_orders": [True], "dose": [1.0]}

    [point] = expand(axes, SHAPE)

    assert point.label == "template=qa context_words=0 both_orders=true dose=1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (2.0, "2"),
        (0.1234567891, "0.1234567891"),
        ([0, 0.5], "[0,0.5]"),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("regex:x", "regex:x"),
        (False, "false"),
        ({"b": 1, "a": "x"}, '{"a": "x", "b": 1}'),
    ],
)
def test_how_values_look_in_labels(value, text):
    assert shown(value) == text


def test_one_value_is_a_list_of_one():
    assert expand({"heads": 3}, SHAPE) == [("heads=3", {"heads": 3})]


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("layer", 5, 5),
        ("layer", 0.0, 0),
        ("layer", 0.5, 14),  # 14.5, and halves go to the even number
        ("layer", 1.0, 29),
        ("layer", 1, 1),
        ("layer", "middle", "middle"),
        ("layers", [0, 0.5, 1.0], [0, 14, 29]),
        ("layers", "high", "high"),
        ("heads", 0.02, 6),
        ("heads", 1.0, 270),
        ("heads", 0.0001, 1),
        ("heads", 10, 10),
        ("strength", 0.5, 0.5),
    ],
)
def test_integers_are_numbers_and_floats_are_shares(name, value, number):
    result = resolve(name, value, SHAPE)

    assert result == number
    assert type(result) is type(number)


@given(st.integers(1, 100), st.integers(1, 100))
def test_a_share_of_heads_that_is_a_number_of_them_is_that_number(n, percent):
    assert resolve("heads", percent / 100, Shape(1, 100 * n)) == percent * n


def test_shares_that_round_to_one_layer_are_one_candidate():
    points = expand({"layer": [0.5, 0.51, 20]}, SHAPE)

    assert [point.values["layer"] for point in points] == [14, 15, 20]
    assert len(expand({"layer": [0.3, 0.31]}, SHAPE)) == 1


def test_one_and_all_heads_are_two_candidates():
    assert [p.values["heads"] for p in expand({"heads": [1, 1.0]}, SHAPE)] == [1, 270]


@pytest.mark.parametrize(
    ("table", "n_layers", "layers"),
    [
        ({"evenly": 5}, 30, [5, 10, 14, 19, 24]),
        ({"evenly": 6}, 24, [3, 7, 10, 13, 16, 20]),
        ({"evenly": 1}, 7, [3]),
        ({"evenly": 5}, 6, [1, 2, 3, 4]),
        ({"evenly": 10**15}, 6, [1, 2, 3, 4]),
        ({"evenly": 5}, 3, [1]),
        ({"evenly": 5}, 2, [0]),
        ({"evenly": 5}, 1, [0]),
        ({"every": 2}, 7, [0, 2, 4, 6]),
        ({"every": 1}, 3, [0, 1, 2]),
        ({"every": 10**15}, 3, [0]),
    ],
)
def test_spreads(table, n_layers, layers):
    assert spread(table, n_layers) == layers


@given(st.integers(1, 60), st.integers(3, 100))
def test_evenly_gives_as_many_layers_as_asked_for_between_the_ends(number, n_layers):
    layers = spread({"evenly": number}, n_layers)

    assert len(layers) == min(number, n_layers - 2)
    assert 0 < layers[0] <= layers[-1] < n_layers - 1
    gaps = [b - a for a, b in pairwise(layers)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert (
        layers == [n_layers - 1 - layer for layer in reversed(layers)] or n_layers % 2 == 0
    )


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"write": []}, "^write has no value to try; list at least one"),
        ({"write": ["a", "b", "a"]}, "^write lists a value twice: a, b, a"),
        ({"dose": [1, 1.0]}, "^dose lists a value twice: 1, 1"),
        ({"layer": [1.5]}, "layer = 1.5 is no share; write one from 0 to 1, or a number"),
        ({"layer": [-0.5]}, "layer = -0.5 is no share"),
        ({"layers": [[0, 7.0]]}, "layer = 7.0 is no share"),
        ({"heads": [0.0]}, "heads = 0.0 is no share; write one above 0 to 1"),
        ({"layer": {"evenly": 0}}, r"\{ evenly = 0 \} is no spread; write a number from 1"),
        ({"layer": {"every": 2.0}}, r"\{ every = 2.0 \} is no spread"),
        ({"layer": {"every": True}}, r"\{ every = True \} is no spread"),
        ({"heads": {"evenly": 3}}, "heads is {'evenly': 3}, which spreads layers; list"),
        (
            {"a": list(range(200)), "b": list(range(200))},
            "a, b have 40,000 combinations; list fewer values, for at most 10,000",
        ),
    ],
)
def test_axes_that_cannot_be_expanded(axes, message):
    with pytest.raises(BadOption, match=message):
        expand(axes, SHAPE)


def test_a_source_has_the_label_of_its_entry():
    assert sources_of("a", "x/own.csv") == {"a": "x/own.csv"}
    assert sources_of("a", "persona/openness") == {"a": "persona/openness"}


def test_a_list_of_sources_makes_one_behaviour_each_labelled_by_its_source():
    assert sources_of("a", ["antonym", "x/own.csv"]) == {
        "antonym": "antonym",
        "own": "x/own.csv",
    }
    assert sources_of("a", ["antonym"]) == {"antonym": "antonym"}


def test_a_family_is_all_of_its_sets():
    sets = sources_of("tan", ["persona", "ai-risk"])

    assert len(sets) == 37
    assert next(iter(sets)) == "persona/anti-LGBTQ-rights"
    assert all(label == source for label, source in sets.items())
    assert len(sources_of("persona", "persona")) == 21


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "behaviours, a: source lists nothing; name at least one"),
        (["antonym", "antonym"], r"are labelled 'antonym' \(antonym and antonym\)"),
        (
            ["x/own.csv", "y/own.csv"],
            r"are labelled 'own' \(x/own.csv and y/own.csv\); name",
        ),
        (["persona", "persona/openness"], "two behaviours are labelled 'persona/openness'"),
    ],
)
def test_sources_whose_labels_clash(source, message):
    with pytest.raises(BadOption, match=message):
        sources_of("a", source)
