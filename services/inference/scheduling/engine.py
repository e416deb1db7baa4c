"""Runs one model version for many callers. Numpy in, numpy out: knows no transport."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Generic, Protocol
from weakref import WeakMethod

import numpy as np
import structlog

from services.inference.scheduling.backlog import Backlog, abandoned
from services.inference.scheduling.batching import R, batches, merge, split
from services.inference.scheduling.inline import InlineAllowance
from services.inference.scheduling.plan import Plan
from services.inference.scheduling.priorities import lower_for_long_runs
from services.inference.scheduling.scheduler import Array
from services.inference.scheduling.server_wide import ServerWide
from services.inference.scheduling.statistics import Failure, Statistics
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    InvalidTensor,
    Overloaded,
)

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

    def __init__(
        self, session: Session, plan: Plan, name: str, server: ServerWide | None = None
    ) -> None:
        """Start no thread yet.

        Args:
            session: of the model.
            plan: how to run it.
            name: what messages call the model: `model 'lenet' version 3`.
            server: what it shares with other models; None: nothing.

        Raises:
            FailedPrecondition: a run needs more of a resource than the server has.
        """
        server = server or ServerWide()
        self.plan = plan
        self.statistics = Statistics()
        self._session = session
        self._name = name
        self._max_rows = plan.max_rows
        self._inline = InlineAllowance(plan)
        self._resources = server.resources
        self._tracing = server.tracing
        self._need = (
            server.resources.admit(
                plan.resources, device=plan.device, priority=plan.rate_priority, label=name
            )
            if plan.resources
            else None
        )
        self._backlog: Backlog[R] = Backlog(plan, server, name, _weakly(self._expire))
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

    def turn_away(self) -> Overloaded | None:
        """Refuse a request that is not even looked at; None where it may find a place.

        Returns:
            Why, for whoever comes now; it is counted.
        """
        if self._inline.rows or self.plan.oversized == "refuse":
            return None  # some need no place, or are told something else
        error = self._backlog.overflow()
        if error is not None:
            self.statistics.failed(Failure.REJECTED)
            _log.debug("turned away", model=self._name)
        return error

    def submit(self, requests: Sequence[R]) -> None:
        """Answer requests: at once where runs are short, else from a thread of the engine."""
        if self.plan.oversized == "refuse" and self.plan.max_rows:
            requests = self._refuse_oversized(requests)
        limit = self._inline.rows
        if not limit:
            self._enqueue(requests)
            return
        long = [r for r in requests if r.rows > limit]
        short = [r for r in requests if r.rows <= limit] if long else requests
        spent_ns = 0
        for batch in batches(short, min(limit, self._max_rows)):
            if spent_ns > self._inline.limit_ns > 0:
                # Other models' requests wait for this thread too.
                long += batch
                continue
            ns = self._run(self._live(batch))
            self._inline.ran_inline(ns)
            spent_ns += ns
        if long:
            self._enqueue(long)

    def close(self) -> None:
        """Let the threads end once the queue is empty. A late request is still answered."""
        self._backlog.close()
        if self._need is not None:
            self._resources.dismiss(self._need)

    def _enqueue(self, requests: Sequence[R]) -> None:
        if not self._threads:
            self._start_threads()
        refused = self._backlog.put(requests)
        if refused is None:
            # On their way here while the version was unloaded; the session still works.
            for request in self._live(requests):
                self._run([request])
            return
        for request, error in refused:
            failure = Failure.CANCELED if request.is_abandoned else Failure.REJECTED
            self._refuse(request, error, failure)

    def _start_threads(self) -> None:
        # Late, since most models are small and never need one.
        number = 1 if self.plan.preserves_order else self.plan.threads
        with self._starting:
            while len(self._threads) < number:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        if self.plan.gives_way:
            lower_for_long_runs()
        while self._backlog.wait():
            if self._need is None:
                self._run_next()
            else:
                with self._resources.hold(self._need):
                    self._run_next()

    def _run_next(self) -> None:
        batch, gone = self._backlog.take()
        for request in gone:
            self._refuse(request, abandoned(), Failure.CANCELED)
        if not batch:
            return
        try:
            ns = self._run(batch)
        except Exception as error:
            # A fault of ours: the queue lives on, and nobody waits for ever.
            _log.exception("batch lost", model=self._name)
            for request in batch:
                request.refuse(error)
        else:
            self._inline.ran_apart(sum(r.rows for r in batch), ns)

    def _live(self, requests: Sequence[R]) -> list[R]:
        live = []
        for request in requests:
            if request.is_abandoned:
                self._refuse(request, abandoned(), Failure.CANCELED)
            else:
                live.append(request)
        return live

    def _run(self, batch: Sequence[R]) -> int:
        """Run requests of one form and answer them; the nanoseconds that it took."""
        if not batch:
            return 0
        if len(batch) > 1 and not self._max_rows:  # queued before it was known
            return sum(self._run([request]) for request in batch)
        rows = sum(r.rows for r in batch)
        started = perf_counter_ns()
        try:
            feeds = merge(batch)
            merged = perf_counter_ns()
            outputs = self._compute(feeds, rows)
            inferred = perf_counter_ns()
        except Exception as error:
            if len(batch) == 1:
                self._refuse(batch[0], error, Failure.BACKEND)
            else:
                self._run_each(batch, reason=repr(error))
            return perf_counter_ns() - started
        if len(batch) > 1 and any(o.ndim == 0 or len(o) != rows for o in outputs):
            self._max_rows = 0
            shapes = [o.shape for o in outputs]
            self._run_each(batch, reason=f"{rows} rows in, {shapes} out: batching is now off")
            return perf_counter_ns() - started
        if self._tracing.is_on:
            self._tracing.computed(batch, started, merged, inferred)
        compute_ns = (merged - started, inferred - merged)
        waited_ns = sum(started - r.arrived_ns for r in batch)
        pieces = self._pieces(rows)
        self.statistics.executed(len(batch), rows, waited_ns, compute_ns, pieces)
        answered = self._answer(batch, outputs, started, compute_ns)
        done = perf_counter_ns()
        self.statistics.handed_out(answered, rows, done - inferred, pieces)
        if _log.is_enabled_for(logging.DEBUG):  # asked once a batch: even asking costs
            self._log_each(batch, rows, done)
        return done - started

    def _run_each(self, requests: Sequence[R], reason: str) -> None:
        _log.warning("batch failed, running its requests alone", model=self._name, reason=reason)
        for request in requests:
            self._run([request])

    def _compute(self, feeds: Sequence[Array | None], rows: int) -> list[Array]:
        given = {n: f for n, f in zip(self.plan.inputs, feeds, strict=True) if f is not None}
        if self._pieces(rows) == 1:
            return self._session.run(given)
        limit = self._max_rows
        parts = [
            self._session.run({n: f[i : i + limit] for n, f in given.items()})
            for i in range(0, rows, limit)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _pieces(self, rows: int) -> int:
        limit = self._max_rows
        return -(-rows // limit) if 0 < limit < rows else 1

    def _answer(
        self, batch: Sequence[R], outputs: list[Array], started_ns: int, compute_ns: tuple[int, int]
    ) -> int:
        """How many of the requests of a run, which are counted, got their answer."""
        answered = 0
        parts = split(outputs, batch) if len(batch) > 1 else (outputs,)
        for request, part in zip(batch, parts, strict=True):
            try:
                request.answer(part)
                answered += 1
            except Exception as error:
                # One answer that cannot be sent must not cost the others theirs.
                self.statistics.withdrawn(started_ns - request.arrived_ns, compute_ns)
                has_gone = isinstance(error, Cancelled)
                self._refuse(request, error, Failure.CANCELED if has_gone else Failure.BACKEND)
        return answered

    def _refuse_oversized(self, requests: Sequence[R]) -> Sequence[R]:
        limit = self.plan.max_rows
        for request in requests:
            if request.rows > limit:
                problem = f"{self._name}: {request.rows} rows in a request; at most {limit} are run"
                self._refuse(request, InvalidTensor(problem), Failure.OTHER)
        return [r for r in requests if r.rows <= limit]

    def _expire(self, requests: Sequence[R]) -> None:
        late = DeadlineExceeded(f"{self._name}: the request's time in the queue is over")
        for request in requests:
            self._refuse(request, late, Failure.REJECTED)

    def _log_each(self, requests: Sequence[R], rows: int, done_ns: int) -> None:
        for request in requests:
            ms = round((done_ns - request.arrived_ns) / 1e6, 3)
            _log.debug("inferred", model=self._name, rows=request.rows, batch_rows=rows, ms=ms)

    def _refuse(self, request: R, error: Exception, failure: Failure) -> None:
        self.statistics.failed(failure, perf_counter_ns() - request.arrived_ns)
        is_fault = failure is Failure.BACKEND and not isinstance(error, InvalidArgument)
        log = _log.warning if is_fault else _log.debug
        log("not inferred", model=self._name, failure=failure, error=repr(error))
        request.refuse(error)


def _weakly(method: Callable[[Sequence[R]], None]) -> Callable[[Sequence[R]], None]:
    """A backlog must not keep its engine: a session's memory goes with it, at once."""
    weak = WeakMethod(method)

    def call(requests: Sequence[R]) -> None:
        alive = weak()
        if alive is not None:
            alive(requests)

    return call
