"""A behaviour is split once, and every task that it is asked in keeps to that split."""

import json

import pytest

from seatrial.data.catalogue import load_concept
from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.methods import CAA, Instruction
from seatrial.studies.behaviour import BASE, Behaviour, kind_of, nearest
from seatrial.studies.expand import Shape
from seatrial.studies.plan import ConditionPlan, Limit
from seatrial.studies.study import read_study
from seatrial.types import SPLITS, Text, as_text


@pytest.fixture(scope="module")
def behaviour_of(plan, concept):
    """The first behaviour of a plan: ``behaviour_of({"limit": 8}, seed=1, doses=[1])``."""

    def make(entry=None, seed=0, **changes):
        own = {"c": {"source": str(concept), **(entry or {})}}
        [planned] = read_study(plan(**{"limit": {}, "behaviours": own, **changes})).plans
        return Behaviour(planned, planned.behaviours[0], seed, Shape(6, 24))

    return make


def asked(behaviour, label=None, condition=BASE):
    """The task of one target, at the first point of its grid."""
    target = next(t for t in behaviour.targets if label in (None, t.label))
    return behaviour.task(target, behaviour.points(target)[0], condition)


def groups_by_split(behaviour):
    return {
        part: {item.group for item in items}
        for part, items in asked(behaviour).splits.items()
    }


# Sources.


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    """Files of every kind, as users have them."""
    folder = tmp_path_factory.mktemp("own")
    tables = {
        "pairs.csv": ("positive,negative", "yes {k} of course,no {k} at all"),
        "items.csv": (
            "question,matching,not_matching",
            "What of {k}?,gladly {k},never {k}",
        ),
        "map.csv": ("input,output", "word {k},answer {k}"),
    }
    for name, (head, row) in tables.items():
        lines = [head, *(row.format(k=k) for k in range(40))]
        (folder / name).write_text("\n".join(lines))
    examples = [json.dumps({"input": f"word {k}", "output": f"{k}"}) for k in range(40)]
    (folder / "map.jsonl").write_text("\n".join(examples))
    return folder


KINDS = {
    "formality": "concept",
    "country-capital": "map",
    "truthfulqa": "questions",
    "pairs.csv": "pairs",
    "items.csv": "items",
    "map.csv": "map",
    "map.jsonl": "map",
}
DEFAULTS = {
    "concept": ({"task": "open"}, {"open": "open", "propensity": "propensity"}),
    "pairs": ({"task": "open"}, {"open": "open"}),
    "items": ({"task": "propensity"}, {"propensity": "propensity"}),
    "map": ({"task": "map", "shots": 10}, {"zero-shot": "map"}),
    "questions": (None, {"factuality": "factuality"}),
}


@pytest.mark.parametrize("source", KINDS)
def test_what_a_source_holds_says_what_is_fitted_and_measured(
    source, own_files, behaviour_of
):
    path = own_files / source
    source = str(path) if path.exists() else source

    behaviour = behaviour_of({"source": source})

    kind = KINDS[path.name]
    assert kind_of(source) == behaviour.kind == kind
    fit, targets = DEFAULTS[kind]
    assert behaviour.fit_options == fit
    assert {t.label: t.task for t in behaviour.targets} == targets


@pytest.mark.parametrize("source", [s for s in KINDS if KINDS[s] != "questions"])
def test_by_default_every_kind_can_be_fitted_and_asked(source, own_files, behaviour_of):
    path = own_files / source
    behaviour = behaviour_of({"source": str(path) if path.exists() else source})

    data = behaviour.fit_data()
    requests = [asked(behaviour, t.label).requests("test") for t in behaviour.targets]

    assert behaviour.description()["fit items"] == len(data.pairs) > 0
    assert all(len({r.group for r in each}) >= 2 for each in requests)


def test_a_behaviour_of_nothing_to_fit_on_has_no_fit_data(behaviour_of):
    behaviour = behaviour_of({"source": "truthfulqa"})

    assert behaviour.fit_data() is None
    assert behaviour.fit_data_for(CAA(), BASE, None) is None


def test_options_of_a_fit_are_laid_over_those_of_the_source(behaviour_of):
    shown = behaviour_of({"source": "country-capital", "fit": {"shots": 0}})
    other = behaviour_of({"fit": {"task": "propensity"}})

    assert shown.fit_options == {"task": "map", "shots": 0}
    assert other.fit_options == {"task": "propensity"}
    assert other.fit_data().pairs == asked(other, "propensity").pairs("fit")
    assert other.fit_data().pairs != behaviour_of().fit_data().pairs


