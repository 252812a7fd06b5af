"""Reads activations of the unsteered model: all sites in one pass, or their moments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from seatrial.model.engine.engine import Engine
from seatrial.model.engine.frontiers import common_start, slices
from seatrial.model.engine.onednn import quick_linears
from seatrial.model.engine.tree import Grove, Tree
from seatrial.types import Site

Span = tuple[int, int]
"""Half-open range of real tokens."""

TOGETHER = 8
"""Most texts in one tree: each token is compared with all others of its tree."""

Take = Callable[[Site, int, Tensor], None]
"""Sees the tokens of one text's span at one site: (site, text, token x width)."""


@torch.inference_mode()
def read_states(
    engine: Engine,
    texts: Sequence[Sequence[int]],
    spans: Sequence[Span],
    sites: Sequence[Site],
    take: Take,
) -> None:
    """Show every text's span at every site to ``take``; later blocks do not run."""
    if not texts or not sites:
        return
    families = (
        _families(texts) if engine.forward.packs else [[k] for k in range(len(texts))]
    )
    grown = [(same, *Tree.of_texts([texts[k] for k in same])) for same in families]
    grown.sort(key=lambda family: len(family[1].ids))
    lengths = [len(tree.ids) for _, tree, _ in grown]

    def work(picked: Sequence[int], _: Sequence[int]) -> None:
        grove = Grove(tuple(grown[k][1] for k in picked), (0,) * len(picked))
        seen: list[tuple[Site, int, Tensor]] = []

        def keep(site: Site, h: Tensor) -> None:
            for offset, k in zip(grove.offsets, picked, strict=True):
                same, _, paths = grown[k]
                for text, path in zip(same, paths, strict=True):
                    nodes = [offset + node for node in path[slice(*spans[text])]]
                    seen.append((site, text, h[0, nodes]))

        engine.forward.run(
            grove,
            targets=torch.zeros(1, dtype=torch.long),
            sites=sites,
            keep=keep,
            last_block=max(site.layer for site in sites),
        )
        # Only now: a call that runs out of memory half-way is made again.
        for site, text, h in seen:
            take(site, text, h)

    with quick_linears(engine.network):
        for picked in slices(lengths, engine.meter.tokens, packs=engine.forward.packs):
            engine.meter.attempt(work, picked, [0], sum(lengths[k] for k in picked))


def _families(texts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which texts are read as one tree: neighbours that share much of their beginning."""
    order = sorted(range(len(texts)), key=lambda k: tuple(texts[k]))
    families: list[list[int]] = []
    for k in order:
        first = texts[families[-1][0]] if families else ()
        shared = common_start([tuple(first), tuple(texts[k])])
        if shared * 3 >= max(len(first), len(texts[k])) and len(families[-1]) < TOGETHER:
            families[-1].append(k)
        else:
            families.append([k])
    return families


@final
@dataclass(frozen=True)
class Moments:
    """Count, mean and covariance of activations at a site."""

    n: int
    mean: Float[Tensor, " width"]
    covariance: Float[Tensor, "width width"]
    """Divided by ``n - 1``; zero for a single activation."""


@final
class Stream:
    """Moments that grow as activations come in, without keeping them (Chan et al. 1983)."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)

    def add(self, h: Float[Tensor, "activation width"]) -> None:
        """Take some more activations."""
        h = h.detach().cpu().double()
        if not len(h):
            return
        mean = h.mean(0)
        centred = h - mean
        total = self.n + len(h)
        gap = mean - self.mean
        self.scatter += centred.mT @ centred
        self.scatter += torch.outer(gap, gap) * (self.n * len(h) / total)
        self.mean += gap * (len(h) / total)
        self.n = total

    def moments(self) -> Moments:
        """What was seen so far, in float32."""
        covariance = self.scatter / max(1, self.n - 1)
        return Moments(self.n, self.mean.float(), covariance.float())
