"""Few-shot: demonstrations of the fit split, balanced, in the place their form has."""

from collections import Counter
from dataclasses import replace

import pytest

from seatrial.data import load_concept, split
from seatrial.data.templates import TEMPLATES
from seatrial.errors import BadData, BadOption
from seatrial.methods import FewShot, Random, Shuffled
from seatrial.steering import load, save
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.tasks import Map, Open, Propensity, fit_data
from seatrial.testing import CHECKS
from seatrial.types import Example, FitData, Message, Pair, Request, Text

SHARES = {"fit": 0.4, "select": 0.2, "test": 0.4}


@pytest.fixture(scope="module")
def ground():
    """Fit data and test requests of a built-in concept, by target task."""
    concept = load_concept("formality")
    parts = split(concept.items, SHARES, seed=0)
    tasks = {task.name: task(parts) for task in (Open, Propensity)}
    return {
        name: (fit_data(concept, task), task.requests("test"))
        for name, task in tasks.items()
    }


@pytest.fixture
def show(tiny):
    """What is demonstrated; a model is needed only for the record of the origin."""

    def fitted(data, shots=5, seed=0):
        return FewShot(shots).fit(tiny("llama"), data, seed=seed).prompt_edit

    return fitted


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("chat", [True, False], ids=["chat", "base"])
def test_it_keeps_every_promise(tiny, example, chat, check):
    CHECKS[check](FewShot(shots=2), tiny("llama", chat=chat), example)


@pytest.mark.parametrize("task", ["open", "propensity"])
@pytest.mark.parametrize("shots", [1, 5, 12])
def test_it_shows_both_sides_of_that_many_pairs_of_the_fit_split(ground, show, task, shots):
    data, _ = ground[task]

    edit = show(data, shots)

    pairs = {(pair.positive, pair.negative) for pair in data.pairs}
    drawn = list(zip(edit.positive, edit.negative, strict=True))
    assert len(set(drawn)) == len(drawn) == shots
    assert set(drawn) <= pairs
    assert (edit.encourage, edit.discourage) == ("", "")


@pytest.mark.parametrize("task", ["open", "propensity"])
def test_no_test_item_is_demonstrated(ground, show, task):
    data, requests = ground[task]

    edit = show(data, len(data.pairs))

    tested = {request.prompt for request in requests}
    assert not tested & {text.prompt for text in (*edit.positive, *edit.negative)}


