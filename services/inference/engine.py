"""Runs one model version for many callers. Numpy in, numpy out: knows no transport."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Generic, Protocol

import numpy as np
import structlog

from services.inference.batching import Backlog, R, batches, merge, split
from services.inference.plan import Plan
from services.inference.scheduling import Array
from services.inference.statistics import Failure, Statistics
from wintergarden.errors import Cancelled, Overloaded

_log = structlog.get_logger(__name__)


class Session(Protocol):
    """What an engine needs of `wintergarden.runtime.Session`; safe to call from any thread."""

    def run(
        self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> list[Array]: ...


class Engine(Generic[R]):
    """Batches whatever waits, runs it, and gives everyone exactly their own rows.

    Every submitted request gets exactly one `answer` or `refuse`. A request that makes a run
    fail fails alone: its neighbours run again without it.
    """

    def __init__(self, session: Session, plan: Plan, name: str) -> None:
        """`name` is what messages call the model: `model 'lenet' version 3`."""
        self.plan = plan
        self.statistics = Statistics()
        self._session = session
        self._name = name
        self._max_rows = plan.max_rows
        self._backlog: Backlog[R] = Backlog(plan.max_waiting)
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._backlog)

    @property
    def is_drained(self) -> bool:
        """Closed, and every request that was queued has its answer."""
        return self._backlog.is_closed and not any(t.is_alive() for t in self._threads)

    def submit(self, requests: Sequence[R]) -> None:
        """Answer requests: at once where runs are short, else from a thread of the engine."""
        limit = self.plan.inline_rows
        if not limit:
            self._enqueue(requests)
            return
        long = [r for r in requests if r.rows > limit]
        short = [r for r in requests if r.rows <= limit] if long else requests
        for batch in batches(short, min(limit, self._max_rows)):
            self._run(batch)
        if long:
            self._enqueue(long)

    def close(self) -> None:
        """Let the threads end once the queue is empty. A late request is still answered."""
        self._backlog.close()

    def _enqueue(self, requests: Sequence[R]) -> None:
        if not self._threads:
            self._start_threads()
        for request in self._backlog.put(requests):
            if request.is_abandoned:
                self._drop(request)
            elif self._backlog.is_closed:
                # On its way here while the version was unloaded; the session still works.
                self._run([request])
            else:
                limit = self.plan.max_waiting
                full = Overloaded(f"{self._name}: {limit} requests wait already, the most allowed")
                self._refuse(request, full, Failure.REJECTED)

    def _start_threads(self) -> None:
        # Late, since most models are small and never need one.
        with self._starting:
            while len(self._threads) < self.plan.threads:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        while taken := self._backlog.take(self._max_rows):
            for batch in batches(taken, self._max_rows):
                try:
                    self._run(batch)
                except Exception as error:
                    # A fault of ours: the queue lives on, and nobody waits for ever.
                    _log.exception("batch lost", model=self._name)
                    for request in batch:
                        request.refuse(error)

    def _run(self, batch: Sequence[R]) -> None:
        live = []
        for request in batch:
            if request.is_abandoned:
                self._drop(request)
            else:
                live.append(request)
        if not live:
            return
        rows = sum(r.rows for r in live)
        started = perf_counter_ns()
        try:
            feeds = merge(live)
            merged = perf_counter_ns()
            outputs = self._compute(feeds, rows)
            inferred = perf_counter_ns()
        except Exception as error:
            if len(live) == 1:
                self._refuse(live[0], error, Failure.BACKEND)
            else:
                self._run_each(live, reason=repr(error))
            return
        if len(live) > 1 and any(o.ndim == 0 or len(o) != rows for o in outputs):
            self._max_rows = 0
            shapes = [o.shape for o in outputs]
            self._run_each(live, reason=f"{rows} rows in, {shapes} out: batching is now off")
            return
        self._answer(live, outputs)
        done = perf_counter_ns()
        compute_ns = (merged - started, inferred - merged, done - inferred)
        waited_ns = sum(started - r.arrived_ns for r in live)
        self.statistics.executed(len(live), rows, waited_ns, compute_ns)
        if _log.is_enabled_for(logging.DEBUG):  # asked once a batch: even asking costs
            self._log_each(live, rows, done)

    def _run_each(self, requests: Sequence[R], reason: str) -> None:
        _log.warning("batch failed, running its requests alone", model=self._name, reason=reason)
        for request in requests:
            self._run([request])

    def _compute(self, feeds: Sequence[Array | None], rows: int) -> list[Array]:
        limit = self._max_rows
        given = {n: f for n, f in zip(self.plan.inputs, feeds, strict=True) if f is not None}
        if rows <= limit or not limit:
            return self._session.run(given)
        pieces = [
            self._session.run({n: f[i : i + limit] for n, f in given.items()})
            for i in range(0, rows, limit)
        ]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    def _answer(self, batch: Sequence[R], outputs: list[Array]) -> None:
        parts = split(outputs, batch) if len(batch) > 1 else (outputs,)
        for request, part in zip(batch, parts, strict=True):
            try:
                request.answer(part)
            except Exception as error:
                # One answer that cannot be sent must not cost the others theirs.
                self._refuse(request, error, Failure.BACKEND)

    def _drop(self, request: R) -> None:
        self._refuse(request, Cancelled("nobody waits for the answer any more"), Failure.CANCELED)

    def _log_each(self, requests: Sequence[R], rows: int, done_ns: int) -> None:
        for request in requests:
            ms = round((done_ns - request.arrived_ns) / 1e6, 3)
            _log.debug("inferred", model=self._name, rows=request.rows, batch_rows=rows, ms=ms)

    def _refuse(self, request: R, error: Exception, failure: Failure) -> None:
        self.statistics.failed(failure)
        _log.debug("not inferred", model=self._name, failure=failure, error=repr(error))
        request.refuse(error)
