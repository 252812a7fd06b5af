"""Inference-time intervention: shift the attention heads whose states tell best.

Numbered traps are those of docs/hazards.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from seatrial.errors import BadData, BadOption, UnsupportedModel
from seatrial.methods.base import Layer, Method, check_fits, origin_of, state_norms
from seatrial.methods.fitting.linear_algebra import difference, unit
from seatrial.model import Model, TokenSelector
from seatrial.steering.edits import Add
from seatrial.steering.intervention import Intervention
from seatrial.types import FitData, Pair, Site, texts_of


@final
@dataclass(frozen=True)
class ITI(Method):
    """Shift the heads on which a linear probe is most accurate, each along its direction.

        a <- a + dose * alpha * sigma * theta       a: state of one head, width d_head
        theta: unit direction of that head;  sigma: standard deviation of a . theta

    at the input of the attention output projection, where all heads lie side by side. A
    head's accuracy is cross-validated over groups of pairs, so it is never that of a probe
    on what it was trained on (trap T59); directions and sigma come from all pairs. Heads of
    equal accuracy are ranked by held-out log-likelihood. The paper takes sigma from
    answers followed by random questions; we take it from the texts that were read.
    """

    name: ClassVar[str] = "iti"
    summary: ClassVar[str] = "shift the attention heads that a linear probe reads best"
    paper: ClassVar[str] = "https://arxiv.org/abs/2306.03341"
    is_odd: ClassVar[bool] = True

    layer: Layer | Literal["all"] = "all"
    """Which block's heads are candidates, counted from 0, or all blocks'."""
    heads: int = 48
    """How many heads are shifted; all candidates where there are fewer."""
    alpha: float = 15.0
    """How many standard deviations a dose of 1 is."""
    direction: Literal["mean", "probe"] = "mean"
    """Along the difference of the class means, or along the probe's weights."""
    read: TokenSelector = "last"
    """Which token of each text is read: last, second_last, last_prompt, completion,
    mean."""
    tokens: str = "from_last_prompt"
    """Which tokens are edited: from_last_prompt, generated, last, prompt, all, or
    first_K."""
    folds: int = 5
    """How many parts the groups are cut into for cross-validation; at most one a group."""

    def fit(self, model: Model, data: FitData, *, seed: int) -> Intervention:
        check_fits(self, data)
        if self.heads < 1 or self.folds < 2:
            raise BadOption(
                f"iti needs at least 1 head and 2 folds, not {self.heads} and {self.folds}"
            )
        parts = _parts(data.pairs, self.folds, seed)
        layers = range(model.n_layers)
        if self.layer != "all":
            layers = [model.site(self.layer, "heads").layer]
        states = _read(model, data.pairs, layers, self.read)
        ranks = {head: quality(*sides, parts) for head, sides in states.items()}
        ranked = sorted(states, key=lambda head: (*(-q for q in ranks[head]), head))
        vectors: dict[Site, Tensor] = {}
        for head in ranked[: self.heads]:
            site, start, stop = head
            sides = states[head]
            weights = difference(*sides) if self.direction == "mean" else _probe(*sides)[0]
            theta = unit(weights, site)
            sigma = (torch.cat(sides).double() @ theta).std(correction=0)
            vector = vectors.setdefault(site, torch.zeros(model.width(site)))
            vector[start:stop] = (self.alpha * sigma * theta).float()
        read = {site: _whole(states, site) for site in vectors}
        return Intervention(
            {site: Add(vector) for site, vector in vectors.items()},
            self.tokens,
            origin=origin_of(self, model, data, seed, state_norms(read)),
        )


class HeadSlice(NamedTuple):
    """One head as a slice of its site."""

    site: Site
    start: int
    stop: int


def quality(
    positive: Float[Tensor, "pair d_head"],
    negative: Float[Tensor, "pair d_head"],
    parts: Sequence[list[int]],
) -> tuple[float, float]:
    """Accuracy of probes on pairs they were not trained on, and mean log-likelihood there.

    Args:
        positive: states of one head on the positive texts.
        negative: the same on the negative texts.
        parts: a partition of the pairs; each part is held out once.
    """
    right, likely = 0, 0.0
    for part in parts:
        rest = sorted(set(range(len(positive))) - set(part))
        weights, intercept = _probe(positive[rest], negative[rest])
        for side, states in ((1, positive), (-1, negative)):
            logits = side * (states[part].double() @ weights + intercept)
            right += int((logits > 0).sum())
            likely += float(logsigmoid(logits).sum())
    return right / (2 * len(positive)), likely / (2 * len(positive))


def _probe(
    positive: Float[Tensor, "pair d_head"], negative: Float[Tensor, "pair d_head"]
) -> tuple[Float[Tensor, " d_head"], float]:
    """Weights and intercept of a logistic regression, in float64."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    points = torch.cat([positive, negative]).double().numpy()
    labels = [1] * len(positive) + [0] * len(negative)
    fitted = LogisticRegression(solver="newton-cholesky", max_iter=1000).fit(points, labels)
    return torch.from_numpy(fitted.coef_[0]), float(fitted.intercept_[0])


def _parts(pairs: Sequence[Pair], folds: int, seed: int) -> list[list[int]]:
    """Indices of the pairs in each fold; a group lies in one fold.

    Raises:
        BadData: with fewer than 2 groups, of which one must be held out.
    """
    groups = sorted({pair.group for pair in pairs})
    if len(groups) < 2:
        raise BadData(
            "'iti' tests its probes on groups that they were not trained on, so it needs "
            f"pairs of at least 2 groups, not {len(groups)}"
        )
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    fold = {groups[k]: place % folds for place, k in enumerate(order.tolist())}
    parts: list[list[int]] = [[] for _ in range(min(folds, len(groups)))]
    for index, pair in enumerate(pairs):
        parts[fold[pair.group]].append(index)
    return parts


def _read(
    model: Model, pairs: Sequence[Pair], layers: Sequence[int], read: TokenSelector
) -> dict[HeadSlice, tuple[Tensor, Tensor]]:
    """States of every head of some blocks on the positive and on the negative texts."""
    heads = []
    for layer in layers:
        if n_heads := model.heads_in(layer):
            site = Site(layer, "heads")
            width = model.width(site) // n_heads
            heads += [HeadSlice(site, k * width, (k + 1) * width) for k in range(n_heads)]
    if not heads:
        raise UnsupportedModel(
            f"no attention heads were found in {model.card.name!r}, and 'iti' edits "
            "nothing else; use a method for the residual stream, such as 'caa'"
        )
    if alike := [pair.id for pair in pairs if pair.positive == pair.negative]:
        raise BadData(
            f"pair {alike[0]!r} has the same text on both sides, so it shows no "
            "difference; write a negative that lacks the behaviour"
        )
    texts = [*texts_of(pairs, "positive"), *texts_of(pairs, "negative")]
    by_site = model.activations(texts, sorted({head.site for head in heads}), read)
    n, states = len(pairs), {}
    for head in heads:
        both = by_site[head.site][:, head.start : head.stop]
        states[head] = both[:n], both[n:]
    return states


def _whole(
    states: Mapping[HeadSlice, tuple[Tensor, Tensor]], site: Site
) -> list[Float[Tensor, "pair width"]]:
    """The states of all heads of a site side by side again, of either class."""
    mine = [sides for head, sides in states.items() if head.site == site]
    return [torch.cat(side, dim=1) for side in zip(*mine, strict=True)]
