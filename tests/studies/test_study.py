"""A study is a value: strict to read, named by its content, never without controls."""

import json
from dataclasses import asdict, replace

import pytest

from seatrial.errors import BadOption, UnknownName
from seatrial.methods import (
    CAA,
    ICV,
    LEACE,
    METHODS,
    FewShot,
    Random,
    Shuffled,
    make_method,
)
from seatrial.store import Store
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.cells import Cell
from seatrial.studies.jobs import Plan
from seatrial.studies.labels import labels_of
from seatrial.studies.study import (
    STUDIES,
    make_study,
    read_study,
    study_of,
)
from seatrial.testing.planted import planted_concept, planted_model

PLAN = {
    "name": "small",
    "model": "planted",
    "concepts": ["formality"],
    "methods": [{"name": "caa", "read": "completion"}],
    "layers": [0, 1],
}

TOML = """
name = "small"
model = "planted"
concepts = ["formality"]
layers = [0, 1]

[[methods]]
name = "caa"
"""


@pytest.fixture
def plan():
    return lambda **changes: make_study({**PLAN, **changes})


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return str(path)

    return write


def without(key):
    return {k: v for k, v in PLAN.items() if k != key}


@pytest.mark.parametrize("name", STUDIES)
def test_built_in_studies_can_be_read(name):
    assert read_study(name).name == name


def test_a_file_says_what_its_keys_say(toml):
    study = read_study(toml(TOML), {"doses": [-1, 0, 1], "seed": 3})

    assert study.methods == ({"name": "caa"},)
    assert (study.layers, study.doses, study.seed) == ((0, 1), (-1.0, 0.0, 1.0), 3)


def test_the_order_of_keys_is_nothing():
    backwards = dict(reversed(list(PLAN.items())))
    options = [{"read": "completion", "name": "caa"}]

    assert make_study({**backwards, "methods": options}).id == make_study(PLAN).id


def test_whole_numbers_are_the_same_doses(plan):
    assert plan(doses=[-1, 0, 1]).id == plan(doses=[-1.0, 0.0, 1.0]).id
    assert replace(plan(), doses=(-1.0, 0.0, 1.0)).id == plan(doses=[-1, 0, 1]).id


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"model": "other"},
        {"concepts": ["agreeableness"]},
        {"methods": [{"name": "caa", "read": "last"}]},
        {"methods": [{"name": "caa", "read": "completion", "tokens": "all"}]},
        {"layers": [0]},
        {"fit_on": "propensity"},
        {"guards": ["prose", "facts"]},
        {"guards": ["facts"], "limits": {"guards": {"facts": 10}}},
        {"targets": ["open"]},
        {"doses": [-1, 0, 1]},
        {"select_doses": [1]},
        {"controls": {"random": 6}},
        {"controls": {"shuffled": 4}},
        {"shares": {"fit": 0.5, "select": 0.1, "test": 0.4}},
        {"limits": {"fit": 10}},
        {"limits": {"select": 10}},
        {"limits": {"test": {"open": 10}}},
        {"limits": {"prose": 10}},
        {"budget": {"perplexity_ratio": 1.2}},
        {"budget": {"anti_steerable": 0.2}},
        {"options": {"propensity": {"form": "ab"}}},
        {"seed": 1},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_id_changes_with_everything_that_can_change_a_number(change, plan):
    assert plan(**change).id != plan().id


def test_every_key_is_in_the_test_above(plan):
    marks = test_the_id_changes_with_everything_that_can_change_a_number.pytestmark
    changed = {key for change in marks[0].args[1] for key in change}

    assert changed == set(asdict(plan()))


def test_a_limit_of_guards_counts_only_where_there_is_one(plan):
    """Studies from before the key was there keep their id."""
    assert read_study("quickstart").id == "66b87d2829d8"
    assert plan(limits={"guards": {}}).id == plan().id
    bounded = plan(guards=["facts"], limits={"guards": {"facts": 10}})
    assert bounded.id != plan(guards=["facts"]).id


