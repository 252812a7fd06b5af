"""How long the vectors of some interventions are, and how alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from seatrial.compose import origin_of_parts
from seatrial.edits import Add, AddKeepingNorm
from seatrial.errors import BadOption, ForeignIntervention
from seatrial.intervention import Intervention
from seatrial.types import Site


@final
@dataclass(frozen=True)
class Row:
    """One vector that an intervention adds, beside those of all at its site."""

    site: Site
    intervention: str
    tokens: str
    norm: float
    """Length, in the units of the stream."""
    cosines: tuple[float, ...]
    """With every vector of the comparison at this site, in the order of the rows; with
    itself 1."""


@final
@dataclass(frozen=True)
class Comparison:
    """Norms and pairwise cosines of added vectors, site by site; as text, a table."""

    rows: tuple[Row, ...]
    """Ordered by site, then as the interventions were given."""

    def at(self, site: Site) -> tuple[Row, ...]:
        """The rows of a site."""
        return tuple(row for row in self.rows if row.site == site)

    def __str__(self) -> str:
        head = ("site", "steering", "tokens", "norm", "cosines, in the order of the rows")
        lines = [head] + [
            (
                str(row.site),
                row.intervention,
                row.tokens,
                f"{row.norm:.4g}",
                " ".join(f"{cosine:+.3f}" for cosine in row.cosines),
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) for cell, width in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )


def compared(interventions: Mapping[str, Intervention]) -> Comparison:
    """How long the vectors of some interventions are, and how alike at each site.

    Vectors are those of ``Add`` and ``AddKeepingNorm`` edits; other kinds have none and are
    left out. Tokens do not matter for what is compared, and are shown.

    Args:
        interventions: by the names to show.

    Raises:
        BadOption: if there is no vector, or one is 0 and so has no direction.
        ForeignIntervention: if they were fitted on different models, or have other widths.
    """
    # For the refusal of different models only.
    origin_of_parts("compared", list(interventions.values()), {})
    found: dict[Site, list[tuple[str, str, Tensor]]] = {}
    for name, intervention in interventions.items():
        for part in intervention.parts:
            for site, edit in part.edits.items():
                if isinstance(edit, Add | AddKeepingNorm):
                    found.setdefault(site, []).append((name, part.tokens, edit.vector))
    if not found:
        raise BadOption(
            "none of these interventions adds a vector, so there are no lengths and "
            "angles to compare; give some that do, such as those of caa"
        )
    return Comparison(
        tuple(row for site in sorted(found) for row in _rows(site, found[site]))
    )


def _rows(site: Site, found: Sequence[tuple[str, str, Tensor]]) -> list[Row]:
    """The vectors of one site, beside each other."""
    for name, _, vector in found:
        if len(vector) != len(found[0][2]):
            raise ForeignIntervention(
                f"the vector of {name!r} at site {site} is {len(vector)} wide, that of "
                f"{found[0][0]!r} {len(found[0][2])}; compare steerings of one model"
            )
        if not vector.any():
            raise BadOption(
                f"the vector of {name!r} at site {site} is 0, so it has no direction; fit "
                "it on texts that differ"
            )
    rows = torch.stack([vector.double() for _, _, vector in found])
    units = rows / rows.norm(dim=-1, keepdim=True)
    cosines = (units @ units.mT).clamp(-1, 1)
    return [
        Row(site, name, tokens, float(rows[k].norm()), tuple(cosines[k].tolist()))
        for k, (name, tokens, _) in enumerate(found)
    ]
