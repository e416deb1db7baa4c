"""A process that waits for its order with everything imported: a job starts at once.

There is never more than one that waits. One for training takes about 300 MB of memory, no CPU and
no CUDA context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from wintergarden.worker.child_process import ChildProcess

_TREE = Path(__file__).parents[2]
_SOURCES = ("wintergarden", "trainer", "services")

_log = structlog.get_logger(__name__)


def newest_source() -> float:
    """When code that a job's process may run was last changed, in Unix seconds."""
    return max(path.stat().st_mtime for room in _SOURCES for path in (_TREE / room).rglob("*.py"))


class Standby:
    """Hands out processes: the warm one where there is one, else a new one. Thread-safe.

    Args:
        command: what does jobs; with `--warm` it imports before it reads its order.
        is_warm: keep one ready; otherwise each is started when it is needed.
        newest_source: when the code changed last: an older process is replaced.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        is_warm: bool = True,
        newest_source: Callable[[], float] = newest_source,
    ) -> None:
        self._command = [*command]
        self._is_warm = is_warm
        self._newest_source = newest_source
        self._lock = threading.Lock()
        self._waiting: ChildProcess | None = None
        self._started_at = 0.0
        self._is_closed = False

    def prepare(self) -> None:
        """Have a process ready for the next order; returns before it is.

        To be called when the processor can be spared: importing keeps a core busy for seconds.
        """
        with self._lock:
            if not self._is_warm or self._is_closed or self._is_fresh():
                return
            self._discard()
            try:
                self._started_at = time.time()
                self._waiting = ChildProcess([*self._command, "--warm"])
            except OSError as exc:
                _log.warning("no process is kept ready", error=str(exc))

    def start(self, order: Mapping[str, Any]) -> ChildProcess:
        """A process that carries out an order.

        Raises:
            OSError: it cannot be started.
        """
        child = self._take() or ChildProcess(self._command)
        child.send(order)
        return child

    def close(self) -> None:
        """End the one that waits, and have none ready from now on."""
        with self._lock:
            self._is_closed = True
            self._discard()

    def _take(self) -> ChildProcess | None:
        with self._lock:
            child, self._waiting = (self._waiting, None) if self._is_fresh() else (None, None)
            return child

    def _is_fresh(self) -> bool:
        """Whether one waits that would do what a new one does; what does not is discarded."""
        if self._waiting is None:
            return False
        if self._waiting.has_ended:
            _log.warning(
                "the process that was kept ready has ended",
                last_lines=[*self._waiting.last_lines],
            )
        elif self._newest_source() <= self._started_at:
            return True
        self._discard()
        return False

    def _discard(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
