"""What was read of the unsteered model, kept for whoever asks for it again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar, final

from torch import Tensor

T = TypeVar("T")


@final
class Readings:
    """The latest readings, as many as fit into a number of bytes.

    Whatever was used last stays longest, and the newest one always, however large: who
    goes on asking for it must not wait for it twice.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes of tensors that may be kept."""
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of all tensors that are kept."""
        return sum(map(size_of, self._kept.values()))

    def get(self, key: Hashable) -> Any:
        """What is kept under a key, or ``None``."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value under a key, in place of what was there."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        size = self.size
        while size > self.limit and len(self._kept) > 1:
            size -= size_of(self._kept.popitem(last=False)[1])

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns, or returned when the key was last asked for."""
        if key not in self._kept:
            self.put(key, make())
        return self.get(key)


def size_of(value: object) -> int:
    """Bytes of the tensors in a value, which may lie in mappings, lists and tuples."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    return 0
