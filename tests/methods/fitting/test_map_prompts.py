"""Questions of a map: what stands in them, which are solved, and where they are read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seatrial.data.templates import TEMPLATES
from seatrial.errors import BadData, BadOption
from seatrial.methods.fitting.map_prompts import (
    draw_prompts,
    last_states,
    mean_state,
    requests_of,
    solved,
)
from seatrial.model import Model
from seatrial.testing import planted_map, tiny_tokenizer
from seatrial.types import Example, Site

QA, ARROW = TEMPLATES["qa"], TEMPLATES["arrow"]
EXAMPLES = tuple(Example(x, x.upper()) for x in ("sea", "day", "road", "house", "walk"))


def drawn(shots=2, n=9, seed=0, **options):
    return draw_prompts(EXAMPLES, QA, shots, n, np.random.default_rng(seed), **options)


def shown_in(question):
    """The demonstrations of a prompt as (input, output)."""
    *shown, _ = question.prompt.split("\n\n")
    return [tuple(line.removeprefix("Q: ").split("\nA: ")) for line in shown]


def test_every_example_is_asked_once_and_never_shown_with_its_own_question():
    asked = drawn(shots=4)

    assert sorted(query for _, query in asked) == sorted(EXAMPLES)
    for question in asked:
        assert question.prompt.endswith(f"Q: {question.query.input}\nA:")
        assert sorted(shown_in(question)) == sorted(set(EXAMPLES) - {question.query})


def test_there_are_as_many_as_asked_for_and_the_seed_decides():
    assert len(drawn(n=3)) == 3
    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)


def test_queries_may_be_given():
    asked = drawn(queries=EXAMPLES[:2])

    assert {query for _, query in asked} == set(EXAMPLES[:2])


def test_moved_labels_are_all_wrong_and_all_there():
    for question in drawn(shots=4, labels_moved=True):
        shown = shown_in(question)
        others = {example for example in EXAMPLES if example != question.query}
        assert not set(shown) & {tuple(example) for example in others}
        assert {y for _, y in shown} == {example.output for example in others}


def test_too_few_examples_are_said():
    with pytest.raises(BadData, match="5 demonstrations need as many examples"):
        drawn(shots=5)


@pytest.mark.parametrize("options", [{"shots": 0}, {"n": 0}])
def test_no_shots_or_prompts_are_refused(options):
    with pytest.raises(BadOption, match="shots and prompts must be at least 1"):
        drawn(**options)


@pytest.mark.parametrize("template", [QA, ARROW])
@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_last_token_of_the_text_is_read_with_and_without_bos(
    tiny, family, bos, template
):
    """A BOS token must not shift the position by one (trap T6)."""
    model = tiny(family, bos=bos)
    asked = draw_prompts(EXAMPLES, template, 2, 3, np.random.default_rng(0))
    prompts = [prompt for prompt, _ in asked]

    found = last_states(model, prompts, [Site(1)])[Site(1)]

    for prompt, h in zip(prompts, found, strict=True):
        text = prompt.encode()
        ids = model.encoder.tokenizer(text.decode(), add_special_tokens=False).input_ids
        ids = [0, *ids] if bos else ids
        assert model.encoder.decode(ids[-1:]) in (":", ">", "->")
        with torch.inference_mode():
            states = model.engine.network(
                torch.tensor([ids]), output_hidden_states=True
            ).hidden_states
        torch.testing.assert_close(h, states[2][0, -1], rtol=1e-4, atol=1e-4)


def test_a_tokenizer_that_changes_the_end_of_a_prompt_is_noticed(tiny, monkeypatch):
    model = tiny("llama")
    original = model.encoder.prompt_ids
    monkeypatch.setitem(
        vars(model.encoder), "prompt_ids", lambda prompt: original(prompt)[:-1]
    )

    with pytest.raises(BadData, match="the last token read is 'A', but the prompt ends in"):
        last_states(model, ["Q: sea\nA:"], [Site(1)])


def test_the_mean_state_is_that_of_the_prompts_and_read_once(tiny, monkeypatch):
    model = tiny("llama", seed=1)
    prompts = [prompt for prompt, _ in drawn()]
    wanted = last_states(model, prompts, [Site(2)])[Site(2)].mean(0)

    found = mean_state(model, prompts, Site(2))
    monkeypatch.setattr(Model, "activations", None)
    again = mean_state(model, prompts, Site(0))

    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, again)


@pytest.fixture(scope="module")
def letters():
    return planted_map()


def test_only_what_greedy_decoding_answers_rightly_is_solved(letters):
    model, examples = letters
    odd = [replaced(example) if k < 3 else example for k, example in enumerate(examples)]
    asked = draw_prompts(examples, QA, 4, 12, np.random.default_rng(0), queries=odd)

    kept = solved(model, asked, QA)

    assert {query for _, query in kept} == set(examples[3:])


def replaced(example):
    return Example(example.input, "A" if example.output != "A" else "B")


def test_a_map_that_is_never_solved_is_said(letters):
    model, examples = letters
    odd = [replaced(example) for example in examples]
    asked = draw_prompts(examples, QA, 4, 12, np.random.default_rng(0), queries=odd)

    with pytest.raises(BadData, match="the model solves none of the 12 prompts"):
        solved(model, asked, QA)


def test_a_request_asks_for_the_right_answer_after_the_whole_prompt(tiny):
    model = tiny("llama")
    asked = drawn(n=1)

    [request] = requests_of(model, asked, QA)

    assert request.prompt == asked[0].prompt
    assert request.answers == (f" {asked[0].query.output}",)


def test_an_answer_that_melts_with_the_end_of_the_prompt_is_refused(tiny):
    """ "ion" is one token of this tokenizer, so "->" alone must not be what is edited."""
    model = tiny("llama")
    template = replace(ARROW, query="{x} i")
    asked = draw_prompts(EXAMPLES, template, 1, 1, np.random.default_rng(0))
    odd = [question._replace(query=Example("sea", "s the")) for question in asked]
    assert len(tiny_tokenizer()(" is", add_special_tokens=False).input_ids) == 1

    with pytest.raises(BadData, match="melts into one token with the end of the prompt"):
        requests_of(model, odd, template)
