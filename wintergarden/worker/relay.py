"""Passes on what a job's process reports, no faster than a job's log should grow."""

from __future__ import annotations

import time
from collections import defaultdict

from wintergarden.jobs import Attempt, Body, LogWritten, MetricsReported, PictureShown, Progressed
from wintergarden.worker.messages import Log, Metrics, Picture, Progress

MAX_LOG_CHARACTERS = 4_000
_FLUSH_S = 0.2
_PROGRESS_S = 1.0
_METRICS_BURST, _METRICS_PER_S = 500, 1.0
_LOG_BURST, _LOG_PER_S = 200, 5.0


class Allowance:
    """A token bucket: `burst` at once, `per_s` in the long run. Short jobs keep every point."""

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Relay:
    """Gathers events and hands them to the attempt a few times a second."""

    def __init__(self, attempt: Attempt) -> None:
        now = time.monotonic()
        self._attempt = attempt
        self._events: list[tuple[Body, int]] = []
        self._flushed_at = now - _FLUSH_S  # the first sign of life goes out at once
        self._metrics: defaultdict[tuple[str, ...], Allowance] = defaultdict(
            lambda: Allowance(_METRICS_BURST, _METRICS_PER_S, now)
        )
        self._logs = Allowance(_LOG_BURST, _LOG_PER_S, now)
        self._held_back = 0
        self._phase = ""
        self._progress: Progress | None = None
        self._progress_at = now - _PROGRESS_S

    def add(self, message: Progress | Metrics | Log | Picture) -> None:
        now = time.monotonic()
        match message:
            case Progress():
                self._progress = message
                if message.phase != self._phase:
                    self._take_progress(now)
            case Metrics():
                if self._metrics[tuple(sorted(message.values))].take(now):
                    self._events.append((MetricsReported(message.values), message.step))
            case Log():
                self._add_log(message, now)
            case Picture():
                self._events.append((PictureShown(message.name, message.caption), message.step))

    def flush(self, *, is_last: bool = False) -> None:
        """Hand over what is due; raises what `Attempt.emit` raises."""
        now = time.monotonic()
        if is_last or now - self._progress_at >= _PROGRESS_S:
            self._take_progress(now)
        if self._events and (is_last or now - self._flushed_at >= _FLUSH_S):
            events, self._events = self._events, []
            self._flushed_at = now
            self._attempt.emit(events)

    def _take_progress(self, now: float) -> None:
        if self._progress:
            progress, self._progress = self._progress, None
            self._phase, self._progress_at = progress.phase, now
            self._events.append((Progressed(progress.phase, progress.fraction), progress.step))

    def _add_log(self, message: Log, now: float) -> None:
        if not self._logs.take(now):
            self._held_back += 1
            return
        if self._held_back:
            text = f"{self._held_back} log lines were held back: they came too fast"
            self._events.append((LogWritten("warning", text), 0))
            self._held_back = 0
        self._events.append((LogWritten(message.level, message.text[:MAX_LOG_CHARACTERS]), 0))
