"""How long the vectors of some interventions are beside the states, and how alike.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from seatrial.errors import BadOption, ForeignIntervention
from seatrial.steering.compose import origin_of_parts
from seatrial.steering.edits import Add, AddBySide, AddKeepingNorm, Edit
from seatrial.steering.intervention import Intervention
from seatrial.types import Origin, Site

STATE_NORMS = "state_norms"
"""Where an origin tells how long the states at a site are that were read for the fit."""


@final
@dataclass(frozen=True)
class ComparedVector:
    """One vector that an intervention adds, beside those of all at its site."""

    site: Site
    intervention: str
    tokens: str
    norm: float
    """Length, in the units of the stream."""
    ratio: float | None
    """Length beside the mean length of the states that were read at the site for the fit,
    ``|v| / mean |h|`` (trap T33); ``None`` where that is not on record. What is added to
    states of length 1 (``AddKeepingNorm``) is such a ratio itself."""
    cosines: tuple[float, ...]
    """With every vector of the comparison at this site, in the order of the rows; with
    itself 1."""


@final
@dataclass(frozen=True)
class Comparison:
    """Norms and pairwise cosines of added vectors, site by site; as text, a table."""

    rows: tuple[ComparedVector, ...]
    """Ordered by site, then as the interventions were given."""
    without: tuple[str, ...] = ()
    """Names of those that add no vector, so that no row is theirs."""

    def at(self, site: Site) -> tuple[ComparedVector, ...]:
        """The rows of a site."""
        return tuple(row for row in self.rows if row.site == site)

    def __str__(self) -> str:
        head = ("site", "steering", "tokens", "norm", "|v|/|h|",
                "cosines, in the order of the rows")  # fmt: skip
        lines = [head] + [
            (
                str(row.site),
                row.intervention,
                row.tokens,
                f"{row.norm:.4g}",
                "" if row.ratio is None else f"{row.ratio:.3g}",
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


def comparison(interventions: Mapping[str, Intervention]) -> Comparison:
    """How long the vectors of some interventions are, and how alike at each site.

    Vectors are those of ``Add``, ``AddBySide`` and ``AddKeepingNorm`` edits; other kinds
    have none and are left out. Tokens do not matter for what is compared, and are shown.

    Args:
        interventions: by the names to show.

    Raises:
        BadOption: if there is no vector, or one is 0 and so has no direction.
        ForeignIntervention: if they were fitted on different models, or have other widths.
    """
    # For the refusal of different models only.
    origin_of_parts("comparison", list(interventions.values()), {})
    by_site = added_vectors(interventions)
    if not by_site:
        raise BadOption(
            "none of these interventions adds a vector, so there are no lengths and "
            "angles to compare; give some that do, such as those of caa"
        )
    shown = {each.name for vectors in by_site.values() for each in vectors}
    return Comparison(
        tuple(row for site, vectors in by_site.items() for row in _rows(site, vectors)),
        tuple(name for name in interventions if name not in shown),
    )


@final
class AddedVector(NamedTuple):
    """One vector that an intervention adds."""

    name: str
    """Of the intervention."""
    tokens: str
    vector: Tensor
    state_norm: float | None
    """How long the states are that it stands beside, where that is on record."""


def added_vectors(
    interventions: Mapping[str, Intervention],
) -> dict[Site, list[AddedVector]]:
    """The vectors of some interventions by site, sites in order."""
    vectors: dict[Site, list[AddedVector]] = {}
    for name, intervention in interventions.items():
        for part in intervention.parts:
            for site, edit in part.edits.items():
                if isinstance(edit, Add | AddBySide | AddKeepingNorm):
                    norm = _norm_beside(intervention.origin, site, edit)
                    vector = AddedVector(name, part.tokens, edit.vector, norm)
                    vectors.setdefault(site, []).append(vector)
    return dict(sorted(vectors.items()))


def _state_norm(origin: Origin | None, site: Site) -> float | None:
    """Mean length of the states that a fit has read at a site, where it is on record.

    Of a composition it is the mean over the parts that have read there.
    """
    norms = list(_recorded(origin.options, str(site))) if origin else []
    return fmean(norms) if norms else None


def _recorded(options: Mapping[str, Any], site: str) -> Iterator[float]:
    """What an origin and those of its parts say of a site."""
    norms = options.get(STATE_NORMS, {})
    if site in norms:
        yield norms[site]
    for part in options.get("parts", ()):
        if part is not None:
            yield from _recorded(part["options"], site)


def _norm_beside(origin: Origin | None, site: Site, edit: Edit) -> float | None:
    return 1.0 if isinstance(edit, AddKeepingNorm) else _state_norm(origin, site)


def _rows(site: Site, vectors: Sequence[AddedVector]) -> list[ComparedVector]:
    """The vectors of one site, beside each other."""
    first = vectors[0]
    for name, _, vector, _ in vectors:
        if len(vector) != len(first.vector):
            raise ForeignIntervention(
                f"the vector of {name!r} at site {site} is {len(vector)} wide, that of "
                f"{first.name!r} {len(first.vector)}; compare steerings of one model"
            )
        if not vector.any():
            raise BadOption(
                f"the vector of {name!r} at site {site} is 0, so it has no direction; fit "
                "it on texts that differ"
            )
    rows = torch.stack([each.vector.double() for each in vectors])
    units = rows / rows.norm(dim=-1, keepdim=True)
    cosines = (units @ units.mT).clamp(-1, 1).tolist()
    norms = rows.norm(dim=-1).tolist()
    return [
        ComparedVector(
            site, name, tokens, norm, norm / state_norm if state_norm else None, tuple(line)
        )
        for (name, tokens, _, state_norm), norm, line in zip(
            vectors, norms, cosines, strict=True
        )
    ]
