"""What a dry run counts is what a run measures."""

import pytest

from seatrial.errors import UnknownName
from seatrial.model.load.outline import SHAPES, Outline, is_fetched, is_here, outline_of
from seatrial.store.records import Fitted, Rows
from seatrial.studies.dry_run import count_table, dry_run, tokens_per_second
from seatrial.studies.study import STUDIES, read_study


def test_counts_are_those_of_a_run(plan, measured):
    plain = plan(methods={"caa": {"read": "completion", "layer": 1, "dose": 1}})
    [counted] = dry_run(read_study(plain), seconds=0.0)

    _, records = measured(plain)

    cells = [cell for r in records if isinstance(r, Rows) for cell in r.cells]
    assert sum(count.cells for count in counted.counts) == len(set(cells)) == len(cells)
    fits = {record.fit for record in records if isinstance(record, Fitted)}
    assert sum(count.fits for count in counted.counts) == len(fits)
    assert [row[:3] for row in count_table([counted])] == [
        ("tiny", "select", "1"), ("tiny", "price", "1"), ("tiny", "test", "1"),
    ]  # fmt: skip
    assert (counted.seconds, counted.tokens_per_second) == (None, None)


def test_a_choice_is_counted_with_all_candidates(plan, measured):
    [counted] = dry_run(read_study(plan()), seconds=0.0)

    _, records = measured(plan())

    cells = {cell for r in records if isinstance(r, Rows) for cell in r.cells}
    assert sum(count.cells for count in counted.counts) == len(cells)


def test_what_does_not_fit_is_told(plan):
    methods = {"caa": {"layer": 1}, "function-vector": {"layer": 1}}

    [counted] = dry_run(read_study(plan(methods=methods)), seconds=0.0)

    [missing] = counted.not_applicable
    assert missing.what == "function-vector on planted"
    assert missing.reason


def test_time_comes_from_a_short_calibration(plan, tiny):
    [counted] = dry_run(read_study(plan()), seconds=0.01)

    assert counted.seconds == pytest.approx(counted.tokens / counted.tokens_per_second)
    assert tokens_per_second(tiny("llama"), 0.0) > 0


def test_a_model_that_is_not_here_is_counted_by_its_outline(plan):
    named = plan(models=["huggyllama/llama-7b"])

    [counted] = dry_run(read_study(named))

    assert counted.outline == "the table of seatrial"
    assert counted.seconds is None
    assert [count.cells for count in counted.counts] == [
        count.cells for count in dry_run(read_study(plan()), seconds=0.0)[0].counts
    ]


def test_a_model_of_which_nothing_is_known_is_refused(plan):
    with pytest.raises(
        UnknownName, match=r"a/b is not on this machine, .* go online .* or name a folder"
    ):
        dry_run(read_study(plan(models=["a/b"])))
    with pytest.raises(UnknownName, match="unknown model 'smollm3'; known: "):
        dry_run(read_study(plan(models=["smollm3"])))


def test_every_model_of_a_built_in_study_has_an_outline():
    for name in STUDIES:
        for scale in ("small", "full"):
            try:
                plans = read_study(name, scale=scale).plans
            except UnknownName:
                continue
            assert {plan.model.name for plan in plans} <= set(SHAPES)


def test_an_outline_counts_by_length():
    from seatrial.types import Message, Request

    outline = Outline("m", 4, 8, "here")
    [first, second] = outline.answer_tokens(Request("i", "g", "a" * 40, ("b" * 8, "c")))

    assert outline.n_heads == 32
    assert (first.n_prompt, len(first.scored), len(second.scored)) == (10, 2, 1)
    assert len(outline.tokens((Message("user", "a" * 20), Message("user", "b" * 19)))) == 10


def test_what_is_here_and_what_would_be_fetched(tmp_path):
    assert is_here("tiny") and is_here(str(tmp_path))
    assert not is_here("a/b") and not is_here("smollm3")
    assert is_fetched("a/b") and is_fetched("smollm2-135m") and not is_fetched("smollm3")
    assert outline_of("smollm3") is None
