"""Activations of all sites come out of one pass, and their moments without keeping them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seatrial.errors import BadData, UnsupportedModel
from seatrial.model import MemoryBudget
from seatrial.model.engine.activations import Stream
from seatrial.model.structure.hooks import reading
from seatrial.model.tokens import SELECTORS
from seatrial.testing import FAMILIES
from seatrial.types import Site, Text

KINDS = pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
TEXTS = [
    Text("I would rather walk to", " the station"),
    Text("The answer is", " yes"),
    Text("Question: what does the sea look like today? Answer:", " calm, clear and blue"),
    Text("A", " or B"),
    Text("Question: what is calm?", " the sea, the sea and the sea"),
]


def every_site(model):
    return [
        Site(layer, point)
        for layer, block in enumerate(model.structure.blocks)
        for point in ("resid", "attn", "mlp", "heads")
        if point == "resid" or getattr(block, point) is not None
    ]


def one_at_a_time(model, texts, sites):
    """``[text][site]`` -> token x width, by hooks on an unpadded forward call each."""
    found = []
    for text in texts:
        ids = model.encoder.encode_text(text).ids
        seen = {}
        with torch.inference_mode(), reading(model.structure, sites, seen.__setitem__):
            model.engine.network(input_ids=torch.tensor([ids]), use_cache=False)
        found.append({site: h[0].float() for site, h in seen.items()})
    return found


def counting(model, monkeypatch):
    """Counts forward calls of a model from now on."""
    calls = []
    call = model.engine.forward.run

    def run(*args, **options):
        calls.append(args)
        return call(*args, **options)

    monkeypatch.setattr(model.engine.forward, "run", run)
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_all_sites_of_one_pass_are_those_of_single_texts(tiny, family):
    model = tiny(family)
    sites = every_site(model)

    found = model.activations(TEXTS, sites, "mean")

    expected = one_at_a_time(model, TEXTS, sites)
    for site in sites:
        rows = torch.stack([states[site][1:].mean(0) for states in expected])  # but for BOS
        torch.testing.assert_close(found[site], rows, atol=1e-5, rtol=1e-4)


@KINDS
@pytest.mark.parametrize("at", SELECTORS)
def test_each_selector_reads_its_tokens(tiny, family, at):
    model = tiny(family)
    site = Site(1)

    found = model.activations(TEXTS, [site], at)[site]

    for row, text, states in zip(
        found, TEXTS, one_at_a_time(model, TEXTS, [site]), strict=True
    ):
        encoded = model.encoder.encode_text(text)
        n = encoded.n_prompt
        tokens = {
            "last": states[site][-1:],
            "second_last": states[site][-2:-1],
            "last_prompt": states[site][n - 1 : n],
            "completion": states[site][n:],
            "mean": states[site][1:],
        }[at]
        torch.testing.assert_close(row, tokens.mean(0), atol=1e-5, rtol=1e-4)


def test_what_is_read_is_what_hooks_of_torch_see(tiny):
    """Without any code of ours between: Llama's own modules, one text."""
    model = tiny("llama")
    seen = {}
    layers = model.engine.network.model.layers
    handles = [
        layers[1].register_forward_hook(lambda *c: seen.update(resid=c[2])),
        layers[1].self_attn.register_forward_hook(lambda *c: seen.update(attn=c[2][0])),
        layers[1].mlp.register_forward_hook(lambda *c: seen.update(mlp=c[2])),
        layers[1].self_attn.o_proj.register_forward_pre_hook(
            lambda *c: seen.update(heads=c[1][0])
        ),
    ]
    ids = model.encoder.encode_text(TEXTS[0]).ids
    with torch.inference_mode():
        model.engine.network(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()

    found = model.activations(TEXTS[:1], [Site(1, point) for point in seen], "last")

    assert set(seen) == {"resid", "attn", "mlp", "heads"}
    for point, states in seen.items():
        torch.testing.assert_close(found[Site(1, point)][0], states[0, -1])


def test_all_sites_and_texts_take_one_pass(tiny, monkeypatch):
    model = tiny("llama")
    calls = counting(model, monkeypatch)

    model.activations(TEXTS, every_site(model), "last")

    assert len(calls) == 1


@KINDS
def test_order_and_budget_do_not_matter(tiny, family):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(tokens=20))
    sites = every_site(model)

    found = model.activations(TEXTS, sites, "completion")
    backwards = model.activations(TEXTS[::-1], sites[::-1], "completion")
    narrow = frugal.activations(TEXTS, sites, "completion")

    for site in sites:
        torch.testing.assert_close(backwards[site].flip(0), found[site], atol=1e-5, rtol=0)
        torch.testing.assert_close(narrow[site], found[site], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma3", "bloom"])
def test_blocks_after_the_last_site_do_not_run(tiny, family):
    model = tiny(family)
    ran = []
    handles = [
        block.mlp.module.register_forward_hook(lambda *_, k=k: ran.append(k))
        for k, block in enumerate(model.structure.blocks)
    ]

    try:
        model.activations(TEXTS, [Site(0), Site(1, "mlp")], "last")
        upto_one = set(ran)
        ran.clear()
        model.moments(TEXTS, [Site(0, "attn")], "last")
    finally:
        for handle in handles:
            handle.remove()

    assert upto_one == {0, 1}
    assert set(ran) == {0}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_in_float32(tiny, dtype):
    model, full = tiny("llama", dtype=dtype), tiny("llama")
    site = Site(2)

    found = model.activations(TEXTS, [site], "mean")[site]

    assert found.dtype == torch.float32
    error = (found - full.activations(TEXTS, [site], "mean")[site]).abs()
    assert 0 < error.mean() < 0.1


def every_token(model, site):
    """The kept activations of all texts, but for the BOS token."""
    return torch.cat([h[site][1:] for h in one_at_a_time(model, TEXTS, [site])]).double()


@KINDS
def test_moments_are_those_of_the_activations(tiny, family):
    model = tiny(family)
    sites = every_site(model)

    by_text = model.moments(TEXTS, sites, "completion")
    by_token = model.moments(TEXTS, sites, "all")

    kept = model.activations(TEXTS, sites, "completion")
    for site in sites:
        for found, h in (
            (by_text[site], kept[site].double()),
            (by_token[site], every_token(model, site)),
        ):
            assert found.n == len(h)
            torch.testing.assert_close(found.mean, h.mean(0).float(), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                found.covariance, h.T.cov().float(), atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_moments_do_not_depend_on_order_or_budget(tiny, family):
    model, frugal = tiny(family), tiny(family, budget=MemoryBudget(tokens=20))
    site = Site(1)

    found = model.moments(TEXTS, [site], "all")[site]

    for other in (
        model.moments(TEXTS[::-1], [site], "all")[site],
        frugal.moments(TEXTS, [site], "all")[site],
    ):
        assert other.n == found.n
        torch.testing.assert_close(other.mean, found.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(other.covariance, found.covariance, atol=1e-5, rtol=1e-4)


@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_a_stream_in_any_portions_gives_mean_and_covariance(sizes, seed, offset):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(sum(sizes), 3, generator=generator) + offset
    stream = Stream(3)

    for portion in h.split(sizes):
        stream.add(portion)

    found = stream.moments()
    assert found.n == len(h)
    if len(h) > 1:
        torch.testing.assert_close(found.mean, h.double().mean(0).float())
        torch.testing.assert_close(
            found.covariance, h.double().T.cov().float(), atol=1e-5, rtol=1e-4
        )


def test_one_activation_has_a_mean_and_no_covariance():
    stream = Stream(2)

    stream.add(torch.tensor([[1.0, -3.0]]))

    found = stream.moments()
    assert (found.n, found.mean.tolist()) == (1, [1.0, -3.0])
    assert found.covariance.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_no_text_and_no_site_give_nothing(tiny):
    model = tiny("llama")

    assert model.activations(TEXTS, [], "last") == {}
    assert model.activations([], [Site(1)], "last")[Site(1)].shape == (0, 32)
    assert model.moments([], [Site(1)], "all")[Site(1)].n == 0


def test_reading_leaves_nothing_behind(tiny):
    model = tiny("llama")
    before = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), set(m.__dict__))
        for m in model.engine.network.modules()
    ]

    model.activations(TEXTS, every_site(model), "last")

    assert before == [
        (len(m._forward_hooks), len(m._forward_pre_hooks), set(m.__dict__))
        for m in model.engine.network.modules()
    ]


