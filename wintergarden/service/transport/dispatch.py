"""From accepted calls to their handlers; shared by the transports.

Every handler of every kind of route runs inside `guarded` or `_run`: whatever it raises
becomes the status of the call, or of each call of the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from time import monotonic

import structlog

from wintergarden.errors import DeadlineExceeded
from wintergarden.service.errors import StatusError, status_of
from wintergarden.service.transport.call import Call, CallContext
from wintergarden.service.transport.route import Handler, Route
from wintergarden.service.transport.workers import Workers

_log = structlog.get_logger(__name__)


class Dispatcher:
    """One thread for inline handlers, a pool for those that wait, a thread for each stream."""

    def __init__(self, routes: Sequence[Route], workers: int, max_streams: int) -> None:
        self.routes = {route.path: route for route in routes}
        if len(self.routes) != len(routes):
            paths = [route.path for route in routes]
            raise ValueError(
                f"routes given twice: {sorted({p for p in paths if paths.count(p) > 1})}"
            )
        self._inline: SimpleQueue[list[Call] | None] = SimpleQueue()
        self._workers = Workers("worker", workers)
        self._streams = Workers("stream", max_streams)
        self._thread = threading.Thread(target=self._dispatch, name="dispatch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the threads after what was submitted."""
        self._inline.put(None)
        self._workers.stop()
        self._streams.stop()

    def submit_inline(self, calls: list[Call]) -> None:
        """Hand over calls of inline routes that arrived together."""
        self._inline.put(calls)

    def submit(self, route: Route, call: CallContext) -> None:
        """Hand over a call of a route that may wait."""
        pool = self._streams if route.streams else self._workers
        pool.submit(lambda: guarded(route.handler, call))

    def _dispatch(self) -> None:
        inline = self._inline
        while (waiting := inline.get()) is not None:
            # Everything that waits goes together: batches grow with the load, and only with it.
            while not inline.empty():
                more = inline.get()
                if more is None:
                    inline.put(None)
                    break
                waiting += more
            try:
                self._run(waiting)
            except Exception:  # handlers cannot get here; nothing may end this thread
                _log.exception("calls could not be dispatched")

    def _run(self, waiting: list[Call]) -> None:
        batches: dict[str, list[Call]] = {}
        routes = self.routes
        now = monotonic()
        for call in waiting:
            path = call.method
            if call.is_gone or (call.deadline is not None and now >= call.deadline):
                call.fail(_late())
            elif routes[path].batch_handler is None:
                guarded(routes[path].handler, call)
            elif path in batches:
                batches[path].append(call)
            else:
                batches[path] = [call]
        for path, calls in batches.items():
            try:
                routes[path].batch_handler(calls)  # type: ignore[misc]  # not None, see above
            except BaseException as error:
                decided = StatusError(status_of(error, path))  # one trace for the batch
                for call in calls:
                    call.fail(decided)


def guarded(handler: Handler, call: CallContext) -> None:
    """Run a handler unless it is too late; what it raises becomes the call's status."""
    if call.is_cancelled:
        call.fail(_late())
        return
    try:
        handler(call)
    except BaseException as error:  # SystemExit too: a handler must not end a thread of ours
        call.fail(error)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed before the call was run")
