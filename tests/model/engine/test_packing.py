"""Attention over many trees in one row equals softmax attention along each path alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seatrial.errors import UnsupportedModel
from seatrial.model.engine import packing
from seatrial.model.engine.packing import (
    NAME,
    Packing,
    Prefix,
    _attention,
    _Visible,
    packed,
)
from seatrial.model.engine.tree import Grove, Tree
from seatrial.model.tokens import Encoded

CPU = torch.device("cpu")
KEY, VALUE = 4, 3
"""Widths of keys and values; compressed-KV models have two."""


def causal(_, __, query, key):
    return key <= query


def window(size):
    return lambda _, __, query, key: (key <= query) & (key > query - size)


def chunks(size):
    return lambda _, __, query, key: (key <= query) & (key // size == query // size)


RULES = st.sampled_from([causal, window(1), window(3), window(100), chunks(2), chunks(5)])
TOKENS = st.integers(0, 1)
ANSWERS = st.lists(
    st.lists(TOKENS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3
)
QUESTIONS = st.lists(st.tuples(st.integers(1, 6), ANSWERS), min_size=1, max_size=3)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tree(n_prompt, *answers):
    texts = [Encoded((9,) * n_prompt + answer, n_prompt) for answer in answers]
    return Tree.of_answers(texts, [0] * len(texts))


def starts_of(trees, kind):
    """Where a replay begins: at the roots, at the last prompt tokens, or after them."""
    found = [(0, tree.n_prompt - 1, tree.n_prompt)[kind] for tree in trees]
    lasts = [len(tree.ids) - 1 for tree in trees]
    return tuple(min(start, last) for start, last in zip(found, lasts, strict=True))


def prefix_of(grove, kv_heads):
    """Random keys and values of all prompts, padded to the longest."""
    shape = (len(grove.trees), kv_heads, max(grove.starts))
    keys, values = normal(5, *shape, KEY), normal(6, *shape, VALUE)
    return Prefix(torch.tensor(grove.starts), {0: keys}, {0: values})


def tokens_of(grove, steerings, heads, kv_heads):
    """Queries, keys and values of one row of ``steerings x nodes``."""
    n = steerings * grove.width
    return (
        2 * normal(0, 1, heads, n, KEY),
        normal(1, 1, kv_heads, n, KEY),
        normal(2, 1, kv_heads, n, VALUE),
    )


def along_paths(grove, prefix, q, k, v, rule, scale, softcap, sinks):
    """Every token with all that it sees written out, one head at a time."""
    out = torch.zeros(q.shape[2], q.shape[1], VALUE)
    for token in range(q.shape[2]):
        first = token - token % grove.width  # where the token's steering begins
        r = max(n for n, o in enumerate(grove.offsets) if o <= token - first)
        tree, start = grove.trees[r], grove.starts[r]
        node = token - first - grove.offsets[r] + start
        seen = [m for m in range(len(tree.ids)) if tree.ancestors[node, m]]
        places = torch.tensor([tree.positions[m] for m in seen])
        visible = rule(0, 0, torch.tensor(tree.positions[node]), places)
        own = [first + grove.offsets[r] + m - start for m in seen if m >= start]
        for head in range(q.shape[1]):
            kv = head // (q.shape[1] // k.shape[1])
            keys, values = k[0, kv, own], v[0, kv, own]
            if prefix is not None:
                keys = torch.cat([prefix.keys[0][r, kv, :start], keys])
                values = torch.cat([prefix.values[0][r, kv, :start], values])
            scores = keys @ q[0, head, token] * scale
            if softcap is not None:
                scores = softcap * (scores / softcap).tanh()
            scores[~visible] = -math.inf
            if sinks is not None:
                scores = torch.cat([scores, sinks[head : head + 1]])
            out[token, head] = scores.softmax(0)[: len(values)] @ values
    return out[None]


@settings(max_examples=60)
@given(
    questions=QUESTIONS,
    begin=st.sampled_from([0, 1, 2]),
    steerings=st.integers(1, 3),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    rule=RULES,
    softcap=st.sampled_from([None, 1.5]),
    has_sinks=st.booleans(),
    short=st.sampled_from([0, packing.SHORT, 100]),
)
def test_packed_attention_is_attention_along_each_path(
    questions, begin, steerings, heads, rule, softcap, has_sinks, short
):
    trees = tuple(tree(n, *answers) for n, answers in questions)
    grove = Grove(trees, starts_of(trees, begin))
    prefix = prefix_of(grove, heads[1]) if any(grove.starts) else None
    q, k, v = tokens_of(grove, steerings, *heads)
    sinks = normal(3, heads[0]) if has_sinks else None
    with pytest.MonkeyPatch.context() as patch:
        # Short prefixes are copied, long ones are kept apart; both ways must do for all.
        patch.setattr(packing, "SHORT", short)
        out = Packing(grove, prefix, CPU).attend(
            q, k, v, _Visible(rule), 0.7, softcap, sinks
        )

    expected = along_paths(grove, prefix, q, k, v, rule, 0.7, softcap, sinks)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)


FOREST = (tree(4, (1, 2, 3), (1, 4, 5)), tree(2, (6, 7), (8,)), tree(5, (1, 1, 1)))


@pytest.mark.parametrize("begin", [0, 1])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("short", [0, 100])
def test_other_trees_and_other_steerings_do_not_matter(monkeypatch, begin, softcap, short):
    monkeypatch.setattr(packing, "SHORT", short)
    whole = Grove(FOREST, starts_of(FOREST, begin))
    prefix = prefix_of(whole, 2) if begin else None
    q, k, v = tokens_of(whole, 2, 4, 2)
    together = Packing(whole, prefix, CPU).attend(
        q, k, v, _Visible(causal), 0.5, softcap, None
    )

    for r in range(len(FOREST)):
        alone = whole.part(r, r + 1)
        mine = prefix and prefix.part(r, r + 1, torch.tensor(alone.starts))
        for s in range(2):
            first = s * whole.width + whole.offsets[r]
            span = slice(first, first + alone.width)
            out = Packing(alone, mine, CPU).attend(
                q[:, :, span],
                k[:, :, span],
                v[:, :, span],
                _Visible(causal),
                0.5,
                softcap,
                None,
            )
            torch.testing.assert_close(out, together[:, span], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("short", [0, 100])
def test_what_no_path_leads_through_can_be_anything(monkeypatch, short):
    """Neither padding, nor siblings, nor another prompt's keys reach a token."""
    monkeypatch.setattr(packing, "SHORT", short)
    grove = Grove(FOREST, starts_of(FOREST, 1))
    prefix = prefix_of(grove, 2)
    q, k, v = tokens_of(grove, 1, 4, 2)
    before = Packing(grove, prefix, CPU).attend(q, k, v, _Visible(causal), 0.5, None, None)
    second = slice(grove.offsets[1], grove.offsets[1] + grove.lengths[1])
    others = torch.ones(grove.width, dtype=torch.bool)
    others[second] = False

    k[:, :, others] = 1e4
    v[:, :, others] = 1e4
    prefix.keys[0][[0, 2]] = 1e4
    prefix.values[0][[0, 2]] = 1e4
    prefix.keys[0][1, :, grove.starts[1] :] = 1e4
    prefix.values[0][1, :, grove.starts[1] :] = 1e4
    after = Packing(grove, prefix, CPU).attend(q, k, v, _Visible(causal), 0.5, None, None)

    assert torch.equal(after[:, second], before[:, second])
    assert not torch.allclose(after, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype):
    grove = Grove(FOREST, starts_of(FOREST, 1))
    prefix = prefix_of(grove, 2)
    q, k, v = tokens_of(grove, 2, 4, 2)
    sinks = normal(3, 4)
    half = Prefix(
        prefix.lengths, {0: prefix.keys[0].to(dtype)}, {0: prefix.values[0].to(dtype)}
    )

    out = Packing(grove, half, CPU).attend(
        q.to(dtype),
        k.to(dtype),
        v.to(dtype),
        _Visible(window(3)),
        0.7,
        2.0,
        sinks.to(dtype),
    )

    expected = along_paths(grove, prefix, q, k, v, window(3), 0.7, 2.0, sinks)
    assert out.dtype is dtype
    torch.testing.assert_close(out.float(), expected, atol=0.03, rtol=0.03)


