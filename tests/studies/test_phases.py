"""What each phase of a unit asks, counted without measuring."""

import json
import shutil
from collections import Counter

import pytest

from seatrial.model import Model
from seatrial.store.records import Unit
from seatrial.studies.arms import arms_of
from seatrial.studies.choose import settings_of
from seatrial.studies.described import described
from seatrial.studies.phases import Phases
from seatrial.studies.study import read_study


@pytest.fixture(scope="module")
def model():
    return Model.load("tiny")


@pytest.fixture
def two(tmp_path, concept):
    """A behaviour of two targets and a second one, as a plan names them."""
    other = tmp_path / "other.jsonl"
    shutil.copy(concept, other)
    targets = {"open": "open", "asked": {"task": "propensity"}}
    return {
        "planted": {"source": str(concept), "targets": targets},
        "other": {"source": str(other), "targets": {"open": "open"}},
    }


@pytest.fixture
def phases_in(plan, model):
    """The phases of one unit of a plan: ``phases_in(seed, doses=[1])``."""

    def make(seed=0, **changes):
        limit = {"fit": 12, "select": 8, "test": 6}
        [own] = read_study(plan(**{"limit": limit, **changes})).plans
        return Phases(model, own, Unit("tiny", seed, own.behaviours[0].label))

    return make


def placed(batches):
    """Every steering that is asked for, with the batch that it is in."""
    return [(batch, each) for batch in batches for each in batch.placed]


def counted(batches, *columns):
    """How many steerings there are by fields of themselves or of their batch."""
    return Counter(
        tuple(getattr(each, c, getattr(batch, c, None)) for c in columns)
        for batch, each in placed(batches)
    )


def asked(batches, *columns):
    """The same without how many."""
    return set(counted(batches, *columns))


def choice(label, target, dose, **settings):
    return {
        "label": label,
        "target": target,
        "settings": settings_of(settings),
        "dose": dose,
    }


# select


def test_select_asks_every_candidate_on_select_items_of_every_target(phases_in, two):
    batches = phases_in(behaviours=two).batches("select")

    assert counted(batches, "target", "label", "settings", "dose") == {
        (target, *cell): 1
        for target in ("open", "asked")
        for cell in (
            ("unsteered", "{}", 0.0),
            ("caa", '{"layer": 1}', 1.0),
            ("caa", '{"layer": 2}', 1.0),
        )
    }
    assert {batch.ask.split for batch in batches} == {"select"}


def test_a_target_that_is_chosen_on_another_asks_nothing_on_select(phases_in, two):
    two["planted"]["targets"]["asked"]["chosen_on"] = "open"
    phases = phases_in(behaviours=two)

    assert asked(phases.batches("select"), "target") == {("open",)}
    own = choice("caa", "open", 1.0, layer=2)
    tested = phases.batches("test", [own])
    assert asked(
        [batch for batch in tested if batch.label == "caa"], "target", "settings"
    ) == {(target, '{"layer": 2}') for target in ("open", "asked", "prose")}


def test_an_arm_with_nothing_to_choose_asks_nothing_on_select(phases_in):
    fixed = {"caa": {"layer": 1}, "free": {"name": "caa", "choose": {"layer": [1, 2]}}}

    assert asked(phases_in(methods=fixed).batches("select"), "label") == {
        ("unsteered",), ("free",),
    }  # fmt: skip
    assert phases_in(methods={"caa": {"layer": 1}}).batches("select") == []


def test_select_is_asked_in_the_base_condition_at_the_first_point(phases_in, concept):
    grid = {"form": ["ab", "yes_no"]}
    target = {"task": "propensity", "grid": grid}
    own = {"planted": {"source": str(concept), "targets": {"asked": target}}}

    batches = phases_in(behaviours=own, conditions=["base", "tools"]).batches("select")

    assert asked(batches, "condition", "point") == {("base", "form=ab")}


