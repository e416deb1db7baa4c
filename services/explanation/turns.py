"""Who may compute now: few at a time, so that inference beside us keeps its cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wintergarden.errors import Overloaded

_POLL_S = 0.05


class Turns:
    """At most `running` requests compute and at most `waiting` more wait for their turn."""

    def __init__(self, running: int, waiting: int) -> None:
        self._running = threading.Semaphore(running)
        self._places = threading.Semaphore(running + waiting)
        self._limits = f"{running} requests are running and {waiting} waiting"

    @contextmanager
    def taken(self, checkpoint: Callable[[], None]) -> Iterator[None]:
        """Wait for a turn and have it until the block ends.

        Args:
            checkpoint: Raises when the caller has gone or its time is up; asked while waiting.

        Raises:
            Overloaded: nobody else may even wait.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{self._limits} already", retry_after_s=1.0)
        try:
            while not self._running.acquire(timeout=_POLL_S):
                checkpoint()
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._places.release()