def test_a_study_survives_the_store(plan, tmp_path):
    study, store = (
        plan(limits={"test": {"open": 8}}, doses=[-1, 0, 1]),
        Store(tmp_path / "out"),
    )

    labels = labels_of(study, [], [])
    store.open(study.id, asdict(study), labels, {"model": "m", "dtype": "float32"})

    assert study_of(store) == study
    assert study_of(store).id == store.plan()["id"] == study.id


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            {**PLAN, "layer": [1]},
            r"has no key 'layer'; the keys of a study: name, model, .*layers",
        ),
        (
            {**PLAN, "limits": {"prosa": 3}},
            "'limits' has no key 'prosa'; its keys: fit, select",
        ),
        (
            {**PLAN, "controls": {"rand": 3}},
            "'controls' has no key 'rand'; its keys: random",
        ),
        (
            {**PLAN, "budget": {"ppl": 3}},
            "'budget' has no key 'ppl'; its keys: perplexity_ratio",
        ),
        (without("model"), "the key 'model' is missing"),
        ({**PLAN, "layers": "x"}, r"layers: input should be a valid tuple \(got 'x'\)"),
        (
            {**PLAN, "layers": [1.5]},
            r"layers.0: input should be a valid integer.* \(got 1.5\)",
        ),
        (
            {**PLAN, "methods": ["caa"]},
            r"methods.0: input should be a valid dict.*got 'caa'",
        ),
        ({**PLAN, "methods": [{}]}, "a method needs a name: ablate, .*caa, .*instruction"),
        ({**PLAN, "methods": []}, "methods of study 'small' is empty; name at least one"),
        ({**PLAN, "guards": []}, "guards of study 'small' is empty"),
        ({**PLAN, "layers": [1, 1]}, "layers of study 'small' repeat a name: 1, 1"),
        (
            {**PLAN, "concepts": ["a/x.jsonl", "b/x.jsonl"]},
            "concepts .* repeat a name: x, x",
        ),
        ({**PLAN, "methods": [{"name": "caa"}] * 2}, "methods .* repeat a name: caa, caa"),
        (
            {**PLAN, "methods": [{"name": "caa", "layr": 1}]},
            "'caa' has no option 'layr'; its opt",
        ),
        (
            {**PLAN, "methods": [{"name": "caa", "read": 3}]},
            "method 'caa': read: input should be",
        ),
        (
            {**PLAN, "methods": [{"name": "caa", "layer": 3}]},
            "layer is chosen by the study",
        ),
        (
            {**PLAN, "methods": [{"name": "random"}]},
            "'random' is a control that every study has",
        ),
        (
            {**PLAN, "methods": [{"name": "instruction"}]},
            "'instruction' is a control that every study has",
        ),
        (
            {**PLAN, "controls": {"random": 0}},
            "controls cannot be left out: .* not 0 and 3",
        ),
        (
            {**PLAN, "controls": {"shuffled": 0}},
            "controls cannot be left out: .* not 5 and 0",
        ),
        (
            {**PLAN, "doses": [-1, 1, 2]},
            r"doses must contain -1, 0 and 1, not only \[-1.0, 1.0, 2",
        ),
        ({**PLAN, "doses": [-1, 0, 0, 1]}, "doses must be finite and all different"),
        (
            {**PLAN, "doses": [-1, 0, 1, float("nan")]},
            "doses must be finite and all different",
        ),
        (
            {**PLAN, "doses": [-1, 0, 1, float("inf")]},
            "doses must be finite and all different",
        ),
        ({**PLAN, "select_doses": []}, "select_doses must be some doses without 0"),
        ({**PLAN, "select_doses": [0, 1]}, "select_doses must be some doses without 0"),
        (
            {**PLAN, "shares": {"fit": 0.5, "test": 0.5}},
            "shares must name fit, select and test",
        ),
        ({**PLAN, "limits": {"prose": 1}}, "limits.prose must be at least 2"),
        (
            {**PLAN, "guards": ["facts"], "limits": {"guards": {"facts": 1}}},
            "limits.guards.facts must be at least 2, so that there is an interval",
        ),
        (
            {**PLAN, "limits": {"guards": {"prose": 8}}},
            "the limit of prose is limits.prose, not limits.guards.prose",
        ),
        ({**PLAN, "name": "../up"}, "name '../up' cannot name a folder; use letters"),
        ({**PLAN, "name": ""}, "name '' cannot name a folder"),
        (
            {**PLAN, "dtype": "auto"},
            "dtype: input should be 'float32', 'bfloat16' or 'float16'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_with_a_mistake_is_refused_with_what_would_be_right(plan, message):
    with pytest.raises(BadOption, match=message):
        make_study(plan, "study.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"methods": [{"name": "cea"}]},
            "unknown method 'cea'; known: .*caa, .* mean '(caa|ace)'",
        ),
        ({"targets": ["opn"]}, "unknown target task 'opn'; known: open, propensity"),
        ({"fit_on": "prose"}, "unknown target task 'prose'"),
        ({"guards": ["open"]}, "unknown guard task 'open'; known: .*facts.* prose"),
        (
            {"limits": {"guards": {"facts": 3}}},
            "unknown guard task in limits.guards 'facts'; known: prose",
        ),
        ({"limits": {"test": {"prose": 3}}}, "unknown target task in limits.test 'prose'"),
    ],
    ids=str,
)
def test_a_plan_that_names_what_does_not_exist_lists_what_does(change, message, plan):
    with pytest.raises(UnknownName, match=message):
        plan(**change)


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(
        UnknownName, match=r"unknown study 'quickstat'; known: .* 'quickstart'"
    ):
        read_study("quickstat")