def test_a_target_of_another_source_is_asked_on_that(behaviour_of):
    targets = {
        "open": {"source": "formality"},
        "capitals": {"task": "map", "source": "country-capital"},
    }
    behaviour = behaviour_of({"targets": targets})

    known = {item.id for item in load_concept("formality").items}
    assert {r.id for r in asked(behaviour, "open").requests("test")} <= known
    assert asked(behaviour, "capitals").data.name == "country-capital"
    assert not {pair.id for pair in behaviour.fit_data().pairs} & known


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        (
            {"source": "formalty"},
            UnknownName,
            "unknown concept 'formalty'; known: .* 'form",
        ),
        ({"fit": {"task": "facts"}}, BadOption, "'c' cannot be fitted on the task 'facts'"),
    ],
)
def test_what_cannot_be_is_said(entry, error, message, behaviour_of):
    with pytest.raises(error, match=message):
        behaviour_of(entry).fit_data()


def test_copies_in_two_groups_are_refused(concept, behaviour_of, tmp_path):
    lines = concept.read_text().splitlines()
    copy = {**json.loads(lines[-1]), "id": "copy", "group": "another"}
    path = tmp_path / "copied.jsonl"
    path.write_text("\n".join([*lines, json.dumps(copy)]))

    with pytest.raises(
        BadData, match=r"^c: items planted-11-3 and copy hold the same text"
    ):
        behaviour_of({"source": str(path)})


# Splits.


def test_fit_data_are_those_of_the_fit_split_alone(behaviour_of):
    behaviour = behaviour_of()
    parts = groups_by_split(behaviour)

    data = behaviour.fit_data()

    assert data.pairs == asked(behaviour).pairs("fit")
    assert {pair.group for pair in data.pairs} == parts["fit"]
    assert not parts["fit"] & (parts["select"] | parts["test"])
    assert not parts["select"] & parts["test"]
    assert behaviour.fit_data_for(CAA(), BASE, None) == data


def test_every_target_of_a_behaviour_has_the_same_split(behaviour_of):
    behaviour = behaviour_of()

    for part in SPLITS:
        one, other = (
            {request.id for request in asked(behaviour, name).requests(part)}
            for name in ("open", "propensity")
        )
        assert one == other


def test_another_seed_of_the_split_deals_otherwise_and_one_of_the_study_does_not(
    behaviour_of,
):
    first = groups_by_split(behaviour_of())

    assert groups_by_split(behaviour_of()) == first
    assert groups_by_split(behaviour_of(seed=1)) == first
    assert groups_by_split(behaviour_of(split={"seed": 1})) != first
    sizes = {part: len(groups) for part, groups in first.items()}
    assert sizes == {"fit": 5, "select": 2, "test": 5}
    other = groups_by_split(behaviour_of(split={"fit": 0.2, "select": 0.2, "test": 0.6}))
    assert {part: len(groups) for part, groups in other.items()} == {
        "fit": 2, "select": 2, "test": 8,
    }  # fmt: skip


def test_seeds_of_a_study_fit_on_other_samples_and_ask_the_same_items(behaviour_of):
    limits = {"fit": 4, "select": 4, "test": 4}
    one, other = (behaviour_of(seed=seed, limit=limits) for seed in (0, 1))

    for part in ("select", "test"):
        assert asked(one).requests(part) == asked(other).requests(part)
    fits = [{pair.id for pair in each.fit_data().pairs} for each in (one, other)]
    assert fits[0] != fits[1]
    assert {len(each) for each in fits} == {4}


@pytest.mark.parametrize("guard", ["prose", "dialogue", "facts", "fluency"])
def test_a_guard_selects_on_other_items_than_it_tests(guard, behaviour_of):
    behaviour = behaviour_of(guards={guard: {"limit": {"select": 4, "test": 6}}})
    [planned] = behaviour.plan.guards

    task = behaviour.guard(planned)

    select, test = (task.requests(part) for part in ("select", "test"))
    assert not {request.id for request in select} & {request.id for request in test}
    assert not {request.group for request in select} & {r.group for r in test}
    assert select and test


# What stands nearer holds.


def test_of_several_limits_the_nearest_that_says_one_holds_split_by_split():
    found = nearest(Limit(test=3), Limit(fit=5, test=9), Limit(fit=1, select=2, test=1))

    assert found == Limit(fit=5, select=2, test=3)
    assert nearest(Limit(), Limit()) == Limit()


