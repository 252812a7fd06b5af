"""The faster product gives the same numbers, and a network keeps its own layers."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seatrial.model.engine import onednn as quick
from seatrial.model.engine.onednn import linear, quick_linears, reordering
from seatrial.types import Request

REQUEST = Request("a", "a", "The answer is", (" yes", " no, and"))


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_near(found, expected):
    """Equal to 1e-5 of the largest number."""
    size = float(expected.abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(found, expected, atol=1e-5 * max(size, 1e-30), rtol=0)


@given(
    batch=st.lists(st.integers(0, 4), max_size=3),
    wide=st.integers(1, 40),
    out=st.integers(1, 40),
    has_bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_product_is_that_of_torch(batch, wide, out, has_bias, seed):
    x, weight = normal(seed, *batch, wide), normal(seed + 1, out, wide)
    bias = normal(seed + 2, out) if has_bias else None

    found = linear(x, weight, bias)

    # A sum may cancel; its terms do not.
    terms = nn.functional.linear(
        x.abs(), weight.abs(), bias if bias is None else bias.abs()
    )
    truth = nn.functional.linear(x, weight, bias)
    assert ((found - truth).abs() <= 1e-6 * terms).all()
    assert found.shape == (*batch, out)


def test_the_product_of_large_matrices_is_that_of_torch():
    x, weight = normal(0, 257, 576), normal(1, 1536, 576)

    assert_near(linear(x, weight), nn.functional.linear(x, weight))


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (normal(0, 9, 12).T, normal(1, 7, 9)),
        (normal(0, 4, 3, 9)[:, ::2], normal(1, 7, 9)),
        (normal(0, 4, 9), normal(1, 9, 7).T),
        (normal(0, 4, 9), normal(1, 20, 9)[5:12]),
        (normal(0, 1, 9).expand(4, 9), normal(1, 7, 18)[:, ::2]),
    ],
    ids=["turned", "rows left out", "weight turned", "weight cut", "spread, strided"],
)
def test_numbers_may_lie_in_memory_in_any_order(x, weight):
    before = x.clone(), weight.clone()

    assert_near(linear(x, weight), nn.functional.linear(x, weight))
    assert torch.equal(x, before[0]) and torch.equal(weight, before[1])


PLENTY = 2**30
needs_products = pytest.mark.skipif(
    not quick._works(), reason="this build has no such products"
)


def kept():
    """Weights kept in order at the moment: (the weight, its copy or itself) each."""
    orders = quick._orders.get()
    return [] if orders is None else list(orders._kept.values())


@given(
    rows=st.lists(st.sampled_from([1, 2, 17, 300]), min_size=1, max_size=4),
    wide=st.integers(1, 40),
    out=st.integers(1, 40),
    cut=st.integers(0, 3),
    has_bias=st.booleans(),
)
def test_ordered_weights_give_the_same_products(rows, wide, out, cut, has_bias):
    whole = normal(1, out + cut, wide)
    weight = whole[cut:]
    bias = normal(2, out) if has_bias else None
    with reordering(PLENTY):
        for seed, n in enumerate(rows):
            x = normal(seed, n, wide)
            truth = nn.functional.linear(x, weight, bias)
            assert_near(linear(x, weight, bias), truth)
        assert len(kept()) == quick._works()


@needs_products
def test_a_weight_is_ordered_once_and_let_go_at_the_end():
    first, second = normal(1, 20, 8), normal(2, 20, 8)
    with pytest.raises(ZeroDivisionError), reordering(PLENTY):
        for _ in range(3):
            with reordering(0):  # one inside another changes nothing
                for weight in (first, second):
                    linear(normal(0, 4, 25, 8), weight)
        assert [copy.is_mkldnn for _, copy in kept()] == [True, True]
        raise ZeroDivisionError

    assert kept() == []


@needs_products
@pytest.mark.parametrize("inside", [torch.inference_mode, torch.no_grad])
def test_a_weight_changed_in_place_is_ordered_again(inside):
    layer, x = nn.Linear(8, 20), normal(0, 100, 8)
    with inside(), quick_linears(layer), reordering(PLENTY):
        before = layer(x)
        layer.weight.mul_(2)
        after = layer(x)
        truth = nn.functional.linear(x, layer.weight, layer.bias)

    assert_near(after, truth)
    assert not torch.allclose(after, before)


@needs_products
def test_a_new_weight_in_the_place_of_an_old_one_is_not_taken_for_it():
    x, places = normal(0, 100, 8), set()
    with reordering(PLENTY):
        for seed in range(20):
            weight = normal(seed, 20, 8)
            places.add(weight.data_ptr())
            assert_near(linear(x, weight), x @ weight.T)
            del weight

    assert len(places) == 20  # nothing was freed while its copy could be asked for


@needs_products
def test_copies_of_weights_stay_within_their_bytes():
    x, weights = normal(0, 100, 8), [normal(seed, 20, 8) for seed in range(5)]
    with reordering(3 * weights[0].nbytes):
        for weight in weights * 2:
            assert_near(linear(x, weight), x @ weight.T)
        copies = [copy.is_mkldnn for _, copy in kept()]

    assert copies == [True] * 3 + [False] * 2


@needs_products
@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral", "gpt2", "bloom"])
def test_a_model_answers_alike_with_ordered_weights(tiny, push, family):
    model = tiny(family)
    under = [push(model, layer, dose=dose) for layer in (0, 1) for dose in (-1.0, 1.0)] * 8
    plain = model.log_probs([REQUEST] * 4, under, kl=True)

    with reordering(PLENTY):
        ordered = model.log_probs([REQUEST] * 4, under, kl=True)
        assert any(copy.is_mkldnn for _, copy in kept())

    for line, want in zip(ordered, plain, strict=True):
        for one, other in zip(line, want, strict=True):
            for name in ("log_probs", "kl"):
                for found, expected in zip(
                    getattr(one, name), getattr(other, name), strict=True
                ):
                    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_left_to_torch(dtype):
    x, weight = normal(0, 5, 9).to(dtype), normal(1, 7, 9).to(dtype)

    assert torch.equal(linear(x, weight), nn.functional.linear(x, weight))


class Doubled(nn.Linear):
    """A linear layer that does something else."""

    def forward(self, input):
        return 2 * super().forward(input)


def layers():
    """One layer of each kind: plain, subclass, its own forward, half precision."""
    torch.manual_seed(0)
    own = nn.Linear(4, 4)
    own.forward = lambda input: input + 1
    return nn.ModuleList(
        [
            nn.Linear(4, 4),
            Doubled(4, 4),
            own,
            nn.Linear(4, 4).bfloat16(),
            nn.Conv1d(4, 4, 1),
        ]
    )


def changed(network):
    return [k for k, layer in enumerate(network) if "forward" in vars(layer)]


def test_only_plain_float32_layers_are_changed_and_only_while_inside():
    network = layers()
    own = network[2].forward
    x = normal(3, 2, 4)
    expected = [network[k](x) for k in range(3)]

    with torch.inference_mode(), quick_linears(network):
        inside = changed(network)
        found = [network[k](x) for k in range(3)]

    assert inside == ([0, 2] if quick._works() else [2])
    assert changed(network) == [2]
    assert network[2].forward is own
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-6, rtol=1e-5)


def test_layers_are_left_as_they_were_when_something_breaks():
    network = layers()
    before = [dict(vars(layer)) for layer in network]

    with pytest.raises(ZeroDivisionError), quick_linears(network):
        raise ZeroDivisionError

    assert [dict(vars(layer)) for layer in network] == before


def test_one_inside_another_changes_nothing_more():
    network = layers()

    with quick_linears(network):
        inside = changed(network)
        with quick_linears(network):
            assert changed(network) == inside
        assert changed(network) == inside

    assert changed(network) == [2]


def test_hooks_of_a_layer_still_run():
    layer = nn.Linear(4, 4)
    seen = []
    layer.register_forward_hook(lambda *call: seen.append(call[2]))

    with torch.inference_mode(), quick_linears(layer):
        output = layer(normal(0, 2, 4))

    assert seen[0] is output


def test_new_weights_are_used_at_once():
    layer = nn.Linear(4, 4)
    x = normal(0, 2, 4)

    with torch.inference_mode(), quick_linears(layer):
        layer(x)
        layer.weight = nn.Parameter(2 * layer.weight.detach())
        layer.bias = None
        doubled = layer(x)

    assert_near(doubled, x @ layer.weight.detach().T)


@pytest.mark.parametrize("broken", ["raises", "computes something else"])
def test_a_build_without_the_operation_is_left_to_torch(monkeypatch, broken):
    def operation(x, weight, *_):
        if broken == "raises":
            raise NotImplementedError
        return x @ weight.T

    monkeypatch.setattr(quick, "_checked", [])
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", operation)
    network = layers()
    x, weight = normal(0, 5, 9), normal(1, 7, 9)

    with quick_linears(network):
        assert changed(network) == [2]
    assert torch.equal(linear(x, weight), nn.functional.linear(x, weight))


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt2", "deepseek_v3"])
def test_a_network_keeps_no_trace(tiny, push, family):
    model = tiny(family)
    network = model.engine.network
    before = {name: set(vars(part)) for name, part in network.named_modules()}
    weights = copy.deepcopy(network.state_dict())

    model.log_probs([REQUEST], [push(model, 1)])
    model.generate(["The answer"], [push(model, 1)], max_tokens=2)

    assert {name: set(vars(part)) for name, part in network.named_modules()} == before
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[name])


class Gated(nn.Module):
    """The MLP of most families; ``twist`` makes it another one."""

    def __init__(self, activation=nn.functional.silu, twist=None):
        super().__init__()
        self.gate_proj = nn.Linear(8, 24, bias=False)
        self.up_proj = nn.Linear(8, 24)
        self.down_proj = nn.Linear(24, 8)
        self.activation, self.twist = activation, twist

    def forward(self, x):
        gates = self.activation(self.gate_proj(x))
        if self.twist == "sparse":
            gates = gates.where(gates > 0.01, 0)
        inner = gates * self.up_proj(x)
        if self.twist == "clamped":
            inner = inner.clamp(max=0.05)
        return self.down_proj(inner) + (x if self.twist == "residual" else 0)


def tanh_gelu(x):
    return nn.functional.gelu(x, approximate="tanh")


@needs_products
@pytest.mark.parametrize(
    "activation", [nn.functional.silu, tanh_gelu, nn.functional.gelu, nn.functional.relu]
)
@pytest.mark.parametrize("twist", [None, "sparse", "clamped", "residual"])
def test_gated_mlps_are_fused_only_where_that_is_the_same(activation, twist):
    torch.manual_seed(1)
    module = Gated(activation, twist).eval()
    x = normal(4, 3, 5, 8)

    with torch.inference_mode():
        truth = module(x)
        with quick_linears(module):
            fused = "forward" in vars(module)
            found = module(x)

    assert fused == (twist is None and activation is not nn.functional.relu)
    assert_near(found, truth)
    assert "forward" not in vars(module)


@needs_products
def test_whoever_watches_a_part_of_a_gated_mlp_sees_it():
    module = Gated().eval()
    x, seen = normal(4, 3, 8), []

    with torch.inference_mode(), quick_linears(module):
        fused = module(x)
        module.gate_proj.register_forward_hook(lambda *call: seen.append(call[2]))
        watched = module(x)

    assert len(seen) == 1
    assert_near(fused, watched)


@needs_products
def test_a_part_that_became_something_else_is_not_fused():
    module = Gated().eval()
    with quick_linears(module):
        assert "forward" in vars(module)
    module.up_proj = Doubled(8, 24)

    with quick_linears(module):
        assert "forward" not in vars(module)


@needs_products
@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
def test_the_mlps_of_real_families_are_fused(tiny, family):
    network = tiny(family).engine.network

    with quick_linears(network):
        fused = [m for m in network.modules() if "forward" in vars(m)]

    assert sum(hasattr(module, "gate_proj") for module in fused) == tiny(family).n_layers
