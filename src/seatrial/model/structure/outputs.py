"""The tensor in what a module returns, which some families wrap in a tuple."""

from typing import Any

from torch import Tensor


def first_tensor(value: Any) -> Tensor | None:
    """The tensor of a module's output, which some families wrap in a tuple."""
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    return value if isinstance(value, Tensor) else None


def with_first_tensor(output: Any, new: Tensor) -> Any:
    """The same output with its tensor exchanged."""
    if isinstance(output, tuple):
        return (new, *output[1:])
    if isinstance(output, list):
        return [new, *output[1:]]
    return new
