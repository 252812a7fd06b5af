"""A random direction with no component along the method's own."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.edits import Add, Edit, Project
from seatrial.errors import BadOption
from seatrial.intervention import Intervention
from seatrial.methods.base import Method, origin_of
from seatrial.model import Model
from seatrial.types import FitData


@final
@dataclass(frozen=True)
class Orthogonal(Method):
    """Replace each direction of another method by a random one orthogonal to it.

        v = |v_ref| * g / |g|,  g ~ N(0, I) without its component along v_ref

    Same norm, sites, tokens and doses as the reference. `random` may share a little of the
    direction by chance (a cosine of about 1/sqrt(width), which is much in a small model);
    this control shares none. A projection gets a random subspace of the same rank, and one
    that is used at many sites stays one.
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
        if not fitted.edits:
            raise BadOption(
                f"'orthogonal' controls methods that add or remove directions; "
                f"{self.reference.name!r} edits no activation, so this control would do "
                "nothing and be beaten by anything"
            )
        generator = torch.Generator().manual_seed(seed)
        made: dict[int, Edit] = {}
        edits = {}
        for site, edit in fitted.edits.items():
            if id(edit) not in made:
                made[id(edit)] = self._counterpart(edit, generator)
            edits[site] = made[id(edit)]
        return Intervention(edits, fitted.tokens, origin=origin_of(self, model, data, seed))

    def _counterpart(self, edit: Edit, generator: torch.Generator) -> Edit:
        match edit:
            case Add(vector):
                columns = vector.double()[:, None]
                [direction] = _basis(columns, generator).mT
                return Add((direction * columns.norm()).float())
            case Project(basis):
                return Project(_basis(basis.double(), generator).float())
            case _:
                raise BadOption(
                    "'orthogonal' controls methods that add or remove directions; "
                    f"{self.reference.name!r} makes a {type(edit).__name__} edit. Use "
                    "'shuffled' to control it"
                )


def _basis(
    columns: Float[Tensor, "width rank"], generator: torch.Generator
) -> Float[Tensor, "width rank"]:
    """Random orthonormal columns, orthogonal to the given ones."""
    width, rank = columns.shape
    if width < 2 * rank:
        raise BadOption(
            f"there is no subspace of rank {rank} orthogonal to one of that rank in "
            f"{width} dimensions; use 'random' or 'shuffled' as control"
        )
    drawn = torch.randn(width, rank, generator=generator, dtype=torch.float64)
    taken = torch.linalg.qr(columns).Q
    # Twice, because once leaves what rounding brings back.
    for _ in range(2):
        drawn = drawn - taken @ (taken.mT @ drawn)
    return torch.linalg.qr(drawn).Q
