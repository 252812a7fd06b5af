"""Every option of every task is listed with its meaning, and can be set by its name."""

from dataclasses import replace

import pytest

from seatrial.data import Item
from seatrial.errors import BadOption, UnknownName
from seatrial.tasks import TASKS, Generation, Map, Open, Propensity, in_condition
from seatrial.tasks.conditions import TAN
from seatrial.tasks.judges import Lexicon, Regex
from seatrial.tasks.spec import (
    identity_of,
    in_conditions,
    make_fit_data,
    make_task,
    option_values,
    options_for,
    with_options,
)

OFFLINE = ("propensity", "open", "map", "generation", "values")
OFFLINE += ("prose", "dialogue", "facts", "fluency")
OTHERS = {
    "form": ("ab", "texts", "chat"), "seed": (3,), "template": ("arrow", "Now {x} is"),
    "shots": (2,), "context_words": (40,), "facts_between": (2,), "labels": ("right",),
    "order": ("published",), "max_tokens": (7,), "temperature": (0.5,),
    "max_unreadable": (0.2,), "wording": ("clean",), "both_orders": (True,),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_every_option_says_what_it_means(name):
    for option in options_for(TASKS[name]):
        assert len(option.meaning) > 8, f"{name}.{option.name} has no sentence under it"
        assert "`" not in option.meaning


@pytest.mark.parametrize("name", OFFLINE)
def test_what_is_listed_is_what_a_task_takes(name):
    kind = TASKS[name]
    task = kind.of(kind.sources[0], seed=0, limit=4)
    listed = options_for(kind)

    assert [option.name for option in listed] == list(option_values(task))
    for option in listed:
        if option.name == "judge":
            continue
        known = option_values(with_options(task, {}))[option.name]
        assert option.default == getattr(known, "name", str(known))
        values = OTHERS[option.name]
        wanted = [v for v in values if not option.choices or v in option.choices]
        assert wanted
        for value in wanted:
            found = option_values(with_options(task, {option.name: value}))[option.name]
            assert getattr(found, "name", found) == value


def test_choices_are_named():
    [form, *_] = options_for(Propensity)

    assert (form.name, form.choices) == ("form", ("yes_no", "ab"))
    assert options_for(Open) == []


def test_what_can_change_a_score_identifies_it():
    task = Map.of("antonym", seed=0, limit=4)
    found = identity_of(with_options(task, {"shots": 2}))

    assert (found["task"], found["version"], found["condition"]) == ("map", 1, "base")
    assert found["options"]["shots"] == 2
    assert found != identity_of(task)


def test_a_judge_identifies_scores_with_all_that_it_is_made_of():
    splits = {"test": ()}
    judges = [Lexicon(), Regex("sorry"), Regex("sorry", ignore_case=False), Regex("no")]
    found = [identity_of(Generation(splits, "is glad", judge)) for judge in judges]

    assert [one["options"]["judge"] for one in found] == [j.identity for j in judges]
    assert len({one["options"]["judge"] for one in found}) == 4


def test_a_task_in_a_condition_is_its_task_with_what_the_prompts_carry():
    task = Map.of("antonym", seed=0, limit=4)
    instructions = Map.instructions("antonym")

    identity = identity_of(in_condition(task, "user-negative", instructions))

    carried = {"condition": "user-negative", "instruction": instructions.discourage}
    assert identity == identity_of(task) | carried
    assert identity_of(in_condition(task, {"name": "tools", "size": 3})) == (
        identity_of(task) | {"condition": "tools", "size": 3}
    )


ITEMS = tuple(
    Item(
        f"i{k}", f"g{k // 4}", f"I like {k}.", "no" if k % 4 > 1 else "yes", "A", "b.", "c."
    )
    for k in range(16)
)
SPLITS = {"fit": ITEMS[:8], "select": (), "test": ITEMS}


def test_options_are_the_fields_with_defaults():
    assert option_values(Propensity(SPLITS)) == {
        "form": None,
        "wording": "clean",
        "both_orders": False,
    }


def test_options_are_set_together_and_leave_the_task_alone():
    task = Map.of("antonym", seed=0, limit=4)

    for options in ({"labels": "shuffled", "shots": 2}, {"shots": 2, "labels": "shuffled"}):
        assert option_values(with_options(task, options)) == option_values(task) | options
    assert task.shots == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"from": "ab"}, "unknown option of 'propensity' 'from'; known: .* mean 'form'"),
        ({"splits": 1}, "unknown option of 'propensity' 'splits'"),
        ({"form": "abc"}, "form of 'propensity': input should be 'yes_no' or 'ab'"),
        ({"both_orders": 3}, r"both_orders of 'propensity': .* \(got 3\)"),
    ],
)
def test_a_bad_option_is_one_sentence(options, words):
    with pytest.raises((BadOption, UnknownName), match=words):
        with_options(Propensity(SPLITS), options)


