"""A completed plan is read strictly, and each mistake is answered in one sentence."""

from math import inf
from pathlib import Path

import pytest

from seatrial.errors import BadOption, SeatrialError, UnknownName
from seatrial.studies.complete import completed
from seatrial.studies.plan import (
    BehaviourPlan,
    Claim,
    ConditionPlan,
    ControlPlan,
    Limit,
    ModelPlan,
    Rule,
    TargetPlan,
)
from seatrial.studies.reading import plans_of

PLAN = {
    "models": ["m"],
    "behaviours": {"b": {"source": "antonym", "targets": ["zero-shot"]}},
    "methods": {"fv": {"name": "function-vector"}},
}


def read(folder=None, **keys):
    return plans_of(completed({**PLAN, **keys}), folder)


def behaviour(**keys):
    [plan] = read(behaviours={"b": {"source": "antonym", **keys}})
    return plan.behaviours[0]


def target(**keys):
    return behaviour(targets={"t": keys}).targets[0]


def method(**keys):
    [plan] = read(methods={"fv": {"name": "function-vector", **keys}})
    return plan.methods[0]


def test_a_short_plan_has_everything():
    [plan] = plans_of(
        completed({"models": ["m"], "behaviours": ["pessimism.csv"], "methods": ["caa"]})
    )

    assert plan.model == ModelPlan("m", "m")
    assert plan.seeds == (0,)
    assert plan.conditions == (ConditionPlan("base", "base"),)
    assert plan.doses == (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)
    assert plan.rule == Rule("change")
    assert plan.limit == Limit(select=24)
    assert plan.behaviours == (BehaviourPlan("pessimism", "pessimism", "pessimism.csv"),)
    assert [m.label for m in plan.methods] == ["caa"]
    assert [b.label for b in plan.baselines] == ["instruction"]
    assert plan.controls == (
        ControlPlan("random", "random", {}),
        ControlPlan("shuffled", "shuffled", {}),
    )
    assert [(guard.label, guard.budget) for guard in plan.guards] == [("prose", 1.1)]
    assert plan.claims == ()


def test_each_model_lays_over_the_plan_for_itself():
    models = [
        {"name": "a/b", "dtype": "float16", "with": {"methods": {"fv": {"layer": 11}}}},
        "c",
    ]
    methods = {"fv": {"choose": {"layer": [1, 2], "heads": [3]}}}

    first, second = read(models=models, methods=methods)

    assert first.model == ModelPlan("a/b", "a/b", "float16")
    assert first.methods[0].options == {"layer": 11}
    assert first.methods[0].choose == {"heads": [3]}
    assert second.methods[0].options == {}
    assert second.methods[0].choose == {"layer": [1, 2], "heads": [3]}


def test_options_are_what_a_plan_does_not_say_itself():
    whole = target(task="map", shots=3, grid={"template": ["a"]}, matters=0.05, limit=9)

    assert whole == TargetPlan(
        "t",
        "map",
        {"shots": 3},
        grid={"template": ["a"]},
        limit=Limit(test=9),
        matters=0.05,
    )
    assert method(heads=3, dose=4, on="b").options == {"heads": 3}
    assert method(heads=3, dose=4, on="b").on == ("b",)
    assert method(heads=3, dose=4).dose == 4.0


def test_a_list_of_sources_is_a_family():
    [plan] = read(
        behaviours={"maps": {"source": ["antonym", "x/own.csv"], "targets": ["zero-shot"]}}
    )

    assert [(b.label, b.family, b.source) for b in plan.behaviours] == [
        ("antonym", "maps", "antonym"),
        ("own", "maps", "x/own.csv"),
    ]


