"""Answers kept for requests that come again.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/response_cache.md
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from itertools import count
from time import perf_counter_ns
from typing import Generic, TypeVar

import numpy as np

from services.inference.scheduling.scheduler import Array, Request, Scheduler, SequenceControl
from services.inference.scheduling.statistics import Failure, Statistics

R = TypeVar("R", bound=Request)

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


class CachingScheduler(Generic[R]):
    """Answers from the cache what it can, and leaves the rest to another scheduler.

    A hit waits for nothing. Requests of a sequence are never answered from it: their answers
    depend on those before.
    """

    _serial = count()  # unlike ids, never used twice

    def __init__(self, scheduler: Scheduler[Request], cache: ResponseCache) -> None:
        self._version = next(self._serial)
        self.statistics = scheduler.statistics
        self._scheduler = scheduler
        self._cache = cache

    @property
    def waiting(self) -> int:
        return self._scheduler.waiting

    @property
    def is_drained(self) -> bool:
        return self._scheduler.is_drained

    def submit(self, requests: Sequence[R]) -> None:
        missed: list[Request] = []
        for request in requests:
            if request.sequence is not None:
                missed.append(request)
                continue
            started = perf_counter_ns()
            key = (self._version, digest(request.feeds))
            outputs = self._cache.get(key)
            found = perf_counter_ns()
            if outputs is None:
                missed.append(_Missed(request, key, self._cache, self.statistics, found - started))
                continue
            try:
                request.answer(outputs)
            except Exception as error:  # one answer that cannot be sent costs nobody else theirs
                self.statistics.failed(Failure.BACKEND, perf_counter_ns() - request.arrived_ns)
                request.refuse(error)
            else:
                self.statistics.cache_hit(started - request.arrived_ns, found - started)
        if missed:
            self._scheduler.submit(missed)

    def close(self) -> None:
        self._scheduler.close()
        self._cache.forget(self._version)


class _Missed:
    """A request whose answer is kept when it comes; otherwise the request itself."""

    __slots__ = (
        "_cache", "_key", "_looked_ns", "_request", "_statistics",
        "arrived_ns", "feeds", "form", "priority", "rows", "sequence", "timeout_us",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        key: Key,
        cache: ResponseCache,
        statistics: Statistics,
        looked_ns: int,
    ) -> None:
        self._request = request
        self._key: Key | None = key
        self._cache = cache
        self._statistics = statistics
        self._looked_ns = looked_ns
        self.feeds: Sequence[Array | None] = request.feeds
        self.rows: int = request.rows
        self.form: Hashable = request.form
        self.arrived_ns: int = request.arrived_ns
        self.priority: int = request.priority
        self.timeout_us: int = request.timeout_us
        self.sequence: SequenceControl | None = None

    @property
    def is_abandoned(self) -> bool:
        return self._request.is_abandoned

    @property
    def trace(self) -> object:
        """Of the request itself, where it is traced."""
        return getattr(self._request, "trace", None)

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self._request.answer(outputs, is_final=is_final)
        started = perf_counter_ns()
        if self._key is not None and is_final:
            self._cache.put(self._key, outputs)
        self._key = None  # an answer in several parts is not kept
        self._statistics.cache_miss(self._looked_ns + perf_counter_ns() - started)

    def refuse(self, error: Exception) -> None:
        self._request.refuse(error)
        self._statistics.cache_miss(self._looked_ns)


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
