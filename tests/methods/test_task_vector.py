"""Task vectors: the state is put in place exactly, and comes from the prompts it should."""

import math
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch

from seatrial.data.templates import TEMPLATES
from seatrial.errors import BadData, BadOption
from seatrial.methods import FunctionVector, LayerMean, Random, Shuffled, TaskVector
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.steering.edits import Replace
from seatrial.steering.intervention import UNSTEERED, Intervention, Steering
from seatrial.testing import (
    CHECKS,
    FAMILIES,
    naive_log_probs,
    naive_logits,
    planted_map,
)
from seatrial.types import Example, FitData, Request, Site

SMALL = TaskVector(layer=1, shots=2)
ARROW = TEMPLATES["arrow"]


@pytest.fixture(scope="module")
def upper():
    words = ("sea", "day", "road", "a house", "walk slowly", "it")
    examples = tuple(Example(word, word.upper()) for word in words)
    return FitData("upper", (), fingerprint="made by hand", examples=examples)


def value_of(fitted):
    [edit] = fitted.edits.values()
    assert type(edit) is Replace
    return edit.value


def request(word="train", template=ARROW):
    answers = (template.answer("TRAIN"), template.answer("train it"))
    return Request(word, word, template.prompt((), word), answers)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "falcon"])
def test_the_next_block_reads_the_vector_itself_at_the_last_token(tiny, upper, family, bos):
    """Bit for bit there, and the unsteered states at every other token."""
    model = tiny(family, bos=bos)
    fitted = SMALL.fit(model, upper, seed=0)
    [text, _] = model.encoder.encode(request().prompt, request().answers)
    seen = []

    def look(_, args, kwargs):
        h = args[0] if args else kwargs["hidden_states"]
        seen.append(h[0].clone())

    with ExitStack() as stack:
        following = model.structure.blocks[2].module
        handle = following.register_forward_pre_hook(look, with_kwargs=True)
        stack.callback(handle.remove)
        for steering in (UNSTEERED, Steering(fitted)):
            naive_logits(model, text.ids, text.n_prompt, steering)

    plain, steered = seen
    last = text.n_prompt - 1
    assert model.encoder.decode([text.ids[last]]).endswith(">")
    assert torch.equal(steered[last], value_of(fitted))
    assert not torch.equal(plain[last], value_of(fitted))
    others = torch.arange(len(plain)) != last
    assert torch.equal(plain[others], steered[others])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_the_engine_replaces_as_the_slow_way_does(tiny, upper, family):
    model = tiny(family)
    under = [Steering(SMALL.fit(model, upper, seed=0), dose) for dose in (1.0, 0.5)]

    quick = model.log_probs([request()], under)

    for [answer], [slow] in zip(
        quick, naive_log_probs(model, [request()], under), strict=True
    ):
        for tokens, others in zip(answer.log_probs, slow, strict=True):
            assert list(tokens) == pytest.approx(others.tolist(), abs=1e-4)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_prompts_own_state_changes_nothing(tiny, layer):
    model = tiny("llama")
    [own] = last_states(model, [request().prompt], [Site(layer)])[Site(layer)]
    found = Intervention({Site(layer): Replace(own)}, "last")

    # At dose 2 the step away from the own state is still 0.
    for dose in (1.0, 0.5):
        with torch.inference_mode():
            logits = [
                naive_logits(model, text.ids, text.n_prompt, steering)
                for text in model.encoder.encode(request().prompt, request().answers)
                for steering in (UNSTEERED, Steering(found, dose))
            ]
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-4)


def test_a_dose_is_the_share_of_the_way(upper, tiny):
    value = value_of(SMALL.fit(tiny("llama"), upper, seed=0))
    h = torch.randn(5, len(value), generator=torch.Generator().manual_seed(0))

    for dose in (0.25, 1.0, 1.5):
        wanted = (1 - dose) * h + dose * value
        torch.testing.assert_close(Replace(value)(h, dose), wanted)


@pytest.mark.parametrize("template", ["arrow", "qa"])
def test_it_is_the_mean_over_dummy_queries_of_the_last_state(tiny, upper, template):
    model = tiny("llama")
    method = replace(SMALL, dummies=3, template=template)
    prompts = method.prompts(upper, seed=7)

    found = value_of(method.fit(model, upper, seed=7))

    assert len(prompts) == 3
    wanted = last_states(model, prompts, [Site(1)])[Site(1)].mean(0)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("contexts", [1, 4])
def test_dummy_queries_are_not_among_the_examples_of_their_context(upper, contexts):
    prompts = replace(SMALL, contexts=contexts).prompts(upper, seed=0)

    assert len(prompts) == 2 * contexts
    shown = []
    for prompt in prompts:
        *examples, query = prompt.split("\n")
        x = query.removeprefix("example:").removesuffix("->")
        assert len(examples) == 2 and x in {e.input for e in upper.examples}
        assert not any(f":{x}->" in line for line in examples)
        shown.append(tuple(examples))
    # Both queries of a context stand behind the same examples.
    assert shown[::2] == shown[1::2] and prompts[::2] != prompts[1::2]
    assert len(set(shown)) > 1 or contexts == 1


