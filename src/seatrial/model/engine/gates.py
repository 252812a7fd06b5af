"""Which prompts a gated steering acts on: decided once, prompt by prompt.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from seatrial.steering.gate import Gate
from seatrial.steering.intervention import UNSTEERED, Steering
from seatrial.types import Answer, Prompt, Site, Text

Read = Callable[
    [Sequence[Text], Sequence[Site], Literal["mean", "last"]], Mapping[Site, Tensor]
]
"""Activations of the unsteered model, as ``Model.activations`` gives them."""

Acting = list[tuple[bool, ...]]
"""``[steering][prompt]``: whether the steering acts on the prompt."""

NEAR = {"float32": 1e-4, "float64": 1e-4}
"""How close to its threshold a similarity may come before the prompt is read once more, on
its own; in half precision 0.03. What stands beside a prompt in a batch moves its last
digits, and must not decide (trap T5)."""


def decide(
    read: Read, prompts: Sequence[Prompt], under: Sequence[Steering], dtype: str
) -> Acting:
    """Whether each steering acts on each prompt.

    One without a gate acts on all of them. At dose 0 nothing is read, because acting
    and not acting are the same.

    Args:
        read: reads the unsteered model.
        prompts: as they are asked, before any change of the prompt.
        under: the steerings.
        dtype: of the model.
    """
    gates = {
        id(gate): gate
        for intervention, dose in under
        if dose != 0 and (gate := intervention.gate) is not None
    }
    distinct = tuple(dict.fromkeys(prompts))
    opened = _opened(read, distinct, list(gates.values()), dtype)
    open_to_all = (True,) * len(prompts)
    return [
        open_to_all
        if dose == 0 or intervention.gate is None
        else tuple(opened[id(intervention.gate)][prompt] for prompt in prompts)
        for intervention, dose in under
    ]


def _opened(
    read: Read, prompts: Sequence[Prompt], gates: Sequence[Gate], dtype: str
) -> dict[int, dict[Prompt, bool]]:
    opened: dict[int, dict[Prompt, bool]] = {}
    texts = [Text(prompt, "") for prompt in prompts]
    for at in ("mean", "last"):
        alike = [gate for gate in gates if gate.read == at]
        sites = sorted({gate.site for gate in alike})
        states = read(texts, sites, at) if sites else {}
        for gate in alike:
            site = gate.site
            distances = gate.distance(states[site])
            near = distances.abs() < NEAR.get(dtype, 0.03)
            for k in near.nonzero()[:, 0].tolist():
                distances[k] = gate.distance(read([texts[k]], [site], at)[site])[0]
            opened[id(gate)] = dict(zip(prompts, (distances > 0).tolist(), strict=True))
    return opened


def with_unsteered(under: Sequence[Steering], acting: Acting) -> list[Steering]:
    """What to ask for: the steerings, those that act nowhere left out, and none at all."""
    steerings = [
        steering if any(line) else UNSTEERED
        for steering, line in zip(under, acting, strict=True)
    ]
    return [*steerings, UNSTEERED]


def picked(lines: Sequence[Sequence[Answer]], acting: Acting) -> list[list[Answer]]:
    """Each steering's answers where it acts, and the unsteered ones where it does not.

    Args:
        lines: answers to what ``with_unsteered`` asks for: ``[steering][request]``.
        acting: where each steering acts.
    """
    *steered, plain = lines
    return [
        [
            answer if acts else other
            for answer, acts, other in zip(line, gate, plain, strict=True)
        ]
        for line, gate in zip(steered, acting, strict=True)
    ]