def test_a_site_or_text_that_cannot_be_read_is_refused(tiny):
    with pytest.raises(UnsupportedModel, match="block 0 of 'tiny-lfm2-0' has no 'attn'"):
        tiny("lfm2").activations(TEXTS, [Site(0, "attn")], "last")
    with pytest.raises(BadData, match="but this model reads 256 at most"):
        tiny("llama").activations([Text(" the" * 300, " sea")], [Site(0)], "last")


@pytest.mark.parametrize("family", ["llama", "gemma3", "bloom", "lfm2"])
def test_texts_that_begin_alike_are_read_as_one_tree_and_alike(tiny, family):
    model = tiny(family)
    opening = "Question: what does the sea look like today?"
    endings = (" It is calm.", " It is rough and grey.", " It", "", " No", " It is calm.")
    texts = [Text(opening, ending) for ending in endings]
    sites = [Site(0), Site(1, "mlp"), Site(2)]

    together = model.activations(texts, sites, "mean")

    for k, text in enumerate(texts):
        alone = model.activations([text], sites, "mean")
        for site in sites:
            torch.testing.assert_close(together[site][k : k + 1], alone[site])
    if model.engine.forward.packs:
        encoded = [model.encoder.encode_text(text).ids for text in texts]
        calls = []
        run = model.engine.forward.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                model.engine.forward,
                "run",
                lambda grove, *a, **k: calls.append(grove.width) or run(grove, *a, **k),
            )
            model.activations(texts, sites, "mean")
        starts = {ids[: n + 1] for ids in encoded for n in range(len(ids))}
        assert sum(calls) == len(starts) < sum(map(len, encoded)) / 2
