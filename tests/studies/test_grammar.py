"""Shorthands are written out once and for all, and pieces of plan meet by one law."""

import datetime
import string
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadOption
from seatrial.studies.grammar import (
    KEYS,
    PIECE_KEYS,
    Exactly,
    at,
    brief,
    is_spread,
    label_of,
    laid_over,
    plain_values,
    written_out,
)

LABELS = st.text(string.ascii_lowercase, min_size=1, max_size=3)
NAMES = st.lists(LABELS, unique=True, max_size=3)
NUMBERS = st.integers(0, 9)
OPTIONS = st.dictionaries(st.sampled_from("pqrs"), NUMBERS, max_size=3)
LIMITS = st.one_of(
    NUMBERS, st.just("all"), st.dictionaries(st.sampled_from(["fit", "test"]), NUMBERS)
)


def optional(**parts):
    return st.fixed_dictionaries({}, optional=parts)


def named(entry):
    return st.one_of(NAMES, st.dictionaries(LABELS, entry, max_size=3))


TARGET = st.one_of(LABELS, optional(limit=LIMITS, conditions=named(OPTIONS), shots=NUMBERS))
METHOD = st.one_of(
    LABELS,
    optional(limit=LIMITS, rule=LABELS, controls=named(NUMBERS), layer=NUMBERS),
)
BEHAVIOUR = optional(
    source=st.one_of(LABELS, NAMES), fit=LABELS, targets=named(TARGET), limit=LIMITS
)
PIECE = optional(
    models=named(OPTIONS),
    conditions=named(OPTIONS),
    behaviours=st.dictionaries(LABELS, BEHAVIOUR, max_size=2),
    methods=named(METHOD),
    controls=named(st.one_of(NUMBERS, OPTIONS)),
    limit=LIMITS,
    rule=LABELS,
    refits=NUMBERS,
    choose=st.just({"layer": {"evenly": 6}}),
)
PLAN = st.builds(lambda plan, scales: {**plan, **scales}, PIECE, optional(
    scales=st.dictionaries(LABELS, PIECE, max_size=2),
    published=st.dictionaries(LABELS, PIECE, max_size=1),
))  # fmt: skip


def kinds(value):
    """The same value with the kinds of its tables, which equality does not see."""
    if isinstance(value, dict):
        return isinstance(value, Exactly), {key: kinds(each) for key, each in value.items()}
    return value


@given(PLAN)
def test_a_plan_written_out_twice_stays_the_same(plan):
    before = deepcopy(plan)

    once = written_out(plan)

    assert kinds(written_out(once)) == kinds(once)
    assert plan == before


@given(PIECE)
def test_a_piece_over_nothing_and_nothing_over_a_piece_are_the_piece(piece):
    piece = written_out(piece)

    assert laid_over(piece, {}) == laid_over({}, piece) == piece


@given(PIECE, PIECE)
def test_a_piece_laid_over_twice_says_nothing_new(base, piece):
    base, piece = written_out(base), written_out(piece)

    once = laid_over(base, piece)

    assert laid_over(once, piece) == once


@given(PIECE, PIECE)
def test_what_a_piece_says_holds(base, piece):
    base, piece = written_out(base), written_out(piece)

    met = laid_over(base, piece)

    assert met.keys() == {**base, **piece}.keys()
    for key, value in piece.items():
        if key in ("models", "methods", "conditions", "controls"):
            is_list = isinstance(value, Exactly)
            labels = value.keys() if is_list else value.keys() | base.get(key, {}).keys()
            assert met[key].keys() == labels
        elif not isinstance(value, dict):
            assert met[key] == value


TABLES = st.recursive(
    st.fixed_dictionaries({}, optional={name: NUMBERS for name in "pq"}),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"p": NUMBERS, "q": NUMBERS, "deep": inner, "grid": OPTIONS}
    ),
    max_leaves=4,
)


@given(TABLES, TABLES, TABLES)
def test_without_lists_it_does_not_matter_which_two_meet_first(one, two, three):
    left = laid_over(laid_over(one, two), three)
    right = laid_over(one, laid_over(two, three))

    # An option that a later piece fixes again may leave an empty grid behind.
    assert settled(left) == settled(right)