def test_large_scores_do_not_overflow():
    grove = Grove(FOREST, starts_of(FOREST, 1))
    prefix = prefix_of(grove, 2)
    q, k, v = tokens_of(grove, 1, 4, 2)

    out = Packing(grove, prefix, CPU).attend(
        300 * q, k, v, _Visible(causal), 1.0, None, normal(3, 4)
    )

    expected = along_paths(grove, prefix, 300 * q, k, v, causal, 1.0, None, normal(3, 4))
    assert bool(out.isfinite().all())
    torch.testing.assert_close(out, expected, atol=1e-3, rtol=1e-3)


def test_a_prefix_keeps_every_prompt_and_hands_out_views():
    grove = Grove(FOREST, (0, 0, 0))
    prefix = Prefix(torch.tensor([tree.n_prompt for tree in FOREST]))
    _, k, v = tokens_of(grove, 1, 2, 2)

    for first, last in ((0, 1), (1, 3)):
        part = grove.part(first, last)
        offset = grove.offsets[first]
        span = slice(offset, offset + part.width)
        prefix.keep(7, k[:, :, span], v[:, :, span], part, first)

    assert prefix.keys[7].shape == (3, 2, 5, KEY)
    assert prefix.values[7].shape == (3, 2, 5, VALUE)
    for r, one in enumerate(FOREST):
        span = slice(grove.offsets[r], grove.offsets[r] + one.n_prompt)
        assert torch.equal(prefix.keys[7][r, :, : one.n_prompt], k[0, :, span])
        assert torch.equal(prefix.values[7][r, :, : one.n_prompt], v[0, :, span])
    some = prefix.part(1, 2, torch.tensor([1]))
    assert torch.equal(some.keys[7], prefix.keys[7][1:2, :, :1])
    assert some.keys[7].untyped_storage().data_ptr() == (
        prefix.keys[7].untyped_storage().data_ptr()
    )


