"""Supervises one attempt: a process of the job's own on one side, the job record on the other.

The lease is renewed only while the process's phase, step or fraction moves, so a job whose
process hangs is taken from it like one whose worker died. No torch here: the supervisor
outlives any number of such processes and must not hold a CUDA context.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any, cast

import structlog

from wintergarden.errors import Overloaded, Unavailable
from wintergarden.jobs import Attempt, JobState, StaleFence
from wintergarden.worker.child_process import ChildProcess
from wintergarden.worker.duties import Duties
from wintergarden.worker.endings import describe_exit, quote
from wintergarden.worker.limits import Limits
from wintergarden.worker.messages import (
    Checkpoint,
    Error,
    Log,
    Message,
    Metrics,
    Picture,
    Progress,
    PublishRequest,
    Result,
)
from wintergarden.worker.relay import Relay
from wintergarden.worker.settings import WorkerSettings
from wintergarden.worker.standby import Standby

TICK_S = 0.1
_LAST_WORDS_S = 2.0
_FINAL = ("invalid", "failed")
_NOT_NOW = (Unavailable, Overloaded)

_log = structlog.get_logger(__name__)


class _Stop(Enum):
    """Why we ended the process ourselves."""

    CANCELLED = "cancelled"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    STALLED = "stalled"
    SUPERSEDED = "superseded"
    OUT_OF_TIME = "out of time"
    OUT_OF_MEMORY = "out of memory"


_REQUESTED = {"cancel": _Stop.CANCELLED, "pause": _Stop.PAUSED}


def scratch_directory(work_dir: Path, attempt: Attempt) -> Path:
    """An attempt's own: a superseded one may still be writing into its own."""
    return work_dir / f"{attempt.job.id}-{attempt.fence}"