def settled(table):
    return {
        key: settled(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value != {}
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"models": ["a"]}, {"models": {"a": {}}}),
        (
            {"models": ["a", {"name": "b", "dtype": "float16"}]},
            {"models": {"a": {}, "b": {"name": "b", "dtype": "float16"}}},
        ),
        ({"models": {"a": "b/c"}}, {"models": {"a": {"name": "b/c"}}}),
        ({"conditions": ["base"]}, {"conditions": {"base": {}}}),
        (
            {"behaviours": ["files/pessimism.csv"]},
            {"behaviours": {"pessimism": {"source": "files/pessimism.csv"}}},
        ),
        ({"behaviours": {"a": "b.csv"}}, {"behaviours": {"a": {"source": "b.csv"}}}),
        (
            {"behaviours": {"a": {"targets": ["open"], "fit": "rewrite", "limit": 5}}},
            {
                "behaviours": {
                    "a": {
                        "targets": {"open": {}},
                        "fit": {"task": "rewrite"},
                        "limit": {"test": 5},
                    }
                }
            },
        ),
        (
            {"behaviours": {"a": {"targets": {"t": "open", "u": {"limit": "all"}}}}},
            {
                "behaviours": {
                    "a": {
                        "targets": {
                            "t": {"task": "open"},
                            "u": {"limit": {"fit": "all", "select": "all", "test": "all"}},
                        }
                    }
                }
            },
        ),
        (
            {"behaviours": {"a": {"targets": {"t": {"conditions": ["base"]}}}}},
            {"behaviours": {"a": {"targets": {"t": {"conditions": {"base": {}}}}}}},
        ),
        (
            {"guards": {"prose": {"limit": 8}, "g": "facts"}},
            {"guards": {"prose": {"limit": {"test": 8}}, "g": {"task": "facts"}}},
        ),
        ({"controls": {"random": 5}}, {"controls": {"random": {"draws": 5}}}),
        (
            {"methods": {"m": {"rule": "mc1", "limit": {"fit": 5}, "controls": {"r": 2}}}},
            {
                "methods": {
                    "m": {
                        "rule": {"by": "mc1"},
                        "limit": {"fit": 5},
                        "controls": {"r": {"draws": 2}},
                    }
                }
            },
        ),
        (
            {"methods": ["my_pkg.mod:MyMethod"]},
            {"methods": {"my_pkg.mod:MyMethod": {}}},
        ),
        (
            {"methods": {"shipped": "v.safetensors"}},
            {"methods": {"shipped": {"name": "v.safetensors"}}},
        ),
        ({"baselines": ["few-shot"]}, {"baselines": {"few-shot": {}}}),
        ({"rule": "slope"}, {"rule": {"by": "slope"}}),
        ({"limit": 48}, {"limit": {"test": 48}}),
        ({"limit": "all"}, {"limit": {"fit": "all", "select": "all", "test": "all"}}),
        (
            {"models": {"m": {"with": {"limit": 5, "methods": {"fv": {"layer": 1}}}}}},
            {
                "models": {
                    "m": {
                        "with": {"limit": {"test": 5}, "methods": {"fv": {"layer": 1}}}
                    }
                }
            },
        ),
        (
            {"scales": {"full": {"models": ["a"], "limit": 3}}},
            {"scales": {"full": {"models": {"a": {}}, "limit": {"test": 3}}}},
        ),
        (
            {"published": {"test": {"rule": "mc1"}}},
            {"published": {"test": {"rule": {"by": "mc1"}}}},
        ),
        ({"choose": {"layer": {"every": 2}}}, {"choose": {"layer": {"every": 2}}}),
    ],
)  # fmt: skip
def test_shorthands(written, meant):
    assert written_out(written) == meant


def test_a_shorthand_is_none_where_it_is_an_option():
    written = {"methods": {"m": {"fit": "x", "with": 3}}, "guards": {"g": {"rule": "y"}}}

    assert written_out(written) == written