def test_broken_toml_is_said_with_its_line(toml):
    with pytest.raises(BadOption, match=r"study.toml is no valid TOML: .*line 1"):
        read_study(toml("name = \n"))


def test_a_binary_file_is_no_study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadOption, match="cannot be read as UTF-8 text"):
        read_study(str(path))


def test_a_method_keeps_its_own_sentence_for_an_impossible_option():
    with pytest.raises(UnknownName, match="unknown method 'lora'"):
        make_method("lora", {})


def test_controls_stand_beside_every_method(plan):
    study = plan(controls={"random": 3, "shuffled": 2}, seed=10)
    method = study.candidate(0, 1)

    controls = study.controls_of(method)

    assert controls == [
        *((Random(method), seed) for seed in (11, 12, 13)),
        *((Shuffled(method), seed) for seed in (11, 12)),
    ]


ALL = [{"name": name} for name in ("caa", "few-shot", "icv", "iti", "leace")]


def test_only_methods_with_a_single_layer_have_layers_to_choose_from(plan):
    study = plan(methods=ALL)

    assert [study.layers_of(k) for k in range(5)] == [(0, 1), (-1,), (-1,), (-1,), (0, 1)]
    assert study.candidate(0, 1) == CAA(layer=1)
    assert study.candidate(1, -1) == FewShot()
    assert study.candidate(2, -1) == ICV(layer="all")
    assert study.candidate(4, 0) == LEACE(layer=0)


def test_a_method_for_all_layers_can_be_held_to_one(plan):
    study = plan(methods=[{"name": "icv", "layer": 1}])

    assert study.layers_of(0) == (-1,)
    assert study.candidate(0, -1) == ICV(layer=1)


def test_demonstrations_have_no_random_control_but_shuffled_ones(plan):
    study = plan(methods=ALL)

    [few, caa] = [study.controls_of(study.candidate(k, x)) for k, x in ((1, -1), (0, 0))]

    assert few == [(Shuffled(FewShot()), seed) for seed in (1, 2, 3)]
    assert len(caa) == 8


@pytest.mark.parametrize("name", ["actadd", "cast", "repe"])
def test_a_method_that_reads_no_labels_has_random_controls_only(plan, name):
    """With shuffled labels it would be its own control, or its opposite."""
    study = plan(methods=[{"name": name}])
    method = study.candidate(0, 0)

    controls = study.controls_of(method)

    assert controls == [(Random(method), seed) for seed in range(1, 6)]


@pytest.mark.parametrize("name", METHODS)
def test_shuffled_controls_stand_beside_every_method_that_reads_labels(plan, name):
    kind = METHODS[name]
    method = kind(CAA()) if kind.is_control else kind()

    controls = plan().controls_of(method)

    shuffled = [control for control, _ in controls if control == Shuffled(method)]
    assert len(shuffled) == (3 if method.reads_labels else 0)


