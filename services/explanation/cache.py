"""A cache of what is dear to make, bounded in bytes, oldest use out first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class ByteBoundedCache:
    """Values by key, each with a size; made once even when many ask at the same time.

    What is larger than the whole cache is made and given, but not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Sizes of all values kept."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of `key`; `make` gives it and its size in bytes when it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            making = self._making.setdefault(key, threading.Lock())
        with making:  # only those who want the same value wait for it
            with self._lock:
                if key in self._kept:
                    return self._kept[key][0]
            try:
                value, size = make()
                self._keep(key, value, size)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def _keep(self, key: Hashable, value: Any, size: int) -> None:
        with self._lock:
            if size > self._max_bytes:
                return
            _, replaced = self._kept.pop(key, (None, 0))  # two may have made it, after a failure
            self._kept[key] = (value, size)
            self._bytes += size - replaced
            while self._bytes > self._max_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
