"""A key-value cache with room to grow, for decoding.

The cache of transformers copies everything it holds for every new token. Where a layer
keeps all positions, ours writes the new ones into space that it set aside.
"""

from typing import Any, final

from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


@final
class _RoomyLayer(DynamicLayer):
    """Keys and values of one block as views of larger tensors."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._space: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add new positions; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        total = old + key_states.shape[2]
        # Anybody may put other tensors in place (selecting rows does); then start anew.
        held: list[Tensor] = [x for x in (self.keys, self.values) if old and x is not None]
        ours = bool(held) and bool(self._space) and self._space[0].shape[2] >= total
        if not ours or held[0].data_ptr() != self._space[0].data_ptr():
            room = max(self._room, total)
            self._space = [
                new.new_empty(*new.shape[:2], room, new.shape[3])
                for new in (key_states, value_states)
            ]
            for space, kept in zip(self._space, held, strict=False):
                space[:, :, :old] = kept
        for space, new in zip(self._space, (key_states, value_states), strict=True):
            space[:, :, old:total] = new
        self.keys, self.values = (space[:, :, :total] for space in self._space)
        return self.keys, self.values


def roomy_cache(config: PreTrainedConfig, room: int) -> DynamicCache:
    """An empty cache of a model for about ``room`` positions (more are no error)."""
    cache = DynamicCache(config=config)
    for place, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[place] = _RoomyLayer(room)
    return cache
