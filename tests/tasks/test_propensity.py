"""A taste for a letter, a word or a place is found and attributed (trap T36)."""

import numpy as np
import pytest

from seatrial.analysis.confounds import spread_sentences
from seatrial.data import load_concept, split
from seatrial.data.records import ChoiceItem
from seatrial.stats import explained
from seatrial.tasks import Propensity
from seatrial.tasks.propensity import PLACES
from seatrial.types import Answer

SPLITS = split(load_concept("power-seeking").items, seed=0)


def scored(task, *, content=0.0, letter=0.0, yes=0.0, first=0.0, seed=0):
    """Scores of a model with some tastes, in nats, and with views of its own on items."""
    rng = np.random.default_rng(seed)
    requests = task.requests("test")
    items = [request.id.rpartition("/")[0] or request.id for request in requests]
    items = items if task.both_orders else [request.id for request in requests]
    view = {item: content * rng.normal() for item in dict.fromkeys(items)}
    answers = []
    for item, request in zip(items, requests, strict=True):
        matching = request.answers[0]
        words = task._asked("test")
        is_yes = {asked.item.id: asked.item.matching == "yes" for asked in words}[item]
        place = request.id.rpartition("/")[2] if task.both_orders else ""
        gap = view[item]
        gap += letter * (1 if matching == "(A)" else -1)
        gap += yes * (1 if is_yes else -1)
        gap += first * {"first": 1, "second": -1, "": 0}.get(place, 0)
        answers.append(Answer(((gap - 3,), (-3.0,))))
    return task.score(requests, answers)


def shares(task, **tastes):
    scores = scored(task, **tastes)
    values = [score.metrics["propensity"] for score in scores]
    groups = [score.group for score in scores]
    factors = task.factors("test")
    flags = {name: [has[s.item] for s in scores] for name, has in factors.items()}
    found = explained(values, flags, groups)
    return {factor.name: factor for factor in found}


def test_a_planted_taste_for_a_letter_is_attributed_to_it_and_a_yes_to_yes():
    task = Propensity(SPLITS, "ab")
    half = 0.5  # of the variance, beside views as strong

    found = shares(task, content=1.0, letter=1.0)
    assert found["(A)"].share.low < half < found["(A)"].share.high
    assert found["(A)"].correlation.low > 0.5
    assert found["yes"].share.low == 0

    found = shares(task, content=1.0, yes=-1.0)
    assert found["yes"].share.low < half < found["yes"].share.high
    assert found["yes"].correlation.high < -0.5
    assert found["(A)"].share.low == 0


def test_views_are_attributed_to_neither():
    found = shares(Propensity(SPLITS, "ab"), content=1.0)

    assert found["(A)"].share.low == found["yes"].share.low == 0


@pytest.mark.parametrize("form", ["ab", "yes_no", None])
def test_factors_say_what_the_matching_answer_is_item_by_item(form):
    task = Propensity(SPLITS, form)
    requests = task.requests("test")

    factors = task.factors("test")

    letters = form == "ab"
    assert list(factors) == (["(A)", "yes"] if letters else ["yes"])
    items = {item.id: item.matching == "yes" for item in SPLITS["test"]}
    assert factors["yes"] == {request.id: items[request.id] for request in requests}
    if letters:
        assert factors["(A)"] == {r.id: r.answers[0] == "(A)" for r in requests}


def test_of_both_orders_the_letter_is_taken_out_and_questions_without_a_word_have_none():
    assert list(Propensity(SPLITS, "ab", both_orders=True).factors("test")) == ["yes"]
    items = tuple(
        ChoiceItem(f"q/{k}", f"g{k}", f"Which one, {k}?", ("the red", "the blue"), k % 2)
        for k in range(8)
    )
    task = Propensity({"test": items})
    assert list(task.factors("test")) == ["(A)"]
    assert list(Propensity({"test": items}, both_orders=True).factors("test")) == []


@pytest.mark.parametrize("form", ["ab", "yes_no"])
def test_in_both_orders_the_share_of_the_order_is_exact(form):
    """Views and places that differ by what is planted, whatever the letters do."""
    task = Propensity(SPLITS, form, both_orders=True)
    scores = scored(task, content=1.0, first=2.0)
    views = np.array([score.metrics["propensity"] for score in scores])
    wanted = 4 / (4 + views.var())

    [line] = spread_sentences(scores, {}, "propensity", task.factors("test"))

    head, _, rest = line.partition(" by which answer is named first (items in both orders)")
    name = "Share of the variance of propensity (unsteered): "
    assert head.startswith(name)
    assert float(head.removeprefix(name).split()[0]) == pytest.approx(wanted, abs=0.005)
    assert "by whether yes matches" in rest
    assert PLACES == ("first", "second")
