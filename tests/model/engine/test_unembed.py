"""Scores read off in tiles equal those of the full logits, and memory stays small."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import UnsupportedModel
from seatrial.model import Model
from seatrial.model.engine import unembed
from seatrial.model.engine.unembed import Unembedding
from seatrial.testing import FAMILIES, tiny_model
from seatrial.types import Request

WIDTH = 5
REQUESTS = [
    Request("a", "a", "I would rather walk to", (" the station", " yes", " no")),
    Request("b", "b", "The answer is", (" yes, and no", " yes, and the answer is no")),
]


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(vocabulary, *, bias=False, scale=1.0, cap=None, dtype=torch.float32):
    return Unembedding(
        3 * normal(0, vocabulary, WIDTH).to(dtype),
        normal(1, vocabulary).to(dtype) if bias else None,
        scale,
        cap,
    )


def full_logits(unembedding, h):
    """All logits at once, as a family would make them."""
    logits = torch.nn.functional.linear(h, unembedding.weight, unembedding.bias)
    logits = logits * unembedding.scale
    if unembedding.cap is not None:
        logits = unembedding.cap * torch.tanh(logits / unembedding.cap)
    return logits.float()


def definition(unembedding, h, rows, tokens, base):
    """Log-probabilities and KL(h || base), written out."""
    p = full_logits(unembedding, h).log_softmax(-1)
    q = full_logits(unembedding, base).log_softmax(-1)
    return p[:, rows, tokens], (p.exp() * (p - q)).sum(-1)


@given(
    vocabulary=st.integers(1, 400),
    steerings=st.integers(1, 4),
    n=st.integers(1, 6),
    targets=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.999)), max_size=9),
    tile=st.integers(1, 2000),
    per_call=st.integers(1, 30),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.25]),
    cap=st.sampled_from([None, 2.0]),
    has_base=st.booleans(),
)
def test_tiles_of_any_size_give_the_scores_of_full_logits(
    vocabulary, steerings, n, targets, tile, per_call, bias, scale, cap, has_base
):
    unembedding = make(vocabulary, bias=bias, scale=scale, cap=cap)
    h, base = normal(2, steerings, n, WIDTH), normal(3, n, WIDTH)
    rows = torch.tensor([row % n for row, _ in targets], dtype=torch.long)
    tokens = torch.tensor([int(x * vocabulary) for _, x in targets], dtype=torch.long)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unembed, "TILE", tile)
        patch.setattr(unembed, "ROWS", per_call)
        scores, kl, _ = unembedding.score(h, rows, tokens, base if has_base else None)

    expected, divergence = definition(unembedding, h, rows, tokens, base)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
    if has_base:
        torch.testing.assert_close(kl, divergence, atol=2e-5, rtol=1e-4)
    assert (kl is None) == (not has_base)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cap", [None, 4.0])
def test_half_precision_gives_the_scores_of_half_precision_logits(dtype, cap, monkeypatch):
    monkeypatch.setattr(unembed, "TILE", 2**9)
    unembedding = make(700, scale=0.5, cap=cap, dtype=dtype)
    h, base = normal(2, 2, 4, WIDTH).to(dtype), normal(3, 4, WIDTH).to(dtype)
    rows, tokens = torch.tensor([0, 3, 3]), torch.tensor([5, 699, 64])

    scores, kl, _ = unembedding.score(h, rows, tokens, base)

    expected, divergence = definition(unembedding, h, rows, tokens, base)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kl, divergence, atol=1e-3, rtol=1e-3)


def test_large_logits_neither_overflow_nor_lose_the_small_ones():
    unembedding = make(500, scale=200.0)
    h, base = normal(2, 1, 3, WIDTH), normal(3, 3, WIDTH)
    rows, tokens = torch.arange(3).repeat_interleave(4), torch.arange(12) * 40

    scores, kl, _ = unembedding.score(h, rows, tokens, base)

    wide = Unembedding(unembedding.weight.double(), None, 200.0, None)
    p = wide.weight @ h[0].double().T * 200
    q = wide.weight @ base.double().T * 200
    p, q = p.log_softmax(0).T, q.log_softmax(0).T
    torch.testing.assert_close(scores[0].double(), p[rows, tokens], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        kl[0].double(), (p.exp() * (p - q)).sum(-1), rtol=1e-4, atol=1e-2
    )


def test_a_certain_token_is_not_more_than_certain_and_kl_is_not_negative():
    unembedding = make(300, scale=50.0)
    h = normal(2, 1, 40, WIDTH)
    best = full_logits(unembedding, h)[0].argmax(-1)

    scores, kl, _ = unembedding.score(h, torch.arange(40), best, h[0])

    assert float(scores.max()) <= 0.0
    assert kl.abs().max() == 0.0  # from itself, to the last bit


def record(monkeypatch):
    """How many numbers each piece of logits has."""
    sizes = []
    whole = Unembedding.__call__

    def watch(unembedding, *args):
        logits = whole(unembedding, *args)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(Unembedding, "__call__", watch)
    return sizes


@pytest.mark.parametrize("steerings", [1, 7])
@pytest.mark.parametrize("has_base", [True, False])
def test_never_more_than_a_tile_of_logits_is_held(monkeypatch, steerings, has_base):
    monkeypatch.setattr(unembed, "TILE", 2**14)
    monkeypatch.setattr(unembed, "ROWS", 2**7)
    unembedding = make(3000)
    h, base = normal(2, steerings, 300, WIDTH), normal(3, 300, WIDTH)
    sizes = record(monkeypatch)

    unembedding.score(h, torch.arange(300), torch.arange(300), base if has_base else None)

    assert max(sizes) <= 2**14
    assert sum(sizes) == 3000 * 300 * (steerings + has_base)  # all of them, once


def test_a_sweep_never_holds_more_than_a_tile_of_logits(tiny, push, monkeypatch):
    model = tiny("llama")
    under = [push(model, layer, dose=d) for layer in (0, 1) for d in (-1.0, 1.0, 2.0)]
    expected = model.log_probs(REQUESTS, under, kl=True)
    monkeypatch.setattr(unembed, "TILE", 2**9)
    monkeypatch.setattr(unembed, "ROWS", 2**3)
    sizes = record(monkeypatch)

    answers = model.log_probs(REQUESTS, under, kl=True)

    assert max(sizes) <= 2**9
    for line, wanted in zip(answers, expected, strict=True):
        for one, other in zip(line, wanted, strict=True):
            for a, b in zip(one.log_probs, other.log_probs, strict=True):
                assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_does_to_its_logits_is_found(tiny, family):
    model = tiny(family)
    ids = torch.tensor([[0, 40, 41, 70, 9, 200, 33]])

    states = model.engine.forward.plain_states(ids)

    with torch.inference_mode():
        logits = model.engine.network(input_ids=ids).logits.float()
    torch.testing.assert_close(
        model.engine.unembedding(states), logits, atol=1e-4, rtol=1e-4
    )


def test_scale_cap_and_bias_are_those_of_the_configuration(tiny):
    found = {family: tiny(family).engine.unembedding for family in FAMILIES}

    assert {f for f, u in found.items() if u.scale != 1.0} == {"cohere", "granite"}
    assert (found["cohere"].scale, found["granite"].scale) == (0.0625, 0.5)
    assert {f: u.cap for f, u in found.items() if u.cap is not None} == {"gemma2": 30.0}
    assert [f for f, u in found.items() if u.bias is not None] == ["gptj"]


def changed(change):
    """A copy of a tiny Llama that does something to its logits at the end."""
    source = tiny_model("llama")
    network = copy.deepcopy(source.engine.network)
    forward = network.forward

    def wrapped(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = change(output.logits)
        return output

    network.forward = wrapped
    return lambda: Model(network, source.encoder.tokenizer, source.card)


@pytest.mark.parametrize(
    "change",
    [torch.square, lambda logits: 3.0 * logits, lambda logits: logits + 0.1],
    ids=["square", "scale that no configuration names", "shift"],
)
def test_an_unknown_change_of_the_logits_is_refused(change):
    message = (
        r"^'tiny-llama-0' \(LlamaForCausalLM\) does something to its logits that seatrial "
        r"does not know \(neither a scale nor a soft cap\), so it could not score answers$"
    )

    with pytest.raises(UnsupportedModel, match=message):
        changed(change)()


def test_a_vocabulary_that_is_cut_at_the_end_is_found():
    model = changed(lambda logits: logits[..., :300])()

    assert model.engine.unembedding.vocabulary == 300
