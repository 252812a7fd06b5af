"""A cell is named by everything that can change its numbers, and by nothing else.

Most cases plan twice and compare ids, which measures nothing.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from polars.testing import assert_frame_equal
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from seatrial import steering
from seatrial.methods import METHODS
from seatrial.methods.caa import CAA
from seatrial.methods.random import Random
from seatrial.model import Model
from seatrial.model.load.tiny import CHAT_TEMPLATE, tiny_tokenizer
from seatrial.model.model import PROBE
from seatrial.steering import Intervention
from seatrial.steering.edits import Add
from seatrial.store import Store
from seatrial.store.records import Failed, Fitted, Rows, Unit
from seatrial.studies.asked import Asked
from seatrial.studies.cells import cell_id
from seatrial.studies.jobs import phases_of
from seatrial.studies.phases import Phases
from seatrial.studies.run import run
from seatrial.studies.study import read_study
from seatrial.tasks import TASKS
from seatrial.tasks.factuality import Claims, Factuality
from seatrial.tasks.generation import Generation
from seatrial.tasks.judges import Lexicon, Likelihood, Regex
from seatrial.testing.planted import planted_concept
from seatrial.types import Site


class Cell(NamedTuple):
    """A planned cell with what it is called."""

    label: str
    control: str
    target: str
    condition: str
    point: str
    is_fitted: bool
    fit_condition: str
    id: str


def cells(plain, model, *changes, seed=0):
    """Every cell that the first unit of a plan asks for, in order, without measuring."""
    [plan] = read_study(plain, changes=changes).plans
    unit = Unit(plan.model.label, seed, plan.behaviours[0].label)
    phases = Phases(model, plan, unit)
    others = {each.label: () for each in plan.behaviours}
    return [
        Cell(
            placed.label,
            placed.control,
            batch.target,
            batch.condition,
            batch.point,
            placed.fit is not None,
            placed.fit.condition.label if placed.fit else "",
            cell_id(
                model.fingerprints,
                placed.fit.id if placed.fit else "",
                placed.dose,
                batch.ask.id,
            ),
        )
        for phase in phases_of(plan)
        for batch in phases.batches(phase, (), others)
        for placed in batch.placed
    ]


def ids(planned):
    return [cell.id for cell in planned]


def assert_only(before, after, must_change, may_change=None):
    """Cells that must change have other ids, and those that may not have the same."""
    may_change = may_change or must_change
    pairs = list(zip(before, after, strict=True))
    assert any(must_change(cell) for cell in before)
    same = [one for one, other in pairs if one.id == other.id]
    other = [one for one, other in pairs if one.id != other.id]
    assert not [cell for cell in same if must_change(cell)]
    assert not [cell for cell in other if not may_change(cell)]


SMALL = {
    "models": ["tiny"],
    "behaviours": {
        "own": {
            "source": "own.jsonl",
            "targets": {
                "open": "open",
                "asked": {"task": "propensity"},
                "written": {
                    "task": "generation",
                    "source": "positive-sentiment",
                    "judge": "regex:yes",
                    "max_tokens": 4,
                },
            },
        }
    },
    "methods": {"caa": {"read": "completion", "layer": 1, "dose": 1}},
    "doses": [1],
    "limit": {"fit": 12, "select": 8, "test": 6},
    "controls": {"random": 1, "shuffled": 1},
    "baselines": {"instruction": {}},
    "guards": {"facts": {"limit": {"select": 2, "test": 2}}},
}
"""A method, controls, a baseline, a guard and three kinds of target."""

TALKING = {
    **SMALL,
    "behaviours": {"own": {"source": "own.jsonl", "targets": {"open": "open"}}},
    "conditions": {"base": {}, "talk": {"name": "dialogue", "size": 1}},
    "transfer": ["condition"],
    "controls": {"random": 1},
    "baselines": [],
    "guards": [],
}
"""One target in two conditions, and a fit in each."""

MAPPED = {
    **SMALL,
    "behaviours": {
        "antonym": {
            "fit": {"task": "map", "shots": 2},
            "targets": {"map": {"shots": 2}},
        }
    },
    "methods": {"function-vector": {"layer": 1, "heads": 2, "dose": 1}},
    "controls": {"random": 1},
    "baselines": [],
    "guards": [],
}
"""A map, whose prompts are made of templates."""


@pytest.fixture(scope="module")
def model():
    return Model.load("tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the data file of these plans lies; nobody changes it."""
    folder = tmp_path_factory.mktemp("data")
    planted_concept(folder / "own.jsonl", groups=12)
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def here(folder, tmp_path, _there, monkeypatch):
    """A folder with the same data file, which may be changed."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "own.jsonl", "own.jsonl")
    return tmp_path


@pytest.fixture(scope="module")
def planned(folder, model):
    """The cells of a plan as it is written, planned once: ``planned(SMALL)``."""
    known = {}

    def make(plain, model=model):
        key = json.dumps(plain), id(model)
        if key not in known:
            with chdir(folder):
                known[key] = cells(plain, model)
        return known[key]

    return make


def everything(cell):
    return True


def fitted(cell):
    return cell.is_fitted


def of(label):
    return lambda cell: cell.label == label


def on(target):
    return lambda cell: cell.target == target


# What an id does not depend on.


def relabelled(room: str, old: str, new: str, **entry: object):
    """A change of a plan that gives one entry of a named table another label."""

    def change(plain):
        plain = json.loads(json.dumps(plain))
        table = plain
        for key in room.split("."):
            table = table[key]
        if isinstance(table, list):
            table = {label: {} for label in table}
        value = table[old]
        value = {"draws": value} if isinstance(value, int) else value
        value = {"task": value} if isinstance(value, str) else value
        changed = {
            (new if label == old else label): (
                {**value, **entry} if label == old else other
            )
            for label, other in table.items()
        }
        parent = plain
        *rooms, last = room.split(".")
        for key in rooms:
            parent = parent[key]
        parent[last] = changed
        return plain

    return change


def twice(plain):
    """The method under a second label, beside its own."""
    methods = plain["methods"]
    return {**plain, "methods": {**methods, "twin": {"name": "caa", **methods["caa"]}}}


RENAMED: dict[str, Callable] = {
    "a method": relabelled("methods", "caa", "steered", name="caa"),
    "a control": relabelled("controls", "random", "noise", name="random"),
    "a baseline": relabelled("baselines", "instruction", "told", name="instruction"),
    "a guard": relabelled("guards", "facts", "knows", task="facts"),
    "a target": relabelled("behaviours.own.targets", "open", "free", task="open"),
    "a behaviour": relabelled("behaviours", "own", "mine"),
    "a model": relabelled("models", "tiny", "little", name="tiny"),
    "a condition": relabelled("conditions", "talk", "chatter"),
}


@pytest.mark.parametrize("what", RENAMED)
def test_a_label_is_in_no_id(what, planned, model):
    plan = TALKING if what == "a condition" else SMALL

    renamed = cells(RENAMED[what](plan), model)

    assert ids(renamed) == ids(planned(plan))


def test_one_arm_under_two_labels_is_one_cell(model):
    both = cells(twice(SMALL), model)

    first, second = (ids(filter(of(label), both)) for label in ("caa", "twin"))
    assert first == second
    assert len(first) == len(set(first)) > 1


SAME = {
    "defaults that are written out": (
        'methods.caa.tokens = "from_last_prompt"',
        "behaviours.own.targets.asked.both_orders = false",
        "behaviours.own.targets.written.max_unreadable = 0.05",
        "controls.shuffled.rescale = true",
        'baselines.instruction.encourage = ""',
    ),
    "an integer in place of a number": (
        "behaviours.own.targets.written.temperature = 0",
        "methods.caa.dose = 1.0",
    ),
    "what is judged": (
        "guards.facts.budget = 0.5",
        "behaviours.own.targets.open.matters = 0.1",
        'behaviours.own.targets.open.metric = "matching"',
        'claims = [{ that = "reliable" }]',
    ),
    "what else is measured": (
        "seeds = [0, 1]",
        "limit.select = 12",  # where nothing is chosen
        'models.tiny.device = "cpu"',
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_number_is_in_no_id(what, planned, model):
    assert ids(cells(SMALL, model, *SAME[what])) == ids(planned(SMALL))


def test_where_a_data_file_lies_is_in_no_id(here, planned, model):
    (here / "elsewhere").mkdir()
    shutil.move("own.jsonl", here / "elsewhere" / "own.jsonl")

    moved = cells(SMALL, model, 'behaviours.own.source = "elsewhere/own.jsonl"')

    assert ids(moved) == ids(planned(SMALL))


def test_where_a_saved_steering_lies_is_in_no_id(here, model):
    save("one.safetensors")
    before = cells({**SMALL, "methods": {"shipped": "one.safetensors"}}, model)
    shutil.move("one.safetensors", "two.safetensors")

    moved = cells({**SMALL, "methods": {"shipped": "two.safetensors"}}, model)

    assert ids(moved) == ids(before)


# What an id depends on: the plan.

OPTIONS: dict[str, tuple[str, Callable, Callable | None]] = {
    "an option of a method": ('methods.caa.read = "last"', of("caa"), None),
    "an option of a control": (
        "controls.shuffled.rescale = false",
        lambda cell: cell.control == "shuffled",
        None,
    ),
    "an option of a baseline": (
        'baselines.instruction.encourage = "Be merry."',
        of("instruction"),
        None,
    ),
    "the limit of fit items": ("limit.fit = 8", of("caa"), fitted),
    "a method's own limit": ("methods.caa.limit.fit = 8", of("caa"), None),
    "the fit task": ('behaviours.own.fit = "propensity"', of("caa"), fitted),
    "instructions of the behaviour": (
        'behaviours.own.instructions = { for = "Be merry.", against = "Be grim." }',
        of("instruction"),
        fitted,
    ),
    "the limit of test items": (
        "limit.test = 8",
        lambda cell: cell.target != "facts",
        None,
    ),
    "a target's own limit": (
        "behaviours.own.targets.open.limit = 8",
        on("open"),
        None,
    ),
    "the limit of a guard": ("guards.facts.limit.test = 3", on("facts"), None),
    "the seed of the split": ("split.seed = 1", everything, None),
    "the shares of the split": (
        "split = { fit = 0.3, select = 0.2, test = 0.5 }",
        lambda cell: cell.target in ("open", "asked") or cell.is_fitted,
        everything,
    ),
    "how a guard is scored": ('guards.facts.form = "texts"', on("facts"), None),
    "how a target is asked": (
        "behaviours.own.targets.asked.both_orders = true",
        on("asked"),
        None,
    ),
    "the judge's pattern": (
        'behaviours.own.targets.written.judge = "regex:no"',
        on("written"),
        None,
    ),
    "the judge's tolerance": (
        "behaviours.own.targets.written.max_unreadable = 0.5",
        on("written"),
        None,
    ),
    "how much is written": (
        "behaviours.own.targets.written.max_tokens = 5",
        on("written"),
        None,
    ),
    "the temperature": (
        "behaviours.own.targets.written.temperature = 1.0",
        on("written"),
        None,
    ),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_what_a_plan_says_of_a_cell_is_in_its_id(what, planned, model):
    change, must_change, may_change = OPTIONS[what]

    after = cells(SMALL, model, change)

    assert_only(planned(SMALL), after, must_change, may_change)


@pytest.mark.parametrize("change", ['name = "tools"', "size = 2"])
def test_the_condition_of_asking_and_of_fitting_is_in_the_id(change, planned, model):
    after = cells(TALKING, model, f"conditions.talk.{change}")

    def in_condition(cell):
        return "talk" in (cell.condition, cell.fit_condition)

    assert_only(planned(TALKING), after, in_condition)


PROMPTS: dict[str, tuple[str, Callable]] = {
    "the template": ('behaviours.antonym.targets.map.template = "arrow"', everything),
    "shots": ("behaviours.antonym.targets.map.shots = 3", everything),
    "labels": ('behaviours.antonym.targets.map.labels = "shuffled"', everything),
    "context": ("behaviours.antonym.targets.map.context_words = 30", everything),
    "facts": ("behaviours.antonym.targets.map.facts_between = 1", everything),
    "shots that are fitted on": ("behaviours.antonym.fit.shots = 3", fitted),
    "the template that is fitted on": (
        'behaviours.antonym.fit.template = "arrow"',
        fitted,
    ),
}


@pytest.mark.parametrize("what", PROMPTS)
def test_the_prompts_of_a_map_are_in_the_id(what, planned, model):
    change, must_change = PROMPTS[what]

    assert_only(planned(MAPPED), cells(MAPPED, model, change), must_change)


def test_every_dose_is_a_cell_of_its_own(model):
    doses = cells(SMALL, model, "doses = [-2, -0.5, 0.5, 1.5]")

    asked = [cell for cell in doses if cell.label == "caa" and not cell.control]
    on_open = [cell for cell in asked if cell.target == "open"]
    assert len(set(ids(on_open))) == len(on_open) == 6  # and the chosen one, both ways


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_seed_is_in_the_id_of_what_it_can_change(temperature, model):
    written = f"behaviours.own.targets.written.temperature = {temperature}"
    first, second = (cells(SMALL, model, written, seed=seed) for seed in (0, 1))

    def samples(cell):
        return cell.is_fitted or (temperature > 0 and cell.target == "written")

    assert_only(first, second, samples)


def test_draws_of_all_seeds_are_cells_of_their_own(model):
    drawn = [
        cell.id
        for seed in range(3)
        for cell in cells(SMALL, model, "controls.random.draws = 3", seed=seed)
        if cell.control == "random" and cell.target == "open"
    ]

    assert len(set(drawn)) == len(drawn) == 3 * 3 * 2  # seeds, draws, both directions


# What an id depends on: the model.


def read_by(tiny, tokenizer):
    """One network with another tokenizer."""
    model = tiny("llama")
    return Model(model.engine.network, tokenizer, model.card)


def template(text):
    """The tiny tokenizer with a chat template."""
    return wrapped(tiny_tokenizer().backend_tokenizer, text)


def wrapped(tokenizer, chat_template):
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
    )
    whole.chat_template = chat_template
    return whole


CHAT = "<bos>" + CHAT_TEMPLATE


def marked(role):
    """A chat template that ends the messages of one role with a space."""
    space = f"{{% if message['role'] == '{role}' %}} {{% endif %}}<eos>"
    return CHAT.replace("<eos>", space)


MODELS: dict[str, Callable] = {
    "the weights": lambda tiny, base: tiny("llama", seed=1),
    "what its config says of the same weights": lambda tiny, base: tiny("mistral"),
    "the dtype": lambda tiny, base: tiny("llama", dtype=dtype("bfloat16")),
    "a beginning-of-sequence token": lambda tiny, base: tiny("llama", bos=False),
    "that there is a chat template": lambda tiny, base: tiny("llama", chat=True),
}


def dtype(name):
    import torch

    return getattr(torch, name)


@pytest.mark.parametrize("what", MODELS)
def test_the_model_is_in_every_id(what, tiny, planned):
    base = tiny("llama")

    assert_only(planned(SMALL, base), cells(SMALL, MODELS[what](tiny, base)), everything)


def test_the_chat_template_is_in_every_id(tiny):
    one, other = (read_by(tiny, template(text)) for text in (CHAT, marked("user")))

    assert_only(cells(SMALL, one), cells(SMALL, other), everything)


def test_how_a_template_shows_replies_is_in_the_id_of_what_shows_some(tiny):
    """Demonstrations are in a fit, and so in no request that is asked."""
    shown = {**SMALL, "baselines": {"few-shot": {"shots": 2}}}
    one, other = (read_by(tiny, template(text)) for text in (CHAT, marked("assistant")))

    def shows_replies(cell):
        return cell.label == "few-shot" and cell.target in ("asked", "facts")

    assert_only(cells(shown, one), cells(shown, other), shows_replies, everything)


def test_a_tokenizer_that_reads_only_fit_texts_otherwise_is_in_the_id(tiny, here, drawn):
    rewrite("own.jsonl", lambda lines: put("fit", "matching_text", STATION)(lines, drawn))
    one, other = (read_by(tiny, tokenizer) for tokenizer in (template(CHAT), split_up()))
    assert one.tokens(PROBE) == other.tokens(PROBE)
    assert one.tokens(STATION) != other.tokens(STATION)

    before, after = cells(SMALL, one), cells(SMALL, other)

    assert_only(before, after, of("caa"), everything)


STATION = "the station"


def split_up():
    """The tiny tokenizer without a merge that one text needs and the probe does not."""
    known = template(CHAT)
    plain = json.loads(known.backend_tokenizer.to_str())
    merges = plain["model"]["merges"]
    for index in reversed(range(len(merges))):
        fewer = [*merges[:index], *merges[index + 1 :]]
        model = {**plain["model"], "merges": fewer}
        other = Tokenizer.from_str(json.dumps({**plain, "model": model}))
        if (
            other.encode(PROBE).ids == known(PROBE).input_ids
            and other.encode(STATION).ids != known(STATION).input_ids
        ):
            return wrapped(other, CHAT)
    raise AssertionError("every merge of the one is needed for the other")


# What an id depends on: data.


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def rewrite(path, change):
    """Change the lines of a file of data in place."""
    lines = lines_of(path)
    change(lines)
    Path(path).write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")


@pytest.fixture
def drawn(model):
    """Lines of the data file by the split that their items are drawn into."""
    [plan] = read_study(SMALL).plans
    phases = Phases(model, plan, Unit("tiny", 0, "own"))
    data = phases.behaviour.fit_data()
    [asked, *_] = [b.ask for b in phases.batches("test") if b.target == "open"]
    numbers = {line["id"]: k for k, line in enumerate(lines_of("own.jsonl")) if k}
    return {
        "fit": [numbers[pair.id] for pair in data.pairs],
        "test": [numbers[request.id] for request in asked.requests],
    }


def put(split, key, text):
    """Another value in one line of a split."""

    def change(lines, drawn):
        assert lines[drawn[split][0]][key] != text
        lines[drawn[split][0]][key] = text

    return change


def header(key, text):
    def change(lines, drawn):
        lines[0]["concept"][key] = text

    return change


DATA: dict[str, tuple[Callable, Callable, Callable | None]] = {
    "what is fitted on, matching": (
        put("fit", "matching_text", "bright bright"),
        of("caa"),
        fitted,
    ),
    "what is fitted on, other": (put("fit", "other_text", "dull"), of("caa"), fitted),
    "the prompt of a pair": (put("fit", "prompt", "kab kab"), of("caa"), fitted),
    "what is asked, matching": (
        put("test", "matching_text", "bright bright"),
        on("open"),
        None,
    ),
    "what is asked, other": (put("test", "other_text", "dull"), on("open"), None),
    "the prompt of a test item": (put("test", "prompt", "kab kab"), on("open"), None),
    "the instruction for it": (
        header("encourage", "Be merry."),
        of("instruction"),
        fitted,
    ),
    "the instruction against it": (
        header("discourage", "Be grim."),
        of("instruction"),
        fitted,
    ),
}


@pytest.mark.parametrize("what", DATA)
def test_the_content_of_a_data_file_is_in_the_id(what, here, drawn, planned, model):
    change, must_change, may_change = DATA[what]

    rewrite("own.jsonl", lambda lines: change(lines, drawn))

    assert_only(planned(SMALL), cells(SMALL, model), must_change, may_change)


def test_which_answer_matches_is_in_the_id(here, planned, model):
    def swap(lines):
        for line in lines[1:]:
            line["matching"] = {"yes": "no", "no": "yes"}[line["matching"]]

    rewrite("own.jsonl", swap)

    assert_only(planned(SMALL), cells(SMALL, model), on("asked"), everything)


def test_which_items_are_one_group_is_in_the_id(model):
    """Intervals are over groups, and a unit keeps the groups of an ask that it has."""
    [plan] = read_study(SMALL).plans
    [asked, *_] = Phases(model, plan, Unit("tiny", 0, "own")).batches("test")
    task = asked.ask.task
    items = task.splits["test"]
    joined = tuple(replace(item, group=f"half-{k % 2}") for k, item in enumerate(items))

    grouped = replace(task, splits={**task.splits, "test": joined})

    assert Asked(task, "test", model, 0).id != Asked(grouped, "test", model, 0).id


READS_A_FILE: dict[str, tuple[str, Callable]] = {
    "the gate of CAST": (
        'methods.cast = { layer = 1, dose = 1, gate_on = "other.jsonl" }',
        of("cast"),
    ),
    "the classes of k-steering": (
        'methods.k-steering = { layer = 1, dose = 1, others = ["other.jsonl"] }',
        of("k-steering"),
    ),
    "the other task of a control": (
        'controls.other-task = { draws = 1, other = "other.jsonl" }',
        lambda cell: cell.control == "other-task",
    ),
}


@pytest.mark.parametrize("what", READS_A_FILE)
def test_the_content_of_a_file_that_a_method_reads_is_in_the_id(what, here, model):
    change, must_change = READS_A_FILE[what]
    planted_concept(Path("other.jsonl"), groups=12, seed=1)
    before = cells(SMALL, model, change)

    def edit(lines):
        for line in lines[1:]:
            line["matching_text"] += " bright"

    rewrite("other.jsonl", edit)

    assert_only(before, cells(SMALL, model, change), must_change)


def save(path, value=1.0):
    """A steering as a file."""
    import torch

    vector = value * torch.ones(64)
    steering.save(Intervention({Site(1, "resid"): Add(vector)}), path)


def test_the_content_of_a_saved_steering_is_in_the_id(here, model):
    shipped = {**SMALL, "methods": {"shipped": "one.safetensors"}}
    save("one.safetensors")
    before = cells(shipped, model)

    save("one.safetensors", 2.0)

    assert_only(before, cells(shipped, model), of("shipped"))


# What an id depends on: code.


@pytest.mark.parametrize(
    ("kind", "must_change"),
    [
        (CAA, lambda cell: cell.label == "caa" and not cell.control),
        # A control is fitted by the method that it stands beside.
        (CAA, lambda cell: cell.label == "caa" and bool(cell.control)),
        (Random, lambda cell: cell.control == "random"),
        (METHODS["instruction"], of("instruction")),
        (TASKS["open"], on("open")),
        (TASKS["propensity"], on("asked")),
        (TASKS["generation"], on("written")),
        (TASKS["facts"], on("facts")),
    ],
    ids=[
        "a method",
        "the method of a control",
        "a control",
        "a baseline",
        "open",
        "propensity",
        "generation",
        "facts",
    ],
)
def test_a_version_is_in_the_id(kind, must_change, planned, model, monkeypatch):
    before = planned(SMALL)
    may_change = of("caa") if kind is CAA else must_change

    monkeypatch.setattr(kind, "version", kind.version + 1)

    assert_only(before, cells(SMALL, model), must_change, may_change)


# What only scoring knows: requests stay the same.


def claims():
    items = tuple(
        Claims(f"i{k}", f"g{k}", f"Is {k} even?", ("It is.", "Yes."), ("No.",))
        for k in range(3)
    )
    return Factuality({"fit": (), "select": (), "test": items})


@pytest.mark.parametrize(
    "change",
    [{"mc2": "published"}, {"ties": "published"}, {"precision": "half"}],
    ids=lambda change: next(iter(change)),
)
def test_how_answers_are_scored_is_in_the_id(change, model):
    one, other = (
        Asked(task, "test", model, 0) for task in (claims(), replace(claims(), **change))
    )

    assert one.content == other.content
    assert one.id != other.id


@pytest.mark.parametrize(
    "judge",
    [Lexicon(), Regex("no"), Regex("yes", ignore_case=False)],
    ids=["another kind", "its pattern", "its option"],
)
def test_the_judge_with_its_options_is_in_the_id(judge, model):
    task = Generation.of("positive-sentiment", seed=0, limit=4, judge=Regex("yes"))
    one, other = (
        Asked(each, "test", model, 0) for each in (task, replace(task, judge=judge))
    )

    assert one.content == other.content
    assert one.id != other.id


def test_what_a_judge_looks_for_is_in_the_id(model):
    task = Generation.of("formality", seed=0, limit=4, judge=Likelihood(model))

    other = replace(task, concept="writes rudely")

    assert Asked(task, "test", model, 0).id != Asked(other, "test", model, 0).id


# Stores: equal ids measure nothing again, and other ids do.


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """A plan that ran through."""
    store = Store(tmp_path_factory.mktemp("whole") / "run")
    run(read_study(asked_in(plan())), store)
    return store


def asked_in(plain):
    """The plan of this folder, small enough for many runs."""
    one = {"caa": {"read": "completion", "layer": 1, "dose": 1}}
    return {
        **plain,
        "limit": {"fit": 12, "select": 8, "test": 6},
        "behaviours": {"own": plain["behaviours"]["planted"]},
        "methods": one,
        "controls": {"random": 1, "shuffled": 1},
        "baselines": ["instruction"],
        "guards": {"facts": {"limit": {"select": 2, "test": 2}}},
    }


@pytest.fixture
def again(whole, tmp_path):
    """Run another plan into a copy of that store: the store, and its records."""

    def make(plain):
        shutil.copytree(whole.root, tmp_path / "run")
        store, records = Store(tmp_path / "run"), []
        run(read_study(plain), store, None, records.append)
        assert not [record for record in records if isinstance(record, Failed)]
        return store, records

    return make


def measured_in(records):
    return [record for record in records if isinstance(record, Rows | Fitted)]


@pytest.mark.parametrize("what", [*list(RENAMED)[:-1], "the same arm twice"])
def test_what_is_renamed_is_not_measured_again(what, plan, again):
    change = RENAMED.get(what, twice)
    renamed = change(asked_in(plan()))

    store, records = again(renamed)

    assert not measured_in(records)
    labels = set(store.scan().collect()["label"])
    assert len(labels) == (4 if what == "the same arm twice" else 3)


def test_a_model_of_another_dtype_is_fitted_again_under_its_old_label(
    plan, again, tmp_path
):
    plain = {**asked_in(plan()), "models": {"tiny": {"dtype": "bfloat16"}}}

    grown, records = again(plain)
    run(read_study(plain), fresh := Store(tmp_path / "fresh"))

    assert [record for record in records if isinstance(record, Fitted)]
    assert_frame_equal(rows(grown), rows(fresh), check_exact=True)


def rows(store):
    order = ["cell", "label", "control", "draw", "target", "phase", "item", "metric"]
    return store.scan().drop("run").collect().sort(order)
