"""A plan is completed: defaults, then its scale, defects and changes laid over it."""

from copy import deepcopy

import pytest

from seatrial.errors import BadOption, UnknownName
from seatrial.studies.complete import DEFAULTS, change_of, completed

PLAN = {"models": ["m"], "behaviours": ["b"], "methods": ["caa"]}


def complete(scale="small", defects=(), changes=(), **keys):
    return completed({**PLAN, **keys}, scale=scale, defects=defects, changes=changes)


def test_three_lines_are_a_plan():
    whole = complete()

    assert whole == {
        **DEFAULTS,
        "models": {"m": {}},
        "behaviours": {"b": {}},
        "methods": {"caa": {}},
    }


def test_the_defaults_are_those_of_the_design():
    whole = complete()

    assert whole["seeds"] == [0]
    assert whole["split"] == {"fit": 0.4, "select": 0.2, "test": 0.4, "seed": 0}
    assert whole["doses"] == [-1.5, -1, -0.5, 0.5, 1, 1.5]
    assert whole["choose"] == {"layer": {"evenly": 5}}
    assert whole["limit"] == {"select": 24}
    assert whole["guards"] == {"prose": {"budget": 1.10}}
    assert whole["baselines"] == {"instruction": {}}
    assert list(whole["controls"]) == ["random", "shuffled"]
    assert whole["refits"] == 0


def test_neither_the_plan_nor_the_defaults_are_changed():
    plan = {**deepcopy(PLAN), "controls": {"random": 5}, "scales": {"smoke": {}}}
    before, defaults = deepcopy(plan), deepcopy(DEFAULTS)

    whole = completed(plan, scale="smoke")
    whole["controls"]["random"]["draws"] = 99

    assert plan == before
    assert defaults == DEFAULTS


def test_a_named_table_replaces_the_default_one():
    whole = complete(guards={"facts": {}}, controls={"random": 5}, baselines=[])

    assert list(whole["guards"]) == ["facts"]
    assert list(whole["controls"]) == ["random"]
    assert whole["baselines"] == {}


def test_other_tables_have_a_default_by_key():
    whole = complete(
        split={"seed": 3}, limit=40, choose={"heads": [1]}, rule={"then": "log_prob"}
    )

    assert whole["split"] == {"fit": 0.4, "select": 0.2, "test": 0.4, "seed": 3}
    assert whole["limit"] == {"select": 24, "test": 40}
    assert whole["choose"] == {"layer": {"evenly": 5}, "heads": [1]}
    assert whole["rule"] == {"by": "change", "then": "log_prob"}


def test_scale_defects_and_changes_lie_over_the_plan_in_this_order():
    whole = complete(
        refits=1,
        seeds=[1],
        doses=[1],
        limit=2,
        scales={"full": {"refits": 2, "seeds": [2], "doses": [2]}},
        published={
            "bos": {"refits": 3, "seeds": [3]},
            "leak": {"refits": 4, "split": {"leak": True}},
        },
        scale="full",
        defects=("bos", "leak"),
        changes=[{"refits": 5}, {"limit": 9}],
    )

    assert whole["limit"] == {"select": 24, "test": 9}
    assert whole["doses"] == [2]
    assert whole["seeds"] == [3]
    assert whole["refits"] == 5
    assert whole["split"]["leak"] is True
    assert "scales" not in whole and "published" not in whole


def test_small_is_the_plan_as_written_unless_it_has_that_table():
    assert complete(refits=1)["refits"] == 1
    assert complete(refits=1, scales={"small": {"refits": 2}})["refits"] == 2


def test_a_piece_meets_the_defaults_that_the_plan_did_not_replace():
    whole = complete(changes=[{"controls": {"random": 3}}])

    assert whole["controls"] == {"random": {"draws": 3}, "shuffled": {}}


SMOKE = {
    "models": ["a", "b"],
    "seeds": [4, 5],
    "limit": {"fit": 72, "select": 4, "test": "all"},
    "controls": {
        "random": 12,
        "shuffled": {},
        "other-task": 4,
        "even": {"name": "random", "draws": 4},
        "off": 0,
    },
    "guards": {"facts": {"limit": 100}, "prose": {"limit": "all"}, "kl": {}},
    "choose": {"layer": {"evenly": 6}},
    "behaviours": {
        "maps": {
            "source": ["country-capital", "antonym"],
            "limit": {"test": 40},
            "targets": {
                "forms": {
                    "grid": {
                        "only": ["one"],
                        "template": ["a", "b", "c"],
                        "context_words": [0, 60],
                    },
                    "limit": 300,
                }
            },
        },
        "persona": {},
        "alone": {"source": "x.csv"},
    },
    "methods": {
        "fv": {
            "on": ["antonym", "maps", "forms"],
            "grid": {"write": ["residual", "textbook"]},
            "choose": {"layer": [9, 12, 15], "heads": [1, 2], "dose": [1, 2]},
            "limit": {"fit": 150},
            "controls": {"random": 12},
        },
        "icv": {"limit": {"fit": 5}},
    },
    "baselines": {"few-shot": {"choose": {"shots": [1, 2, 3]}}},
    "claims": [{"on": ["antonym"], "model": ["b"], "method": ["fv"]}],
}


