"""Answers kept for requests that come again.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/response_cache.md
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from services.inference.scheduling.scheduler import Array

# What an entry costs beside its arrays: the key, the list, the array objects.
_ENTRY_BYTES = 512

Key = tuple[int, bytes]  # the model version, and the digest of what it was asked


class ResponseCache:
    """Outputs by request, the least recently used forgotten first; one for the whole server."""

    def __init__(self, max_bytes: int = 0) -> None:
        """`max_bytes` bounds the outputs and what it takes to keep them; 0 keeps nothing."""
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[tuple[Array, ...], int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes_used(self) -> int:
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> tuple[Array, ...] | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Key, outputs: Sequence[Array]) -> None:
        """Keep outputs, unless they are larger than the cache. Arrays are copied."""
        size = _ENTRY_BYTES + sum(map(_size, outputs))
        if size > self.max_bytes:
            return
        kept = tuple(output.copy() for output in outputs)
        for output in kept:
            output.flags.writeable = False
        with self._lock:
            self._remove(key)
            self._entries[key] = kept, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._remove(next(iter(self._entries)))

    def forget(self, model: int) -> None:
        """Drop what is kept of a model version."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == model]:
                self._remove(key)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]


def digest(feeds: Sequence[Array | None]) -> bytes:
    """Of everything an answer depends on, of one model version."""
    # Not to be guessed together: a stranger's answer must not be had by a collision.
    state = hashlib.blake2b(digest_size=32)
    for feed in feeds:
        if feed is None:
            state.update(b"-;")
            continue
        state.update(f"{feed.dtype.str}{feed.shape};".encode())
        if feed.dtype.kind == "O":
            for element in feed.reshape(-1).tolist():
                text = element.encode() if isinstance(element, str) else bytes(element)
                state.update(len(text).to_bytes(8, "little"))
                state.update(text)
        else:
            state.update(np.ascontiguousarray(feed).reshape(-1).view(np.uint8).data)
    return state.digest()


def _size(output: Array) -> int:
    if output.dtype.kind != "O":
        return output.nbytes
    return output.nbytes + sum(map(sys.getsizeof, output.reshape(-1).tolist()))
