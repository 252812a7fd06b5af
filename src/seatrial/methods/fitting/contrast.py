"""Activations of contrastive pairs, read once and shared by all methods.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData
from seatrial.model import Model, TokenSelector
from seatrial.types import Pair, Site, Text, texts_of


def contrast(
    model: Model, pairs: Sequence[Pair], site: Site, at: TokenSelector
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Activations of the positive and of the negative texts at a site, in float32.

    Raises:
        BadData: without pairs, where a pair's two sides are the same text, or where the
            token read is not what the selector means (``Model.read_tokens``).
    """
    if not pairs:
        raise BadData(
            "there are no pairs to fit on; give at least one positive and negative text"
        )
    for pair in pairs:
        if pair.positive == pair.negative:
            raise BadData(
                f"pair {pair.id!r} has the same text on both sides, so it shows no "
                "difference; write a negative that lacks the behaviour"
            )
    positive, negative = texts_of(pairs, "positive"), texts_of(pairs, "negative")
    both = _read(model, (*positive, *negative), site, at)
    return both[: len(pairs)], both[len(pairs) :]


def _read(model: Model, texts: tuple[Text, ...], site: Site, at: TokenSelector) -> Tensor:
    # Sorted, so that swapped or permuted labels find the same reading.
    distinct = tuple(sorted(set(texts), key=repr))
    # All blocks come out of one pass, and a sweep over layers or a control that permutes
    # labels asks for the same texts again and again.
    key = ("contrast", distinct, at)
    states: dict[Site, Tensor] = model.readings.get(key) or {}
    if site not in states:
        # Blocks in the last quarter are seldom asked for, and cost a quarter of the time.
        ahead = model.n_layers - model.n_layers // 4
        sites = (
            [Site(layer) for layer in range(max(site.layer + 1, ahead))]
            if site.point == "resid"
            else [site]
        )
        for text in distinct:
            model.read_tokens(text, at)
        states = {**states, **model.activations(distinct, sites, at)}
        model.readings.put(key, states)
    row = {text: k for k, text in enumerate(distinct)}
    return states[site][[row[text] for text in texts]]
