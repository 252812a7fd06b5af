"""Tools to test steering code with: tiny models, planted truths, the slow obvious way."""

from seatrial.testing.naive import naive_greedy, naive_log_probs, naive_logits
from seatrial.testing.tiny import FAMILIES, tiny_model, tiny_tokenizer

__all__ = [
    "FAMILIES",
    "naive_greedy",
    "naive_log_probs",
    "naive_logits",
    "tiny_model",
    "tiny_tokenizer",
]
