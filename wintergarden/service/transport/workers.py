"""Threads for handlers that may wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

import structlog

Task = Callable[[], None]

_log = structlog.get_logger(__name__)


class Workers:
    """A pool that grows to `limit` daemon threads; tasks beyond that wait in order.

    Unlike `ThreadPoolExecutor` it has no futures to pay for, and a stuck task cannot keep the
    process from exiting.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0  # threads waiting, less the tasks already promised to them

    def submit(self, task: Task) -> None:
        """Run `task` on a thread of the pool; never blocks."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < self._limit:
                self._threads += 1
                threading.Thread(
                    target=self._work, name=f"{self._name}-{self._threads}", daemon=True
                ).start()
            else:
                self._idle -= 1
        self._tasks.put(task)

    def stop(self) -> None:
        """End the threads once they have nothing left to do; no `submit` may follow."""
        with self._lock:
            for _ in range(self._threads):
                self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception:
                _log.exception("a task failed outside its call", worker=self._name)
            with self._lock:
                self._idle += 1
