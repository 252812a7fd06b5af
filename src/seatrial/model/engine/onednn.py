"""Multiplies by float32 weights through oneDNN, which is two to three times faster here.

On processors that are not Intel's, PyTorch's default library for float32 products (MKL)
leaves half of the vector units idle; oneDNN, which PyTorch ships too and uses for half
precision, does not (``docs/speed.md`` has the measurement). Results differ in the last bits
only, as between any two batch sizes. The weights are not changed, and copied only inside
``reordering``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_PROBE = 17
_MANY = 1024
"""Rows that oneDNN is told to order weights for: a full call of the engine."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W' + b`` like ``torch.nn.functional.linear``, by the faster library."""
    if _is_quick(x, weight):
        product = torch.ops.mkldnn._linear_pointwise
        return product(x, _ordered(weight), bias, "none", [], "")
    return nn.functional.linear(x, weight, bias)


@contextmanager
def quick_linears(network: nn.Module) -> Iterator[None]:
    """Let every plain linear layer of a network use ``linear`` while inside.

    A gated MLP also has its activation and its product computed while the numbers are still
    in the processor's cache.
    """
    changed: list[nn.Module] = []
    try:
        for module in network.modules():
            # Subclasses and modules with a forward of their own (accelerate, adapters) do
            # something else, and are left alone.
            if "forward" in module.__dict__:
                continue
            if type(module) is nn.Linear and _is_quick(module.weight, module.weight):
                module.__dict__["forward"] = _plain(module)
            elif (activation := _gate_of(module)) is not None:
                module.__dict__["forward"] = _gated(module, activation)
            else:
                continue
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


@contextmanager
def reordering(limit: int) -> Iterator[None]:
    """Keep a second copy of the weights in the order that oneDNN reads them in.

    It orders them anew in every product otherwise, which is felt most where rows are few.
    A weight that PyTorch changes in place is ordered again; one changed behind its back
    (``.data``) is not. Inside another such context this one does nothing.

    Args:
        limit: bytes that the copies may take; weights beyond it are used as they are.
    """
    token = _orders.set(_orders.get() or _Orders(limit))
    try:
        yield
    finally:
        _orders.reset(token)


def is_reordering() -> bool:
    """Whether weights are kept in order, so that one had better be cut always alike."""
    return _orders.get() is not None


@final
class _Orders:
    """Weights in the order of oneDNN, by where they lie and how often they were changed."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        # With the weights themselves, lest others come to lie in their place.
        self._kept: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, weight: Tensor) -> Tensor:
        version = 0 if weight.is_inference() else weight._version
        key = (weight.data_ptr(), weight.shape, weight.stride(), version)
        if key not in self._kept:
            self._kept[key] = weight, self._order(weight)
        return self._kept[key][1]

    def _order(self, weight: Tensor) -> Tensor:
        if weight.nbytes > self._left:
            return weight
        ordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _MANY)
        self._left -= weight.nbytes
        return ordered


_orders: ContextVar[_Orders | None] = ContextVar("_orders", default=None)


def _ordered(weight: Tensor) -> Tensor:
    orders = _orders.get()
    return weight if orders is None else orders(weight)


def _plain(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(input: Tensor) -> Tensor:
        return linear(input, module.weight, module.bias)

    return forward


Activation = tuple[str, str]
"""What oneDNN calls an activation, and its variant."""

_gates: WeakKeyDictionary[nn.Module, Activation | None] = WeakKeyDictionary()


def _gated(module: nn.Module, activation: Activation) -> Callable[[Tensor], Tensor]:
    """``down(activation(gate(x)) * up(x))`` in three passes over memory instead of five."""
    gate, up, down = module.gate_proj, module.up_proj, module.down_proj
    assert isinstance(gate, nn.Linear) and isinstance(up, nn.Linear)
    assert isinstance(down, nn.Linear)
    whole = type(module).forward
    name, variant = activation

    def forward(x: Tensor) -> Tensor:
        # Someone who watches the parts must see them called.
        if _is_watched(gate) or _is_watched(up):
            return whole(module, x)
        product = torch.ops.mkldnn._linear_pointwise
        gates = product(x, _ordered(gate.weight), gate.bias, name, [], variant)
        inner = product.binary(x, gates, _ordered(up.weight), up.bias, "mul")
        return down(inner)

    return forward


def _gate_of(module: nn.Module) -> Activation | None:
    """The activation of a gated MLP; None if the module is nothing of the kind."""
    if module.training or not _parts(module):
        return None
    if module not in _gates:
        _gates[module] = _try_gate(module)
    return _gates[module]


def _try_gate(module: nn.Module) -> Activation | None:
    """Whether it computes this and nothing else is tried out on a few random states."""
    width = _parts(module)[0].in_features
    states = torch.randn(_PROBE, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            truth = type(module).forward(module, states)
        except TypeError:  # it asks for more than states
            return None
        for activation in (("swish", ""), ("gelu", "tanh"), ("gelu", "none")):
            ours = _gated(module, activation)(states)
            slack = 1e-5 * float(truth.abs().max())
            if torch.allclose(ours, truth, rtol=0, atol=slack):
                return activation
    return None


def _parts(module: nn.Module) -> tuple[nn.Linear, ...]:
    """Gate, up and down, by the names that nearly all families give them, if all plain."""
    names = ("gate_proj", "up_proj", "down_proj")
    parts = [getattr(module, name, None) for name in names]
    for part in parts:
        if type(part) is not nn.Linear or "forward" in part.__dict__:
            return ()
        if not _is_quick(part.weight, part.weight):
            return ()
    return tuple(parts)  # pyright: ignore[reportReturnType]


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_quick(x: Tensor, weight: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype is weight.dtype is torch.float32 and _works()


_checked: list[bool] = []


def _works() -> bool:
    """Whether this PyTorch has the operations, and they compute what they should."""
    if not _checked:
        ramp = torch.arange(_PROBE * _PROBE, dtype=torch.float32).reshape(_PROBE, -1) / 100
        try:
            truth = nn.functional.linear(ramp, ramp, ramp[0])
            product = torch.ops.mkldnn._linear_pointwise
            ordered = torch.ops.mkldnn._reorder_linear_weight(ramp, _PROBE)
            _checked.append(
                all(
                    torch.allclose(
                        product(ramp, weight, ramp[0], "none", [], ""), truth, rtol=1e-5
                    )
                    for weight in (ramp, ordered)
                )
            )
        except (AttributeError, RuntimeError, NotImplementedError):
            _checked.append(False)
    return _checked[0]