def test_a_listed_dose_is_a_candidate_and_a_slope_is_looked_at_from_both_sides(phases_in):
    both = {
        "listed": {"name": "caa", "choose": {"layer": [1, 2], "dose": [0.5, 2]}},
        "sloped": {"name": "caa", "choose": {"layer": [1]}, "rule": "slope"},
        "sloping": {"name": "caa", "choose": {"layer": [1, 2]}, "rule": "slope"},
    }

    batches = phases_in(methods=both).batches("select")

    assert counted(batches, "label", "settings", "dose") == {
        ("unsteered", "{}", 0.0): 1,
        **{("listed", f'{{"layer": {k}}}', d): 1 for k in (1, 2) for d in (0.5, 2.0)},
        **{("sloping", f'{{"layer": {k}}}', d): 1 for k in (1, 2) for d in (-1.0, 1.0)},
    }


def test_a_rule_on_test_items_is_a_defect_that_asks_those(phases_in):
    batches = phases_in(rule={"split": "test"}).batches("select")

    assert {batch.ask.split for batch in batches} == {"test"}


def test_controls_choose_nothing_of_their_own(phases_in):
    assert asked(phases_in().batches("select"), "control") == {("",)}


# price

MANY = [-1, 0.5, 1, 2]
GUARDS = {
    "prose": {"limit": {"select": 2, "test": 2}},
    "facts": {"limit": {"select": 2, "test": 2}, "budget": "inf"},
    "values": {"limit": {"select": 8, "test": 8}},
}


def test_price_asks_the_chosen_options_at_every_dose_above_0(phases_in):
    phases = phases_in(doses=MANY)

    batches = phases.batches("price", [choice("caa", "open", 2.0, layer=2)])

    assert counted(batches, "target", "label", "settings", "dose") == {
        ("prose", "unsteered", "{}", 0.0): 1,
        **{("prose", "caa", '{"layer": 2}', dose): 1 for dose in (0.5, 1.0, 2.0)},
    }
    assert {batch.ask.split for batch in batches} == {"select"}


def test_price_asks_only_guards_with_a_budget(phases_in):
    batches = phases_in(doses=MANY, guards=GUARDS).batches("price")

    assert asked(batches, "role", "target") == {("guard", "prose")}
    priced = {**GUARDS, "values": {**GUARDS["values"], "budget": 0.1}}
    batches = phases_in(doses=MANY, guards=priced).batches("price")
    assert asked(batches, "target") == {("prose",), ("values",)}


def test_price_asks_only_arms_that_are_offered_several_doses(phases_in):
    methods = {
        "fixed": {"name": "caa", "layer": 1, "dose": 2},
        "listed": {"name": "caa", "layer": 1, "choose": {"dose": [0.5, 2]}},
        "single": {"name": "caa", "layer": 1, "doses": [-2, -1, 1]},
        "free": {"name": "caa", "layer": 1},
    }

    batches = phases_in(methods=methods, doses=MANY).batches("price")

    assert asked(batches, "label") == {("unsteered",), ("listed",), ("free",)}
    assert phases_in(doses=[-1, 1]).batches("price") == []


def test_options_that_two_targets_chose_alike_are_priced_once(phases_in, two):
    phases = phases_in(doses=MANY, behaviours=two)
    alike = [choice("caa", target, 2.0, layer=1) for target in ("open", "asked")]
    apart = [alike[0], choice("caa", "asked", 2.0, layer=2)]

    once, twice = (phases.batches("price", choices) for choices in (alike, apart))

    assert counted(once, "label")["caa",] == 3
    assert counted(twice, "label")["caa",] == 6


# test


def test_every_condition_and_point_is_tested_and_controls_where_a_claim_is_judged(
    phases_in, concept
):
    target = {"task": "propensity", "grid": {"form": ["ab", "yes_no"]}}
    own = {"planted": {"source": str(concept), "targets": {"asked": target}}}
    phases = phases_in(behaviours=own, conditions=["base", "tools"])

    batches = phases.batches("test", [choice("caa", "asked", 1.0, layer=2)])

    on_target = [batch for batch in batches if batch.role == "target"]
    places = [(c, p) for c in ("base", "tools") for p in ("form=ab", "form=yes_no")]
    assert counted(on_target, "condition", "point", "label", "control", "dose") == {
        **{(*place, "unsteered", "", 0.0): 1 for place in places},
        **{(*place, "caa", "", dose): 1 for place in places for dose in (-1.0, 1.0)},
        **{("base", "form=ab", "caa", "random", d): 2 for d in (-1.0, 1.0)},
        **{("base", "form=ab", "caa", "shuffled", d): 1 for d in (-1.0, 1.0)},
    }
    assert {batch.ask.split for batch in batches} == {"test"}
    assert asked(on_target, "settings", "kind") == {
        ("{}", "unsteered"), ('{"layer": 2}', "method"), ('{"layer": 2}', "control"),
    }  # fmt: skip


