"""What checks compare bit for bit: models, their edits at work, and what was fitted."""

import copy
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatrial.files import digest
from seatrial.model import MemoryBudget, Model
from seatrial.steering.intervention import Intervention
from seatrial.testing.checks.asking import questions
from seatrial.types import FitData, Text


def twin(model: Model, budget: MemoryBudget | None = None) -> Model:
    """The same network behind another ``Model``, about which nobody remembers anything."""
    return Model(
        model.engine.network,
        model.encoder.tokenizer,
        model.card,
        budget=budget or model.engine.budget,
    )


def copied(model: Model, dtype: torch.dtype | None = None) -> Model:
    """A model with weights of its own."""
    network = copy.deepcopy(model.engine.network)
    return Model(
        network if dtype is None else network.to(dtype),  # pyright: ignore[reportArgumentType]
        model.encoder.tokenizer,
        model.card,
        budget=model.engine.budget,
    )


def at_work(
    model: Model, fitted: Intervention, data: FitData
) -> Iterator[tuple[Any, Tensor, Any]]:
    """Every edit with activations that it meets, in the model's own dtype."""
    texts = [text for pair in data.pairs[:2] for text in (pair.positive, pair.negative)]
    if not texts:
        texts = [Text(request.prompt, request.answers[0]) for request in questions(data)]
    sites = sorted({site for part in fitted.parts for site in part.edits})
    states = model.activations(texts, sites, "last") if sites else {}
    for part in fitted.parts:
        for site, edit in part.edits.items():
            h = states[site].to(model.engine.network.dtype).to(model.engine.device)
            yield site, h, edit


def bits(tensor: Tensor) -> bytes:
    """The bytes of a tensor, for which -0.0 is not 0.0."""
    return (
        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )


def contents(fitted: Intervention) -> tuple:
    """An intervention as values that can be compared; edits by their fields."""
    edits = [
        (part.tokens, site, type(edit), _values(edit))
        for part in fitted.parts
        for site, edit in part.edits.items()
    ]
    return fitted.tokens, fitted.prompt_edit, fitted.readout, _values(fitted.gate), edits


def _values(record: object) -> list[object]:
    """The fields of a record, tensors by their bits; of anything else, none."""
    if not is_dataclass(record):
        return []
    values = [getattr(record, field.name) for field in fields(record)]
    return [bits(value) if isinstance(value, Tensor) else value for value in values]


def origin_text(fitted: Intervention) -> str | None:
    """The origin as it stands in a file, where tuples are lists."""
    return (
        None if fitted.origin is None else json.dumps(asdict(fitted.origin), sort_keys=True)
    )


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Set the global random generators, and put them back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def state_of(network: nn.Module) -> dict[str, object]:
    """Everything about a network that fitting could leave changed, by name."""
    state: dict[str, object] = {}
    for name, module in network.named_modules():
        where = name or "the network"
        state[f"hooks of {where}"] = [
            list(getattr(module, kind).values()) for kind in _HOOKS
        ]
        state[f"forward of {where}"] = (type(module).forward, vars(module).get("forward"))
        state[f"mode of {where}"] = module.training
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        content = digest([bits(tensor)])
        state[f"weights {name}"] = (
            tensor.dtype,
            tensor.requires_grad,
            tensor.grad is None,
            content,
        )
    return state


def check_unchanged(before: dict[str, object], after: dict[str, object], what: str) -> None:
    """Fail with the names of what differs between two states of a network."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    assert not changed, f"{what} changed the model: {', '.join(changed[:3])}"
