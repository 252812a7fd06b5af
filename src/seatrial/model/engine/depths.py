"""Readouts at work: early and final states become changed log-probabilities."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seatrial.errors import UnsupportedModel
from seatrial.model.engine.unembed import TokenScores, Unembedding
from seatrial.steering.readout import Depths, Norm, Readout

NUMBERS = 2**25
"""Log-probabilities held at once, over all depths."""


@final
class Reader:
    """Applies readouts; all that look at the same states share the logits of each depth."""

    def __init__(
        self,
        unembedding: Unembedding,
        final_norm: nn.Module | None,
        input_norms: Sequence[nn.Module | None] = (),
    ) -> None:
        self.unembedding = unembedding
        self.final_norm = final_norm
        self.input_norms = tuple(input_norms)
        """Of every block; ``None`` where a block has none."""

    def depths(
        self,
        h: Float[Tensor, "row d_model"],
        early: Mapping[int, Float[Tensor, "row d_model"]],
        norm: Norm,
    ) -> Depths:
        """The distributions of some rows at every depth.

        Raises:
            UnsupportedModel: if a norm is asked for that was not found.
        """
        if norm != "none":
            early = {b: _passed(self._norm(b, norm), x) for b, x in early.items()}
        # All depths in one product: with few rows it is fetching the weights that costs.
        states = torch.cat([h, *(x.to(h.device) for x in early.values())])
        final, *others = self.unembedding(states).log_softmax(-1).split(len(h))
        return Depths(final, dict(zip(early, others, strict=True)))

    def logits(
        self, h: Float[Tensor, "row d_model"], norm: Norm
    ) -> Float[Tensor, "row vocabulary"]:
        """Logits of states that leave a block, as if it were the last one.

        Raises:
            UnsupportedModel: if a norm is asked for that was not found.
        """
        if norm != "none":
            h = _passed(self._norm(len(self.input_norms) - 1, norm), h)
        return self.unembedding(h)

    def _norm(self, block: int, norm: Norm) -> nn.Module:
        """What the output of a block passes; after the last block stands the final norm."""
        is_last = block + 1 == len(self.input_norms)
        if norm == "final" or is_last:
            if self.final_norm is None:
                raise UnsupportedModel(
                    "this model's final norm was not found, so early states cannot pass "
                    "it; ask for the readout with norm 'none'"
                )
            return self.final_norm
        input_norm = self.input_norms[block + 1]
        if input_norm is None:
            raise UnsupportedModel(
                f"block {block + 1} of this model has no norm at its input (its norms "
                "stand behind attention and MLP), so the states before it cannot pass "
                "one; ask for the readout with norm 'final' or 'none'"
            )
        return input_norm

    def score(
        self,
        h: Float[Tensor, "row d_model"],
        early: Mapping[int, Float[Tensor, "row d_model"]],
        readouts: Sequence[tuple[Readout, float]],
        rows: Int[Tensor, " target"],
        tokens: Int[Tensor, " target"],
        base: Float[Tensor, "row d_model"] | None = None,
        *,
        top: bool = False,
    ) -> TokenScores:
        """Log-probability of each target under each readout, and KL from a base state's.

        The arguments are those of ``Unembedding.score``, for one steering.
        """
        scores = torch.zeros(len(readouts), len(tokens))
        kl = None if base is None else torch.zeros(len(readouts), len(h))
        tops = torch.zeros(scores.shape, dtype=torch.bool) if top else None
        step = max(1, NUMBERS // (self.unembedding.vocabulary * (len(early) + 2)))
        for first in range(0, len(h), step):
            span = slice(first, first + step)
            mine = ((rows >= first) & (rows < first + step)).nonzero()[:, 0]
            plain = None if base is None else self.unembedding(base[span]).log_softmax(-1)
            norms: list[Norm] = [readout.norm for readout, _ in readouts]
            for norm in dict.fromkeys(norms):
                depths = self.depths(h[span], {b: x[span] for b, x in early.items()}, norm)
                for k, (readout, dose) in enumerate(readouts):
                    if readout.norm != norm:
                        continue
                    where = (rows[mine] - first).to(h.device), tokens[mine].to(h.device)
                    if tops is None and plain is None:
                        scores[k, mine] = readout.at(depths, dose, *where).float().cpu()
                        continue
                    log_probs = readout(depths, dose)
                    scores[k, mine] = log_probs[where].float().cpu()
                    if tops is not None:
                        best = log_probs.amax(-1)[where[0]]
                        tops[k, mine] = (log_probs[where] >= best).cpu()
                    if kl is not None and plain is not None:
                        drift = log_probs.exp() * (log_probs - plain)
                        kl[k, span] = drift.sum(-1).float().cpu()
        return TokenScores(scores, kl, tops)


def _passed(norm: nn.Module, h: Float[Tensor, "row d_model"]) -> Tensor:
    """States behind a norm, where its weights are; some norms have none (OLMo)."""
    weight = next(norm.parameters(), None)
    return norm(h if weight is None else h.to(weight.device))
