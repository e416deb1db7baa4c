"""Supervises one attempt: a training process on one side, the job record on the other.

The lease is renewed only while the process's phase, step or fraction moves, so a job whose
process hangs is taken from it like one whose worker died. No torch here: the supervisor
outlives any number of training processes and must not hold a CUDA context.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import structlog

from trainer.child_process import ChildProcess
from trainer.messages import Error, Log, Message, Metrics, Progress, PublishRequest, Result
from trainer.publication import find_published
from trainer.relay import Relay
from trainer.settings import Settings
from wintergarden.errors import Overloaded, Unavailable
from wintergarden.jobs import Attempt, JobState, StaleFence

TICK_S = 0.1
_LAST_WORDS_S = 2.0
_FINAL = ("invalid", "failed")
_NOT_NOW = (Unavailable, Overloaded)

_log = structlog.get_logger(__name__)


class _Stop(Enum):
    """Why we ended the process ourselves."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    STALLED = "stalled"
    SUPERSEDED = "superseded"


def scratch_directory(work_dir: Path, attempt: Attempt) -> Path:
    """An attempt's own: a superseded one may still be writing into its own."""
    return work_dir / f"{attempt.job.id}-{attempt.fence}"


class Supervision:
    """One attempt from its start to its end.

    Args:
        attempt: the licence to work on the job.
        settings: limits and the command that trains.
        is_stopping: set when this worker shuts down; the job then goes back to the queue.
        beat: called while the supervision itself is alive.
    """

    def __init__(
        self,
        attempt: Attempt,
        settings: Settings,
        is_stopping: threading.Event,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._attempt = attempt
        self._settings = settings
        self._is_stopping = is_stopping
        self._beat = beat
        self._relay = Relay(attempt)
        self._log = _log.bind(job=attempt.job.id, fence=attempt.fence)
        self._stop: _Stop | None = None
        self._has_lapsed = False
        self._kill_at = float("inf")
        self._position: tuple[str, float, int] = ("start", 0.0, 0)
        self._moved_at = self._renewed_at = time.monotonic()
        self._asks_to_publish: PublishRequest | None = None
        self._verdict: Result | Error | None = None

    def run(self) -> JobState | None:
        """Run the job; its state afterwards, None where a newer attempt has it."""
        directory = scratch_directory(self._settings.work_dir, self._attempt)
        try:
            return self._conclude(self._work(directory))
        except StaleFence as exc:
            self._log.warning("superseded", error=exc.message)
            return None
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _work(self, directory: Path) -> Callable[[], JobState]:
        attempt = self._attempt
        if found := find_published(self._settings.store_uri, attempt.job):
            self._log.info("published by an earlier attempt", version=found.version)
            return lambda: attempt.succeed(found.model, found.version, found.metrics)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            child = ChildProcess(self._settings.child_arguments, self._order(directory))
        except OSError as exc:
            why = f"the training process could not be started: {exc}"
            return lambda: attempt.retry(why)
        with child:
            self._log.info("training process started", pid=child.pid)
            self._follow(child)
            return self._end(child)

    def _order(self, directory: Path) -> dict[str, object]:
        job = self._attempt.job
        return {
            "job_id": job.id,
            "model": job.spec.model,
            "architecture": job.spec.architecture,
            "dataset": job.spec.dataset,
            "hyperparameters": dict(job.spec.hyperparameters),
            "seed": job.spec.seed,
            "store_uri": self._settings.store_uri,
            "work_dir": str(directory.absolute()),
            "fence": self._attempt.fence,
            "renewed_until": self._attempt.expires_at,
        }

    def _follow(self, child: ChildProcess) -> None:
        while not child.is_silent:
            self._beat()
            if message := child.receive(TICK_S):
                self._hear(message)
            try:
                with contextlib.suppress(*_NOT_NOW):  # the next round tries again
                    self._relay.flush()
                    self._renew(child)
                    self._answer_publish_request(child)
            except StaleFence:
                self._stop = _Stop.SUPERSEDED
                child.kill()
                raise
            self._stop_where_due(child)

    def _hear(self, message: Message) -> None:
        match message:
            case Progress(phase=phase, fraction=fraction, step=step):
                self._move((phase, fraction, step))
                self._relay.add(message)
            case Metrics(step=step):
                phase, fraction, _ = self._position
                self._move((phase, fraction, step))
                self._relay.add(message)
            case Log():
                self._relay.add(message)
            case PublishRequest():
                self._asks_to_publish = message
            case Result() | Error():
                self._verdict = message

    def _move(self, position: tuple[str, float, int]) -> None:
        if position != self._position:
            self._position = position
            self._moved_at = time.monotonic()

    def _renew(self, child: ChildProcess) -> None:
        now = time.monotonic()
        if now - self._renewed_at < min(1.0, self._attempt.lease_s / 4):
            return
        has_run_out = time.time() > self._attempt.expires_at
        lease = self._attempt.renew()
        self._has_lapsed |= (
            has_run_out  # nobody else took the job, but the process may have stopped
        )
        self._renewed_at = now
        child.send({"renewed_until": lease.expires_at})
        if lease.requested == "cancel" and not self._stop:
            self._begin_stop(child, _Stop.CANCELLED)

    def _answer_publish_request(self, child: ChildProcess) -> None:
        if request := self._asks_to_publish:
            may_publish = not self._stop and self._attempt.offer(request.version)
            self._asks_to_publish = None
            child.send({"renewed_until": self._attempt.expires_at})
            child.send({"publish": may_publish})

    def _stop_where_due(self, child: ChildProcess) -> None:
        now = time.monotonic()
        if self._stop is None:
            if self._is_stopping.is_set():
                self._begin_stop(child, _Stop.SHUTDOWN)
            elif now - self._moved_at > self._stall_limit_s:
                self._begin_stop(child, _Stop.STALLED)
        if now > self._kill_at:
            child.kill()

    def _begin_stop(self, child: ChildProcess, stop: _Stop) -> None:
        self._log.info("stopping the training process", why=stop.value)
        self._stop = stop
        self._kill_at = time.monotonic() + self._settings.grace_s
        child.terminate()

    @property
    def _stall_limit_s(self) -> float:
        return self._settings.stall_limit_s(self._position[0])

    def _end(self, child: ChildProcess) -> Callable[[], JobState]:
        """What to tell the job record, now that the process has nothing more to say."""
        code = child.wait(_LAST_WORDS_S)
        attempt = self._attempt
        verdict = self._verdict
        if isinstance(verdict, Result):  # it is published, whatever else was going on
            result = verdict
            return lambda: attempt.succeed(result.model, result.version, result.metrics)
        if self._stop is _Stop.CANCELLED:
            return lambda: attempt.cancelled("cancelled while it ran")
        if self._stop is _Stop.SHUTDOWN:
            worker = attempt.job.worker
            return lambda: attempt.requeue(f"worker {worker} was stopped; the job starts again")
        last_lines = _quote(child)
        if self._stop is _Stop.STALLED:
            why = f"no progress for {self._stall_limit_s:g} s in phase {self._position[0]!r}"
            return lambda: attempt.retry(why + last_lines)
        if self._has_lapsed or time.time() > attempt.expires_at:
            why = "the lease could not be renewed in time: Redis did not answer"
            return lambda: attempt.requeue(why)
        if isinstance(verdict, Error):
            reason = verdict.reason
            end = attempt.fail if verdict.kind in _FINAL else attempt.retry
            return lambda: end(reason)
        why = _describe_exit(code, child) + last_lines
        return lambda: attempt.retry(why)

    def _conclude(self, end: Callable[[], JobState]) -> JobState:
        """Write the end down, however long Redis takes to come back."""
        give_up_at = float("inf")
        while True:
            self._beat()
            try:
                self._relay.flush(is_last=True)
                state = end()
                self._log.info("attempt ended", state=state.value)
                return state
            except _NOT_NOW as exc:
                self._log.warning("the end of the attempt cannot be written yet", error=str(exc))
                if self._is_stopping.is_set():
                    give_up_at = min(give_up_at, time.monotonic() + self._settings.grace_s)
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(TICK_S)


def _describe_exit(code: int | None, child: ChildProcess) -> str:
    if code is None:
        return "the training process closed its output without a result"
    if code == 0:
        return "the training process ended without a result"
    if code > 0:
        return f"the training process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ""
    if -code == signal.SIGKILL and not child.was_killed:
        hint = ", not by its supervisor: most likely it ran out of memory"
    return f"the training process was killed by {name}{hint}"


def _quote(child: ChildProcess) -> str:
    lines = "\n".join(child.last_lines)
    return f"; its last log lines:\n{lines}" if lines else ""