def test_a_judge_is_set_by_its_name_or_as_it_is():
    task = Generation({"test": ITEMS}, "numbers")

    for judge, name in ((Regex("a:b"), "regex:a:b"), (Lexicon(), "vader")):
        assert with_options(task, {"judge": name}).judge == judge
        assert with_options(task, {"judge": judge}).judge == judge
    with pytest.raises(BadOption, match="'endpoint' needs more than its name; give it to"):
        with_options(task, {"judge": "endpoint"})
    with pytest.raises(UnknownName, match="unknown judge 'oracle'; known: classifier, "):
        with_options(task, {"judge": "oracle"})
    assert with_options(task, {"max_tokens": 8}).max_tokens == 8


# From plain values.


def test_a_task_is_made_of_its_name_its_source_and_its_options():
    made = make_task("propensity", "formality", seed=3, limit=8, options={"form": "ab"})

    assert made == replace(Propensity.of("formality", seed=3, limit=8), form="ab")
    assert make_task("map", limit=4) == Map.of(Map.sources[0], seed=0, limit=4)


def test_a_judge_is_of_generation_alone():
    judge = Regex("sorry")

    assert make_task("generation", "honesty", limit=4, judge=judge).judge is judge
    with pytest.raises(BadOption, match="a judge is of the task 'generation'; 'open' has"):
        make_task("open", judge=judge)


def test_fit_data_are_those_of_the_task_and_of_its_options():
    made = make_fit_data("propensity", "formality", seed=2, limit=6, options={"form": "ab"})

    assert len(made.pairs) == 6
    assert {pair.positive.completion for pair in made.pairs} == {"(A)", "(B)"}
    assert made.encourage == Propensity.instructions("formality").encourage
    of_map = make_fit_data("map", "antonym", limit=4, options={"shots": 2})
    assert of_map == Map.of("antonym", seed=0).fit_data(limit=4, shots=2)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("prose", {}, "unknown target task 'prose'; known: map, open, propensity"),
        ("map", {"labels": "right"}, "unknown option of a map that is fitted on 'labels'"),
    ],
)
def test_what_supplies_no_pairs_is_refused(name, options, words):
    with pytest.raises(UnknownName, match=words):
        make_fit_data(name, "antonym", options=options)


def test_all_conditions_are_the_five_of_tan_et_al():
    task = Propensity.of("formality", seed=0, limit=4)

    names = [each.name for each in in_conditions(task, "all", source="formality")]

    assert names == [f"propensity@{name}" for name in TAN]
    assert in_conditions(task, "base", source="formality") == [task]


def test_a_concept_is_named_only_where_prompts_carry_its_instruction():
    task = Propensity.of("formality", seed=0, limit=4)

    for condition in ("base", "tools"):
        with pytest.raises(BadOption, match=f"under the condition {condition} they carry"):
            in_conditions(task, condition, source="formality", concept="honesty")
    with pytest.raises(UnknownName, match="unknown condition 'tool'; known: all, base"):
        in_conditions(task, "tool", source="formality")
