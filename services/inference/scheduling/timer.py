"""Calls back at set times: one thread for a whole process, and none until it is needed."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count
from time import perf_counter_ns
from weakref import WeakSet

import structlog

_MAX_SLEEP_S = 3600.0  # far ends overflow what a lock can wait
_MANY = 64

_log = structlog.get_logger(__name__)


class Alarm:
    """Calls its callback when its time has come; made by `Timer.alarm`."""

    __slots__ = ("__weakref__", "_timer", "callback", "due_ns")

    def __init__(self, timer: Timer, callback: Callable[[], None]) -> None:
        self._timer = timer
        self.callback = callback
        self.due_ns: int | None = None

    def set(self, due_ns: int | None) -> None:
        """Ring once it is `due_ns` on `time.perf_counter_ns`'s clock, and not before; or never."""
        self._timer.set(self, due_ns)


class Timer:
    """Callbacks run one after the other on the timer's thread, so they must not wait."""

    def __init__(self) -> None:
        # An alarm that was set again is in the heap more than once; only its last time counts.
        self._due: list[tuple[int, int, Alarm]] = []
        self._alarms: WeakSet[Alarm] = WeakSet()
        self._serial = count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def alarm(self, callback: Callable[[], None]) -> Alarm:
        """An alarm that is not set yet."""
        alarm = Alarm(self, callback)
        with self._changed:
            self._alarms.add(alarm)
        return alarm

    def set(self, alarm: Alarm, due_ns: int | None) -> None:
        with self._changed:
            alarm.due_ns = due_ns
            if due_ns is None:
                return
            if len(self._due) > 2 * len(self._alarms) + _MANY:
                self._due = [entry for entry in self._due if entry[0] == entry[2].due_ns]
                heapq.heapify(self._due)
            heapq.heappush(self._due, (due_ns, next(self._serial), alarm))
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="timer", daemon=True)
                thread.start()  # it may not, and then the next alarm tries
                self._thread = thread
            elif self._due[0][0] == due_ns:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            alarm = self._next()
            try:
                alarm.callback()
            except Exception:  # the next one must be called all the same
                _log.exception("a timed task failed")
            del alarm  # or its owner lives until the next one rings

    def _next(self) -> Alarm:
        with self._changed:
            while True:
                if not self._due:
                    self._changed.wait()
                    continue
                due_ns, _, alarm = self._due[0]
                wait_ns = due_ns - perf_counter_ns()
                if alarm.due_ns == due_ns and wait_ns > 0:
                    del alarm
                    self._changed.wait(min(wait_ns / 1e9, _MAX_SLEEP_S))
                    continue
                heapq.heappop(self._due)
                if alarm.due_ns == due_ns:
                    alarm.due_ns = None
                    return alarm