class Supervision:
    """One attempt from its start to its end.

    Args:
        attempt: the licence to work on the job.
        settings: limits and the command that does the work.
        standby: where processes come from.
        duties: what is done for such jobs and no others.
        is_stopping: set when this worker shuts down; the job then goes back to the queue.
        beat: called while the supervision itself is alive.
    """

    def __init__(
        self,
        attempt: Attempt,
        settings: WorkerSettings,
        standby: Standby,
        duties: Duties,
        *,
        is_stopping: threading.Event,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._attempt = attempt
        self._settings = settings
        self._standby = standby
        self._duties = duties
        self._process = f"the {duties.process}"
        self._is_stopping = is_stopping
        self._beat = beat
        self._relay = Relay(attempt)
        self._limits = Limits(attempt.job)
        self._log = _log.bind(job=attempt.job.id, fence=attempt.fence)
        self._stop: _Stop | None = None
        self._why = ""
        self._has_lapsed = False
        self._kill_at = float("inf")
        self._position: tuple[str, float, int] = ("start", 0.0, 0)
        self._moved_at = self._renewed_at = time.monotonic()
        self._asks_to_keep: Checkpoint | None = None
        self._asks_to_publish: PublishRequest | None = None
        self._verdict: Result | Error | None = None
        self.checkpoint = attempt.job.checkpoint
        """That the job's record names; empty is none."""
        self._checkpoint_step = attempt.job.checkpoint_step

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
        if found := self._duties.find_published(attempt.job):
            self._log.info("published by an earlier attempt", version=found.version)
            return self._succeed(found, is_first=False)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            child = self._standby.start(self._order(directory))
        except OSError as exc:
            why = f"{self._process} could not be started: {exc}"
            return lambda: attempt.retry(why)
        with child:
            self._log.info(f"{self._duties.process} started", pid=child.pid)
            self._follow(child)
            return self._end(child)

    def _order(self, directory: Path) -> dict[str, Any]:
        job = self._attempt.job
        return {
            **asdict(cast("Any", job.spec)),
            **self._duties.order_fields(job),
            "kind": job.kind,
            "job_id": job.id,
            "fence": self._attempt.fence,
            "store_uri": self._settings.store_uri,
            "work_dir": str(directory.absolute()),
            "renewed_until": self._attempt.expires_at,
            "checkpoint": job.checkpoint,
            "checkpoint_interval_s": self._settings.checkpoint_interval_s,
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
                    self._answer_checkpoint(child)
                    self._answer_publish_request(child)
            except StaleFence:
                self._stop = _Stop.SUPERSEDED
                child.kill()
                raise
            self._limits.look(child)
            self._stop_where_due(child)

    def _hear(self, message: Message) -> None:
        match message:
            case Progress(phase=phase, fraction=fraction, step=step):
                if phase == self._duties.last_phase != self._position[0]:
                    # Not earlier: until then the job has the processor to itself.
                    self._standby.prepare()
                self._move((phase, fraction, step))
                self._relay.add(message)
            case Metrics(step=step):
                phase, fraction, _ = self._position
                self._move((phase, fraction, step))
                self._relay.add(message)
            case Log() | Picture():
                self._relay.add(message)
            case Checkpoint():
                self._asks_to_keep = message
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
        if lease.requested in _REQUESTED and not self._stop:
            self._begin_stop(child, _REQUESTED[lease.requested])

    def _answer_checkpoint(self, child: ChildProcess) -> None:
        if self._asks_to_keep:
            child.send({"checkpoint_kept": self._keep_checkpoint(self._asks_to_keep)})

    def _keep_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Have the record name it: an attempt may name no files but its own."""
        is_ours = checkpoint.name.startswith(f"{self._attempt.fence}/")
        if is_ours:
            self._relay.flush(is_last=True)  # what led to it is not told again by who goes on
            self._attempt.keep_checkpoint(checkpoint.name, checkpoint.step)
            self.checkpoint, self._checkpoint_step = checkpoint.name, checkpoint.step
            self._moved_at = time.monotonic()
        self._asks_to_keep = None
        return is_ours

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
                why = f"no progress for {self._stall_limit_s:g} s in phase {self._position[0]!r}"
                self._begin_stop(child, _Stop.STALLED, why)
            elif why := self._limits.out_of_time:
                self._begin_stop(child, _Stop.OUT_OF_TIME, why)
        if why := self._limits.out_of_memory:
            if self._stop is None:
                self._begin_stop(child, _Stop.OUT_OF_MEMORY, why)
            child.kill()  # others use the memory too
        if now > self._kill_at:
            child.kill()

    def _begin_stop(self, child: ChildProcess, stop: _Stop, why: str = "") -> None:
        self._log.info(f"stopping {self._process}", because=stop.value, why=why)
        self._stop, self._why = stop, why
        self._kill_at = time.monotonic() + self._settings.grace_s
        child.terminate()

    @property
    def _stall_limit_s(self) -> float:
        return self._settings.stall_limit_s(self._position[0])

    def _end(self, child: ChildProcess) -> Callable[[], JobState]:
        """What to tell the job record, now that the process has nothing more to say."""
        code = child.wait(_LAST_WORDS_S)
        attempt, verdict = self._attempt, self._verdict
        if isinstance(verdict, Result):  # it is published, whatever else was going on
            return self._succeed(verdict, is_first=True)
        match self._stop:
            case _Stop.CANCELLED:
                return lambda: attempt.cancelled("cancelled while it ran")
            case _Stop.PAUSED:
                return lambda: attempt.paused(f"paused; it {self._goes_on}")
            case _Stop.SHUTDOWN:
                worker = attempt.job.worker
                return lambda: attempt.requeue(
                    f"worker {worker} was stopped; the job {self._goes_on}"
                )
            case _Stop.OUT_OF_TIME | _Stop.OUT_OF_MEMORY:
                phase, fraction, step = self._position
                why = f"{self._why}; it had got to step {step} in phase {phase!r}, {fraction:.0%}"
                return lambda: attempt.fail(f"{why} of the job")
            case _Stop.STALLED:
                stalled = self._why + quote(child)
                return lambda: attempt.retry(stalled)
        if self._has_lapsed or time.time() > attempt.expires_at:
            lapsed = "the lease could not be renewed in time: Redis did not answer"
            return lambda: attempt.requeue(lapsed)
        if isinstance(verdict, Error):
            reason = self._explain(verdict)
            end = attempt.fail if verdict.kind in _FINAL else attempt.retry
            return lambda: end(reason)
        exited = describe_exit(code, child, self._limits.used_mb, self._process) + quote(child)
        return lambda: attempt.retry(exited)

    def _succeed(self, result: Result, *, is_first: bool) -> Callable[[], JobState]:
        """Do what remains to be done with what was published, and say that it is there."""
        attempt = self._attempt
        follow_up = self._duties.follow_up(attempt, result, is_first=is_first, beat=self._beat)

        def end() -> JobState:
            follow_up()
            return attempt.succeed(result.model, result.version, result.metrics)

        return end

    def _explain(self, error: Error) -> str:
        if error.kind != "memory":
            return error.reason
        return (
            f"out of memory: {error.reason}; it used {self._limits.used_mb} MiB when last looked "
            f"at; {self._duties.memory_hint}"
        )

    @property
    def _goes_on(self) -> str:
        if not self.checkpoint:
            return "starts again from the beginning"
        return f"goes on from step {self._checkpoint_step}"

    def _conclude(self, end: Callable[[], JobState]) -> JobState:
        """Write the end down, however long Redis takes to come back."""
        give_up_at = float("inf")
        while True:
            self._beat()
            try:
                self._relay.flush(is_last=True)
                if self._asks_to_keep:  # it was written, and Redis did not answer
                    self._keep_checkpoint(self._asks_to_keep)
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