def test_smoke_tries_every_part_of_the_plan_in_seconds():
    small = completed(SMOKE, scale="smoke")

    assert small["models"] == {"tiny": {}}
    assert small["seeds"] == [4]
    assert small["limit"] == {"fit": 24, "select": 4, "test": 8}
    assert small["choose"] == {"layer": [0.33, 0.67]}
    assert {k: v["draws"] for k, v in small["controls"].items()} == {
        "random": 3,
        "shuffled": 2,
        "other-task": 1,
        "even": 3,
        "off": 0,
    }
    limits = {label: guard.get("limit") for label, guard in small["guards"].items()}
    assert limits == {
        "facts": {"test": 8},
        "prose": {"fit": 24, "select": 8, "test": 8},
        "kl": None,
    }
    maps, persona, alone = small["behaviours"].values()
    assert maps["source"] == ["country-capital"]
    assert maps["limit"] == {"test": 8}
    assert maps["targets"]["forms"] == {
        "grid": {"only": ["one"], "template": ["a", "b"], "context_words": [0]},
        "limit": {"test": 8},
    }
    assert persona == {"source": ["persona/anti-LGBTQ-rights"]}
    assert alone == {"source": "x.csv"}
    fv = small["methods"]["fv"]
    assert fv["grid"] == {"write": ["residual", "textbook"]}
    assert fv["choose"] == {"layer": [0.33, 0.67], "heads": [1], "dose": [1]}
    assert fv["limit"] == {"fit": 24}
    assert fv["controls"] == {"random": {"draws": 3}}
    assert small["methods"]["icv"]["limit"] == {"fit": 5}
    assert small["baselines"] == {"few-shot": {"choose": {"shots": [1, 2]}}}


def test_at_smoke_what_names_a_source_that_is_left_out_names_its_list():
    small = completed(SMOKE, scale="smoke")

    assert small["methods"]["fv"]["on"] == ["maps", "forms"]
    assert small["claims"] == [{"on": ["maps"], "method": ["fv"]}]


def test_a_scale_named_smoke_lies_over_what_smoke_makes():
    scales = {"smoke": {"models": ["other"], "limit": 50, "choose": {"layer": [1, 2, 3]}}}

    small = completed({**SMOKE, "scales": scales}, scale="smoke")

    assert small["models"] == {"other": {}}
    assert small["limit"]["test"] == 50
    assert small["choose"] == {"layer": [1, 2, 3]}


@pytest.mark.parametrize(
    "keys",
    [
        {"seeds": 3},
        {"seeds": []},
        {"choose": {"layer": 3}},
        {"limit": {"tets": 3, "test": "many", "fit": 2.5}},
        {"behaviours": {"b": {"source": 3, "limit": {"x": 1}}}},
        {"behaviours": {"b": {"source": [3]}}},
        {"methods": {"m": {"grid": 3, "choose": [], "limit": {"test": 1}, "on": 3}}},
        {"claims": 3},
        {"claims": [3]},
        {"controls": {"random": {"draws": "many"}}},
    ],
)
def test_smoke_leaves_what_has_another_shape_for_the_reader_to_refuse(keys):
    complete("smoke", **keys)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: complete("ful", scales={"full": {}}), UnknownName,
         "unknown scale 'ful'; known: full, small, smoke. Did you mean 'full'?"),
        (lambda: complete(defects=["lek"], published={"leak": {}}), UnknownName,
         "unknown published defect 'lek'; known: leak. Did you mean 'leak'?"),
        (lambda: complete(defects=["leak"]), UnknownName,
         "unknown published defect 'leak'; known: none"),
        (lambda: complete(models=[]), BadOption,
         "the plan has no models; name at least one under 'models'"),
        (lambda: completed({"models": ["m"]}), BadOption, "the plan has no behaviours"),
        (lambda: complete(choose=3), BadOption, "choose is 3; write a table of keys"),
        (lambda: complete(methods={}), BadOption, "the plan has no methods"),
        (lambda: complete(changes=[{"scales": {}}]), BadOption, "no key 'scales'"),
    ],
)  # fmt: skip
def test_what_cannot_be_completed(call, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        call()


def test_a_change_is_one_line_of_toml():
    assert change_of("limit.test = 40") == {"limit": {"test": 40}}
    assert change_of('models = ["tiny"]\n') == {"models": ["tiny"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("models = tiny", "--set 'models = tiny' is no line of TOML .*; write KEY = VALUE"),
        ("", "--set '' is no line; write KEY = VALUE with texts in quotes"),
        ("a = 1\nb = 2", "is no line; write KEY = VALUE"),
        (f"seeds = [{'9' * 5000}]", "is no line of TOML"),
        ("x = " + "[" * 5000, "is no line of TOML"),
    ],
)
def test_a_change_that_is_none(line, message):
    with pytest.raises(BadOption, match=message):
        change_of(line)
