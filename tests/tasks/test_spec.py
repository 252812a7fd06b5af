"""Every option of every task is listed with its meaning, and can be set by its name."""

import pytest

from seatrial.tasks import TASKS, Generation, Map, Open, Propensity, shifted
from seatrial.tasks.judges import Lexicon, Regex
from seatrial.tasks.spec import identity_of, options_for, options_of, with_options

OFFLINE = ("propensity", "open", "map", "generation", "values", "application")
OFFLINE += ("prose", "dialogue", "facts", "fluency")
OTHERS = {
    "form": ("ab", "texts", "chat"), "seed": (3,), "template": ("arrow", "Now {x} is"),
    "shots": (2,), "context_words": (40,), "facts_between": (2,), "labels": ("right",),
    "order": ("published",), "max_tokens": (7,), "temperature": (0.5,),
    "max_unreadable": (0.2,), "inner": ("open",), "condition": ("tools",), "size": (1,),
    "prompt": ("clean",), "both_orders": (True,),
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

    assert [option.name for option in listed] == list(options_of(task))
    for option in listed:
        if option.name == "judge":
            continue
        known = options_of(with_options(task, {}))[option.name]
        assert option.default == getattr(known, "name", str(known))
        values = OTHERS[option.name]
        wanted = [v for v in values if not option.choices or v in option.choices]
        assert wanted
        for value in wanted:
            found = options_of(with_options(task, {option.name: value}))[option.name]
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


def test_a_shifted_task_is_its_task_with_what_the_prompts_carry():
    task = Map.of("antonym", seed=0, limit=4)
    concept = task.fit_data(shots=0)

    found = identity_of(shifted(task, "user-negative", concept))

    told = {"condition": "user-negative", "instruction": concept.discourage}
    assert found == identity_of(task) | told