def test_paths_are_relative_to_the_plan(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    absolute = str(tmp_path / "elsewhere.csv")

    [plan] = read(
        folder=tmp_path,
        models=["checkpoint"],
        behaviours={
            "b": {
                "source": ["own.csv", "antonym", absolute],
                "targets": {"t": {"source": "../prompts.jsonl"}},
            }
        },
        methods={"shipped": "v.safetensors", "mine": "package.module:Method", "caa": {}},
        guards={"g": {"source": "texts.jsonl"}},
    )

    assert plan.model == ModelPlan("checkpoint", str(tmp_path / "checkpoint"))
    sources = [b.source for b in plan.behaviours]
    assert sources == [str(tmp_path / "own.csv"), "antonym", absolute]
    assert plan.behaviours[0].targets[0].source == str(tmp_path / "../prompts.jsonl")
    names = [m.name for m in plan.methods]
    assert names == [str(tmp_path / "v.safetensors"), "package.module:Method", "caa"]
    assert plan.guards[0].source == str(tmp_path / "texts.jsonl")


def test_a_nearer_rule_lies_over_that_of_the_plan():
    plan_rule = {"by": "accuracy", "then": "log_prob"}

    [plan] = read(
        rule=plan_rule,
        methods={"a": {"rule": {"split": "test"}}, "b": {"rule": "slope"}, "c": {}},
    )

    assert [m.rule for m in plan.methods] == [
        Rule("accuracy", "log_prob", "test"),
        Rule("slope", "log_prob"),
        None,
    ]


def test_nearer_controls_lie_over_those_of_the_plan():
    [plan] = read(
        controls={"random": 5, "shuffled": 3},
        methods={"a": {"controls": {"random": 7}}, "b": {"controls": ["random"]}, "c": {}},
    )

    draws = [
        m.controls and {label: c.draws for label, c in m.controls.items()}
        for m in plan.methods
    ]
    assert draws == [{"random": 7, "shuffled": 3}, {"random": 5}, None]


def test_a_control_has_twelve_draws_unless_the_plan_says_how_many():
    [plan] = read(controls={"random": 5, "shuffled": {}})

    assert [control.draws for control in plan.controls] == [5, 12]


def test_all_limits_are_lifted_where_they_can_stand():
    assert method(limit="all").fit_limit == "all"
    assert target(limit="all").limit == Limit(select="all", test="all")
    assert behaviour(limit={"fit": 5, "test": "all"}).limit == Limit(fit=5, test="all")


def test_doses_are_in_order_and_without_0():
    [plan] = read(doses=[1, 0, -2, 0.5])

    assert plan.doses == (-2.0, 0.5, 1.0)


@pytest.mark.parametrize("budget", [inf, "inf", 0, 1.05])
def test_budgets(budget):
    [plan] = read(guards={"prose": {"budget": budget}})

    assert plan.guards[0].budget == float(budget)


CLAIMS = {
    "behaviours": {
        "maps": {
            "source": ["antonym", "present-past"],
            "targets": {"forms": {"grid": {"template": ["a", "b"]}}, "plain": {}},
        },
        "own": {"source": "own.csv"},
    },
    "methods": {"fv": {"grid": {"write": ["residual", "textbook"]}}, "caa": {}},
    "guards": {"prose": {}, "facts": {}},
}


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"that": "works"},
        {"method": ["fv"], "on": ["maps"], "model": ["m"]},
        {"method": "fv write=residual", "on": "antonym"},
        {"on": ["propensity"]},  # a target that own.csv may have by default
        {"that": "better", "than": "instruction"},
        {"that": "not worse", "than": "fv write=textbook"},
        {"that": "falls", "along": "template"},
        {"that": "rises", "along": "template", "on": ["forms"]},
        {"that": "suffers", "on": ["facts"]},
        {"that": "suffers", "on": ["maps"]},
        {"that": "works away"},
        {"that": "reliable"},
        {"that": "specific"},
    ],
)
def test_claims_about_what_is_there(claim):
    [plan] = read(**CLAIMS, claims=[claim])

    names = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in claim.items()}
    words = {k: claim[k] for k in ("that", "than", "along") if k in claim}
    assert plan.claims == (Claim(**{**names, **words}),)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"on": ["mpas"]}, "unknown behaviour or target in claim 1 'mpas'; known: .* Did "
                           "you mean 'maps'"),
        ({"on": ["prose"]}, "unknown behaviour or target in claim 1 'prose'"),
        ({"method": ["icv"]}, "unknown method in claim 1 'icv'; known: caa, fv, fv write="),
        ({"method": ["instruction"]}, "unknown method in claim 1 'instruction'"),
        ({"method": ["fv write=x"]}, "unknown method in claim 1 'fv write=x'"),
        ({"model": ["n"]}, "unknown model in claim 1 'n'; known: m"),
        ({"that": "better", "than": "x"}, "unknown method or baseline in than of claim 1"),
        ({"that": "better"}, "claim 1: a claim that 'better' needs 'than'"),
        ({"than": "fv"}, "claim 1: a claim that 'works' takes no 'than'"),
        ({"that": "falls"}, "claim 1: a claim that 'falls' needs 'along'"),
        ({"that": "falls", "along": "shots"},
         "unknown option of a grid in along of claim 1 'shots'; known: template"),
        ({"that": "falls", "along": "template", "on": ["plain"]},
         "unknown option of a grid in along of claim 1 'template'; known: none"),
        ({"that": "suffers", "on": ["forms"]}, "unknown behaviour or guard in claim 1 'fo"),
        ({"that": "wins"}, "claim 1, that: input should be 'works', .*got 'wins'"),
        ({"taht": "works"}, r"claim 1 has no key 'taht' \(did you mean 'that'\?\); its "
                            "keys: that, method, on, model, than, along"),
        ({"method": 3}, "method of claim 1 is 3; write a list of names"),
        ({"on": ["maps", "maps"]}, "on of claim 1 lists 'maps' twice"),
        (3, "claim 1 is 3; write a table of keys and values"),
    ],
)  # fmt: skip
def test_claims_about_what_is_not_there(claim, message):
    with pytest.raises(SeatrialError, match=message):
        read(**CLAIMS, claims=[claim])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"claims": 3}, "claims is 3; write a list of tables"),
        ({"claims": [{}, {}]}, "claims say one thing twice; state each once"),
        ({"claims": [{"that": "suffers"}], "guards": []},
         "claim 1 says that a guard suffers, and the plan has no guards"),
        ({"seeds": 3}, "seeds is 3; write a list of integers from 0 to 1,000,000,000"),
        ({"seeds": []}, r"seeds is \[\]; write a list"),
        ({"seeds": [-1]}, r"seeds is \[-1\]; write a list of integers from 0"),
        ({"seeds": [True]}, r"seeds is \[True\]"),
        ({"seeds": [0.5]}, r"seeds is \[0.5\]"),
        ({"seeds": [10**12]}, "seeds is .* to 1,000,000,000"),
        ({"seeds": [1, 1]}, "seeds lists 1 twice; name each once"),
        ({"doses": []}, "doses lists no dose but 0, which is always there; add one"),
        ({"doses": [0]}, "doses lists no dose but 0"),
        ({"doses": 1}, "doses is 1; write a list of numbers, none beyond a million"),
        ({"doses": ["1"]}, r"doses is \['1'\]; write a list of numbers"),
        ({"doses": [1e300]}, r"doses is \[1e\+300\]; write a list of numbers, none beyond"),
        ({"doses": [10**18]}, "doses is .*, none beyond a million"),
        ({"doses": [1, 1.0]}, "doses lists 1.0 twice"),
        ({"refits": -1}, "refits is -1; write an integer from 0 to 1,000"),
        ({"refits": 10**9}, "refits is 1000000000; write an integer from 0 to 1,000"),
        ({"refits": 1.5}, "refits is 1.5; write an integer"),
        ({"split": {"fit": 0.5}}, "split: shares of fit, select and test must be above 0 "
                                  "and sum to 1, not fit 0.5, select 0.2, test 0.4"),
        ({"split": {"fit": -0.4, "test": 1.2}}, "not fit -0.4, select 0.2, test 1.2"),
        ({"split": {"fit": "0.4"}}, r"split, fit: input should be a valid number \(got '0"),
        ({"split": {"leak": 1}}, r"split, leak: input should be a valid boolean \(got 1\)"),
        ({"split": {"seed": -1}}, "split: seed is -1; write an integer from 0 to 1,000,00"),
        ({"split": {"tset": 1}}, r"split has no key 'tset' \(did you mean 'test'\?\); its "
                                 "keys: fit, select, test, seed, leak"),
        ({"transfer": "conditions"}, "unknown transfer 'conditions'; known: behaviour, co"),
        ({"transfer": 3}, "transfer is 3; write a list of names"),
        ({"rule": {"buy": "x"}}, "rule has no key 'buy' .*its keys: by, then, split"),
        ({"rule": {"split": "fit"}}, "rule, split: input should be 'select' or 'test'"),
        ({"limit": {"tets": 3}}, "limit has no key 'tets' .*its keys: fit, select, test"),
        ({"limit": 1}, r"limit.test is 1; write a number of items from 2 on \(one gives n"),
        ({"limit": {"fit": -5}}, "limit.fit is -5; write a number of items from 2 on"),
        ({"limit": {"fit": "al"}}, 'limit.fit is \'al\'; write .*, or "all"'),
        ({"conditions": []}, "conditions is empty; name at least one, such as base"),
        ({"conditions": {"a": {"name": 3}}}, "conditions.a.name is 3; write a text in quo"),
        ({"choose": {"layer": []}}, "choose: layer has no value to try; list at least one"),
        ({"choose": {"layer": [3.5]}}, "choose: layer = 3.5 is no share"),
        ({"choose": {"rule": ["a"]}}, "choose lists 'rule', which is no option to try"),
        ({"choose": {"dose": [0]}}, "choose.dose lists no dose but 0"),
        # Models.
        ({"models": {"m": {"dtyp": "x"}}}, r"models.m has no key 'dtyp' \(did you mean "
         r"'dtype'\?\); its keys: name, dtype, device, revision, with"),
        ({"models": {"m": {"label": "x"}}}, "models.m has no key 'label'"),
        ({"models": {"m": {"dtype": "int4"}}}, "models.m, dtype: input should be 'auto', "),
        ({"models": {"m": {"name": 3}}}, "models.m.name is 3; write a text in quotes"),
        # Methods.
        ({"methods": {"m": {"dose": "a"}}}, "methods.m.dose is 'a'; write one number other "
                                            "than 0, or list several under choose.dose"),
        ({"methods": {"m": {"dose": [1, 2]}}}, "methods.m.dose is .* list several under"),
        ({"methods": {"m": {"dose": 0}}}, "methods.m.dose is 0; write one number other"),
        ({"methods": {"m": {"dose": 1, "choose": {"dose": [1]}}}},
         "methods.m.dose has a fixed value and stands in choose, too; say one of the two"),
        ({"methods": {"m": {"heads": 1, "choose": {"heads": [1]}}}},
         "methods.m.heads has a fixed value and stands in choose, too"),
        ({"methods": {"m": {"grid": {"heads": [1]}, "choose": {"heads": [1]}}}},
         "methods.m.heads has values in grid and stands in choose, too"),
        ({"methods": {"m": {"grid": {"dose": [1]}}}}, "methods.m.grid lists 'dose', which"),
        ({"methods": {"m": {"grid": [1]}}}, r"methods.m.grid is \[1\]; write a table of k"),
        ({"methods": {"m": {"grid": {"a": [1, 1]}}}}, "methods.m.grid: a lists a value tw"),
        ({"methods": {"m": {"on": ["bb"]}}},
         "unknown behaviour or target that 'm' is on 'bb'; known: b, zero-shot"),
        ({"methods": {"m": {"on": 3}}}, "methods.m.on is 3; write a list of names"),
        ({"methods": {"m": {"limit": 5}}}, "methods.m.limit has no key 'test'.*its keys:"),
        ({"methods": {"m": {"name": 3}}}, "methods.m.name is 3; write a text in quotes"),
        ({"methods": {"m": {"rule": {"x": 1}}}}, "methods.m.rule has no key 'x'; its keys"),
        ({"methods": {"m": {"doses": []}}}, "methods.m.doses lists no dose but 0"),
        ({"methods": {"m": {"controls": {"random": {"draws": -1}}}}},
         "methods.m.controls.random.draws is -1; write an integer from 0 to 1,000"),
        ({"methods": ["unsteered"]}, "'unsteered' labels the model itself; give the metho"),
        ({"baselines": {"fv": {}}}, "'fv' labels a method and a baseline; rename one of t"),
        ({"controls": {"random": 10**6}}, "controls.random.draws is 1000000; write an int"),
        ({"controls": {"random": 1.5}}, "controls.random.draws is 1.5; write an integer"),
        # Guards.
        ({"guards": {"g": {"budget": -1}}}, "guards.g.budget is -1; write a number from 0 "
                                            "on, or inf"),
        ({"guards": {"g": {"budget": "low"}}}, "guards.g.budget is 'low'"),
        ({"guards": {"g": {"limit": {"fit": 5}}}}, "guards.g.limit has no key 'fit'; its "
                                                   "keys: select, test"),
        ({"guards": {"g": {"task": 3}}}, "guards.g.task is 3; write a text in quotes"),
    ],
)  # fmt: skip
def test_what_no_plan_may_say(keys, message):
    with pytest.raises(SeatrialError, match=message) as caught:
        read(**keys)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sorce": "x"}, r"behaviours.b has no key 'sorce' \(did you mean 'source'\?\); "
                         "its keys: source, fit, targets, instructions, conditions, limit"),
        ({"source": 3}, "behaviours.b.source is 3; write a text in quotes"),
        ({"source": [3]}, r"behaviours.b.source is \[3\]; write a list of names"),
        ({"source": []}, "behaviours, b: source lists nothing"),
        ({"fit": {"task": 3}}, "behaviours.b.fit.task is 3; write a text in quotes"),
        ({"instructions": {"four": "x"}}, "behaviours.b.instructions has no key "
                                          "'four'.*its keys: for, against"),
        ({"instructions": {"for": 3}}, "behaviours.b.instructions.for is 3; write a text"),
        ({"conditions": []}, "behaviours.b.conditions is empty; name at least one"),
        ({"targets": []}, "behaviours.b.targets is empty; name at least one, or leave the "
                          "key out for the default of the source"),
        ({"targets": {"t": {"limit": {"fit": 3}}}}, "behaviours.b.targets.t.limit has no "
                                                    "key 'fit'; its keys: select, test"),
        ({"targets": {"t": {"matters": 0}}}, "targets.t.matters is 0; write a number abov"),
        ({"targets": {"t": {"ceiling": True}}}, "targets.t.ceiling is True; write a table"),
        ({"targets": {"t": {"metric": 3}}}, "targets.t.metric is 3; write a text in quote"),
        ({"targets": {"t": {"grid": {"limit": [1]}}}}, "targets.t.grid lists 'limit', whi"),
        ({"targets": {"t": {"shots": 1, "grid": {"shots": [1]}}}},
         "targets.t.shots has a fixed value and stands in grid, too"),
        ({"targets": {"t": {"chosen_on": "u"}, "v": {}}},
         "unknown target in behaviours.b.targets.t.chosen_on 'u'; known: v"),
        ({"targets": {"t": {"chosen_on": "t"}, "v": {}}}, "chosen_on 't'; known: v"),
        ({"targets": {"t": {"chosen_on": "u"}, "u": {"chosen_on": "v"}, "v": {}}},
         "behaviours.b.targets.t is chosen on 'u', which itself is chosen on 'v'; name 'v"),
    ],
)  # fmt: skip
def test_what_no_behaviour_may_say(entry, message):
    with pytest.raises(SeatrialError, match=message):
        behaviour(**entry)


