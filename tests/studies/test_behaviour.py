"""A concept is split by group, and refused before a model is asked where that fails."""

from dataclasses import asdict

import pytest

from seatrial.errors import BadData, BadOption, UnknownName
from seatrial.studies.behaviour import Behaviour
from seatrial.studies.study import Limits, make_study
from seatrial.testing.planted import planted_concept

PLAN = {
    "name": "small",
    "model": "planted",
    "concepts": ["formality"],
    "methods": [{"name": "caa", "read": "completion"}],
    "layers": [0, 1],
}


@pytest.fixture
def plan():
    return lambda **changes: make_study({**PLAN, **changes})


def test_a_concept_that_does_not_exist_lists_those_that_do(plan):
    study = plan(concepts=["formalty"])

    with pytest.raises(
        UnknownName, match=r"unknown concept 'formalty'; known: .* 'formality'"
    ):
        Behaviour(study, "formalty")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"test": {"open": 2}},
            "2 test items of one group are too few for an interval on 'open'",
        ),
        ({"select": 2}, "2 select items of one group are too few"),
    ],
)
def test_items_that_allow_no_interval_are_refused_before_the_model_is_loaded(
    limits, message, plan, tmp_path
):
    lines = planted_concept(tmp_path / "c.jsonl", groups=6).read_text().splitlines()
    concept = str(tmp_path / "c.jsonl")
    refused = 0

    for seed in range(12):  # a sample of two is of one group now and then
        study = plan(concepts=[concept], seed=seed, limits=limits)
        try:
            Behaviour(study, concept)
        except BadData as error:
            assert message in str(error)
            refused += 1

    assert len(lines) == 25
    assert refused > 0


def test_a_limit_that_leaves_nothing_is_refused(plan):
    with pytest.raises(BadOption, match="a limit of items must be at least 2"):
        Behaviour(plan(limits={"select": 1}), "formality")


def test_guards_are_samples_of_their_own_items_within_their_limits(plan):
    limits = {"prose": 3, "guards": {"facts": 20, "dialogue": 6}}
    names = ["prose", "facts", "dialogue", "fluency"]

    behaviour = Behaviour(plan(guards=names, limits=limits), "formality")

    asked = {name: guard.requests("test") for name, guard in behaviour.guards.items()}
    assert list(asked) == names
    assert [len(asked[name]) for name in names[:3]] == [3, 20, 6]
    assert all(len({r.group for r in requests}) > 1 for requests in asked.values())


def test_the_fingerprint_holds_what_guards_ask(plan):
    prints = [
        Behaviour(
            plan(guards=guards, limits={"guards": dict.fromkeys(few, 10)}), "formality"
        ).fingerprint
        for guards, few in ((["prose"], []), (["facts"], []), (["facts"], ["facts"]))
    ]

    assert len(set(prints)) == 3


def test_an_own_concept_without_instructions_is_refused_before_anything_runs(
    plan, tmp_path
):
    path = planted_concept(tmp_path / "mute.jsonl")
    path.write_text("\n".join(path.read_text().splitlines()[1:]))

    with pytest.raises(BadData, match="concept 'mute' has no instruction for and against"):
        Behaviour(plan(concepts=[str(path)]), str(path))


def test_the_same_seed_splits_alike_and_another_does_not(plan):
    def tested(seed):
        behaviour = Behaviour(
            plan(seed=seed, limits=asdict(Limits(test={"open": 20}))), "formality"
        )
        return [item.id for item in behaviour.targets["open"].splits["test"]]

    assert tested(0) == tested(0)
    assert tested(0) != tested(1)
