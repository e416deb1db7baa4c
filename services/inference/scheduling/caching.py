"""Answers what it can from the response cache, in front of any other scheduler."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count
from time import perf_counter_ns
from typing import Generic

from services.inference.scheduling.batching import R
from services.inference.scheduling.response_cache import Key, ResponseCache, digest
from services.inference.scheduling.scheduler import Array, Request, Scheduler, SequenceControl
from services.inference.scheduling.statistics import Failure, Statistics


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
            waited_ns = started - request.arrived_ns
            self.statistics.cache_hit(waited_ns, found - started)
            try:
                request.answer(outputs)
            except Exception as error:  # one answer that cannot be sent costs nobody else theirs
                self.statistics.withdrawn(waited_ns)
                self.statistics.failed(Failure.BACKEND, perf_counter_ns() - request.arrived_ns)
                request.refuse(error)
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
        # Kept first: who has an answer and asks again finds it.
        started = perf_counter_ns()
        if self._key is not None and is_final:
            self._cache.put(self._key, outputs)
        self._key = None  # an answer in several parts is not kept
        self._statistics.cache_miss(self._looked_ns + perf_counter_ns() - started)
        self._request.answer(outputs, is_final=is_final)

    def refuse(self, error: Exception) -> None:
        self._request.refuse(error)
        self._statistics.cache_miss(self._looked_ns)
