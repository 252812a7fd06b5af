"""To test steering with: promises, tiny models, planted truths, the slow obvious way."""

from seatrial.testing.checks import CHECKS
from seatrial.testing.checks.tasks import TASK_CHECKS
from seatrial.testing.naive import (
    naive_acting,
    naive_greedy,
    naive_log_probs,
    naive_logits,
)
from seatrial.testing.planted import planted_concept, planted_map, planted_model
from seatrial.testing.tiny import FAMILIES, tiny_model, tiny_tokenizer

__all__ = [
    "CHECKS",
    "FAMILIES",
    "TASK_CHECKS",
    "naive_acting",
    "naive_greedy",
    "naive_log_probs",
    "naive_logits",
    "planted_concept",
    "planted_map",
    "planted_model",
    "tiny_model",
    "tiny_tokenizer",
]