def test_a_method_that_learns_nothing_is_refused(plan):
    with pytest.raises(BadOption, match="'dola' learns nothing from pairs, so none of a"):
        plan(methods=[{"name": "dola"}])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    concept = planted_concept(tmp_path_factory.mktemp("study") / "planted.jsonl", groups=12)
    changes = {"concepts": [str(concept)], "limits": {"select": 8, "prose": 3}}
    study = make_study({**PLAN, **changes, "doses": [-1, 0, 1]})
    return Plan(study, planted_model()[0], Behaviour(study, str(concept)))


def test_cells_have_unique_names_and_say_what_they_are(trial):
    chosen = {("open", 0): 1, ("propensity", 0): 0}

    batches = [*trial.select_batches(), *trial.test_batches(chosen)]

    cells = [cell for batch in batches for cell in batch.cells]
    assert len({cell.id for cell in cells}) == len(cells)
    assert len({batch.id for batch in batches}) == len(batches)
    for cell in cells:
        options = json.loads(cell.options)
        assert (cell.kind == "control") == (cell.method in ("random", "shuffled"))
        assert (cell.kind == "method") == (cell.method == "caa")
        match cell.method:
            case "unsteered":
                assert (options, cell.reference, cell.layer) == ({}, "unsteered", -1)
            case "instruction":
                assert (options, cell.reference, cell.layer) == (
                    {"name": "instruction"},
                    "instruction",
                    -1,
                )
            case "caa":
                assert (options["layer"], cell.reference) == (cell.layer, "caa")
            case _:
                inner = options["reference"]
                assert (inner["name"], inner["layer"]) == (cell.reference, cell.layer)


def test_test_cells_use_only_the_chosen_layers(trial):
    chosen = {("open", 0): 1, ("propensity", 0): 0}

    layers = {
        (cell.task, cell.layer)
        for batch in trial.test_batches(chosen)
        for cell in batch.cells
        if cell.layer >= 0
    }

    assert layers == {("open", 1), ("propensity", 0), ("prose", 0), ("prose", 1)}


@pytest.fixture(scope="module")
def mixed(trial):
    """A plan of methods with one layer, all layers and none, at seven doses."""
    doses = [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]
    changes = {"concepts": trial.study.concepts, "limits": {"select": 8, "prose": 3}}
    study = make_study(
        {**PLAN, **changes, "methods": ALL, "doses": doses, "select_doses": [0.5, 1]}
    )
    return Plan(study, trial.model, trial.behaviour)


def test_methods_are_asked_at_the_doses_that_they_have(mixed):
    chosen = {
        (target, number): layers[0]
        for target in mixed.study.targets
        for number, layers in enumerate(map(mixed.study.layers_of, range(5)))
    }

    cells = [
        cell
        for batch in (*mixed.select_batches(), *mixed.test_batches(chosen))
        for cell in batch.cells
    ]

    found = {}
    for cell in cells:
        place = cell.reference, cell.method == "shuffled", cell.task == "prose", cell.split
        found.setdefault(place, set()).add(cell.dose)
    both, every = {-1.0, 1.0}, set(mixed.study.doses) - {0.0}
    for name in ("caa", "icv", "iti", "leace"):
        assert found[name, False, False, "select"] == {0.5, 1.0}
        assert found[name, True, False, "test"] == every
        assert found[name, True, True, "test"] == both
    assert found["few-shot", False, False, "select"] == {1.0}
    for place in ((False, False), (True, False), (False, True), (True, True)):
        assert found["few-shot", *place, "test"] == both
    assert len({cell.id for cell in cells}) == len(cells)


def test_cells_of_methods_without_one_layer_name_none(mixed):
    layers = {
        (cell.reference, cell.layer)
        for batch in mixed.select_batches()
        for cell in batch.cells
    }

    assert layers == {
        *((name, layer) for name in ("caa", "leace") for layer in (0, 1)),
        *((name, -1) for name in ("unsteered", "few-shot", "icv", "iti")),
    }