@pytest.mark.parametrize(
    ("base", "piece", "met"),
    [
        # A list says which, a table says how.
        (
            {"methods": {"a": {"layer": 1}, "b": {}}},
            {"methods": ["a", "c"]},
            {"methods": {"a": {"layer": 1}, "c": {}}},
        ),
        (
            {"methods": {"a": {"layer": 1}, "b": {}}},
            {"methods": {"a": {"read": "last"}, "c": {}}},
            {"methods": {"a": {"layer": 1, "read": "last"}, "b": {}, "c": {}}},
        ),
        (
            {"conditions": ["base", {"name": "dialogue", "size": 6}]},
            {"conditions": ["dialogue"]},
            {"conditions": {"dialogue": {"name": "dialogue", "size": 6}}},
        ),
        (
            {"methods": {"mine": "package.module:Method"}},
            {"methods": ["mine"]},
            {"methods": {"mine": {"name": "package.module:Method"}}},
        ),
        ({"guards": {"prose": {"limit": 8}}}, {"guards": []}, {"guards": {}}),
        (
            {"guards": {"prose": {"limit": 8}}},
            {"guards": {}},
            {"guards": {"prose": {"limit": {"test": 8}}}},
        ),
        # Spreads are values.
        (
            {"choose": {"layer": {"evenly": 6}}},
            {"choose": {"layer": {"every": 2}}},
            {"choose": {"layer": {"every": 2}}},
        ),
        (
            {"choose": {"layer": [1, 2]}},
            {"choose": {"layer": {"every": 2}}},
            {"choose": {"layer": {"every": 2}}},
        ),
        # Tables meet, all else is replaced.
        ({"limit": 5}, {"limit": {}}, {"limit": {"test": 5}}),
        ({"limit": 5}, {"limit": {"fit": 3}}, {"limit": {"test": 5, "fit": 3}}),
        ({"doses": [1, 2]}, {"doses": [3]}, {"doses": [3]}),
        (
            {"rule": {"by": "accuracy", "then": "log_prob"}},
            {"rule": {"split": "test"}},
            {"rule": {"by": "accuracy", "then": "log_prob", "split": "test"}},
        ),
        (
            {"behaviours": {"b": {"source": ["x", "y"]}}},
            {"behaviours": {"b": {"source": ["z"], "targets": ["open"]}}},
            {"behaviours": {"b": {"source": ["z"], "targets": {"open": {}}}}},
        ),
        # What stands nearer holds: fixed, in grid, or in choose.
        (
            {"methods": {"m": {"choose": {"layer": [1], "dose": [2]}}}},
            {"methods": {"m": {"layer": 3}}},
            {"methods": {"m": {"choose": {"dose": [2]}, "layer": 3}}},
        ),
        (
            {"methods": {"m": {"layer": 3, "dose": 4}}},
            {"methods": {"m": {"choose": {"dose": [1, 2]}}}},
            {"methods": {"m": {"layer": 3, "choose": {"dose": [1, 2]}}}},
        ),
        (
            {"methods": {"m": {"grid": {"write": ["a"]}}}},
            {"methods": {"m": {"choose": {"write": ["a", "b"]}}}},
            {"methods": {"m": {"grid": {}, "choose": {"write": ["a", "b"]}}}},
        ),
        # The plan's own keys are no options.
        ({"limit": 5}, {"choose": {"limit": [1]}}, {"limit": {"test": 5},
                                                    "choose": {"limit": [1]}}),
    ],
)  # fmt: skip
def test_how_pieces_meet(base, piece, met):
    assert laid_over(written_out(base), written_out(piece)) == met