def test_several_contexts_are_averaged(tiny, upper):
    model = tiny("llama")
    method = replace(SMALL, contexts=3)
    prompts = method.prompts(upper, seed=0)
    each = [
        last_states(model, prompts[k : k + 2], [Site(1)])[Site(1)].mean(0)
        for k in (0, 2, 4)
    ]

    found = value_of(method.fit(model, upper, seed=0))

    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_layers_templates_and_seeds_make_a_difference(tiny, upper):
    model = tiny("llama")
    changes = [{}, {"layer": 0}, {"shots": 3}, {"template": "qa"}, {"dummies": 1}]

    made = [value_of(replace(SMALL, **c).fit(model, upper, seed=0)) for c in changes]
    made.append(value_of(SMALL.fit(model, upper, seed=1)))

    for k, one in enumerate(made):
        assert not any(torch.allclose(one, other) for other in made[k + 1 :])


@pytest.mark.parametrize("options", [{"shots": 0}, {"dummies": 0}, {"contexts": 0}])
def test_nothing_to_read_is_refused(tiny, upper, options):
    with pytest.raises(BadOption, match="needs at least 1 shot, dummy and context"):
        replace(SMALL, **options).fit(tiny("llama"), upper, seed=0)


def test_a_concept_and_too_few_examples_are_refused(tiny, example, upper):
    with pytest.raises(BadData, match="'task-vector' learns from the examples of a map"):
        SMALL.fit(tiny("llama"), replace(example, examples=()), seed=0)
    with pytest.raises(BadData, match="7 demonstrations need as many examples"):
        TaskVector().fit(tiny("llama"), upper, seed=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_this_and_its_kin_steer_every_family(tiny, upper, family):
    """Function vectors only where heads were found; test_heads.py has all of those."""
    model = tiny(family)
    found = {layer for layer, b in enumerate(model.structure.blocks) if b.heads is not None}
    heads = tuple((layer, 1) for layer in found)
    kin = [SMALL, LayerMean(1, shots=2, mean_prompts=2)]
    kin += [FunctionVector(1, use=heads, shots=2, mean_prompts=2)] if heads else []
    under = [Steering(method.fit(model, upper, seed=0)) for method in kin]

    plain, *steered = model.log_probs([request()], [UNSTEERED, *under])

    assert bool(heads) == (family != "falcon_h1")
    assert all(one != plain for one in steered)


@pytest.fixture(scope="module")
def late():
    """A model whose block 1 leaves the task, and nothing else, at the last token."""
    return planted_map(asks_late=True)


def right_answers(model, examples, *under):
    """Mean probability of the right answer zero-shot, and how often it is the top one."""
    requests = [
        Request(e.input, e.input, TEMPLATES["qa"].prompt((), e.input), (f" {e.output}",))
        for e in examples
    ]
    found = []
    for line in model.log_probs(requests, under, top=True):
        probability = sum(math.exp(answer.sums[0]) for answer in line) / len(line)
        found.append((probability, sum(a.is_top[0][0] for a in line) / len(line)))
    return found


def test_the_planted_task_is_carried_to_inputs_it_was_not_fitted_on(late):
    """It does the task at the layer where it is planted, and at no other."""
    model, examples = late
    data = FitData("capitals", (), fingerprint="planted", examples=examples[:6])
    method = TaskVector(shots=4, template="qa")
    fitted = [replace(method, layer=k).fit(model, data, seed=0) for k in range(3)]
    controls = [
        control(replace(method, layer=1)).fit(model, data, seed=seed)
        for control in (Shuffled, Random)
        for seed in range(2)
    ]
    under = [UNSTEERED, *map(Steering, fitted), *map(Steering, controls)]

    plain, early, right, later, *others = right_answers(model, examples[6:], *under)

    assert right[0] > 0.9 and right[1] == 1
    assert max(p for p, _ in (plain, early, later, *others)) < 0.2


def test_the_layer_mean_carries_it_too_but_more_weakly(late):
    """All else that prompts have in common is added with it, and drowns half of it."""
    model, examples = late
    data = FitData("capitals", (), fingerprint="planted", examples=examples[:6])
    fitted = [LayerMean(layer=k, shots=4).fit(model, data, seed=0) for k in range(3)]
    moved = Shuffled(LayerMean(layer=1, shots=4)).fit(model, data, seed=0)
    under = [UNSTEERED, *map(Steering, (*fitted, moved))]

    plain, early, right, later, shuffled = right_answers(model, examples[6:], *under)

    assert right[1] == 1 and 2 * plain[0] < right[0] < 0.5
    assert max(p for p, _ in (early, later, shuffled)) < 1.1 * plain[0]


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise(tiny, upper, check):
    CHECKS[check](SMALL, tiny("qwen3"), upper)
