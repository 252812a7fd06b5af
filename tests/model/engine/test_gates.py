"""A gate decides prompt by prompt; where it stays shut the model is the unsteered one."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seatrial.errors import BadData, BadOption, ForeignIntervention
from seatrial.model import MemoryBudget
from seatrial.model.engine.gates import decide
from seatrial.steering.edits import Add
from seatrial.steering.gate import Gate
from seatrial.steering.intervention import UNSTEERED, Intervention, PromptEdit, Steering
from seatrial.testing import naive_acting, naive_greedy, naive_log_probs
from seatrial.types import Message, Request, Site, Text

PROMPTS = [
    "The answer is",
    "What does the sea look like?",
    "I would rather walk to the station than",
    (Message("user", "Would you wait for a train?"),),
    "So",
]
REQUESTS = [
    Request(str(k), str(k), prompt, (" yes, it is", " no"))
    for k, prompt in enumerate(PROMPTS)
]
SEA = PromptEdit("Praise the sea.", "Never praise the sea.")
FORMS = [
    ("mean", "cosine", "above"), ("last", "cosine", "below"), ("mean", "published", "below")
]  # fmt: skip


def normal(seed, width=32):
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def splitting(model, read="mean", similarity="cosine", fires="above", *, seed=3, layer=0):
    """A gate whose threshold halves the widest gap between two of the prompts."""
    site = Site(layer)
    states = model.activations([Text(prompt, "") for prompt in PROMPTS], [site], read)[site]
    loose = Gate(site, normal(seed), 0.0, "above", read, similarity)
    numbers = loose.distance(states).sort().values
    widest = int(numbers.diff().argmax())
    middle = float(numbers[widest : widest + 2].mean())
    return Gate(site, normal(seed), middle, fires, read, similarity)


def gated(push, gate, **options):
    """A push that acts where the gate opens, and the push that always acts."""
    always, dose = push
    only = Intervention(always.edits, always.tokens, gate=gate, **options)
    return Steering(only, dose), push


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("family", ["llama", "bloom", "lfm2"])
def test_answers_are_the_steered_ones_or_the_unsteered_ones_bit_for_bit(
    tiny, push, family, form
):
    model = tiny(family)
    only, always = gated(push(model, 1), splitting(model, *form))

    plain, steered, mixed = model.log_probs(REQUESTS, [UNSTEERED, always, only], kl=True)

    acts = model.acts_on(PROMPTS, only.intervention)
    assert 0 < sum(acts) < len(PROMPTS)
    for number, fires in enumerate(acts):
        assert mixed[number] == (steered if fires else plain)[number]
        assert steered[number] != plain[number]
        drift = max(x for answer in mixed[number].kl for x in answer)
        assert (drift > 0) == fires


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_gated_answers_equal_the_slow_obvious_way(tiny, push, form):
    model = tiny("llama")
    gate = splitting(model, *form)
    only, always = gated(push(model, 1, tokens="from_last_prompt"), gate)
    edited = Steering(Intervention(prompt_edit=SEA, gate=gate))
    under = [only, UNSTEERED, edited, always, gated(push(model, 0), gate)[0]]

    lines = model.log_probs(REQUESTS, under)

    for line, slow in zip(lines, naive_log_probs(model, REQUESTS, under), strict=True):
        for answer, expected in zip(line, slow, strict=True):
            for found, wanted in zip(answer.log_probs, expected, strict=True):
                torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_gated_texts_equal_the_slow_obvious_way(tiny, push, family):
    model = tiny(family)
    gate = splitting(model)
    only, always = gated(push(model, 1, dose=3.0), gate)
    edited = Steering(Intervention(prompt_edit=SEA, gate=gate))

    lines = model.generate(PROMPTS, [UNSTEERED, only, always, edited], max_tokens=4)

    acts = model.acts_on(PROMPTS, only.intervention)
    plain, mixed, steered, asked = lines
    for number, prompt in enumerate(PROMPTS):
        if acts[number]:
            # Two rows of one product may differ in the last bit (they do on two threads).
            found, wanted = mixed[number], steered[number]
            assert found.log_probs == pytest.approx(wanted.log_probs, abs=1e-5)
            assert replace(found, log_probs=wanted.log_probs) == wanted
        else:
            assert mixed[number] == plain[number]
        # The unedited prompt decides whether it is edited.
        edit = naive_acting(model, prompt, edited)
        ids = model.encoder.prompt_ids(
            edit.intervention.prompt_edit(prompt, 1.0)
            if edit.intervention.prompt_edit
            else prompt
        )
        found = list(asked[number].token_ids)
        assert found == naive_greedy(model, ids, edit, len(found))


@settings(max_examples=4)
@given(order=st.permutations(range(len(PROMPTS))), n=st.integers(1, len(PROMPTS)))
def test_a_decision_does_not_depend_on_the_batch(tiny, order, n):
    """Trap T5, T25: neither which prompts stand beside it, nor what was asked before."""
    model, narrow = tiny("llama"), tiny("llama", budget=MemoryBudget(tokens=1))
    gate = Intervention({Site(1): Add(normal(1))}, gate=splitting(model))
    alone = [model.acts_on([prompt], gate)[0] for prompt in PROMPTS]
    picked = [*order[:n], order[0]]

    for asked in (model, narrow):
        found = asked.acts_on([PROMPTS[k] for k in picked], gate)

        assert list(found) == [alone[k] for k in picked]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prompt_near_the_threshold_is_read_once_more_alone(tiny, dtype):
    """What stands beside it moves its last digits, which must not decide."""
    model = tiny("llama", dtype=dtype)
    alone = model.activations([Text(PROMPTS[2], "")], [Site(2)], "mean")[Site(2)]
    loose = Gate(Site(2), normal(1), 0.0)
    number = float(loose.distance(alone)[0])
    calls = []

    def read(texts, sites, at):
        calls.append([text.prompt for text in texts])
        found = model.activations(texts, sites, at)
        return {site: h + 1e-6 * len(texts) for site, h in found.items()}

    def decided(threshold):
        gate = Gate(Site(2), normal(1), threshold)
        under = [Steering(Intervention(gate=gate), 1.0)]
        return decide(read, PROMPTS, under, model.dtype)[0][2]

    assert decided(number + 1.0) is False
    assert calls == [PROMPTS]
    for nudge in (1e-7, -1e-7):
        calls.clear()
        near = decided(number + nudge)
        assert calls[0] == PROMPTS and [PROMPTS[2]] in calls[1:]
        moved = loose.distance(alone + 1e-6)[0]
        assert near == bool(moved > number + nudge)


def test_the_decision_does_not_depend_on_the_dose(tiny, push):
    model = tiny("llama")
    intervention = gated(push(model, 1), splitting(model))[0].intervention
    doses = (0.3, -0.3, 2.0)

    plain, *lines = model.log_probs(
        REQUESTS, [UNSTEERED, *(Steering(intervention, dose) for dose in doses)]
    )

    acts = list(model.acts_on(PROMPTS, intervention))
    for line in lines:
        assert [a != b for a, b in zip(line, plain, strict=True)] == acts


def test_at_dose_zero_nothing_is_read(tiny, push):
    def read(*_):
        raise AssertionError("read at dose 0")

    model = tiny("llama")
    only, always = gated(push(model, 1), splitting(model))

    gates = decide(read, PROMPTS, [Steering(only.intervention, 0.0), always], model.dtype)

    assert gates == [(True,) * len(PROMPTS)] * 2


@pytest.mark.parametrize(("fires", "acts"), [("above", False), ("below", True)])
def test_a_steering_that_acts_nowhere_or_everywhere(tiny, push, fires, acts):
    model = tiny("llama")
    only, always = gated(push(model, 1), Gate(Site(1), normal(0), 1.5, fires))

    plain, mixed, steered = model.log_probs(REQUESTS, [UNSTEERED, only, always])

    assert mixed == (steered if acts else plain)


def test_the_audit_lists_no_token_where_the_gate_stays_shut(tiny, push):
    model = tiny("llama")
    only, always = gated(push(model, 1, tokens="last"), splitting(model))

    for request, acts in zip(
        REQUESTS, model.acts_on(PROMPTS, only.intervention), strict=True
    ):
        edited = model.where(request, only.intervention)
        assert edited == (model.where(request, always.intervention) if acts else [])


@pytest.mark.parametrize(
    ("site", "width", "error", "message"),
    [
        (Site(0), 8, ForeignIntervention, r"the gate at site 0.resid is 8 wide, but"),
        (Site(0, "heads"), 32, ForeignIntervention, r"gate .* is 48 wide there; fit"),
        (Site(7), 32, BadOption, r"layer 7 does not exist"),
    ],
)
def test_a_gate_of_another_model_is_refused(tiny, site, width, error, message):
    model = tiny("gemma3")
    steering = Steering(Intervention(gate=Gate(site, normal(0, width), 0.0)))

    for ask in (
        lambda: model.log_probs(REQUESTS, [steering]),
        lambda: model.generate(PROMPTS, [steering]),
        lambda: model.acts_on(PROMPTS, steering.intervention),
    ):
        with pytest.raises(error, match=message):
            ask()


def test_a_prompt_without_a_token_to_read_is_refused(tiny, push):
    """The mean is over all tokens but the beginning-of-sequence token."""
    only, _ = gated(push(tiny("llama"), 1), Gate(Site(0), normal(0), 0.0))

    with pytest.raises(BadData, match="has no token at 'mean'; read at another position"):
        tiny("llama").generate([""], [only], max_tokens=1)


@pytest.mark.parametrize("k", [3, 40])
def test_a_token_that_a_prompt_lacks_is_refused_before_any_work(tiny, push, k):
    model = tiny("llama")
    steering = push(model, 0, tokens=f"at_{k}")
    prompts = ["What does the sea look like?", "S"]

    with pytest.raises(BadData, match=rf"scope 'at_{k}' edits token {k} of a prompt"):
        model.generate(prompts, [UNSTEERED, steering])
    with pytest.raises(BadData, match=rf"scope 'at_{k}' edits token {k} of a prompt"):
        model.log_probs([Request("r", "r", "S", (" it is",))], [steering])


def test_token_activations_are_those_of_each_token(tiny):
    model = tiny("llama")
    texts = [model.encoder.prompt_ids(prompt) for prompt in PROMPTS]
    sites = [Site(0), Site(2), Site(1, "mlp")]

    found = model.token_activations(texts, sites)

    for prompt, ids, by_site in zip(PROMPTS, texts, found, strict=True):
        assert {site: tuple(h.shape) for site, h in by_site.items()} == {
            site: (len(ids), 32) for site in sites
        }
        for at in ("last", "mean"):
            wanted = model.activations([Text(prompt, "")], sites, at)
            for site, h in by_site.items():
                mine = h[-1] if at == "last" else h[1:].mean(0)
                torch.testing.assert_close(mine, wanted[site][0], atol=1e-5, rtol=1e-5)
                assert math.isfinite(float(h.norm()))


def test_a_text_without_tokens_has_no_activations(tiny):
    with pytest.raises(BadData, match="a text without tokens has no activations"):
        tiny("llama").token_activations([[1, 2], []], [Site(0)])