def test_what_was_chosen_is_tested_at_the_doses_of_the_plan_and_at_its_own(phases_in):
    phases = phases_in(doses=MANY)

    batches = phases.batches("test", [choice("caa", "open", 0.5, layer=1)])

    mine = [batch for batch in batches if batch.label == "caa"]
    doses = {dose for _, dose in asked(mine, "target", "dose")}
    assert doses == {-1.0, -0.5, 0.5, 1.0, 2.0}


def test_each_target_is_tested_as_it_chose_and_guards_as_any_target_chose(phases_in, two):
    phases = phases_in(doses=[-1, 1], behaviours=two)
    choices = [
        choice("caa", "open", 2.0, layer=1),
        choice("caa", "asked", 3.0, layer=2),
    ]

    batches = [b for b in phases.batches("test", choices) if b.label == "caa"]

    one, other = '{"layer": 1}', '{"layer": 2}'
    assert asked(batches, "target", "settings", "dose") == {
        *(("open", one, dose) for dose in (-2.0, -1.0, 1.0, 2.0)),
        *(("asked", other, dose) for dose in (-3.0, -1.0, 1.0, 3.0)),
        *(("prose", one, dose) for dose in (-2.0, -1.0, 1.0, 2.0)),
        *(("prose", other, dose) for dose in (-3.0, -1.0, 1.0, 3.0)),
    }


def test_guards_are_tested_in_the_base_condition_and_with_controls_at_one_and_minus_one(
    phases_in,
):
    phases = phases_in(doses=[-2, 0.5], conditions=["base", "tools"])

    batches = phases.batches("test", [choice("caa", "open", 0.5, layer=1)])

    on_guard = [batch for batch in batches if batch.role == "guard"]
    assert asked(on_guard, "condition", "point") == {("base", "")}
    drawn = asked(on_guard, "control", "dose")
    assert {each for each in drawn if each[0]} == {
        (control, dose) for control in ("random", "shuffled") for dose in (-1.0, 1.0)
    }


def test_a_method_that_has_no_other_doses_is_tested_at_those_that_it_has(phases_in):
    batches = phases_in(baselines=["instruction"], doses=MANY).batches("test")

    doses = asked([b for b in batches if b.label == "instruction"], "dose")
    assert doses == {(-1.0,), (1.0,)}


@pytest.mark.parametrize("seed", [0, 3])
def test_draw_k_of_seed_s_has_the_seed_1000_s_plus_1_plus_k(seed, phases_in):
    batches = phases_in(seed, controls={"random": 3, "shuffled": 2}).batches("test")

    seeds = {
        (each.control, each.draw): each.fit.seed
        for _, each in placed(batches)
        if each.kind == "control"
    }
    assert seeds == {
        (control, k): 1000 * seed + 1 + k
        for control, draws in (("random", 3), ("shuffled", 2))
        for k in range(draws)
    }


def test_a_control_is_fitted_on_what_its_method_chose(phases_in):
    choices = [choice("caa", "open", 1.0, layer=2)]

    batches = phases_in().batches("test", choices)

    drawn = [each for _, each in placed(batches) if each.kind == "control"]
    assert {each.fit.method.reference.layer for each in drawn} == {2}
    [own] = {e.fit.data.fingerprint for _, e in placed(batches) if e.kind == "method"}
    assert {each.fit.data.fingerprint for each in drawn} == {own}


