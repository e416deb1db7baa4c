"""The training process's end of the pipes to its supervisor; `trainer.messages` has the words."""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import threading
import time
from typing import Any

from trainer.recipes.watcher import Stopped

PROGRESS_INTERVAL_S = 0.5
LAST_STEP_S = 30.0
"""How long the step under way may still take once the supervisor is gone."""


class Control:
    """Says what happens, and hears when to stop.

    Takes the process's standard output for itself: whatever a library prints goes to standard
    error instead, where it cannot be taken for a message.

    Args:
        is_alone: nobody listens at the other end: nothing is read, and publishing is allowed.
        last_step_s: how long the step under way may take once the supervisor is gone; then the
            process ends without it, since nobody else would ever end one that hangs.
    """

    def __init__(self, *, is_alone: bool = False, last_step_s: float = LAST_STEP_S) -> None:
        # Unbuffered: a thread that waits in a buffered read aborts the interpreter's exit.
        self._input = io.FileIO(0, closefd=False)
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        self._is_alone = is_alone
        self._last_step_s = last_step_s
        self._lock = threading.Lock()
        self._stop_reason = ""
        self._lease_until = float("inf")
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._said_at = 0.0

    def read_order(self) -> bytes:
        """The first line of the input: what to do."""
        return self._input.readline()

    def listen(self, renewed_until: float | None) -> None:
        """From now on hears the other lines, and the end of the input.

        Args:
            renewed_until: when to stop if no line says otherwise, in Unix seconds.
        """
        if renewed_until is not None:
            self._lease_until = renewed_until
        if not self._is_alone:
            threading.Thread(target=self._listen, name="control", daemon=True).start()

    def stop(self, reason: str) -> None:
        """Ends the work at its next step; safe in a signal handler."""
        self._stop_reason = self._stop_reason or reason
        self._answers.put(False)

    def check(self) -> None:
        """Returns while the work may go on.

        Raises:
            Stopped: with the reason.
        """
        if not self._stop_reason and time.time() > self._lease_until:
            self._stop_reason = "the lease was not renewed in time"
        if self._stop_reason:
            raise Stopped(self._stop_reason)

    def progress(self, phase: str, fraction: float, step: int = 0, *, is_due: bool = True) -> None:
        """Tells how far the whole job is, 0 to 1; at most every half second unless it is due.

        Raises:
            Stopped: the work may not go on.
        """
        self.check()
        now = time.monotonic()
        if is_due or now - self._said_at >= PROGRESS_INTERVAL_S:
            self._said_at = now
            self.say("progress", phase=phase, fraction=round(fraction, 4), step=step)

    def may_publish(self, version: int) -> bool:
        """Asks the supervisor, who holds the job's fence; no answer is a no.

        Raises:
            Stopped: the work may not go on, whatever the answer was when it was given.
        """
        self.check()
        self.say("publish?", version=version)
        is_allowed = self._is_alone or self._answers.get()
        self.check()
        return is_allowed

    def say(self, type_: str, **content: Any) -> None:
        line = json.dumps({"type": type_, **content})
        with self._lock:
            try:
                self._output.write(line + "\n")
            except BrokenPipeError:
                self.stop("the supervisor is gone")

    def _listen(self) -> None:
        for line in self._input:
            try:
                self._hear(json.loads(line))
            except (ValueError, TypeError, AttributeError) as error:
                sys.stderr.write(f"not understood: {line[:200]!r}: {error}\n")
        self.stop("the supervisor is gone")
        time.sleep(self._last_step_s)  # this thread ends with the process, which is soon
        os._exit(1)

    def _hear(self, message: dict[str, Any]) -> None:
        if "renewed_until" in message:
            self._lease_until = float(message["renewed_until"])
        if "publish" in message:
            self._answers.put(message["publish"] is True)
        if message.get("cancel"):
            self.stop("cancelled")