@pytest.mark.parametrize("shots", [2, 6, 10])
def test_answers_are_balanced(ground, show, shots):
    data, _ = ground["propensity"]

    for seed in range(10):
        edit = show(data, shots, seed)
        for texts in (edit.positive, edit.negative):
            said = Counter(text.completion for text in texts)
            assert said == {"Yes": shots // 2, "No": shots // 2}


def test_a_rare_answer_is_shown_as_often_as_there_are_pairs_for_it(show):
    pairs = [
        Pair(f"{k}", f"{k}", Text(f"Q{k}", " yes"), Text(f"Q{k}", " no")) for k in range(9)
    ]
    pairs[4] = replace(pairs[4], positive=pairs[4].negative, negative=pairs[4].positive)

    edit = show(FitData("c", tuple(pairs)), 6)

    assert Counter(text.completion for text in edit.positive) == {" yes": 5, " no": 1}


def test_seeds_draw_other_demonstrations_in_another_order(ground, show):
    data, _ = ground["open"]

    draws = [show(data, seed=seed).positive for seed in range(20)]

    assert len({frozenset(draw) for draw in draws}) == 20
    assert show(data, seed=3).positive == draws[3]
    orders = {
        tuple(sorted(range(3), key=lambda k: few.positive[k]))
        for few in (
            show(replace(data, pairs=data.pairs[:3]), 3, seed) for seed in range(40)
        )
    }
    assert len(orders) == 6


def test_swapped_pairs_demonstrate_the_opposite(ground, show, swap):
    data, _ = ground["propensity"]

    one, other = show(data, seed=4), show(swap(data), seed=4)

    assert (one.positive, one.negative) == (other.negative, other.positive)


def test_shuffled_labels_are_its_control(ground, tiny):
    data, _ = ground["open"]

    honest = {pair.positive for pair in data.pairs}
    kept = []
    for seed in range(20):
        edit = Shuffled(FewShot(12)).fit(tiny("llama"), data, seed=seed).prompt_edit
        kept.append(sum(text in honest for text in edit.positive))

    # Half of 12 is 6; drawn from the same stream, none would be left as it was.
    assert 4.5 < sum(kept) / 20 < 7.5


def test_it_has_no_random_control_because_words_have_no_direction(ground, tiny):
    with pytest.raises(BadOption, match="'few-shot' makes none"):
        Random(FewShot()).fit(tiny("llama"), ground["open"][0], seed=0)


TALK = (Message("user", "Well?"),)
SEA = Pair("sea", "g", Text("The sea is", " calm."), Text("The sea is", " grey."))
ASK = Pair("ask", "g", Text(TALK, "Yes"), Text(TALK, "No"))


@pytest.mark.parametrize(
    ("pair", "chat", "prompt", "expected"),
    [
        (SEA, False, "The sky", "The sea is calm.\n\nThe sky"),
        (SEA, True, "The sky", "The sea is calm.\n\nThe sky"),
        (ASK, False, TALK, "Question: Well?\n\nAnswer: Yes\n\nQuestion: Well?\n\nAnswer:"),
        (
            ASK,
            True,
            TALK,
            "<bos><|user|>Well?<eos><|assistant|>Yes<eos>"
            "<|user|>Well?<eos><|assistant|>",
        ),
        (SEA, True, TALK[:1], "<bos><|user|>The sea is<eos><|assistant|>calm.<eos>"
            "<|user|>Well?<eos><|assistant|>"),
    ],
)  # fmt: skip
def test_a_model_reads_demonstrations_before_the_prompt(tiny, pair, chat, prompt, expected):
    model = tiny("llama", chat=chat)
    edit = FewShot(1).fit(model, FitData("c", (pair,)), seed=0).prompt_edit

    assert model.encoder.render(edit(prompt, 1.0)).text == expected
    assert model.encoder.render(edit(prompt, 0.0)) == model.encoder.render(prompt)


def test_its_answers_are_those_to_the_longer_prompt(tiny):
    model = tiny("llama")
    fitted = FewShot(1).fit(model, FitData("c", (SEA,)), seed=0)
    answers = (" blue.", " black.")

    up, down, zero = model.log_probs(
        [Request("r", "r", "The sky is", answers)],
        [Steering(fitted, 1.0), Steering(fitted, -1.0), Steering(fitted, 0.0)],
    )

    for [found], before in [(up, "The sea is calm.\n\n"), (down, "The sea is grey.\n\n")]:
        [[asked]] = model.log_probs([Request("r", "r", f"{before}The sky is", answers)])
        assert found == asked
    assert zero == model.log_probs([Request("r", "r", "The sky is", answers)])[0]
    assert up != down


def test_it_is_saved_and_loaded(tiny, ground, tmp_path):
    fitted = FewShot().fit(tiny("llama"), ground["propensity"][0], seed=3)

    save(fitted, tmp_path / "shown.safetensors")

    loaded = load(tmp_path / "shown.safetensors")
    assert loaded.prompt_edit == fitted.prompt_edit
    options = {"shots": 5, "template": "qa"}
    assert (loaded.origin.method, loaded.origin.options) == ("few-shot", options)
    assert loaded.origin.seed == 3
    assert not loaded.edits


@pytest.mark.parametrize("dose", [0.5, 2.0])
def test_half_a_demonstration_is_refused(tiny, dose):
    fitted = FewShot(1).fit(tiny("llama"), FitData("c", (SEA,)), seed=0)

    with pytest.raises(BadOption, match=f"only have the doses -1, 0 and 1, not {dose}"):
        tiny("llama").log_probs(
            [Request("r", "r", "So", (" it is",))], [UNSTEERED, Steering(fitted, dose)]
        )


def test_more_shots_than_pairs_are_refused(show):
    with pytest.raises(BadData, match="2 demonstrations need as many fit items, got 1;"):
        show(FitData("c", (SEA,)), 2)


def test_no_shots_are_refused(show):
    with pytest.raises(BadOption, match="shots must be at least 1, not 0"):
        show(FitData("c", (SEA,)), 0)


def test_a_text_without_a_completion_demonstrates_nothing(show):
    whole = Pair("whole", "g", Text("The sea is calm.", ""), Text("The sea is grey.", ""))

    with pytest.raises(BadData, match="pair 'whole' has a text without a completion"):
        show(FitData("c", (whole,)), 1)


def test_of_a_map_it_makes_the_prompt_with_that_many_examples_and_no_more(show):
    """Pairs of a map hold ten demonstrations already; five of them would be fifty."""
    task = Map.of("country-capital", seed=0, limit=20)
    data = task.fit_data()
    right = {example.input: example for example in data.examples}

    edit = show(data, 5)

    shown = [right[text.prompt[3:].partition("\n")[0]] for text in edit.positive]
    tested = {request.prompt for request in task.requests("test")}
    for request in task.requests("test"):
        query = request.prompt.removeprefix("Q: ").removesuffix("\nA:")
        assert edit(request.prompt, 1.0) == TEMPLATES["qa"].prompt(shown, query)
        assert edit(request.prompt, -1.0).count("Q: ") == 6
    assert not tested & {text.prompt for text in (*edit.positive, *edit.negative)}


def test_of_a_map_the_opposite_is_the_same_examples_with_every_output_elsewhere(show):
    data = Map.of("country-capital", seed=0).fit_data()

    edit = show(data, 6, seed=2)

    assert [text.prompt for text in edit.positive] == [t.prompt for t in edit.negative]
    rows = list(zip(edit.positive, edit.negative, strict=True))
    assert all(one.completion != other.completion for one, other in rows)
    assert {one.completion for one, _ in rows} == {other.completion for _, other in rows}


def test_of_a_map_with_few_outputs_each_is_shown_equally_often(show):
    outputs = ["warm"] * 9 + ["cold"] * 3
    examples = tuple(Example(f"x{k}", output) for k, output in enumerate(outputs))

    edit = show(FitData("m", (), examples=examples), 6)

    assert Counter(t.completion for t in edit.positive) == {" warm": 3, " cold": 3}


def test_of_a_map_examples_are_written_as_asked_for(tiny):
    data = Map.of("country-capital", seed=0).fit_data()

    edit = FewShot(2, "The capital of {x} is").fit(tiny("llama"), data, seed=0).prompt_edit

    for text in edit.positive:
        country = text.prompt.removeprefix("The capital of ").removesuffix(" is")
        assert Example(country, text.completion[1:]) in data.examples