def test_limits_of_target_behaviour_and_plan_meet_split_by_split(behaviour_of):
    behaviour = behaviour_of(
        {
            "limit": {"select": 6, "test": 10},
            "targets": {"open": {"limit": {"test": 4}}, "propensity": {}},
        },
        limit={"fit": 8, "select": 2, "test": 2},
    )

    sizes = {
        name: {part: len(asked(behaviour, name).requests(part)) for part in SPLITS}
        for name in ("open", "propensity")
    }
    assert sizes == {
        "open": {"fit": 8, "select": 6, "test": 4},
        "propensity": {"fit": 8, "select": 6, "test": 10},
    }
    assert len(behaviour.fit_data().pairs) == 8
    assert len(behaviour.fit_data(limit=4).pairs) == 4


def test_a_nearer_all_lifts_the_limit_of_the_plan(behaviour_of):
    limited = {"fit": 4, "select": 4, "test": 4}
    whole, few = behaviour_of({"limit": "all"}, limit=limited), behaviour_of(limit=limited)

    for part in SPLITS:
        assert len(asked(whole).requests(part)) > len(asked(few).requests(part)) == 4
    assert len(few.fit_data(limit="all").pairs) == len(whole.fit_data().pairs) > 4


def test_of_several_conditions_the_nearest_that_are_named_hold(behaviour_of):
    targets = {"open": {"conditions": ["tools"]}, "propensity": {}}
    plan = ["base", "retrieval"]

    of_plan = behaviour_of({"targets": targets}, conditions=plan)
    of_behaviour = behaviour_of({"targets": targets, "conditions": ["user-positive"]})

    def named(behaviour):
        return {
            t.label: [c.name for c in behaviour.conditions(t)] for t in behaviour.targets
        }

    assert named(of_plan) == {"open": ["tools"], "propensity": plan}
    assert named(of_behaviour) == {"open": ["tools"], "propensity": ["user-positive"]}


@pytest.mark.parametrize(
    ("guard", "budget"),
    [
        ({"prose": {}}, 1.10),
        ({"dialogue": {}}, 1.10),
        ({"facts": {}}, 0.02),
        ({"fluency": {}}, 0.05),
        ({"text": {"task": "prose"}}, 1.10),
        ({"prose": {"budget": 1.5}}, 1.5),
        ({"facts": {"budget": 0}}, 0),
        ({"prose": {"budget": "inf"}}, None),
        ({"open": {"source": "formality"}}, None),
    ],
)
def test_a_guard_has_the_budget_of_the_plan_or_else_that_of_its_task(
    guard, budget, behaviour_of
):
    behaviour = behaviour_of(guards=guard)

    [planned] = behaviour.plan.guards
    assert behaviour.budget(planned) == budget


# Words for and against.


FOR, AGAINST = ConditionPlan("p", "user-positive"), ConditionPlan("n", "system-negative")


def test_the_instructions_of_the_plan_replace_those_of_the_source(behaviour_of):
    own = behaviour_of()
    other = behaviour_of({"instructions": {"for": "Rejoice."}})

    assert own.instructions == ("c", "Be glad.", "Be sad.")
    assert other.instructions == ("c", "Rejoice.", "Be sad.")
    assert other.fit_data().encourage == "Rejoice."
    assert other.fit_data_for(Instruction(), BASE, None).encourage == "Rejoice."
    for behaviour, words in ((own, "Be glad."), (other, "Rejoice.")):
        for request in asked(behaviour, condition=FOR).requests("test"):
            assert as_text(request.prompt).startswith(f"{words}\n\n")


def test_where_a_source_has_no_instruction_a_condition_that_needs_one_is_refused(
    own_files, behaviour_of
):
    source = {"source": str(own_files / "pairs.csv")}
    mute = behaviour_of(source)
    words = {"instructions": {"for": "Say yes.", "against": "Say no."}}

    with pytest.raises(BadData, match="'c' has no instruction for the"):
        asked(mute, condition=FOR)
    assert asked(behaviour_of({**source, **words}), condition=AGAINST).requests("test")


def test_pairs_of_a_fit_in_a_condition_are_the_same_in_its_prompts(behaviour_of):
    behaviour = behaviour_of()
    plain = behaviour.fit_data()

    read = behaviour.fit_data_for(CAA(), AGAINST, None)

    assert read.fingerprint != plain.fingerprint
    assert len(read.pairs) == len(plain.pairs)
    for pair, before in zip(read.pairs, plain.pairs, strict=True):
        assert pair.positive == Text(
            f"Be sad.\n\n{before.positive.prompt}", before.positive.completion
        )


# Points of a grid, and ceilings.


def test_every_point_of_a_grid_asks_the_same_items_in_its_own_way(behaviour_of):
    target = {"task": "propensity", "grid": {"form": ["ab", "yes_no"]}}
    behaviour = behaviour_of({"targets": {"asked": target}})
    [planned] = behaviour.targets

    tasks = [behaviour.task(planned, p, BASE) for p in behaviour.points(planned)]

    assert [task.form for task in tasks] == ["ab", "yes_no"]
    one, other = (task.requests("test") for task in tasks)
    assert [r.id for r in one] == [r.id for r in other]
    assert all(a.prompt != b.prompt for a, b in zip(one, other, strict=True))


