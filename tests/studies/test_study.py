"""A study is a plan as a value; the plans that authors wrote on paper are its readers."""

import json
import pickle
import time
import tomllib
from dataclasses import asdict
from math import inf
from pathlib import Path

import pytest

from seatrial.errors import BadOption, UnknownName
from seatrial.methods import METHODS
from seatrial.studies.plan import Limit, Rule
from seatrial.studies.study import STUDIES, read_study
from seatrial.tasks import TASKS

PLANS = sorted((Path(__file__).parent / "plans").glob("*.toml"))
SOURCES = [*STUDIES, *map(str, PLANS)]
SHORT = {"models": ["m"], "behaviours": ["antonym"], "methods": ["caa"]}


def plan_of(name, scale="small", defects=()):
    source = name if name in STUDIES else Path(__file__).parent / "plans" / f"{name}.toml"
    return read_study(source, scale=scale, defects=defects)


def every(source):
    scales = ("small", "smoke")
    text = (
        Path(source).read_text("utf-8")
        if source not in STUDIES
        else json.dumps(read_study(source).written)
    )
    return (*scales, *(s for s in ("full", "huge") if s in text.split("scales")[-1]))


def test_there_are_seventeen():
    assert len(SOURCES) == 17


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: Path(source).stem)
def test_every_plan_completes_at_every_scale(source):
    for scale in every(source):
        study = read_study(source, scale=scale)

        assert json.loads(json.dumps(study.plain)) == study.plain
        for plan in study.plans:
            assert pickle.loads(pickle.dumps(plan)) == plan
            labels = [behaviour.label for behaviour in plan.behaviours]
            assert len(set(labels)) == len(labels)
        if scale == "smoke":
            [plan] = study.plans
            assert plan.model.name == "tiny"
            assert len(plan.seeds) == 1
            assert_small(plan)


def assert_small(plan):
    targets = [t for b in plan.behaviours for t in b.targets or ()]
    limits = [plan.limit, *(b.limit for b in plan.behaviours)]
    limits += [part.limit for part in (*targets, *plan.guards)]
    for split, most in (("fit", 24), ("select", 8), ("test", 8)):
        numbers = [getattr(limit, split) for limit in limits]
        assert all(number is None or number <= most for number in numbers)
    assert None not in asdict(plan.limit).values()
    assert max(c.draws for c in plan.controls) <= 3


def counted(study):
    plan = study.plans[0]
    return (
        len(study.plans),
        len(plan.behaviours),
        len(plan.methods),
        len(plan.guards),
        len(plan.conditions),
        len(plan.claims),
    )


@pytest.mark.parametrize(
    ("name", "scale", "numbers"),
    [  # models, behaviours, methods, guards, conditions, claims
        ("quickstart", "small", (1, 3, 1, 1, 1, 0)),
        ("quickstart", "smoke", (1, 1, 1, 1, 1, 0)),
        ("quickstart", "full", (1, 3, 1, 1, 1, 0)),
        ("function-vectors", "small", (2, 6, 4, 0, 1, 0)),
        ("function-vectors", "smoke", (1, 1, 4, 0, 1, 0)),
        ("function-vectors", "full", (2, 6, 4, 0, 1, 0)),
        ("dola", "small", (2, 1, 3, 0, 1, 0)),
        ("dola", "full", (1, 1, 3, 0, 1, 0)),
        ("every-task", "small", (1, 2, 2, 7, 1, 0)),
        ("every-task", "smoke", (1, 2, 2, 7, 1, 0)),
        ("brumley2024", "small", (2, 7, 4, 2, 1, 2)),
        ("brumley2024", "smoke", (1, 2, 4, 2, 1, 2)),
        ("brumley2024", "full", (1, 7, 4, 2, 1, 2)),
        ("dasilva2025-dola", "small", (2, 2, 2, 0, 1, 0)),
        ("dasilva2025-dola", "full", (7, 2, 2, 0, 1, 0)),
        ("dasilva2025-dola", "huge", (3, 2, 2, 0, 1, 0)),
        ("dasilva2025-fv", "small", (2, 4, 2, 1, 1, 0)),
        ("dasilva2025-fv", "smoke", (1, 1, 2, 1, 1, 0)),
        ("dasilva2025-fv", "full", (31, 9, 2, 1, 1, 0)),
        ("dasilva2025-fv", "huge", (5, 9, 2, 1, 1, 0)),
        ("dasilva2025-tv", "small", (2, 7, 1, 1, 1, 0)),
        ("dasilva2025-tv", "full", (36, 7, 1, 1, 1, 0)),
        ("instrument", "small", (2, 12, 9, 3, 5, 0)),
        ("instrument", "smoke", (1, 2, 9, 3, 5, 0)),
        ("instrument", "full", (3, 12, 9, 3, 5, 0)),
        ("learned", "small", (1, 2, 8, 2, 1, 2)),
        ("learned", "smoke", (1, 1, 8, 2, 1, 2)),
        ("learned", "full", (1, 4, 8, 2, 1, 2)),
        ("niranjan2025", "small", (2, 4, 4, 3, 1, 3)),
        ("niranjan2025", "smoke", (1, 2, 4, 3, 1, 3)),
        ("niranjan2025", "full", (1, 4, 4, 3, 1, 3)),
        ("pres2024", "small", (2, 4, 2, 1, 1, 0)),
        ("pres2024", "full", (1, 4, 2, 1, 1, 0)),
        ("sober", "small", (2, 7, 13, 5, 1, 1)),
        ("sober", "smoke", (1, 3, 3, 5, 1, 1)),
        ("sober", "full", (3, 20, 26, 5, 1, 1)),
        ("tan2024", "small", (2, 8, 1, 1, 5, 0)),
        ("tan2024", "smoke", (1, 1, 1, 1, 5, 0)),
        ("tan2024", "full", (3, 37, 1, 1, 5, 0)),
        ("u1-own-pairs", "small", (1, 1, 1, 1, 1, 0)),
        ("u2-gate", "small", (1, 1, 1, 2, 1, 2)),
        ("u3-own-method", "small", (2, 3, 2, 1, 1, 1)),
    ],
)
def test_what_the_plans_come_to(name, scale, numbers):
    assert counted(plan_of(name, scale)) == numbers


