"""Drawing at random: directions as large as given ones, for what controls an edit.

Every kind of edit makes its own counterpart from these (``Edit.turned``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData, BadOption

Manner = Literal["even", "states", "beside"]


@final
@dataclass(frozen=True)
class Draw:
    """How the counterpart of an edit is drawn, and what it is drawn from.

    Each of its verbs draws once, so the order in which an edit calls them decides what a
    seed gives.
    """

    generator: torch.Generator
    """Is drawn from."""
    states: Callable[[], Float[Tensor, "state width"]]
    """What the edit was fitted on, at its site; read only where it is asked for."""
    parts: int = 1
    """So many equal slices of the width (attention heads) are drawn apart."""
    manner: Manner = "even"
    """even: all directions are as likely; states: with the covariance of the states;
    beside: at right angles to the edit's own."""
    method: str = ""
    """Name of the method whose edit it is, for messages."""

    def vector(self, vector: Float[Tensor, " width"]) -> Float[Tensor, " width"]:
        """A vector as long as this one, in every part, in float32.

        Raises:
            BadData: where it is drawn like states that do not vary.
        """
        columns = vector[:, None]
        match self.manner:
            case "even":
                drawn = random_turn(columns, self.generator, parts=self.parts)
            case "states":
                drawn = random_like(
                    columns, self.states(), self.generator, parts=self.parts
                )
            case "beside":
                drawn = random_beside(columns, self.generator, parts=self.parts)
        return drawn[:, 0].float()

    def basis(self, basis: Float[Tensor, "width rank"]) -> Float[Tensor, "width rank"]:
        """Columns with the lengths and angles of these, in float32.

        Only for the manners even and beside (``only``).

        Raises:
            BadOption: if there is no room beside them.
        """
        turn = random_beside if self.manner == "beside" else random_turn
        return turn(basis, self.generator, parts=self.parts).float()

    def state(self, state: Float[Tensor, " width"]) -> Float[Tensor, " width"]:
        """A state as far from the mean one as this, in float32."""
        mean = self.mean()
        return mean + self.vector(state - mean)

    def rotation(self, width: int) -> Float[Tensor, "width width"]:
        """A random orthogonal matrix, in float64, that keeps the parts apart."""
        return random_turn(torch.eye(width), self.generator, parts=self.parts)

    def mean(self) -> Float[Tensor, " width"]:
        """The mean of the states."""
        return self.states().mean(0)

    def only(self, edit: object, *manners: Manner) -> None:
        """Refuse to draw an edit in other manners than these.

        Raises:
            BadOption: saying which control is for edits of that kind.
        """
        if self.manner not in manners:
            raise self.refusal(edit)

    def refusal(self, edit: object) -> BadOption:
        """What is raised for a kind of edit that cannot be drawn in this manner."""
        kind = type(edit).__name__
        match self.manner:
            case "even":
                return BadOption(
                    f"'random' knows no counterpart of an edit of kind {kind!r}; use "
                    "'shuffled' as control"
                )
            case "states":
                return BadOption(
                    "'random' draws vectors and states like the fit states, but not an "
                    f"edit of kind {kind!r}; leave out the option spread"
                )
            case "beside":
                return BadOption(
                    "'orthogonal' controls methods that have a direction; "
                    f"{self.method!r} makes a {kind} edit, which has none. Use 'random' "
                    "or 'shuffled' to control it"
                )


def random_turn(
    columns: Float[Tensor, "width column"], generator: torch.Generator, *, parts: int = 1
) -> Float[Tensor, "width column"]:
    """Columns turned at random: ``Q C``, in float64, with their lengths and angles kept.

    ``Q`` is a random orthogonal matrix, uniform over all of them; the identity gives it
    whole. It is drawn only as far as the columns need it.

    Args:
        columns: ``C``.
        generator: is drawn from.
        parts: so many equal slices of the width (attention heads) are turned apart, each
            within itself.
    """
    turned: list[Tensor] = []
    for part in columns.double().chunk(parts):
        frame, shape = _triangular(part)
        drawn = torch.randn(frame.shape, generator=generator, dtype=torch.float64)
        turned.append(_triangular(drawn)[0] @ shape)
    return torch.cat(turned)


def random_like(
    columns: Float[Tensor, "width column"],
    states: Float[Tensor, "state width"],
    generator: torch.Generator,
    *,
    parts: int = 1,
) -> Float[Tensor, "width column"]:
    """Columns as long as these, drawn with the covariance of some states, in float64.

    Args:
        columns: have the lengths.
        states: what is drawn varies as they do about their mean.
        generator: is drawn from.
        parts: so many equal slices of the width (attention heads) keep a length each.

    Raises:
        BadData: where the states do not vary, so that nothing can be drawn.
    """
    centred = states.double() - states.double().mean(0)
    shape = len(states), columns.shape[1]
    whole = centred.mT @ torch.randn(shape, generator=generator, dtype=torch.float64)
    drawn: list[Tensor] = []
    for part, like in zip(whole.chunk(parts), columns.double().chunk(parts), strict=True):
        length, goal = part.norm(dim=0), like.norm(dim=0)
        if bool(((length == 0) & (goal > 0)).any()):
            raise BadData(
                "the states that a method was fitted on do not vary, so no direction can "
                "be drawn like them; give more fit items, or draw evenly"
            )
        drawn.append(part * torch.where(goal > 0, goal / length, 0.0))
    return torch.cat(drawn)


def random_beside(
    columns: Float[Tensor, "width column"], generator: torch.Generator, *, parts: int = 1
) -> Float[Tensor, "width column"]:
    """As ``random_turn``, but at right angles to all that the columns span.

    Raises:
        BadOption: if that leaves no room, because the columns span more than half.
    """
    turned: list[Tensor] = []
    for part in columns.double().chunk(parts):
        taken, shape = _triangular(part)
        width, rank = taken.shape
        if width < 2 * rank:
            raise BadOption(
                f"there is no subspace of rank {rank} orthogonal to one of that rank in "
                f"{width} dimensions; use 'random' or 'shuffled' as control"
            )
        drawn = torch.randn(width, rank, generator=generator, dtype=torch.float64)
        # Twice, because once leaves what rounding brings back.
        for _ in range(2):
            drawn = drawn - taken @ (taken.mT @ drawn)
        turned.append(_triangular(drawn)[0] @ shape)
    return torch.cat(turned)


def _triangular(
    matrix: Float[Tensor, "width column"],
) -> tuple[Float[Tensor, "width rank"], Float[Tensor, "rank column"]]:
    """The QR decomposition whose diagonal is positive, which is unique.

    Of a normal matrix its first part is uniform; LAPACK's own signs would not be.
    """
    frame, shape = torch.linalg.qr(matrix)
    signs = torch.where(shape.diagonal() < 0, -1.0, 1.0).to(matrix)
    return frame * signs, signs[:, None] * shape