def test_baselines_have_no_controls(phases_in):
    batches = phases_in(methods=["dola"], baselines=["caa"]).batches("test")

    assert asked(batches, "label", "kind") >= {("caa", "baseline")}
    assert ("caa", "control") not in asked(batches, "label", "kind")


def test_a_ceiling_is_asked_of_the_unsteered_model_alone(phases_in):
    target = {"task": "map", "ceiling": {"shots": 3}}
    own = {"antonym": {"targets": {"map": target}}}

    batches = phases_in(behaviours=own, guards=[]).batches("test")

    ceilings = [batch for batch in batches if batch.role == "ceiling"]
    assert counted(ceilings, "label", "dose", "condition") == {
        ("unsteered", 0.0, "base"): 1,
    }  # fmt: skip
    [ceiling] = ceilings
    first = batches[0].ask
    assert [r.id for r in ceiling.ask.requests] == [r.id for r in first.requests]
    assert (ceiling.ask.task.shots, first.task.shots) == (3, 0)


def test_every_ask_of_a_phase_is_of_the_unsteered_model_first(phases_in, two):
    phases = phases_in(behaviours=two, doses=MANY, conditions=["base", "tools"])

    for phase in ("select", "price", "test"):
        first: dict[str, str] = {}
        for batch, each in placed(phases.batches(phase)):
            first.setdefault(batch.ask.id, each.label)
        assert first and set(first.values()) == {"unsteered"}


# transfer


def test_transfer_to_behaviours_asks_every_chosen_fit_of_all_other_targets(phases_in, two):
    phases = phases_in(behaviours=two, transfer=["behaviour"], conditions=["base", "tools"])
    own = [choice("caa", target, 2.0, layer=2) for target in ("open", "asked")]

    batches = phases.batches("transfer", others={"planted": own, "other": ()})

    assert counted(batches, "target", "condition", "label", "control", "dose") == {
        ("other/open", "base", "unsteered", "", 0.0): 1,
        ("other/open", "base", "caa", "", -2.0): 1,
        ("other/open", "base", "caa", "", 2.0): 1,
    }
    assert asked([b for b in batches if b.label], "settings") == {('{"layer": 2}',)}
    fits = {each.fit.behaviour for _, each in placed(batches) if each.fit}
    assert fits == {"planted"}


def test_transfer_to_conditions_asks_the_fits_of_each_condition_in_all(phases_in):
    conditions = ["base", "tools", "system-positive"]
    phases = phases_in(transfer=["condition"], conditions=conditions, doses=[-1, 1])
    own = [choice("caa", "open", 2.0, layer=2)]

    batches = phases.batches("transfer", others={"planted": own})

    cells = Counter(
        (each.fit.condition.label, batch.condition, each.dose)
        for batch, each in placed(batches)
    )
    assert cells == {
        (fitted, condition, dose): 1
        for fitted in conditions[1:]  # those of base are asked everywhere in test
        for condition in conditions
        for dose in (-2.0, -1.0, 1.0, 2.0)
    }
    fits = {each.fit.condition.label: each.fit for _, each in placed(batches)}
    prompts = {name: fit.data.pairs[0].positive.prompt for name, fit in fits.items()}
    assert prompts["system-positive"].startswith("Be glad.")
    assert prompts["tools"] != prompts["system-positive"]


def test_a_test_asks_the_base_fit_in_every_condition(phases_in):
    phases = phases_in(transfer=["condition"], conditions=["base", "tools"])

    on_target = [b for b in phases.batches("test") if b.label == "caa" and b.point == ""]

    conditions = {
        (batch.condition, each.fit.condition.label)
        for batch, each in placed(on_target)
        if batch.role == "target"
    }
    assert conditions == {("base", "base"), ("tools", "base")}


def test_without_transfer_nothing_is_transferred(phases_in, two):
    assert phases_in(behaviours=two).batches("transfer", others={"planted": ()}) == []


# What does not fit.


@pytest.fixture
def pairs(tmp_path):
    """Pairs of texts, without instructions, as a behaviour."""
    path = tmp_path / "pairs.csv"
    lines = [f"the sea is calm {k},the sea is rough {k}" for k in range(12)]
    path.write_text("\n".join(["positive,negative", *lines]) + "\n", "utf-8")
    return {"pairs": {"source": str(path)}}


