"""Edits at work: on the rows of a batch, for one forward call, with proof of an effect.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seatrial.errors import SteeringFault
from seatrial.model.engine.layout import Layout
from seatrial.model.structure.anatomy import Anatomy
from seatrial.model.structure.hooks import hook_site
from seatrial.steering.edits import Edit
from seatrial.types import Site


@final
@dataclass
class Segment:
    """Consecutive rows of a batch under one set of edits, each row at its own dose."""

    start: int
    stop: int
    edits: Mapping[Site, Edit]
    doses: Float[Tensor, " row"]
    mask: Bool[Tensor, "row token"]
    """Which tokens are edited."""
    fired: set[Site] = field(default_factory=set)
    changed: dict[Site, Bool[Tensor, " row"]] = field(default_factory=dict)

    def apply(self, site: Site, h: Float[Tensor, "row token width"]) -> None:
        """Edit the tokens of this segment in place; other positions keep their bits."""
        rows, tokens = self.mask.to(h.device).nonzero(as_tuple=True)
        before = h[self.start + rows, tokens]
        after = self.edits[site](before, self.doses.to(h)[rows])
        changed = torch.zeros(len(self.mask), dtype=torch.bool, device=h.device)
        changed[rows[(before != after).any(-1)]] = True
        self.fired.add(site)
        self.changed[site] = changed.cpu() | self.changed.get(site, False)
        h[self.start + rows, tokens] = after


@contextmanager
def steering(
    anatomy: Anatomy, segments: Sequence[Segment], layout: Layout | None = None
) -> Iterator[None]:
    """Apply every segment's edits to its rows of the forward calls made inside.

    Args:
        anatomy: of the network that will run.
        segments: what is edited.
        layout: how the rows of the segments stand in the network's tensors; by default
            they are the rows of the batch.

    Raises:
        SteeringFault: on leaving, if an edit with something to edit did not run, or ran at
            a dose other than 0 and changed not a single bit (trap T1).
    """
    active = [segment for segment in segments if bool(segment.mask.any())]
    sites = sorted({site for segment in active for site in segment.edits})
    with ExitStack() as stack:
        for site in sites:
            concerned = [segment for segment in active if site in segment.edits]

            def transform(
                h: Tensor, site: Site = site, concerned: list = concerned
            ) -> Tensor:
                rows = h.clone() if layout is None else layout.collect(h)
                for segment in concerned:
                    segment.apply(site, rows)
                return rows if layout is None else layout.replace(h, rows)

            hook_site(anatomy, site, transform, stack)
        yield
    for segment in active:
        _check_worked(segment)


def _check_worked(segment: Segment) -> None:
    for site in segment.edits:
        if site not in segment.fired:
            raise SteeringFault(
                f"the edit at site {site} never ran: the model did not call the module "
                "found there; this is a defect of the model's code or of seatrial, not of "
                "your data"
            )
        if segment.edits[site].is_gated:
            continue
        idle = segment.mask.any(1).cpu() & (segment.doses != 0) & ~segment.changed[site]
        if bool(idle.any()):
            dose = float(segment.doses[idle][0])
            raise SteeringFault(
                f"the edit at site {site} with dose {dose:g} changed nothing at all; its "
                "vector is zero or too small for the model's dtype: fit it on other data "
                "or use a larger dose"
            )