def test_the_name_of_a_cell_changes_with_every_field():
    cell = Cell("m", "float32", "c", "t", "test", "0", "caa", "{}", "caa", 1, 0, 1.0)
    texts = ("model", "dtype", "concept", "task", "split", "content", "method", "options")
    others = [replace(cell, **{key: "x"}) for key in (*texts, "reference")]
    others += [replace(cell, layer=2), replace(cell, seed=1), replace(cell, dose=2.0)]

    assert len({cell.id, *(other.id for other in others)}) == 13


def test_a_kind_is_no_part_of_the_name_of_a_cell():
    cell = Cell("m", "float32", "c", "t", "test", "0", "caa", "{}", "caa", 1, 0, 1.0)

    assert replace(cell, kind="control").id == cell.id
    assert replace(cell, kind="control").row()["kind"] == "control"


def test_a_study_shows_itself_in_a_line_whatever_its_size(plan):
    many = plan(
        concepts=[f"{'x' * 300}{k}" for k in range(200)],
        layers=list(range(99)),
        model="<script>" * 99,
    )

    assert repr(plan()) == (
        f"<Study 'small' ({plan().id}): caa for formality on planted; targets open, "
        "propensity; guards prose; layers 0, 1; doses -1.5, -1, -0.5, 0, 0.5 and 2 more; "
        "controls 5 random, 3 shuffled>"
    )
    assert "and 195 more" in repr(many)
    assert "<script" not in many._repr_html_()
    assert max(len(repr(many)), len(many._repr_html_())) < 2000


THEIRS = """
from dataclasses import dataclass
from typing import ClassVar

from seatrial.methods import Method
from seatrial.tasks import Facts, Open


@dataclass(frozen=True)
class Nudge(Method):
    name: ClassVar[str] = "nudge"
    summary: ClassVar[str] = "for tests"
    layer: int = 0

    def fit(self, model, data, *, seed):
        raise NotImplementedError


class Ours(Nudge):
    name: ClassVar[str] = "caa"


class Asked(Open):
    name: ClassVar[str] = "asked"


class Quiz(Facts):
    name: ClassVar[str] = "quiz"


class Twin(Open):
    pass
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    (tmp_path / "theirs_of_a_study.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: f"theirs_of_a_study:{name}"


def test_methods_and_tasks_from_outside_are_planned_like_ours(plan, theirs):
    target, guard = theirs("Asked"), theirs("Quiz")
    study = plan(
        methods=[{"name": theirs("Nudge")}],
        targets=["open", target],
        guards=["prose", guard],
        fit_on=target,
        limits={"test": {target: 20}, "guards": {guard: 10}},
    )

    behaviour = Behaviour(study, "formality")
    method = study.candidate(0, 1)
    labels = labels_of(
        study, list(behaviour.targets.values()), list(behaviour.guards.values())
    )

    assert (study.layers_of(0), method.layer, method.name) == ((0, 1), 1, "nudge")
    assert len(study.controls_of(method)) == 8
    assert [task.name for task in labels.targets] == ["open", "asked"]
    assert [guard.name for guard in labels.guards] == ["prose", "quiz"]
    assert [s.name for s in labels.of_kind("method")] == ["nudge"]
    assert len(behaviour.guards[guard].requests("test")) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda of: {"methods": [{"name": of("Asked")}]}, "'theirs.*Asked' is no method"),
        (lambda of: {"methods": [{"name": of("None")}]}, "method 'theirs.*' cannot be imp"),
        (lambda of: {"targets": [of("Quiz")]}, "'theirs_of_a_study:Quiz' is no task: it"),
        (lambda of: {"guards": ["no.module:Quiz"]}, "task 'no.module:Quiz' cannot be imp"),
        (
            lambda of: {"methods": [{"name": "caa"}, {"name": of("Ours")}]},
            "methods of study 'small' repeat a name: caa, caa",
        ),
        (lambda of: {"targets": ["open", of("Twin")]}, "targets and guards .* open, open"),
    ],
)
def test_what_from_outside_cannot_be_used_is_said(change, message, plan, theirs):
    with pytest.raises(BadOption, match=message):
        plan(**change(theirs))
