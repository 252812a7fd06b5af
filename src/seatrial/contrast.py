"""Activations of contrastive pairs, read once and shared by all methods."""

import weakref
from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from seatrial.errors import BadData
from seatrial.model import Model, TokenSelector
from seatrial.types import Pair, Site, Text, texts_of

_KEPT = 4
_memory: weakref.WeakKeyDictionary[Model, OrderedDict[tuple, dict[Site, Tensor]]] = (
    weakref.WeakKeyDictionary()
)
"""The latest readings by model. All blocks come out of one pass, and a sweep over layers or
a
control that permutes labels asks for the same texts again and again."""


def contrast(
    model: Model, pairs: Sequence[Pair], site: Site, at: TokenSelector
) -> tuple[Float[Tensor, "pair width"], Float[Tensor, "pair width"]]:
    """Activations of the positive and of the negative texts at a site, in float32.

    Raises:
        BadData: without pairs, or where a pair's two sides are the same text.
    """
    if not pairs:
        raise BadData(
            "there are no pairs to fit on; give at least one positive and negative text"
        )
    for pair in pairs:
        if pair.positive == pair.negative:
            raise BadData(
                f"pair {pair.id!r} has the same text on both sides, so it shows no "
                "difference; "
                "write a negative that lacks the behaviour"
            )
    positive, negative = texts_of(pairs, "positive"), texts_of(pairs, "negative")
    both = _read(model, (*positive, *negative), site, at)
    return both[: len(pairs)], both[len(pairs) :]


def _read(model: Model, texts: tuple[Text, ...], site: Site, at: TokenSelector) -> Tensor:
    # Sorted, so that swapped or permuted labels find the same reading.
    distinct = tuple(sorted(set(texts), key=repr))
    kept = _memory.setdefault(model, OrderedDict())
    found = kept.setdefault((distinct, at), {})
    if site not in found:
        # Blocks in the last quarter are seldom asked for, and cost a quarter of the time.
        ahead = model.n_layers - model.n_layers // 4
        wanted = (
            [Site(layer) for layer in range(max(site.layer + 1, ahead))]
            if site.point == "resid"
            else [site]
        )
        found.update(model.activations(distinct, wanted, at))
    kept.move_to_end((distinct, at))
    while len(kept) > _KEPT:
        kept.popitem(last=False)
    row = {text: k for k, text in enumerate(distinct)}
    return found[site][[row[text] for text in texts]]
