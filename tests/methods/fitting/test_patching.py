"""What a head does to an answer: as one-by-one patching says, and as was planted."""

import copy

import pytest
import torch

from seatrial.data.templates import TEMPLATES
from seatrial.methods.fitting import patching
from seatrial.methods.fitting.heads import attending
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.methods.fitting.patching import (
    best,
    effects,
    indirect_effects,
    patches,
)
from seatrial.model import Model
from seatrial.testing import FAMILIES, naive_log_probs, planted_map
from seatrial.testing.planted import CARRIER
from seatrial.types import Example, FitData, Request, Site

REQUESTS = [
    Request("day", "day", "Q: sea\nA: clear\n\nQ: day\nA:", (" calm and blue",)),
    Request("road", "road", "Q: a walk\nA: rough\n\nQ: a road\nA:", (" is",)),
]
CLEAN = ["Q: sea\nA: calm\n\nQ: day\nA:", "Q: sea\nA: calm\n\nQ: road\nA:"]
EXAMPLES = tuple(Example(x, x.upper()) for x in ("sea", "day", "road", "house", "walk"))


def values_of(model, prompts=CLEAN):
    sites = [Site(layer, "heads") for layer in attending(model)]
    states = last_states(model, prompts, sites)
    return {site.layer: h.mean(0) for site, h in states.items()}


@torch.inference_mode()
def probability(model, request, layer=None, head=0, value=None):
    """Of the first token of the answer, by a hook of its own: one head, one position."""
    [text] = model.encoder.encode(request.prompt, request.answers)
    heads = model.structure.blocks[1 if layer is None else layer].heads
    place = slice(head * heads.d_head, (head + 1) * heads.d_head)

    def put(_, args):
        h = args[0].clone()
        h[:, -1, place] = value[place]
        return (h, *args[1:])

    handle = None if layer is None else heads.projection.register_forward_pre_hook(put)
    prompt = torch.tensor([text.ids[: text.n_prompt]])
    logits = model.engine.network(prompt, use_cache=False).logits[0, -1]
    if handle is not None:
        handle.remove()
    return float(logits.float().softmax(-1)[text.ids[text.n_prompt]])


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"falcon_h1"}))
def test_effects_are_those_of_patching_one_head_at_a_time(tiny, family):
    model = tiny(family)
    values = values_of(model)

    table = indirect_effects(model, REQUESTS, values)

    wanted = torch.zeros(3, 4, dtype=torch.float64)
    for request in REQUESTS:
        plain = probability(model, request)
        for layer, value in values.items():
            for head in range(4):
                patched = probability(model, request, layer, head, value)
                wanted[layer, head] += (patched - plain) / len(REQUESTS)
    torch.testing.assert_close(table, wanted, rtol=0, atol=2e-7)
    assert float(table.abs().max()) > 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_they_agree_with_the_naive_answers_token_by_token(tiny, family):
    model = tiny(family)
    under = list(patches(model, values_of(model)).values())

    quick = model.log_probs(REQUESTS, under)

    for line, slow in zip(quick, naive_log_probs(model, REQUESTS, under), strict=True):
        for answer, (tokens,) in zip(line, slow, strict=True):
            assert list(answer.log_probs[0]) == pytest.approx(tokens.tolist(), abs=1e-4)


@pytest.mark.parametrize("bos", [True, False])
def test_only_the_last_token_of_the_prompt_is_patched(tiny, bos):
    model = tiny("llama", bos=bos)

    for steering in patches(model, values_of(model)).values():
        [edited] = model.where(REQUESTS[0], steering.intervention)
        assert (edited.token, edited.part, edited.predicts_scored) == (":", "prompt", True)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_neox"])
def test_a_head_patched_with_its_own_state_changes_nothing(tiny, family):
    model = tiny(family)

    table = indirect_effects(model, REQUESTS[:1], values_of(model, [REQUESTS[0].prompt]))

    assert float(table.abs().max()) < 1e-7


