"""An attempt: one worker's licence to work on one job, as long as nobody else has a newer one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wintergarden.errors import FailedPrecondition
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.events import Body, Progressed, encode
from wintergarden.jobs.records import JobRecord, JobState

MAX_REASON_CHARACTERS = 4_000
MAX_UNSENT_EVENTS = 10_000
"""Events kept while Redis does not answer; beyond them the oldest go."""


class StaleFence(FailedPrecondition):
    """The attempt has been superseded: whatever it does from now on must have no effect."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`expires_at` is Unix seconds of this machine's clock, on the safe side.

    `requested` is what somebody asked the job to do: cancel, pause, or empty.
    """

    expires_at: float
    requested: str


class Attempt:
    """One start of a job. Belongs to one thread.

    Every write carries the attempt's fence and is refused with `StaleFence` once a newer attempt
    exists or the job has moved on. Writes are numbered: one whose answer was lost (`Unavailable`)
    is sent again, under its number, before the next one, and takes effect once.
    """

    def __init__(
        self,
        connection: Connection,
        job: JobRecord,
        *,
        token: str,
        lease_s: float,
        expires_at: float,
    ) -> None:
        self.job = job
        self.fence = job.fence
        self._licence = f"{job.fence}:{token}"
        self.lease_s = lease_s
        self.expires_at = expires_at
        self._connection = connection
        self._writes = 0
        self._unsent: list[tuple[Body, int]] = []
        self._unanswered: tuple[str, tuple[str | int | float, ...]] | None = None

    def renew(self) -> Lease:
        """Keep the job for another `lease_s` seconds."""
        expires_at = time.time() + self.lease_s
        answer = self._connection.run("renew", self.job.id, self._licence, self._lease_ms)
        self._refuse_if_stale(answer)
        self.expires_at = expires_at
        return Lease(expires_at, requested="" if answer == "renewed" else str(answer))

    def emit(self, events: Sequence[tuple[Body, int]]) -> None:
        """Append events to the job's log: each a body and the step it belongs to.

        After `Unavailable` they count as handed over: they go out before the next write.
        """
        self._unsent = [*self._unsent, *events][-MAX_UNSENT_EVENTS:]
        self._flush()

    def set_progress(self, fraction: float, phase: str, step: int = 0) -> None:
        self.emit([(Progressed(phase, fraction), step)])

    def keep_checkpoint(self, name: str, step: int) -> None:
        """Have later attempts go on from this checkpoint.

        Args:
            name: below the store's `jobs/<id>/`; it is written, durably, before it is named.
            step: training steps it holds.
        """
        self._write("checkpoint", name, step)

    def offer(self, version: int = 0) -> bool:
        """Whether the attempt may publish now: it holds the job and nobody cancelled it.

        Args:
            version: the number claimed in the model store, which the record remembers, so that
                a later attempt knows what this one may have published; 0: not known.
        """
        expires_at = time.time() + self.lease_s
        answer = self._write("offer", version, self._lease_ms)
        self.expires_at = expires_at
        return answer != "cancel"

    def succeed(self, model: str, version: int, metrics: Mapping[str, float]) -> JobState:
        return self._finish("SUCCEEDED", "", model, version, metrics)

    def fail(self, reason: str) -> JobState:
        """End the job: another attempt would fail the same way."""
        return self._finish("FAILED", reason)

    def retry(self, reason: str) -> JobState:
        """Give the job back because this attempt failed: QUEUED, or FAILED after too many."""
        return self._finish("RETRY", reason)

    def requeue(self, reason: str) -> JobState:
        """Give the job back through no fault of its own: QUEUED; it does not count."""
        return self._finish("REQUEUE", reason)

    def paused(self, reason: str) -> JobState:
        """Give the job back until somebody resumes it; QUEUED where that has happened already."""
        return self._finish("PAUSED", reason)

    def cancelled(self, reason: str) -> JobState:
        return self._finish("CANCELLED", reason)

    def _finish(
        self,
        outcome: str,
        reason: str,
        model: str = "",
        version: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> JobState:
        return JobState(
            self._write(
                "finish",
                outcome,
                reason[:MAX_REASON_CHARACTERS],
                model,
                version,
                json.dumps(dict(metrics or {})),
            )
        )

    def _write(self, script: str, *arguments: str | int | float) -> str:
        if self._unanswered and self._unanswered[0] == script == "finish":
            return self._send(*self._unanswered)  # an attempt ends once
        self._flush()
        return self._number_and_send(script, *arguments)

    def _flush(self) -> None:
        if self._unanswered:
            self._send(*self._unanswered)
        if self._unsent:
            arguments: list[str | int | float] = []
            for body, step in self._unsent:
                kind, content = encode(body)
                arguments += [kind, step, content]
            self._unsent = []
            self._number_and_send("emit", *arguments)

    def _number_and_send(self, script: str, *arguments: str | int | float) -> str:
        self._writes += 1
        return self._send(script, (self.job.id, self._licence, self._writes, *arguments))

    def _send(self, script: str, arguments: tuple[str | int | float, ...]) -> str:
        self._unanswered = (script, arguments)
        answer = str(self._connection.run(script, *arguments))
        self._unanswered = None
        self._refuse_if_stale(answer)
        return answer

    def _refuse_if_stale(self, answer: str) -> None:
        if answer == "stale":
            raise StaleFence(
                f"attempt {self.fence} of job {self.job.id} no longer holds it: its lease ran out "
                "or the job has ended"
            )

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_s * 1000)