@pytest.mark.parametrize(
    ("behaviours", "message"),
    [
        ({"a": {"source": ["antonym"]}, "b": {"source": ["antonym"]}},
         r"two behaviours are labelled 'antonym' \(of 'a' and 'b'\); name each source in"),
        ({"a": {"source": ["antonym"]}, "antonym": {}},
         r"two behaviours are labelled 'antonym' \(of 'a' and 'antonym'\)"),
        ({"antonym": {"source": ["antonym", "present-past"]}},
         "'antonym' labels a list of sources and a single behaviour of 'antonym'; rename"),
        ({"a": {"source": ["b", "c"]}, "b": {"source": ["d", "e"]}},
         "'b' labels a list of sources and a single behaviour of 'a'; rename one of them"),
    ],
)  # fmt: skip
def test_labels_that_clash(behaviours, message):
    with pytest.raises(BadOption, match=message):
        read(behaviours=behaviours)


def test_an_unknown_key_of_a_completed_plan_is_refused():
    with pytest.raises(BadOption, match="the plan has no key 'x'"):
        plans_of({**completed(PLAN), "x": 1})


def test_a_defect_without_its_label_is_a_mistake():
    with pytest.raises(UnknownName, match="unknown published defect"):
        completed(PLAN, defects=["bos"])


def test_without_a_folder_paths_are_this_processes():
    assert behaviour(targets=["t"]).source == "antonym"
    assert read(folder=Path("x"))[0].behaviours[0].source == "antonym"