def test_quickstart_in_detail():
    [plan] = plan_of("quickstart").plans
    [smoke] = plan_of("quickstart", "smoke").plans
    [full] = plan_of("quickstart", "full").plans

    assert plan.rule == Rule("slope")
    assert plan.doses == (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)
    assert [(c.label, c.draws) for c in plan.controls] == [("random", 5), ("shuffled", 3)]
    assert plan.methods[0].options == {"read": "completion"}
    assert plan.methods[0].choose == {"layer": [9, 12, 15, 18, 21]}
    assert [t.limit for t in plan.behaviours[0].targets] == [Limit(test=40), Limit(test=48)]
    assert smoke.methods[0].choose == {"layer": [1, 2, 3]}
    assert smoke.guards[0].limit == Limit(test=8)
    assert full.methods[0].choose == {"layer": {"every": 1}}
    assert [t.limit.test for t in full.behaviours[0].targets] == [400, 400]
    assert full.limit == Limit(select=100)


def test_defects_of_a_paper_are_switched_on_by_name():
    study = plan_of("dasilva2025-fv", defects=["bos", "leak", "test"])

    assert study.run_name == "dasilva2025-fv-as-published-bos-leak-test"
    assert [m.options["bos"] for m in study.plans[0].methods] == ["published"] * 2
    assert study.plans[0].split.leak
    assert study.plans[0].rule == Rule("accuracy", "log_prob", "test")
    assert study.id != plan_of("dasilva2025-fv").id


def test_defects_lie_over_a_named_behaviour_and_method():
    study = plan_of("dasilva2025-dola", defects=["halving", "search"])

    first = study.plans[0]
    assert first.behaviours[0].targets[0].options == {"mc2": "published"}
    assert first.methods[1].rule == Rule("mc1", "", "test")


def test_a_model_of_a_plan_has_its_own_layer():
    study = plan_of("tan2024", "full")

    layers = [plan.methods[0].options["layer"] for plan in study.plans]
    assert layers == [13, 21, 14]
    assert [plan.model.dtype for plan in study.plans] == ["float32", "float16", "float32"]
    assert study.plans[0].limit == Limit("all", "all", "all")


def test_a_list_in_a_scale_says_which_and_keeps_how():
    small = plan_of("sober").plans[0].behaviours[0].conditions
    written = plan_of("sober", "full").plans[0].behaviours[0].conditions

    assert [condition.label for condition in small] == ["base", "dialogue", "tools"]
    assert small[1].options == {"size": 6}
    assert len(written) == 6


