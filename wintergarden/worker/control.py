"""The pipes to the supervisor, as a job's process has them; `messages` has the words."""

from __future__ import annotations

import io
import json
import os
import queue
import select
import sys
import threading
import time
from typing import Any

PROGRESS_INTERVAL_S = 0.5
_HEARING_S = 0.1
LAST_STEP_S = 30.0
"""How long the step under way may still take once the supervisor is gone."""

_ANSWER_POLL_S = 0.2


class Stopped(Exception):
    """The work was asked to stop, at a step's end."""


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
        self.is_alone = is_alone
        self._last_step_s = last_step_s
        self._lock = threading.Lock()
        self._stop_reason = ""
        self._is_abandoned = False
        self._lease_until = float("inf")
        self._publish_answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._checkpoint_answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._said_at = 0.0

    def read_order(self) -> bytes:
        """The first line of the input: what to do. Empty where the supervisor is gone."""
        return self._input.readline()

    def listen(self, renewed_until: float | None) -> None:
        """From now on hears the other lines, and the end of the input.

        Args:
            renewed_until: when to stop if no line says otherwise, in Unix seconds.
        """
        if renewed_until is not None:
            self._lease_until = renewed_until
        if not self.is_alone:
            # Renewals may be waiting from while the process was still importing, and must be
            # heard before the first look at the lease, not whenever the thread gets to run.
            while select.select([self._input], [], [], 0)[0] and (line := self._input.readline()):
                self._hear_line(line)
            threading.Thread(target=self._listen, name="control", daemon=True).start()

    def stop(self, reason: str) -> None:
        """Ends the work at its next step; safe in a signal handler."""
        self._stop_reason = self._stop_reason or reason
        self._publish_answers.put(False)

    @property
    def has_licence(self) -> bool:
        """Whether what is written now can still count: a supervisor holds the job for us."""
        return not self._is_abandoned and time.time() <= self._lease_until

    def check(self) -> None:
        """Returns while the work may go on.

        Raises:
            Stopped: with the reason.
        """
        if not self._stop_reason and time.time() > self._lease_until:
            # A renewal may have come while a call let no thread run that could have heard it.
            time.sleep(_HEARING_S)
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

    def log(self, level: str, text: str) -> None:
        """A line for the user: of level debug, info or warning."""
        self.say("log", level=level, text=text)

    def picture(self, name: str, caption: str, step: int) -> None:
        """Shows a picture that is written; `name` is below `jobs/<job id>/`."""
        self.say("picture", name=name, caption=caption, step=step)

    def keep_checkpoint(self, name: str, step: int) -> bool:
        """Has the job's record name a checkpoint that is written; whether it does.

        Also when asked to stop: the checkpoint is then what the stop waits for.

        Raises:
            Stopped: nobody is left to answer. The record may name the checkpoint or not, so it
                must stay where it is.
        """
        self.say("checkpoint", name=name, step=step)
        while self.has_licence:
            try:
                return self._checkpoint_answers.get(timeout=_ANSWER_POLL_S)
            except queue.Empty:
                continue
        raise Stopped(self._stop_reason or "the lease was not renewed in time")

    def may_publish(self, version: int) -> bool:
        """Asks the supervisor, who holds the job's fence; no answer is a no.

        Raises:
            Stopped: the work may not go on, whatever the answer was when it was given.
        """
        self.check()
        self.say("publish?", version=version)
        is_allowed = self.is_alone or self._publish_answers.get()
        self.check()
        return is_allowed

    def say(self, type_: str, **content: Any) -> None:
        line = json.dumps({"type": type_, **content})
        with self._lock:
            try:
                self._output.write(line + "\n")
            except BrokenPipeError:
                self._abandon()

    def _listen(self) -> None:
        for line in self._input:
            self._hear_line(line)
        self._abandon()
        time.sleep(self._last_step_s)  # this thread ends with the process, which is soon
        os._exit(1)

    def _abandon(self) -> None:
        self._is_abandoned = True
        self.stop("the supervisor is gone")

    def _hear_line(self, line: bytes) -> None:
        try:
            self._hear(json.loads(line))
        except (ValueError, TypeError, AttributeError) as error:
            sys.stderr.write(f"not understood: {line[:200]!r}: {error}\n")

    def _hear(self, message: dict[str, Any]) -> None:
        if "renewed_until" in message:
            self._lease_until = float(message["renewed_until"])
        if "checkpoint_kept" in message:
            self._checkpoint_answers.put(message["checkpoint_kept"] is True)
        if "publish" in message:
            self._publish_answers.put(message["publish"] is True)
        if message.get("cancel"):
            self.stop("cancelled")
