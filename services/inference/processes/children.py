"""The child processes: started, started again when they die, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

import structlog

from wintergarden.service.orphan import SUPERVISOR_VARIABLE

_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 10.0
_SETTLED_S = 10.0  # one that lived so long did not die of its start
_STOP_MARGIN_S = 7.0  # beyond the children's own grace

_log = structlog.get_logger(__name__)

# The command and the environment of a process by its number; whether others answer already.
Describe = Callable[[int, bool], tuple[list[str], Mapping[str, str]]]


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    thread: threading.Thread | None = None
    started_at: float = 0.0
    pause_s: float = field(default=_FIRST_PAUSE_S)


class Children:
    """Each is waited for by a thread of its own."""

    def __init__(
        self,
        number: int,
        describe: Describe,
        *,
        on_end: Callable[[int], None],
        has_begun: Callable[[], bool],
        on_failure: Callable[[str], None],
    ) -> None:
        """None has started.

        Args:
            number: of processes.
            describe: how to start one.
            on_end: told which of them has died.
            has_begun: whether the server answers; before that, one that dies is not started
                again, since the next would die of the same.
            on_failure: told that.
        """
        self._describe = describe
        self._on_end = on_end
        self._has_begun = has_begun
        self._on_failure = on_failure
        self._children = [_Child(n) for n in range(number)]
        self._stopping = threading.Event()
        self._starting = threading.Lock()

    def start(self) -> None:
        for child in self._children:
            self._spawn(child, is_late=False)
            child.thread = threading.Thread(
                target=self._watch, args=(child,), name=f"child-{child.number}", daemon=True
            )
            child.thread.start()

    def pids(self) -> dict[int, int]:
        """Of those that run, by number."""
        return {
            child.number: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def kill(self, number: int) -> None:
        """End one that hangs; it is started again."""
        self._signal(self._children[number], signal.SIGKILL)

    def stop(self, grace_s: float) -> None:
        """Have all of them drain at once, and wait for them."""
        with self._starting:
            self._stopping.set()
        for child in self._children:
            self._signal(child, signal.SIGTERM)
        until = monotonic() + grace_s + _STOP_MARGIN_S
        for child in self._children:
            if child.thread is not None:
                child.thread.join(max(0.0, until - monotonic()))
                if child.thread.is_alive():
                    _log.warning("a process did not stop in time", process=child.number)
                    self._signal(child, signal.SIGKILL)
                    child.thread.join()

    def _spawn(self, child: _Child, *, is_late: bool) -> None:
        command, environment = self._describe(child.number, is_late)
        with self._starting:
            if self._stopping.is_set():
                return
            child.started_at = monotonic()
            child.process = subprocess.Popen(
                command,
                env={**os.environ, **environment, SUPERVISOR_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C is the parent's to pass on
            )

    def _watch(self, child: _Child) -> None:
        while child.process is not None:
            code = child.process.wait()
            self._on_end(child.number)
            if self._stopping.is_set():
                return
            if not self._has_begun():
                self._on_failure(f"process {child.number} ended with {code} before it answered")
                return
            has_settled = monotonic() - child.started_at > _SETTLED_S
            child.pause_s = _FIRST_PAUSE_S if has_settled else min(_LAST_PAUSE_S, 2 * child.pause_s)
            _log.warning(
                "a process died and is started again",
                process=child.number,
                code=code,
                pause_s=child.pause_s,
            )
            if self._stopping.wait(child.pause_s):
                return
            try:
                self._spawn(child, is_late=True)
            except OSError as error:  # no memory for it or too many processes, at the moment
                # The one before is still dead, so that the loop goes on to the next, longer pause.
                _log.warning(
                    "a process could not be started", process=child.number, reason=str(error)
                )

    def _signal(self, child: _Child, number: int) -> None:
        if child.process is not None and child.process.poll() is None:
            child.process.send_signal(number)
