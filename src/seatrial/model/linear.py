"""Multiplies by float32 weights through oneDNN, which is two to three times faster here.

On processors that are not Intel's, PyTorch's default library for float32 products (MKL)
leaves half of the vector units idle; oneDNN, which PyTorch ships too and uses for half
precision, does not (``docs/speed.md`` has the measurement). Results differ in the last bits
only, as between any two batch sizes. The weights are neither copied nor changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_PROBE = 17


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W' + b`` like ``torch.nn.functional.linear``, by the faster library."""
    if _is_quick(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return nn.functional.linear(x, weight, bias)


@contextmanager
def quick_linears(network: nn.Module) -> Iterator[None]:
    """Let every plain linear layer of a network use ``linear`` while inside."""
    changed: list[nn.Linear] = []
    try:
        for module in network.modules():
            # Subclasses and modules with a forward of their own (accelerate, adapters) do
            # something else, and are left alone.
            if type(module) is not nn.Linear or "forward" in module.__dict__:
                continue
            if not _is_quick(module.weight, module.weight):
                continue

            def forward(input: Tensor, module: nn.Linear = module) -> Tensor:
                return linear(input, module.weight, module.bias)

            module.forward = forward
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def _is_quick(x: Tensor, weight: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype is weight.dtype is torch.float32 and _works()


_checked: list[bool] = []


def _works() -> bool:
    """Whether this build of PyTorch has the operation, and it computes what it should."""
    if not _checked:
        ramp = torch.arange(_PROBE * _PROBE, dtype=torch.float32).reshape(_PROBE, -1) / 100
        try:
            ours = torch.ops.mkldnn._linear_pointwise(ramp, ramp, ramp[0], "none", [], "")
            theirs = nn.functional.linear(ramp, ramp, ramp[0])
            _checked.append(torch.allclose(ours, theirs, rtol=1e-5))
        except (AttributeError, RuntimeError, NotImplementedError):
            _checked.append(False)
    return _checked[0]
