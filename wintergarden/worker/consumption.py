"""Whether messages still reach this worker: proven by probes, not by a connection.

A worker whose consumer died after a reconnect looks connected and idle for ever. So each worker
has a queue of its own beside the common one, read by the same consumer, and sends itself probes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_HUNG_S = 60.0


class Consumption:
    """What the worker's slots are doing, and when it last took a message. Thread-safe.

    Args:
        concurrency: how many jobs run at once; while all do, no message is taken.
        deaf_after_s: a worker with a free slot should have taken a probe by then.
    """

    def __init__(self, concurrency: int, deaf_after_s: float) -> None:
        self._concurrency = concurrency
        self._deaf_after_s = deaf_after_s
        self._lock = threading.Lock()
        self._beats: dict[str, float] = {}
        self._taken_at: float | None = None
        self._began_at = time.monotonic()

    def taken(self) -> None:
        """A message has come."""
        with self._lock:
            self._taken_at = time.monotonic()

    @contextmanager
    def running(self, job_id: str) -> Iterator[None]:
        """A slot is in use meanwhile."""
        self.beat(job_id)
        try:
            yield
        finally:
            with self._lock:
                del self._beats[job_id]
                self._taken_at = time.monotonic()  # only from now on can it take a message

    def beat(self, job_id: str) -> None:
        """The slot's supervision is alive."""
        with self._lock:
            self._beats[job_id] = time.monotonic()

    @property
    def jobs(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._beats)

    @property
    def is_full(self) -> bool:
        """Whether every slot is in use, so that no message can be taken."""
        with self._lock:
            return len(self._beats) >= self._concurrency

    @property
    def deaf_s(self) -> float:
        """For how long messages have failed to come although they could; 0 is well."""
        if self.is_full:
            return 0.0
        with self._lock:
            since = self._began_at if self._taken_at is None else self._taken_at
            return max(0.0, time.monotonic() - since - self._deaf_after_s)

    @property
    def problem(self) -> str:
        """Why this worker does no work; empty when it would."""
        with self._lock:
            now = time.monotonic()
            hung = [job for job, at in self._beats.items() if now - at > _HUNG_S]
            has_taken = self._taken_at is not None
        if hung:
            return f"the supervision of job {hung[0]} hangs"
        if not has_taken:
            return "no message has been taken from the queue yet"
        return "no messages come, although probes are sent" if self.deaf_s else ""
