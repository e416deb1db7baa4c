"""A job's process seen from outside: started, heard, spoken to, stopped. Knows no jobs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from wintergarden.worker.memory import used_by_group
from wintergarden.worker.messages import Message, parse

LAST_LINES = 20
_LINE_BYTES = 1 << 20
_WAITING_MESSAGES = 1_000
_NICENESS = 10
_SECRET_SUFFIX = "_REDIS_URL"
# At low priority on busy cores, OpenMP threads that spin while they wait for one another turn a
# step of 4 ms into one of 40 to 250; threads that sleep make it 9.
_DEFAULTS = {"OMP_WAIT_POLICY": "passive"}


class ChildProcess:
    """A process group of its own, at low priority, that dies with its supervisor.

    The supervisor's death closes the process's standard input, which tells it to stop: no
    signal would reach it after a SIGKILL. What to do is the first thing it is to be sent.
    """

    def __init__(self, command: Sequence[str]) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.endswith(_SECRET_SUFFIX)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_DEFAULTS | environment | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone
        )
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.was_killed = False
        self._messages: queue.Queue[Message | None] = queue.Queue(_WAITING_MESSAGES)
        self._outbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._is_silent = False
        _lower_priority(self._process.pid)
        self._stderr_reader = threading.Thread(target=self._read_lines, daemon=True)
        self._stderr_reader.start()
        for target in (self._read_messages, self._write):
            threading.Thread(target=target, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more, whatever is still to be read of it."""
        return self._process.poll() is not None

    @property
    def used_memory(self) -> int:
        """Bytes that it and all it started occupy now."""
        return used_by_group(self._process.pid)

    @property
    def is_silent(self) -> bool:
        """Whether it will say nothing more: it closed its output, or has ended."""
        return self._is_silent

    def receive(self, timeout_s: float) -> Message | None:
        """The next message; None after a while without one."""
        if self._is_silent:
            return None
        try:
            message = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            # What it started may hold the output open after its end.
            self._is_silent = self._process.poll() is not None
            return None
        self._is_silent = message is None
        return message

    def send(self, message: Mapping[str, Any]) -> None:
        """Never blocks: a process that does not read cannot hold up its supervisor."""
        self._outbox.put(message)

    def terminate(self) -> None:
        """Ask it to stop at the next step, after a checkpoint."""
        self.send({"cancel": True})
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it and all it started, now."""
        self.was_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        try:
            code = self._process.wait(timeout_s)
            self._stderr_reader.join(timeout_s)
            return code
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End it, and what it started."""
        self.kill()
        self._process.wait()
        self._outbox.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read_messages(self) -> None:
        for line in _lines(self._process.stdout):
            self._messages.put(parse(line))
        self._messages.put(None)

    def _read_lines(self) -> None:
        for line in _lines(self._process.stderr):
            self.last_lines.append(line.decode(errors="replace").rstrip())

    def _write(self) -> None:
        stream = self._process.stdin
        if stream is None:
            return
        with contextlib.suppress(OSError), stream:  # it has closed its input: it will be heard
            while (message := self._outbox.get()) is not None:
                stream.write(json.dumps(message).encode() + b"\n")
                stream.flush()


def _lines(stream: IO[bytes] | None) -> Any:
    """Lines, the longest in pieces; ends with the stream."""
    if stream is None:
        return
    with stream:
        while line := stream.readline(_LINE_BYTES):
            yield line


def _lower_priority(pid: int) -> None:
    """Jobs yield to answering; set before the process has started threads."""
    niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS, 19)
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
