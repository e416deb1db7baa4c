"""Callers that ask a scheduler again as soon as they are answered, as many as there shall be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter_ns
from typing import Any

import numpy as np

from services.inference.scheduling.scheduler import Array, Scheduler, SequenceControl
from services.inference.signature import Signature
from wintergarden.errors import DeadlineExceeded

_WARM_UP_SHARE = 0.25
# No run takes as long; who waits longer would wait for ever.
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Measurement:
    """What callers saw.

    Attributes:
        rows_per_s: answered.
        p50_ms: from asking to the answer, of half the requests at most.
        p99_ms: likewise, of 99 in 100.
        rows_per_run: of the model, on average.
    """

    rows_per_s: float
    p50_ms: float
    p99_ms: float
    rows_per_run: float


class _Caller:
    """A `scheduling.Request` that is used again and again."""

    __slots__ = ("_answered", "arrived_ns", "feeds", "form", "latency_ns", "problem", "rows")

    priority = 0
    timeout_us = 0
    sequence: SequenceControl | None = None
    is_abandoned = False

    def __init__(
        self, signature: Signature, feeds: Sequence[Array], answered: SimpleQueue[_Caller]
    ) -> None:
        self.feeds: Sequence[Array | None] = feeds
        self.rows: int = signature.rows(feeds)
        self.form: Hashable = signature.form(feeds)
        self.arrived_ns = 0
        self.latency_ns = 0
        self.problem: Exception | None = None
        self._answered = answered

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self.latency_ns = perf_counter_ns() - self.arrived_ns
        self._answered.put(self)

    def refuse(self, error: Exception) -> None:
        self.problem = error
        self._answered.put(self)


def measure(
    scheduler: Scheduler[Any],
    signature: Signature,
    feeds: Sequence[Array],
    *,
    concurrency: int,
    seconds: float,
) -> Measurement:
    """Keep so many callers busy for a time.

    Args:
        scheduler: of the model.
        signature: of the model.
        feeds: of every request.
        concurrency: callers; they come through one thread, like calls through the transport.
        seconds: to measure, after a quarter as long to warm up.

    Raises:
        WintergardenError: the model refused a request, or does not answer.
    """
    answered: SimpleQueue[_Caller] = SimpleQueue()
    callers = [_Caller(signature, feeds, answered) for _ in range(concurrency)]
    _drive(scheduler, answered, callers, seconds * _WARM_UP_SHARE)
    before = scheduler.statistics.read()
    started = perf_counter_ns()
    latencies = _drive(scheduler, answered, callers, seconds)
    elapsed_s = (perf_counter_ns() - started) / 1e9
    after = scheduler.statistics.read()
    p50, p99 = np.percentile(latencies, [50, 99]) / 1e6
    runs = after.executions - before.executions
    return Measurement(
        rows_per_s=len(latencies) * callers[0].rows / elapsed_s,
        p50_ms=float(p50),
        p99_ms=float(p99),
        rows_per_run=(after.rows - before.rows) / max(1, runs),
    )


def _drive(
    scheduler: Scheduler[Any],
    answered: SimpleQueue[_Caller],
    callers: list[_Caller],
    seconds: float,
) -> list[int]:
    """Latencies in nanoseconds, of all requests; every caller has its last answer at the end."""
    latencies: list[int] = []
    ready, under_way = list(callers), 0
    until_ns = perf_counter_ns() + int(seconds * 1e9)
    while True:
        now_ns = perf_counter_ns()
        if now_ns < until_ns:
            for caller in ready:
                caller.arrived_ns = now_ns
            under_way += len(ready)
            scheduler.submit(ready)
        elif not under_way:
            return latencies
        ready = _next(answered)
        under_way -= len(ready)
        for caller in ready:
            if caller.problem is not None:
                raise caller.problem
            latencies.append(caller.latency_ns)


def _next(answered: SimpleQueue[_Caller]) -> list[_Caller]:
    """Wait for a caller that has its answer, and take all there are."""
    try:
        ready = [answered.get(timeout=_PATIENCE_S)]
    except Empty:
        raise DeadlineExceeded(f"no answer within {_PATIENCE_S:.0f} s") from None
    try:
        while True:
            ready.append(answered.get_nowait())
    except Empty:
        return ready