def test_the_name_of_a_plan_is_its_own_or_its_files():
    assert plan_of("sober", "smoke").run_name == "sober-1-smoke"
    assert plan_of("u1-own-pairs").run_name == "u1-own-pairs"
    assert read_study(SHORT).name == "study"
    assert read_study({**SHORT, "name": "mine"}).name == "mine"
    assert read_study({**SHORT, "name": "mine"}).id == read_study(SHORT).id


@pytest.mark.parametrize("name", STUDIES)
def test_what_ships_names_methods_and_tasks_that_are_there(name):
    for plan in read_study(name).plans:
        tasks = [t.task for b in plan.behaviours for t in b.targets or ()]
        for task in (*tasks, *(guard.task for guard in plan.guards)):
            assert task in TASKS
        for method in plan.methods:
            fields = METHODS[method.name].__dataclass_fields__
            assert {*method.options, *method.grid, *method.choose} - {"dose"} <= set(fields)


@pytest.fixture
def toml(tmp_path):
    def write(text, name="plan.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


LINES = 'models = ["m"]\nbehaviours = ["own.csv"]\nmethods = ["caa"]\n'


def test_a_file_is_read_with_paths_relative_to_it(toml, tmp_path):
    study = read_study(
        str(toml(LINES)), scale="smoke", changes=["limit = 5", {"refits": 2}]
    )

    [plan] = study.plans
    assert study.name == "plan"
    assert plan.behaviours[0].label == "own"
    assert plan.behaviours[0].source == str(tmp_path / "own.csv")
    assert (plan.limit.test, plan.refits) == (5, 2)
    assert str(tmp_path) not in json.dumps(study.plain)


def test_what_editors_add_does_not_matter(toml):
    marked = b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode()

    assert read_study(toml(marked)).id == read_study(toml(LINES, "other.toml")).id


def test_a_study_that_was_stored_is_read_again():
    study = read_study({**SHORT, "guards": {"prose": {"budget": inf}}})
    stored = json.loads(json.dumps(study.plain, allow_nan=False))

    assert read_study(stored["written"]).plans == study.plans
    assert read_study(stored["completed"]).id == study.id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = [", r"plan.toml is no valid TOML: .*; mend that line"),
        ("a = 1\na = 2", "is no valid TOML: Cannot overwrite a value .*; mend that line"),
        (f"seeds = [{'9' * 5000}]", "is no valid TOML: Exceeds the limit"),
        ("x = " + "[" * 5000, "is no valid TOML"),
        (b"\xff\xfe", "cannot be read as UTF-8 text"),
        ("", "the plan has no models; name at least one"),
        (
            LINES + 'name = "../x"',
            "name '../x' cannot name a folder; use letters, digits, do",
        ),
        (LINES + "name = 3", "name 3 cannot name a folder"),
        (LINES + "day = 2026-01-02", "the plan has no key 'day'"),
        (LINES + "doses = [nan]", "doses is nan; write a finite number"),
        (LINES + "doses = [-inf]", "doses is -inf; write a finite number"),
    ],
)
def test_a_file_that_cannot_be_used(text, message, toml):
    with pytest.raises(BadOption, match=message):
        read_study(toml(text))


def test_a_file_name_that_names_no_folder_says_what_to_do(toml):
    with pytest.raises(
        BadOption, match=r"name 'my plan' cannot name a folder; .* the key 'na"
    ):
        read_study(toml(LINES, "my plan.toml"))


def test_an_unknown_study_says_which_ship():
    with pytest.raises(
        UnknownName,
        match=r"unknown study 'quikstart'; known: dola, every-task, .* or a path ",
    ):
        read_study("quikstart")


def test_a_folder_is_no_study(tmp_path):
    with pytest.raises(UnknownName, match="unknown study"):
        read_study(tmp_path)


def test_a_large_plan_is_read_in_milliseconds():
    behaviours = {
        f"b{number}": {
            "source": f"{number}.csv",
            "targets": {f"t{k}": {"task": "map", "shots": k} for k in range(10)},
        }
        for number in range(50)
    }
    plan = {"models": ["m"], "behaviours": behaviours, "methods": ["caa", "icv"]}
    read_study(plan)

    times = []
    for _ in range(5):
        begin = time.process_time()
        study = read_study(plan)
        times.append(time.process_time() - begin)

    assert sum(len(b.targets) for b in study.plans[0].behaviours) == 500
    assert min(times) < 0.5  # a tenth of that without the checks of types in tests


def test_plans_are_toml_as_they_ship():
    for path in PLANS:
        assert tomllib.loads(path.read_text("utf-8"))
