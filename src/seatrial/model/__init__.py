"""The one room that knows transformers, hooks, tokenizers, chat templates and decoding."""

from seatrial.model.engine.allocator import keep_freed_memory
from seatrial.model.engine.budget import MemoryBudget
from seatrial.model.load.load import ModelCard
from seatrial.model.load.outline import Outline, is_fetched, is_here, outline_of
from seatrial.model.load.pull import pull
from seatrial.model.load.small_models import MODELS, describe_models
from seatrial.model.model import Model
from seatrial.model.tokens import SELECTORS, Encoded, SpecialTokens, TokenSelector

__all__ = [
    "MODELS",
    "SELECTORS",
    "Encoded",
    "MemoryBudget",
    "Model",
    "ModelCard",
    "Outline",
    "SpecialTokens",
    "TokenSelector",
    "describe_models",
    "is_fetched",
    "is_here",
    "keep_freed_memory",
    "outline_of",
    "pull",
]
