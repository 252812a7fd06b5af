"""From final states to log-probabilities, without ever holding all logits.

The vocabulary is walked in tiles that stay in the processor's cache: each tile of logits is
made, used and forgotten. What a family does to its logits afterwards (a soft cap, a scale)
is found from its configuration and verified on real logits when the model is loaded.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from seatrial.errors import UnsupportedModel
from seatrial.model.engine.onednn import is_reordering, linear

TILE = 2**21
"""Numbers in one tile of logits on a processor with caches of a few megabytes."""
ROWS = 1024
"""Most states that go through the vocabulary together."""


class TokenScores(NamedTuple):
    """What a walk through the vocabulary gives."""

    log_probs: Float[Tensor, "steering target"]
    """Of each target, in nats."""
    kl: Float[Tensor, "steering row"] | None
    """KL(steered || unsteered) of each row, in nats, if it was asked for."""
    is_top: Bool[Tensor, "steering target"] | None
    """Whether each target is the most likely token, if that was asked for."""


@final
@dataclass(frozen=True)
class Unembedding:
    """The map from what leaves the final norm to logits."""

    weight: Float[Tensor, "vocabulary d_model"]
    bias: Float[Tensor, " vocabulary"] | None
    scale: float
    cap: float | None

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return self.weight.shape[0]

    def __call__(
        self, h: Float[Tensor, "*batch d_model"], first: int = 0, last: int | None = None
    ) -> Float[Tensor, "*batch token"]:
        """Logits of the tokens from ``first`` to before ``last``, in float32."""
        bias = None if self.bias is None else self.bias[first:last]
        logits = linear(h.to(self.weight.device), self.weight[first:last], bias)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = (logits / self.cap).tanh() * self.cap
        return logits.float()

    def score(
        self,
        h: Float[Tensor, "steering row d_model"],
        rows: Int[Tensor, " target"],
        tokens: Int[Tensor, " target"],
        base: Float[Tensor, "row d_model"] | None = None,
        *,
        top: bool = False,
    ) -> TokenScores:
        """Log-probability of each target, and each state's KL from a base state's.

        Args:
            h: final states of the same rows under several steerings.
            rows: the row whose distribution predicts each target.
            tokens: the target tokens.
            base: the unsteered final states of the rows, if KL(steered || unsteered) of
                the next-token distribution is wanted, in nats.
            top: whether to say which targets are the most likely tokens.
        """
        scores = torch.zeros(len(h), len(tokens))
        tops = torch.zeros(len(h), len(tokens), dtype=torch.bool) if top else None
        kl = None if base is None else torch.zeros(h.shape[:2])
        order = rows.argsort(stable=True)
        step = max(1, ROWS // len(h))
        for first in range(0, h.shape[1], step):
            span = slice(first, first + step)
            mine = order[(rows[order] >= first) & (rows[order] < first + step)]
            part = None if base is None else base[span]
            scored = self._score(h[:, span], rows[mine] - first, tokens[mine], part, top)
            scores[:, mine] = scored.log_probs
            if kl is not None and scored.kl is not None:
                kl[:, span] = scored.kl
            if tops is not None and scored.is_top is not None:
                tops[:, mine] = scored.is_top
        return TokenScores(scores, kl, tops)

    def _score(
        self, h: Tensor, rows: Tensor, tokens: Tensor, base: Tensor | None, top: bool
    ) -> TokenScores:
        """One walk through the vocabulary; three where exponentials would overflow."""
        shift = torch.zeros(h.shape[:2], device=self.weight.device)
        best = torch.full_like(shift, -torch.inf) if top else None
        picked, total, moved, base_lse = self._walk(h, rows, tokens, base, None, best)
        # Logits are seldom so large that their exponentials leave float32; only then must
        # the largest one be known beforehand.
        if not bool(((total > 1e-30) & (total < 1e36)).all()):
            for first, last in self._tiles(h):
                shift = torch.maximum(shift, self(h, first, last).amax(-1))
            picked, total, moved, base_lse = self._walk(h, rows, tokens, base, shift, None)
        lse = shift + total.log()
        # Rounding can leave a certain token a few ulps above probability 1.
        scores = (picked - lse.cpu()[:, rows]).clamp_(max=0.0)
        kl = None
        if base is not None:
            kl = (moved / total - lse + base_lse).cpu().clamp_(min=0.0)
        return TokenScores(
            scores, kl, None if best is None else picked >= best.cpu()[:, rows]
        )

    def _tiles(self, h: Tensor) -> list[tuple[int, int]]:
        tile = 2**14
        if self.weight.device.type == "cpu":
            # Weights kept in order are cut alike whatever the rows.
            rows = ROWS if is_reordering() else h.shape[0] * h.shape[1]
            tile = max(64, TILE // rows)
        return [(first, first + tile) for first in range(0, self.vocabulary, tile)]

    def _walk(
        self,
        h: Tensor,
        rows: Tensor,
        tokens: Tensor,
        base: Tensor | None,
        shift: Tensor | None,
        best: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of the targets; sums of all exponentials, and of them times the change.

        The largest logit of each row goes to ``best``, in place.
        """
        device = self.weight.device
        picked = torch.zeros(len(h), len(tokens))
        total = torch.zeros(h.shape[:2], device=device)
        moved = torch.zeros(h.shape[:2], device=device)
        base_lse = torch.full(h.shape[1:2], -torch.inf, device=device)
        for first, last in self._tiles(h):
            logits = self(h, first, last)
            inside = ((tokens >= first) & (tokens < last)).nonzero()[:, 0]
            if len(inside):
                where = rows[inside].to(device), (tokens[inside] - first).to(device)
                picked[:, inside] = logits[:, where[0], where[1]].cpu()
            if best is not None:
                torch.maximum(best, logits.amax(-1), out=best)
            difference = None
            if base is not None:
                other = self(base, first, last)
                base_lse = torch.logaddexp(base_lse, other.logsumexp(-1))
                difference = logits - other
            if shift is not None:
                logits.sub_(shift[..., None])
            weights = logits.exp_()
            total += weights.sum(-1)
            if difference is not None:
                moved += difference.mul_(weights).sum(-1)
        return picked, total, moved, base_lse


def find_unembedding(
    network: PreTrainedModel, states: Tensor, logits: Tensor, name: str
) -> Unembedding:
    """The unembedding of a network, verified on states whose true logits are known.

    Raises:
        UnsupportedModel: if the family does something else to its logits.
    """
    module = network.get_output_embeddings()
    assert module is not None
    weight = module.weight
    assert isinstance(weight, Tensor)
    bias = getattr(module, "bias", None)
    config = network.config.get_text_config(decoder=True)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    factor = float(getattr(config, "logit_scale", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    expected = logits.float()
    slack = max(1e-4, 16 * torch.finfo(logits.dtype).eps) * float(expected.abs().max())
    for scale in dict.fromkeys((1 / divisor, factor, 1.0)):
        for bound in dict.fromkeys((cap, None)):
            # Some families pad the vocabulary and cut the logits.
            n = expected.shape[-1]
            unembedding = Unembedding(
                weight.detach()[:n], None if bias is None else bias[:n], scale, bound
            )
            mine = unembedding(states).to(expected.device)
            if torch.allclose(mine, expected, rtol=0, atol=slack):
                return unembedding
    raise UnsupportedModel(
        f"{name!r} ({type(network).__name__}) does something to its logits that seatrial "
        "does not know (neither a scale nor a soft cap), so it could not score answers"
    )