def test_all_lifts_the_limits_of_the_plan_and_no_nearer_ones():
    plan = {"limit": 5, "guards": {"prose": {"limit": 8}}}

    met = laid_over(written_out(plan), written_out({"limit": "all"}))

    assert met["limit"]["test"] == "all"
    assert met["guards"]["prose"]["limit"] == {"test": 8}


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        ({"modles": []}, r"the plan has no key 'modles' \(did you mean 'models'\?\); its "
                         f"keys: {', '.join(KEYS)}"),
        ({"scales": {"full": {"limt": 3}}}, r"^scales.full has no key 'limt' \(did you"),
        ({"scales": {"full": {"scales": {}}}}, "scales.full has no key 'scales'.*; its "
                                               f"keys: {', '.join(PIECE_KEYS)}"),
        ({"models": {"m": {"with": {"models": []}}}},
         "models.m.with has no key 'models' .*; its keys: seeds, "),
        ({"published": {"a b": {"x": 1}}}, 'published."a b" has no key'),
        ({"models": "m"}, "models is 'm'; write a list of names or a table of tables"),
        ({"models": 3}, "models is 3; write a list of names or a table of tables"),
        ({"models": [3]}, "models lists 3; write a name, or a table with the key 'name'"),
        ({"behaviours": [{"name": "x"}]}, "write a name, or a table with the key 'source'"),
        ({"guards": [{"name": "x"}]}, "write a name, or a table with the key 'task'"),
        ({"models": [""]}, "models lists ''; write a name"),
        ({"behaviours": ["a/x.csv", "b/x.csv"]},
         "behaviours lists 'x' twice; give each a label of its own in a table of tables, "
         r'such as x-2 = \{ source = "b/x.csv" \}'),
        ({"models": {"m": 3}}, "models.m is 3; write a table or a name"),
        ({"controls": {"random": True}},
         "controls.random is True; write a table, a name, or draws"),
        ({"behaviours": {"b": {"targets": 3}}},
         "behaviours.b.targets is 3; write a list of names or a table of tables"),
        ({"behaviours": {"b": {"fit": 3}}}, "behaviours.b.fit is 3; write a table of keys"),
        ({"limit": 2.5}, 'limit is 2.5; write a number of test items, "all", or a table'),
        ({"limit": True}, 'limit is True; write a number of test items, "all"'),
        ({"rule": 3}, "rule is 3; write a table of keys and values"),
        ({"scales": 3}, "scales is 3; write a table of keys and values"),
        ({"scales": {"full": 3}}, "scales.full is 3; write a table"),
        ({"models": {"m": {"with": 3}}}, "models.m.with is 3; write a table"),
        ({"doses": [float("nan")]}, "doses is nan; write a finite number"),
        ({"doses": [float("inf")]}, "doses is inf; write a finite number"),
        ({"guards": {"g": {"budget": float("-inf")}}}, "guards.g.budget is -inf; write a"),
        ({"guards": {"g": {"budget": float("nan")}}}, "guards.g.budget is nan; write a"),
        ({"seeds": [10**30]}, "seeds is too large; write a number below 9e18"),
        ({"seeds": [10**9999]}, "seeds is too large; write a number below 9e18"),
        ({"methods": {"m": {"day": datetime.date(2026, 1, 2)}}},
         "methods.m.day is datetime.date.* write a text in quotes, a number, true or fals"),
        ({"methods": {"m": {"x": None}}}, "methods.m.x is None; write a text in quotes"),
        ({"methods": {" ": {}}}, "methods has a key without a name; name it"),
        ({"methods": {3: {}}}, "methods has a key without a name; name it"),
    ],
)  # fmt: skip
def test_what_no_plan_says_is_refused_in_a_sentence(piece, message):
    with pytest.raises(BadOption, match=message) as caught:
        written_out(piece)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_only_a_budget_may_have_no_end():
    guards = {"prose": {"budget": float("inf")}}

    assert written_out({"guards": guards}) == {"guards": guards}


def test_values_of_python_become_those_of_toml():
    assert plain_values({"a": (1, Path("x.csv"))}, "") == {"a": [1, "x.csv"]}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("pessimism.csv", "pessimism"),
        ("a/b.c.jsonl", "b.c"),
        ("persona/openness", "persona/openness"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("package.module:Method", "package.module:Method"),
    ],
)
def test_a_file_is_labelled_by_its_stem_and_all_else_by_its_name(name, label):
    assert label_of(name) == label


def test_places_are_written_as_toml_writes_them():
    assert at(at("", "behaviours"), "factor/news") == 'behaviours."factor/news"'


def test_long_values_are_shown_in_brief():
    assert len(brief(list(range(1000)))) == 60


@pytest.mark.parametrize(
    ("value", "is_one"),
    [({"evenly": 6}, True), ({"every": 2}, True), ({"evenly": 6, "every": 2}, False),
     ({}, False), ([1], False), ({"evenly": 1, "x": 2}, False)],
)  # fmt: skip
def test_what_a_spread_is(value, is_one):
    assert is_spread(value) is is_one
