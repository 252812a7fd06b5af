"""Several interventions as one, on purpose: joined, or their vectors added up."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadOption, ForeignIntervention
from seatrial.files import digest
from seatrial.steering.edits import Add, Edit
from seatrial.steering.gate import Gate
from seatrial.steering.intervention import Intervention, Part
from seatrial.steering.saving import load_several, save
from seatrial.types import Origin, Site


def combine_files(
    files: Sequence[Path | str], out: Path | str, weights: Sequence[float] = ()
) -> Intervention:
    """Combine saved interventions (``combined``), save the one that this makes, return it.

    Raises:
        BadOption: as ``combined`` and ``load_several``, or where ``out`` is one of the
            files.
        BadFile: as ``load``.
        ForeignIntervention: if they were fitted on different models.
        StoreFault: as ``save``.
    """
    if Path(out).resolve() in [Path(file).resolve() for file in files]:
        raise BadOption(
            f"{out} is one of the files that are combined and would be lost; choose "
            "another name for what they make"
        )
    made = combined(list(load_several(files).values()), weights)
    save(made, out)
    return made


def combined(
    interventions: Sequence[Intervention], weights: Sequence[float] = ()
) -> Intervention:
    """One intervention of several: ``joined``, or ``weighted`` where there are weights.

    Args:
        interventions: fitted on one model; without weights at least two.
        weights: none, or one for each of them.

    Raises:
        BadOption: for another number of weights, for a single one without a weight, and
            as ``joined`` or ``weighted``.
        ForeignIntervention: if they were fitted on different models.
    """
    if weights and len(weights) != len(interventions):
        raise BadOption(
            f"there must be one weight for each steering, so {len(interventions)} and not "
            f"{len(weights)}; give none to let all of them act at once"
        )
    if weights:
        return weighted(dict(zip(interventions, weights, strict=True)))
    if len(interventions) == 1:
        raise BadOption(
            "a single steering has nothing to be joined with; name several, or scale its "
            "vectors with a weight"
        )
    return joined(*interventions)


def joined(*interventions: Intervention) -> Intervention:
    """One intervention that does what all of them do, in this order, at one dose.

    All edits of activations are made, those of the first one first. Together they may have
    one prompt edit, one readout, and one gate, which all of them must have. A single
    intervention is returned as it is. Give vectors other weights with ``weighted`` first.

    Raises:
        BadOption: for none, or for several prompt edits, readouts or gates.
        ForeignIntervention: if they were fitted on different models.
    """
    if not interventions:
        raise BadOption("there is nothing to join; give at least one intervention")
    if len(interventions) == 1:
        return interventions[0]
    first, *others = [part for each in interventions for part in each.parts] or [Part({})]
    return Intervention(
        first.edits,
        first.tokens,
        _only("prompt edits", [each.prompt_edit for each in interventions]),
        origin_of_parts("joined", interventions, {}),
        _only("readouts", [each.readout for each in interventions]),
        tuple(others),
        _shared_gate(interventions),
    )


def _only(what: str, surfaces: Sequence[Any]) -> Any:
    """The one of these that is not ``None``, if there is any."""
    several = [surface for surface in surfaces if surface is not None]
    if len(several) > 1:
        raise BadOption(
            f"{len(several)} {what} cannot be joined, because what the second one makes of "
            "the first is not defined; join interventions of which one at most has one"
        )
    return next(iter(several), None)


def _shared_gate(interventions: Sequence[Intervention]) -> Gate | None:
    one, *others = [each.gate for each in interventions]
    if not all(_same(one, other) for other in others):
        raise BadOption(
            "interventions with different gates, or with and without one, cannot be "
            "joined, because one gate decides about all that an intervention does; "
            "ask under them side by side, or give all of them the same Gate"
        )
    return one


def _same(one: Gate | None, other: Gate | None) -> bool:
    if one is None or other is None:
        return one is other
    plain, beside = (vars(each) | {"vector": None} for each in (one, other))
    return plain == beside and torch.equal(one.vector, other.vector)


def weighted(weights: Mapping[Intervention, float]) -> Intervention:
    """The intervention whose vectors are the weighted sum of those of others.

    ``{a: 1.0, b: 1.0}`` is the sum, ``{a: 1.0, b: -1.0}`` the difference, ``{a: 0.5}``
    half of one. All of them must add vectors and do nothing else, at the same sites and
    tokens; sums are made in float64.

    Raises:
        BadOption: for no or odd weights, for anything but ``Add`` edits, for sites or
            tokens that differ, or where the sum is 0.
        ForeignIntervention: if they were fitted on different models, or have other widths.
    """
    if not weights or not all(map(isfinite, weights.values())):
        raise BadOption(
            "a weighted sum needs at least one intervention, each with a weight that is a "
            f"finite number, not {list(weights.values())}"
        )
    interventions, factors = list(weights), list(weights.values())
    _check_alike(interventions)
    parts = [
        Part(_sum(together, factors), together[0].tokens)
        for together in zip(*(each.parts for each in interventions), strict=True)
    ]
    return Intervention(
        parts[0].edits,
        parts[0].tokens,
        origin=origin_of_parts("weighted", interventions, {"weights": factors}),
        also=tuple(parts[1:]),
    )


def _check_alike(interventions: Sequence[Intervention]) -> None:
    first = interventions[0]
    for each in interventions:
        _check_adds_only(each)
        if _places(each) != _places(first):
            raise BadOption(
                "only vectors at the same sites and tokens can be added up, not at "
                f"{_in_words(_places(first))} and {_in_words(_places(each))}; join them "
                "instead, or fit them at the same layer with the same tokens"
            )


def _check_adds_only(intervention: Intervention) -> None:
    kinds = {
        type(edit).__name__ for part in intervention.parts for edit in part.edits.values()
    }
    more = [name for name, surface in intervention.surfaces if surface is not None]
    if kinds != {"Add"} or more:
        has = f"makes {', '.join(sorted(kinds)) or 'no'} edits"
        has = f"has a {more[0]}" if more else has
        raise BadOption(
            "only interventions that add vectors and do nothing else can be added up; "
            f"one of these {has}; join them instead"
        )


def _places(intervention: Intervention) -> list[tuple[str, tuple[Site, ...]]]:
    """Tokens and sites of every part."""
    return [(part.tokens, tuple(part.edits)) for part in intervention.parts]


def _in_words(places: Sequence[tuple[str, tuple[Site, ...]]]) -> str:
    return "; ".join(f"{', '.join(map(str, sites))} ({scope})" for scope, sites in places)


def _sum(parts: Sequence[Part], weights: Sequence[float]) -> dict[Site, Edit]:
    """The edits of one part of the sum."""
    edits: dict[Site, Edit] = {}
    for site in parts[0].edits:
        vectors = [_vector(part.edits[site]) for part in parts]
        if len({len(vector) for vector in vectors}) > 1:
            raise ForeignIntervention(
                f"the vectors at site {site} have the widths "
                f"{', '.join(str(len(vector)) for vector in vectors)}, so they belong to "
                "different models; fit all of them on one"
            )
        terms = [w * v.double() for w, v in zip(weights, vectors, strict=True)]
        total = torch.stack(terms).sum(0).to(vectors[0].dtype)
        if not total.any():
            raise BadOption(
                f"the weighted vectors cancel out at site {site}, which leaves nothing to "
                "add; give other weights"
            )
        edits[site] = Add(total)
    return edits


def _vector(edit: Edit) -> Float[Tensor, " width"]:
    assert isinstance(edit, Add)
    return edit.vector


def origin_of_parts(
    how: str, interventions: Sequence[Intervention], more: dict[str, object]
) -> Origin | None:
    """Where a composition comes from: all that is known of its parts, in order.

    Raises:
        ForeignIntervention: if the parts were fitted on different models.
    """
    known = [each.origin for each in interventions if each.origin is not None]
    if not known:
        return None
    models = list(dict.fromkeys(origin.model for origin in known))
    if len(models) > 1:
        raise ForeignIntervention(
            f"these steerings were fitted on different models, {' and '.join(models)}; fit "
            "all of them on one"
        )
    parts = [asdict(each.origin) if each.origin else None for each in interventions]
    data = list(dict.fromkeys(origin.data for origin in known))
    joint = digest(["\n".join(data).encode()]).hex()[:16]
    return Origin(
        models[0],
        known[0].d_model,
        how,
        {"parts": parts, **more},
        data[0] if len(data) == 1 else joint,
        known[0].seed,
    )