def test_a_head_that_the_projection_ignores_has_no_effect(tiny):
    network = copy.deepcopy(tiny("llama").engine.network)
    with torch.no_grad():
        network.model.layers[1].self_attn.o_proj.weight[:, 16:24] = 0.0
    model = Model(network, tiny("llama").encoder.tokenizer, tiny("llama").card)

    table = indirect_effects(model, REQUESTS, values_of(model)).abs()

    assert float(table[1, 2]) < 1e-7
    assert sorted(table.flatten().tolist())[1] > 1e-6


def test_a_block_without_attention_has_no_effects(tiny):
    table = indirect_effects(tiny("lfm2"), REQUESTS, values_of(tiny("lfm2")))

    assert [bool(row.any()) for row in table] == [False, True, False]


@pytest.fixture(scope="module")
def letters():
    model, examples = planted_map()
    return model, FitData("capitals", (), fingerprint="planted", examples=examples)


@pytest.mark.parametrize("shots", [2, 4, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_planted_head_is_found_and_no_other(letters, shots, seed):
    model, data = letters

    table = effects(model, data, shots=shots, seed=seed)

    assert best(model, table, 1) == (CARRIER,)
    assert float(table[CARRIER]) > 0.7
    table[CARRIER] = 0
    assert float(table.abs().max()) < 0.01


def test_the_planted_model_learns_in_context_and_only_there(letters):
    """The ground that the planted truth stands on."""
    model, data = letters
    shown, asked = data.examples[:6], data.examples[6:]
    wrong = [Example(e.input, data.examples[k - 1].output) for k, e in enumerate(shown)]
    qa = TEMPLATES["qa"]

    means = []
    for demonstrations in (shown, wrong, ()):
        requests = [
            Request(e.input, e.input, qa.prompt(demonstrations, e.input), (f" {e.output}",))
            for e in asked
        ]
        [line] = model.log_probs(requests)
        means.append(torch.tensor([answer.sums[0] for answer in line]).exp().mean())

    assert means[0] > 0.9
    assert max(means[1:]) < 0.05


def test_a_survey_is_remembered_for_the_same_question_only(tiny, monkeypatch):
    model, calls = tiny("llama", seed=2), []
    data = FitData("upper", (), examples=EXAMPLES)

    def counted(*args):
        calls.append(args)
        return indirect_effects(*args)

    monkeypatch.setattr(patching, "indirect_effects", counted)
    first = effects(model, data, shots=2)
    again = effects(model, data, shots=2)
    other = effects(model, data, shots=2, seed=1)

    assert first is again
    assert len(calls) == 2 and not torch.equal(first, other)
    assert [len(requests) for _, requests, _ in calls] == [5, 5]


def test_fewer_prompts_are_asked_where_fewer_are_wanted(tiny, monkeypatch):
    model, seen = tiny("llama"), []

    def counted(_, requests, __):
        seen.append(len(requests))
        return torch.zeros(3, 4)

    monkeypatch.setattr(patching, "indirect_effects", counted)
    data = FitData("upper", (), examples=EXAMPLES)
    found = patching.survey(
        model,
        data,
        shots=2,
        mean_prompts=4,
        effect_prompts=3,
        only_solved=False,
        template="arrow",
        seed=0,
    )

    assert seen == [3]
    assert {len(h) for h in found.states.values()} == {4}
    assert found.counts == {"prompts_asked": 4, "prompts_read": 4, "prompts_patched": 3}


def test_ties_go_to_the_earlier_head_and_never_to_one_that_is_not_there(tiny):
    table = torch.zeros(3, 4)
    table[2, 1] = 1.0

    assert best(tiny("llama"), table, 3) == ((2, 1), (0, 0), (0, 1))
    assert best(tiny("lfm2"), -table, 9) == ((1, 0), (1, 1), (1, 2), (1, 3))
