"""What may be needed again, kept within a budget of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values by key; where they take more than the budget, those go that were used longest ago.

    Any thread may use it.

    Args:
        max_bytes: What all values may take together; a larger one is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, if it is still there."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: V, num_bytes: int) -> None:
        """Keep a value, in place of the one that the key had."""
        with self._lock:
            self._remove(key)
            if num_bytes > self._max_bytes:
                return
            self._kept[key] = value, num_bytes
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes:
                self._remove(next(iter(self._kept)))

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Let go of the values whose keys are unwanted."""
        with self._lock:
            for key in [key for key in self._kept if unwanted(key)]:
                self._remove(key)

    def _remove(self, key: K) -> None:
        _, num_bytes = self._kept.pop(key, (None, 0))
        self._num_bytes -= num_bytes
