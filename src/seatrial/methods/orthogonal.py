"""A random direction with no component along the method's own."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, final

import torch

from seatrial.errors import BadOption
from seatrial.methods.base import Method, heads_at, origin_of, recorded_norms, with_edits
from seatrial.methods.fitting.fit_states import fit_states
from seatrial.model import Model
from seatrial.steering.edits import Draw, Edit
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Site


@final
@dataclass(frozen=True)
class Orthogonal(Method):
    """Replace each direction of another method by a random one orthogonal to it.

        v = |v_ref| * g / |g|,  g ~ N(0, I) without its component along v_ref

    Same norm, sites, tokens and doses as the reference. `random` may share a little of the
    direction by chance (a cosine of about 1/sqrt(width), which is much in a small model);
    this control shares none. A subspace that is removed and a plane that is rotated in get
    a random one of the same rank, and an edit that is used at many sites stays one. Heads
    keep their norms, each with a direction of its own. Maps, states that replace others,
    and scores that are climbed have no direction to be orthogonal to; `random` and
    `shuffled` control them.
    """

    name: ClassVar[str] = "orthogonal"
    summary: ClassVar[str] = (
        "control: a random direction orthogonal to the method's, same norm"
    )
    is_control: ClassVar[bool] = True

    reference: Method
    """The method that it controls."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        fitted = self.reference.fit(model, data, seed=seed)
        if not fitted.parts:
            raise BadOption(
                "'orthogonal' controls methods that have a direction; "
                f"{self.reference.name!r} edits no activation, so this control would do "
                "nothing and be beaten by anything; use 'shuffled' to control it"
            )
        generator = torch.Generator().manual_seed(seed)
        made: dict[int, Edit] = {}

        def beside(site: Site, edit: Edit) -> Edit:
            if id(edit) not in made:
                states = partial(fit_states, self.reference, model, data, site)
                heads = heads_at(model, site)
                draw = Draw(generator, states, heads, "beside", self.reference.name)
                made[id(edit)] = edit.turned(draw)
            return made[id(edit)]

        control = with_edits(fitted, beside)
        origin = origin_of(self, model, data, seed, recorded_norms(fitted))
        return replace(control, prompt_edit=None, readout=None, origin=origin)