def test_keys_and_values_are_shown_to_whoever_keeps_them():
    grove = Grove(FOREST, (0, 0, 0))
    seen = []
    call = Packing(grove, None, CPU, lambda *kept: seen.append(kept))
    q, k, v = tokens_of(grove, 1, 2, 2)

    call.block = 2
    call.attend(q, k, v, _Visible(causal), 1.0, None, None)

    (block, key, value) = seen[0]
    assert (block, len(seen)) == (2, 1)
    assert key is k and value is v


def implementations(network):
    return {
        module.config._attn_implementation
        for module in network.modules()
        if hasattr(module, "config")
    }


def test_a_network_gets_its_own_attention_back(tiny):
    network = tiny("llama").engine.network
    before = implementations(network)
    call = Packing(Grove((Tree.of_text([1, 2]),), (0,)), None, CPU)

    with pytest.raises(ZeroDivisionError), packed(network, call):
        assert implementations(network) == {NAME}
        raise ZeroDivisionError

    assert implementations(network) == before != {NAME}


def attend(**changes):
    """Our attention, called as a family would."""
    given = {
        "module": torch.nn.Identity(),
        "query": torch.zeros(1, 2, 3, KEY),
        "key": torch.zeros(1, 2, 3, KEY),
        "value": torch.zeros(1, 2, 3, VALUE),
        "attention_mask": _Visible(causal),
    }
    return _attention(**given | changes)


def test_attention_without_a_rule_is_refused(tiny):
    call = Packing(Grove((Tree.of_text([1, 2, 3]),), (0,)), None, CPU)
    message = "attention was not given a rule of what tokens see"

    with pytest.raises(UnsupportedModel, match=message):
        attend()  # outside of any packed call
    with (
        packed(tiny("llama").engine.network, call),
        pytest.raises(UnsupportedModel, match=message),
    ):
        attend(attention_mask=torch.zeros(1, 1, 3, 3))


def test_a_window_that_the_rule_does_not_know_is_refused(tiny):
    call = Packing(Grove((Tree.of_text([1, 2, 3]),), (0,)), None, CPU)

    with packed(tiny("llama").engine.network, call):
        attend(sliding_window=2, attention_mask=_Visible(window(2)))
        with pytest.raises(
            UnsupportedModel, match="a window is kept where the mask does not show it"
        ):
            attend(sliding_window=2)


def test_scores_are_scaled_by_the_width_unless_told_otherwise(tiny):
    grove = Grove((Tree.of_text([1, 2, 3]),), (0,))
    call = Packing(grove, None, CPU)
    q, k, v = tokens_of(grove, 1, 2, 2)

    with packed(tiny("llama").engine.network, call):
        by_default = attend(query=q, key=k, value=v)[0]
        told = attend(query=q, key=k, value=v, scaling=1.0)[0]

    for out, scale in ((by_default, KEY**-0.5), (told, 1.0)):
        expected = along_paths(grove, None, q, k, v, causal, scale, None, None)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
