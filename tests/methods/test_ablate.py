"""Ablation: nothing in the stream keeps a component of the direction, at any block."""

import copy
from contextlib import ExitStack

import pytest
import torch

from seatrial.errors import BadData
from seatrial.methods import Ablate
from seatrial.model import Model
from seatrial.steering.edits import Project
from seatrial.steering.intervention import Intervention, Steering
from seatrial.testing import CHECKS, naive_logits
from seatrial.types import FitData, Pair, Request, Site, Text

REQUESTS = [
    Request("sea", "sea", "The sea is", (" calm and clear", " rough")),
    Request("day", "day", "What does the day look like today?", (" It is grey.",)),
]


def direction_of(fitted):
    [edit] = set(fitted.edits.values())
    return edit.basis[:, 0]


def stream(model, steering):
    """What enters every block but the first, and the final norm, in one steered run."""
    ids = model.encoder.prompt_ids("The answer is yes, and the sea is calm.")
    kept = []

    def look(_, args, kwargs):
        kept.append((args[0] if args else next(iter(kwargs.values()))).clone()[0])

    modules = [block.module for block in model.structure.blocks[1:]]
    with ExitStack() as stack:
        for module in [*modules, model.structure.final_norm]:
            handle = module.register_forward_pre_hook(look, with_kwargs=True)
            stack.callback(handle.remove)
        naive_logits(model, ids, 1, steering)
    return torch.stack(kept)


@pytest.mark.parametrize(
    "family", ["llama", "gemma3", "olmo2", "gptj", "gpt2", "granite", "lfm2"]
)
def test_nothing_is_left_along_the_direction_after_any_block(tiny, example, family):
    model = tiny(family)
    fitted = Ablate(layer=1).fit(model, example, seed=0)
    u = direction_of(fitted)

    plain, ablated = (stream(model, Steering(fitted, dose)) for dose in (0.0, 1.0))

    assert len(ablated) == model.n_layers
    # Families scale their streams differently, so the component is put beside the state.
    share = (ablated @ u).abs() / ablated.norm(dim=-1)
    assert float(share.max()) < 1e-5
    assert float(((plain @ u).abs() / plain.norm(dim=-1)).min(1).values.max()) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_every_write_is_edited_once_so_that_doses_are_linear_in_the_writes(
    tiny, example, family
):
    """Were some writes edited twice, a dose of 2 would reflect them back."""
    model = tiny(family)

    fitted = Ablate(layer=1).fit(model, example, seed=0)

    blocks = [Site(k, point) for k in (1, 2) for point in ("attn", "mlp")]
    assert list(fitted.edits) == [Site(0), *sorted(blocks)]


def orthogonalised(model, u, dose):
    """The same model with ``W - dose * u u' W`` in all that writes after block 0."""
    network = copy.deepcopy(model.engine.network)
    with torch.no_grad():
        for block in network.model.layers[1:]:
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight -= dose * torch.outer(u, u @ weight)
    first = network.model.layers[0]
    first.register_forward_hook(lambda _, __, h: h - dose * (h @ u)[..., None] * u)
    return Model(network, model.encoder.tokenizer, model.card)


@pytest.mark.parametrize("dose", [1.0, 0.5, 2.0, -1.0])
def test_it_equals_orthogonalised_weights(tiny, example, dose):
    model = tiny("llama")
    fitted = Ablate(layer=1).fit(model, example, seed=0)
    other = orthogonalised(model, direction_of(fitted), dose)

    [steered] = model.log_probs(REQUESTS, [Steering(fitted, dose)])
    ids = [other.encoder.encode(r.prompt, r.answers) for r in REQUESTS]

    plain = Steering(Intervention(), 0.0)
    for answer, texts in zip(steered, ids, strict=True):
        for scores, text in zip(answer.log_probs, texts, strict=True):
            logs = naive_logits(other, text.ids, text.n_prompt, plain).log_softmax(-1)
            wanted = [
                float(logs[t - 1, text.ids[t]]) for t in range(text.n_prompt, len(text.ids))
            ]
            assert list(scores) == pytest.approx(wanted, abs=1e-4)


def test_before_a_norm_that_follows_it_the_edit_would_not_hold(tiny, example):
    """Gemma's norm after the projection brings the component back."""
    model = tiny("gemma3")
    u = direction_of(Ablate(layer=1).fit(model, example, seed=0))
    clean = Project(u[:, None])
    norm = model.engine.network.model.layers[1].post_attention_layernorm
    h = torch.randn(5, model.d_model, generator=torch.Generator().manual_seed(0))

    before, after = norm(clean(h, 1.0)) @ u, clean(norm(h), 1.0) @ u

    assert float(after.abs().max()) < 1e-5 < 1e-2 < float(before.abs().max())


def test_it_finds_the_planted_direction(planted, planted_data):
    model, direction = planted

    fitted = Ablate(layer=1, read="completion").fit(model, planted_data, seed=0)

    assert float(direction_of(fitted) @ direction) > 0.99


def test_without_the_planted_direction_a_word_says_nothing_about_the_next(
    planted, planted_data
):
    model, _ = planted
    fitted = Ablate(layer=1, read="completion").fit(model, planted_data, seed=0)
    said = [Request(word, word, word, (" lovely", " ugly")) for word in ("bright", "dull")]

    gaps = []
    for dose in (0.0, 1.0):
        [line] = model.log_probs(said, [Steering(fitted, dose)])
        good, bad = (answer.sums[0] - answer.sums[1] for answer in line)
        gaps.append(good - bad)

    assert gaps[0] > 1
    assert abs(gaps[1]) < 0.05 * gaps[0]


def test_which_side_is_positive_does_not_matter(tiny, example, swap):
    model = tiny("llama")

    one, other = (
        Steering(Ablate(layer=1).fit(model, data, seed=0))
        for data in (example, swap(example))
    )

    a, b = model.log_probs(REQUESTS, [one, other])
    for x, y in zip(a, b, strict=True):
        assert x.sums == pytest.approx(y.sums, abs=1e-5)


def test_the_direction_is_that_of_the_layer_and_token_that_are_named(tiny, example):
    model = tiny("llama")

    found = [
        direction_of(Ablate(layer=layer, read=read).fit(model, example, seed=0))
        for layer, read in [(0, "last"), (1, "last"), (1, "mean")]
    ]

    for k, one in enumerate(found):
        assert float(one.norm()) == pytest.approx(1, abs=1e-6)
        assert all(abs(float(one @ other)) < 0.99 for other in found[k + 1 :])


def test_the_token_scope_is_passed_on(tiny, example):
    fitted = Ablate(layer=1, tokens="generated").fit(tiny("llama"), example, seed=0)

    assert fitted.tokens == "generated"


def test_pairs_without_any_difference_are_refused(tiny):
    pair = Pair("p", "g", Text("The sea", " is calm"), Text("The sea", " is rough"))

    with pytest.raises(BadData, match=r"do not differ at site 1\.resid"):
        Ablate(layer=1, read="last_prompt").fit(
            tiny("llama"), FitData("calm", (pair,)), seed=0
        )


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_every_promise_with_wide_heads(tiny, example, check):
    CHECKS[check](Ablate(layer=1), tiny("gemma3"), example)
