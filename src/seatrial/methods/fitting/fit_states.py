"""The states that a method was fitted on, for what stands beside it."""

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.data.templates import template_named
from seatrial.methods.base import Method
from seatrial.methods.fitting.contrast import contrast
from seatrial.methods.fitting.map_prompts import last_states
from seatrial.model import Model, TokenSelector
from seatrial.types import FitData, Site


def fit_states(
    method: Method, model: Model, data: FitData, site: Site
) -> Float[Tensor, "state width"]:
    """States of the fit texts where the method reads; of a map, of its bare queries."""
    template = getattr(method, "template", None)
    if data.examples and (template or not data.pairs):
        written = template_named(template or "qa")
        prompts = [written.prompt((), example.input) for example in data.examples]
        return last_states(model, prompts, [site])[site]
    read: TokenSelector = getattr(method, "read", "last")
    return torch.cat(contrast(model, data.pairs, site, read))