def test_a_method_that_does_not_fit_is_never_planned_and_is_told_with_its_reason(
    phases_in, two
):
    methods = {"caa": {"layer": 1}, "function-vector": {"layer": 1}}
    phases = phases_in(methods=methods, behaviours=two, transfer=["behaviour", "condition"])

    [missing] = phases.not_applicable()

    assert missing.what == "function-vector on planted"
    assert "learns from" in missing.reason or "examples" in missing.reason
    for phase in ("select", "price", "test", "transfer"):
        labels = asked(phases.batches(phase, (), {"planted": (), "other": ()}), "label")
        assert ("function-vector",) not in labels


def test_a_baseline_without_instructions_is_told(phases_in, pairs):
    phases = phases_in(behaviours=pairs, baselines=["instruction"])

    [missing] = phases.not_applicable()

    assert missing.what == "instruction on pairs"
    assert "instruction for and against" in missing.reason
    assert ("instruction",) not in asked(phases.batches("test"), "label")


def test_a_condition_that_lacks_instructions_is_never_planned_and_is_told(phases_in, pairs):
    phases = phases_in(behaviours=pairs, conditions=["base", "system-positive"])

    conditions = asked(phases.batches("test"), "condition")

    assert conditions == {("base",)}
    assert any("system-positive" in missing.what for missing in phases.not_applicable())


def test_a_method_that_is_tried_elsewhere_is_not_told_as_unfit(phases_in, two):
    methods = {"caa": {"layer": 1}, "function-vector": {"layer": 1, "on": ["other"]}}
    phases = phases_in(methods=methods, behaviours=two)

    assert phases.not_applicable() == []
    assert ("function-vector",) not in asked(phases.batches("test"), "label")


@pytest.mark.parametrize("on", [["open"], ["planted"], ["asked", "other"]])
def test_a_method_is_tried_on_the_behaviours_and_targets_that_it_names(on, phases_in, two):
    methods = {"caa": {"layer": 1}, "named": {"name": "caa", "layer": 2, "on": on}}

    batches = phases_in(methods=methods, behaviours=two).batches("test")

    targets = {("open",), ("asked",)} if on == ["planted"] else {(on[0],)}
    named = [b for b in batches if b.label == "named" and b.role == "target"]
    assert asked(named, "target") == targets


def test_a_behaviour_with_nothing_to_fit_on_is_only_asked(phases_in):
    """Methods without need of data are tried there; all others are told."""
    own = {"claims": {"source": "truthfulqa", "targets": {"facts": {"task": "facts"}}}}
    methods = {"caa": {"layer": 1}, "dola": {}}

    phases = phases_in(behaviours=own, methods=methods, baselines=["instruction"])

    batches = phases.batches("test")
    assert asked(batches, "label") == {("unsteered",), ("dola",)}
    assert {each.what for each in phases.not_applicable()} == {
        "caa on claims", "instruction on claims",
    }  # fmt: skip


def test_a_control_that_a_method_cannot_have_is_not_drawn(phases_in):
    methods = {"dola": {}, "repe": {"layer": 1}, "caa": {"layer": 1}}
    phases = phases_in(methods=methods)

    drawn = asked(phases.batches("test"), "label", "control")

    assert {each for each in drawn if each[1]} == {
        ("dola", "length"), ("repe", "random"), ("caa", "random"), ("caa", "shuffled"),
    }  # fmt: skip
    assert described(phases)["deciding"] == {
        "dola": [], "repe": ["random"], "caa": ["random", "shuffled"],
    }  # fmt: skip


# Items.


