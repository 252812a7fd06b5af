"""A random control: as large as the method, in the same place, in random directions."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from seatrial.errors import BadOption, unknown
from seatrial.methods.base import (
    Method,
    heads_at,
    later,
    origin_of,
    recorded_norms,
    with_edits,
)
from seatrial.methods.fitting.fit_states import fit_states
from seatrial.model import Model
from seatrial.steering.edits import Draw, Edit
from seatrial.steering.edits.drawing import Manner
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site

SPREADS: tuple[Manner, ...] = ("even", "states")


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
        if self.spread not in SPREADS:
            raise unknown("spread", self.spread, SPREADS)
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
            source = generator
            if id(edit) in before:  # the same edit at another site is turned alike
                source = torch.Generator().set_state(before[id(edit)])
            else:
                before[id(edit)] = generator.get_state()
            states = partial(fit_states, self.reference, model, data, site)
            heads = heads_at(model, site)
            return edit.turned(
                Draw(source, states, heads, self.spread, self.reference.name)
            )

        control = with_edits(fitted, turned)
        origin = origin_of(self, model, data, seed, recorded_norms(fitted))
        return replace(control, prompt_edit=None, readout=None, origin=origin)
