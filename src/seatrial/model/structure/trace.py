"""A traced forward pass: what every submodule was given and what it returned."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from seatrial.model.structure.anatomy import embedding_of
from seatrial.model.structure.outputs import first_tensor


@dataclass
class Call:
    """One module's one call during a trace."""

    name: str
    module: nn.Module
    order: int
    """When it finished, among all calls."""
    input: Tensor | None
    output: Tensor
    calls: int = 1
    tuple_length: int = 0


@contextmanager
def _recording(model: nn.Module) -> Iterator[dict[nn.Module, Call]]:
    seen: dict[nn.Module, Call] = {}
    names = {module: name for name, module in model.named_modules()}

    def record(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None or not tensor.is_floating_point():
            return
        entered = first_tensor(args) if args else first_tensor(list(kwargs.values())[:1])
        # Clones, because some families add in place to what a submodule returned.
        calls = seen[module].calls + 1 if module in seen else 1
        seen[module] = Call(
            names[module],
            module,
            len(seen),
            entered.detach().clone() if entered is not None else None,
            tensor.detach().clone(),
            calls,
            len(output) if isinstance(output, (tuple, list)) else 0,
        )

    with ExitStack() as stack:
        for module in names:
            handle = module.register_forward_hook(record, with_kwargs=True)
            stack.callback(handle.remove)
        yield seen


def _run(
    model: PreTrainedModel, ids: list[int], cache: DynamicCache, start: int = 0
) -> Any:
    """Read ``ids[start:]`` after what the cache holds."""
    tokens = torch.tensor([ids], device=embedding_of(model).device)
    with torch.inference_mode():
        return model(
            input_ids=tokens[:, start:],
            attention_mask=torch.ones_like(tokens),
            past_key_values=cache,
            use_cache=True,
        )


def trace(
    model: PreTrainedModel, ids: list[int]
) -> tuple[dict[nn.Module, Call], DynamicCache, Any]:
    """Read some tokens: the call of every module, the cache, what the model returned."""
    cache = DynamicCache(config=model.config)
    with _recording(model) as seen:
        output = _run(model, ids, cache)
    return seen, cache, output


def stepwise(model: PreTrainedModel, ids: list[int]) -> Any:
    """Like ``trace``, but the last token is read on its own, from the cache."""
    cache = DynamicCache(config=model.config)
    _run(model, ids[:-1], cache)
    return _run(model, ids, cache, start=len(ids) - 1)