def test_a_ceiling_asks_the_same_items_where_the_model_is_shown_how(behaviour_of):
    target = {"task": "map", "ceiling": {"shots": 5}}
    behaviour = behaviour_of({"source": "country-capital", "targets": {"zero": target}})
    [planned] = behaviour.targets

    shown, plain = behaviour.ceiling(planned), asked(behaviour)

    assert (shown.shots, plain.shots) == (5, 0)
    longer = zip(shown.requests("test"), plain.requests("test"), strict=True)
    for one, other in longer:
        assert (one.id, one.answers) == (other.id, other.answers)
        assert one.prompt.endswith(other.prompt) and one.prompt != other.prompt


# What every seed is asked, and what is judged.


def test_all_seeds_show_the_same_examples(behaviour_of):
    entry = {
        "source": "country-capital",
        "targets": {"shown": {"task": "map", "shots": 5}},
        "limit": {"fit": 20, "select": 8, "test": 6},
    }

    one, other = (behaviour_of(entry, seed=seed) for seed in (0, 1))

    assert asked(one).requests("test") == asked(other).requests("test")
    assert one.fit_data().fingerprint != other.fit_data().fingerprint


def test_default_shots_are_no_more_than_a_limit_leaves(behaviour_of):
    entry = {"source": "country-capital", "targets": {"zero-shot": "map"}}

    few = behaviour_of({**entry, "limit": {"fit": 5}}).fit_data()

    assert len(few.examples) == 5
    assert few.pairs
    with pytest.raises(BadData, match="10 demonstrations need as many examples"):
        behaviour_of({**entry, "limit": {"fit": 5}, "fit": {"shots": 10}}).fit_data()


@pytest.mark.parametrize("judge", ["regex:please", {"name": "regex:please"}])
def test_a_plan_names_the_judge_of_texts(judge, behaviour_of, own_files):
    prompts = own_files / "items.csv"
    entry = {
        "targets": {"texts": {"task": "generation", "source": str(prompts), "judge": judge}}
    }

    task = asked(behaviour_of(entry))

    assert task.judge.name == "regex"
    assert task.requests("test")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"url": "http://127.0.0.1:1/v1"}, "write a name"),
        ({"name": "endpoint", "words": "x"}, "words"),
        ({"name": "endpoint"}, "server"),
        ({"name": 3}, "a table of texts"),
    ],
)
def test_what_names_no_judge_is_refused(judge, message, behaviour_of):
    entry = {"targets": {"texts": {"task": "generation", "judge": judge}}}

    with pytest.raises(BadOption, match=message):
        asked(behaviour_of(entry))


def test_items_that_are_judged_keep_to_the_split_of_the_plan(behaviour_of):
    entry = {
        "targets": {"open": "open", "texts": {"task": "generation", "judge": "lexicon"}}
    }
    shares = {"fit": 0.6, "select": 0.2, "test": 0.2}

    behaviour = behaviour_of(entry, split=shares)

    groups = {
        label: {
            part: {request.group for request in asked(behaviour, label).requests(part)}
            for part in ("select", "test")
        }
        for label in ("open", "texts")
    }
    assert groups["texts"] == groups["open"]


def test_a_budget_of_another_metric_is_not_that_of_the_task(behaviour_of):
    guards = {"prose": {}, "kl": {"task": "prose", "metric": "kl"}}

    behaviour = behaviour_of(guards=guards)

    budgets = {guard.label: behaviour.budget(guard) for guard in behaviour.plan.guards}
    assert budgets == {"prose": 1.10, "kl": None}


def test_a_leak_lets_methods_fit_on_test_items_and_nothing_else(behaviour_of):
    leaking = behaviour_of(split={"leak": True})
    sound = behaviour_of()

    tested = {item.group for item in asked(sound).splits["test"]}
    assert tested.isdisjoint({pair.group for pair in sound.fit_data().pairs})
    assert tested <= {pair.group for pair in leaking.fit_data().pairs}
    assert asked(leaking).splits == asked(sound).splits


def test_a_nearer_limit_is_lifted_by_all(behaviour_of):
    entry = {"targets": {"open": {"task": "open", "limit": "all"}}, "limit": 4}

    assert len(asked(behaviour_of(entry)).splits["test"]) > 4
    few = {"targets": {"open": "open"}, "limit": 4}
    assert len(asked(behaviour_of(few)).splits["test"]) == 4
