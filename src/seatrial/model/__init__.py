"""The one room that knows transformers, hooks, tokenizers, chat templates and decoding."""

from seatrial.model.budget import Budget
from seatrial.model.load import ModelCard
from seatrial.model.memory import keep_freed_memory
from seatrial.model.model import Model
from seatrial.model.pull import pull
from seatrial.model.small_models import MODELS
from seatrial.model.tokens import SELECTORS, TokenSelector

__all__ = [
    "MODELS",
    "SELECTORS",
    "Budget",
    "Model",
    "ModelCard",
    "TokenSelector",
    "keep_freed_memory",
    "pull",
]
