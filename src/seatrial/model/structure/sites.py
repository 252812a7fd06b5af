"""Places in a model: which exist, how wide they are, and which steerings fit them."""

from collections.abc import Iterable

from seatrial.errors import BadOption, ForeignIntervention, UnsupportedModel
from seatrial.model.load.load import ModelCard
from seatrial.model.structure.anatomy import Anatomy
from seatrial.steering.intervention import Intervention
from seatrial.types import Point, Site


def site_in(anatomy: Anatomy, name: str, layer: int | str, point: Point) -> Site:
    """A place in a model, checked.

    Args:
        anatomy: of the model.
        name: of the model, for messages.
        layer: a block counted from 0, or first, middle or last.
        point: which quantity of the block.

    Raises:
        BadOption: for a layer that does not exist.
        UnsupportedModel: for a point that this block does not have.
    """
    n_layers = len(anatomy.blocks)
    named = {"first": 0, "middle": n_layers // 2, "last": n_layers - 1}
    number = named.get(layer, layer) if isinstance(layer, str) else layer
    if not isinstance(number, int) or not 0 <= number < n_layers:
        raise BadOption(
            f"layer {layer} does not exist in {name!r}; its layers are 0 to "
            f"{n_layers - 1}, or first, middle, last. Negative layers are "
            "refused: a saved intervention must mean one thing."
        )
    site = Site(number, point)
    check_sites(anatomy, [site], name)
    return site


def check_sites(anatomy: Anatomy, sites: Iterable[Site], name: str) -> None:
    """Refuse sites that the model does not have.

    Raises:
        UnsupportedModel: if a block has no such sublayer.
    """
    for site in sites:
        block = anatomy.blocks[site.layer]
        if site.point != "resid" and getattr(block, site.point) is None:
            kinds = ", ".join(
                point
                for point in ("resid", "attn", "mlp", "heads")
                if point == "resid" or getattr(block, point) is not None
            )
            raise UnsupportedModel(
                f"block {site.layer} of {name!r} has no {site.point!r} site that could be "
                f"found by its arithmetic; its sites are: {kinds}"
            )


def width_at(anatomy: Anatomy, site: Site) -> int:
    """Width of the activations at a site that exists."""
    heads = anatomy.blocks[site.layer].heads
    if site.point == "heads":
        assert heads is not None
        return heads.n_heads * heads.d_head
    return anatomy.d_model


def check_belongs(intervention: Intervention, anatomy: Anatomy, card: ModelCard) -> None:
    """Refuse an intervention that does not belong to a model.

    Raises:
        ForeignIntervention: fitted on a model of another identity, or of another width.
        BadOption: a layer that this model does not have.
        UnsupportedModel: a site that this model does not have.
    """
    wide = [
        ("edit", site, edit.width)
        for part in intervention.parts
        for site, edit in part.edits.items()
    ]
    gate = intervention.gate
    if gate is not None:
        wide.append(("gate", gate.site, gate.width))
    for what, site, own_width in wide:
        width = width_at(anatomy, site_in(anatomy, card.name, site.layer, site.point))
        if own_width != width:
            raise ForeignIntervention(
                f"the {what} at site {site} is {own_width} wide, but {card.name!r} is "
                f"{width} wide there; fit it on this model"
            )
    n_layers = len(anatomy.blocks)
    for layer in intervention.readout.layers if intervention.readout else ():
        if not -1 <= layer < n_layers:
            raise BadOption(
                f"the readout looks at layer {layer}, but {card.name!r} has the "
                f"layers 0 to {n_layers - 1}, and -1 for its embeddings"
            )
    origin = intervention.origin
    if origin is not None and origin.model != card.identity:
        raise ForeignIntervention(
            f"this steering was fitted on {origin.model}, but the model is "
            f"{card.identity}; fit it again on this model"
        )
