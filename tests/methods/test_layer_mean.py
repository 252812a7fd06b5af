"""The layer mean is the mean of last-token states, read where the prompt ends."""

from dataclasses import replace

import pytest
import torch

from seatrial.data.templates import TEMPLATES, generator_for
from seatrial.errors import BadData
from seatrial.methods import LayerMean
from seatrial.methods.fitting.map_prompts import draw_prompts
from seatrial.testing import CHECKS, planted_map
from seatrial.types import Example, FitData, Site

SMALL = LayerMean(shots=2)


@pytest.fixture(scope="module")
def upper():
    words = ("sea", "day", "road", "a house", "walk slowly", "it")
    examples = tuple(Example(word, word.upper()) for word in words)
    return FitData("upper", (), fingerprint="made by hand", examples=examples)


def vector_of(fitted):
    [edit] = fitted.edits.values()
    return edit.vector


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("template", ["qa", "arrow"])
def test_it_is_the_mean_of_what_a_block_gives_at_the_last_token(tiny, upper, bos, template):
    model = tiny("llama", bos=bos)
    written = TEMPLATES[template]
    generator = generator_for(4, "layer-mean", "means")
    asked = draw_prompts(upper.examples, written, 2, 5, generator)

    fitted = replace(SMALL, layer=1, mean_prompts=5, template=template).fit(
        model, upper, seed=4
    )

    states = []
    for prompt, _ in asked:
        ids = model.encoder.tokenizer(prompt, add_special_tokens=False).input_ids
        ids = torch.tensor([[0, *ids] if bos else ids])
        with torch.inference_mode():
            output = model.engine.network(ids, output_hidden_states=True)
        states.append(output.hidden_states[2][0, -1])
    wanted = torch.stack(states).mean(0)
    torch.testing.assert_close(vector_of(fitted), wanted, rtol=1e-4, atol=1e-5)
    assert fitted.origin.options["prompts_read"] == 5


def test_the_middle_block_is_the_default(tiny, upper):
    assert list(SMALL.fit(tiny("llama"), upper, seed=0).edits) == [Site(1)]


def test_layers_seeds_and_numbers_of_prompts_make_a_difference(tiny, upper):
    model = tiny("llama")
    changes = [{}, {"layer": 0}, {"mean_prompts": 2}, {"shots": 3}, {"template": "bare"}]

    made = [vector_of(replace(SMALL, **c).fit(model, upper, seed=0)) for c in changes]
    made.append(vector_of(replace(SMALL, mean_prompts=2).fit(model, upper, seed=1)))

    for k, one in enumerate(made):
        assert not any(torch.allclose(one, other) for other in made[k + 1 :])


def test_only_solved_prompts_are_averaged_and_counted():
    model, examples = planted_map()
    wrong = tuple(Example(e.input, examples[k - 1].output) for k, e in enumerate(examples))
    data = FitData("capitals", (), examples=(*wrong[:2], *examples[2:]))

    fitted = LayerMean(layer=0, shots=4, only_solved=True).fit(model, data, seed=0)

    assert fitted.origin.options["prompts_asked"] == 12
    assert fitted.origin.options["prompts_read"] == 10


def test_a_concept_is_refused(tiny, example):
    with pytest.raises(BadData, match="'layer-mean' learns from the examples of a map"):
        SMALL.fit(tiny("llama"), replace(example, examples=()), seed=0)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, upper, check):
    CHECKS[check](SMALL, tiny("gemma2", bos=False), upper)
