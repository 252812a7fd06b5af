"""A random control: as large as the method, in the same place, in random directions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.data.templates import template_named
from seatrial.errors import BadData, BadOption, unknown
from seatrial.methods.base import (
    Method,
    heads_at,
    later,
    norms_beside,
    origin_of,
    with_edits,
)
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.linear_algebra import random_like, random_turn
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import (
    Add,
    AddBySide,
    AddKeepingNorm,
    Affine,
    Ascend,
    Edit,
    Patch,
    Project,
    Replace,
    Rotate,
    RotateTo,
    Slerp,
)
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site

States = Callable[[], Tensor]
"""What the reference was fitted on at a site: ``state width``; read only where asked."""


@final
@dataclass(frozen=True)
class Random(Method):
    """Turn whatever another method has fitted into a random direction.

        Q: a random orthogonal matrix for each edit      m: mean state of the fit data

        a vector or pole v                    Q v
        a subspace or plane B                 Q B
        a state s that replaces others        m + Q (s - m)
        an affine map h + (A - I) h + b       h + Q (A - I) Q' (h - m) + Q (E(m) - m)
        a score f that is climbed             f(m + Q' (h - m)), its mean step as long

    Kind, sites, tokens, doses, angles, ranks, eigenvalues and lengths stay. So does how far
    states are moved on average by added, replaced and climbing steps, and how far a map
    moves the mean state. How far a map or projection moves states beyond that depends on
    how they vary along its directions: over seeds, a map moves them by a mean square of
    ``|E(m) - m|^2 + |A - I|^2 tr(S) / d`` (S: their covariance, d: its width). A method
    that removes what varies most moves them further than that, so `shuffled` stands beside
    it.

    Heads are turned each in its own space, an edit used at many sites stays one, and a
    gate on the prompt stays as it is. Several seeds make the band that a claim has to
    leave. Evenly drawn vectors mostly point where states hardly vary, which a model may not
    heed; ``spread`` can have them drawn as states vary, at the same lengths.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = (
        "control: the method's own edits, as large, in random directions"
    )
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""
    spread: Literal["even", "states"] = later("even")
    """even: all directions are as likely; states: drawn with the covariance of the states
    that the method was fitted on, a harder control, for vectors and states only."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        if self.spread not in COUNTERPARTS:
            raise unknown("spread", self.spread, COUNTERPARTS)
        fitted = self.reference.fit(model, data, seed=seed)
        if not fitted.parts:
            raise BadOption(
                f"'random' turns edits of activations; {self.reference.name!r} makes none, "
                "so this control would do nothing and be beaten by anything; use "
                "'shuffled' to control it"
            )
        generator = torch.Generator().manual_seed(seed)
        before: dict[int, Tensor] = {}

        def turned(site: Site, edit: Edit) -> Edit:
            drawn = generator
            if id(edit) in before:  # the same edit at another site is turned alike
                drawn = torch.Generator().set_state(before[id(edit)])
            else:
                before[id(edit)] = generator.get_state()
            return COUNTERPARTS[self.spread](
                edit,
                drawn,
                heads_at(model, site),
                lambda: _states(self.reference, model, data, site),
            )

        control = with_edits(fitted, turned)
        origin = origin_of(self, model, data, seed, norms_beside(fitted))
        return replace(control, prompt_edit=None, readout=None, origin=origin)


def counterpart(edit: Edit, generator: torch.Generator, parts: int, states: States) -> Edit:
    """An edit of the same kind and size in random directions; see ``Random``.

    Args:
        edit: what is turned.
        generator: is drawn from.
        parts: so many slices of the width (attention heads) are turned apart.
        states: what the edit was fitted on; asked for where a mean state matters.

    Raises:
        BadOption: for a kind of edit that is not in ``EDITS``.
        BadData: if a score to climb is flat at all states once turned.
    """

    def turn(columns: Tensor) -> Tensor:
        return random_turn(columns, generator, parts=parts).float()

    match edit:
        case Add() | AddBySide() | AddKeepingNorm():
            return replace(edit, vector=turn(edit.vector[:, None])[:, 0])
        case Slerp():
            return replace(edit, pole=turn(edit.pole[:, None])[:, 0])
        case Project() | Rotate() | RotateTo():
            return replace(edit, basis=turn(edit.basis))
        case Replace():
            mean = states().mean(0)
            return Replace(mean + turn((edit.value - mean)[:, None])[:, 0])
        case Patch():
            return _patch(edit, generator, parts, states().mean(0))
        case Affine():
            one = torch.eye(edit.width)
            q = random_turn(one, generator, parts=parts)
            return _affine(edit, q, states().double().mean(0))
        case Ascend():
            return _ascend(edit, turn(edit.first.mT).mT, states())
        case _:
            raise BadOption(
                "'random' knows no counterpart of an edit of kind "
                f"{type(edit).__name__!r}; add it to seatrial.methods.random.counterpart, "
                "or use 'shuffled' as control"
            )


def like_states(edit: Edit, generator: torch.Generator, parts: int, states: States) -> Edit:
    """A vector or state as long or as far off, drawn with the covariance of the states.

    The arguments are those of ``counterpart``.

    Raises:
        BadOption: for an edit that is neither.
        BadData: for states that do not vary.
    """
    points = states()

    def draw(vector: Tensor) -> Tensor:
        drawn = random_like(vector[:, None], points, generator, parts=parts)
        return drawn[:, 0].float()

    match edit:
        case Add() | AddBySide() | AddKeepingNorm():
            return replace(edit, vector=draw(edit.vector))
        case Slerp():
            return replace(edit, pole=draw(edit.pole))
        case Replace():
            mean = points.mean(0)
            return Replace(mean + draw(edit.value - mean))
        case _:
            raise BadOption(
                "'random' draws vectors and states like the fit states, but not an edit of "
                f"kind {type(edit).__name__!r}; leave out the option spread"
            )


COUNTERPARTS: dict[str, Callable[[Edit, torch.Generator, int, States], Edit]] = {
    "even": counterpart,
    "states": like_states,
}
"""How a control is drawn, by ``spread``."""


def _patch(
    edit: Patch, generator: torch.Generator, parts: int, mean: Float[Tensor, " width"]
) -> Patch:
    """Values as far from the mean ones, in the chosen coordinates only."""
    value = mean.clone()
    coordinates = torch.arange(edit.width).chunk(parts)
    for chosen in [place[edit.where[place]] for place in coordinates]:
        offset = (edit.value - mean)[chosen, None]
        value[chosen] += random_turn(offset, generator)[:, 0].float()
    return replace(edit, value=value)


def _affine(
    edit: Affine, q: Float[Tensor, "width width"], mean: Float[Tensor, " width"]
) -> Affine:
    """The map whose steps are turned: those from the mean state, and that of the mean."""
    matrix, one = edit.matrix.double(), torch.eye(edit.width).to(q)
    step = q @ (matrix - one) @ q.mT
    shift = q @ (matrix @ mean + edit.bias.double() - mean)
    return Affine((one + step).float(), (shift - step @ mean).float())


def _ascend(
    edit: Ascend,
    looks: Float[Tensor, "hidden width"],
    states: Float[Tensor, "state width"],
) -> Ascend:
    """The climb of a score that looks elsewhere, with as long a gradient on average."""
    mean, away = states.double().mean(0), edit.first.double() - looks.double()
    bias = edit.first_bias.double() + away @ mean
    climb = replace(edit, first=looks, first_bias=bias.float())
    found, wanted = (
        float(each.gradient(states).norm(dim=-1).mean()) for each in (climb, edit)
    )
    if not found > 0:
        raise BadData(
            "the score that is climbed is flat at all fit states once it is turned at "
            "random, so there is no control of the same size; use another seed"
        )
    return replace(climb, steps=climb.steps * (wanted / found))


def _states(
    reference: Method, model: Model, data: FitData, site: Site
) -> Float[Tensor, "state width"]:
    """States of the fit texts where the method reads; of a map, of its bare queries."""
    template = getattr(reference, "template", None)
    if data.examples and (template or not data.pairs):
        written = template_named(template or "qa")
        prompts = [written.prompt((), example.input) for example in data.examples]
        return last_states(model, prompts, [site])[site]
    read: TokenSelector = getattr(reference, "read", "last")
    return torch.cat(contrast(model, data.pairs, site, read))