@pytest.mark.parametrize("guard", ["prose", "dialogue", "facts", "fluency"])
@pytest.mark.parametrize("limit", [{}, {"select": 3, "test": 4}, {"select": 500}])
def test_select_items_of_a_guard_are_others_than_its_test_items(guard, limit, phases_in):
    phases = phases_in(
        guards={guard: {"limit": limit, "budget": 0.5}}, doses=MANY, limit={"fit": 12}
    )

    asks = {
        split: next(b.ask for b in phases.batches(phase) if b.role == "guard")
        for phase, split in (("price", "select"), ("test", "test"))
    }

    ids = {split: {r.id for r in one.requests} for split, one in asks.items()}
    groups = {split: {r.group for r in one.requests} for split, one in asks.items()}
    assert len(ids["select"]) >= 2 and len(ids["test"]) >= 2
    assert not ids["select"] & ids["test"]
    assert not groups["select"] & groups["test"]
    if limit.get("test"):
        assert {split: len(each) for split, each in groups.items()} == limit


def test_select_and_test_items_of_all_seeds_are_the_same(phases_in):
    phases = [phases_in(seed, doses=MANY) for seed in (0, 1)]

    for phase in ("select", "price", "test"):
        one, other = ([b.ask.id for b in each.batches(phase)] for each in phases)
        assert one == other
    fits = [
        {e.fit.data.fingerprint for _, e in placed(each.batches("select")) if e.fit}
        for each in phases
    ]
    assert not fits[0] & fits[1]


def test_fit_select_and_test_items_of_a_target_are_disjoint_whatever_the_split(
    phases_in, two
):
    """The texts that a judged target goes on from are split as the behaviour is."""
    written = {"task": "generation", "judge": "regex:yes", "max_tokens": 4}
    two["planted"]["targets"]["written"] = written
    phases = phases_in(
        behaviours=two,
        split={"fit": 0.6, "select": 0.2, "test": 0.2},
        limit={"fit": "all", "select": "all", "test": "all"},
    )
    fitted = {pair.group for pair in phases.behaviour.fit_data().pairs}

    for phase in ("select", "test"):
        for batch in phases.batches(phase):
            if batch.role == "target":
                groups = {request.group for request in batch.ask.requests}
                assert not groups & fitted, f"{batch.target} in {phase}"


# Order, and what is remembered.


def test_a_phase_asks_the_same_in_the_same_order_every_time(phases_in, two):
    changes = {"behaviours": two, "doses": MANY, "conditions": ["base", "tools"]}
    one, other = phases_in(**changes), phases_in(**changes)

    for phase in ("select", "price", "test"):
        first, second = (
            [
                (batch.ask.id, batch.label, each.dose, each.fit and each.fit.id)
                for batch, each in placed(phases.batches(phase))
            ]
            for phases in (one, other)
        )
        assert first == second


def test_no_batch_holds_a_cell_twice(phases_in, two):
    phases = phases_in(behaviours=two, doses=[-1, 1], transfer=["behaviour", "condition"],
                       conditions=["base", "tools"])  # fmt: skip
    others = {"planted": [choice("caa", "open", 1.0, layer=1)], "other": ()}

    for phase in ("select", "price", "test", "transfer"):
        for batch in phases.batches(phase, others["planted"], others):
            cells = [(e.fit and e.fit.id, e.dose) for e in batch.placed]
            assert len(set(cells)) == len(cells)


def test_arms_of_a_grid_stand_by_themselves(phases_in):
    methods = {"caa": {"layer": 1, "grid": {"read": ["last", "mean"]}}}
    phases = phases_in(methods=methods)

    labels = [arm.label for arm in arms_of(phases.plan, phases.shape)]

    assert labels == ["caa read=last", "caa read=mean"]
    tested = asked(phases.batches("test"), "label") - {("unsteered",)}
    assert tested == {(label,) for label in labels}
    reads = {
        (each.label, each.fit.method.read)
        for _, each in placed(phases.batches("test"))
        if each.kind == "method"
    }
    assert reads == {("caa read=last", "last"), ("caa read=mean", "mean")}


def test_a_choice_says_which_settings_a_cell_is_called_by(phases_in):
    batches = phases_in().batches("test", [choice("caa", "open", 1.0, layer=2)])

    layers = {
        (json.loads(each.settings)["layer"], each.fit.method.layer)
        for _, each in placed(batches)
        if each.kind == "method"
    }
    assert layers == {(2, 2)}
