"""Durable jobs: submit, look, watch, cancel; and, for workers, claim and repair."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from wintergarden.errors import AlreadyExists, InvalidArgument, NotFound, Overloaded
from wintergarden.jobs import keys
from wintergarden.jobs.attempt import Attempt
from wintergarden.jobs.broker import Messenger
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.events import Event
from wintergarden.jobs.reaper import Repairs, reap
from wintergarden.jobs.records import SCHEMA_VERSION, JobRecord, JobState, TrainingSpec
from wintergarden.jobs.watch import watch

KINDS = (TrainingSpec.kind,)
MAX_SPEC_BYTES = 64 << 10
WORKER_SILENCE_S = 30
"""When no worker was heard of for longer, none is running."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Jobs:
    """The job records of one deployment. Thread-safe; connects at the first use.

    Every method raises `Unavailable` while Redis does not answer.

    Args:
        redis_url: see `Connection`.
        max_attempts: how often a job may fail before it is FAILED.
        max_queued: jobs of a kind that may wait; the next is refused.
    """

    def __init__(self, redis_url: str, *, max_attempts: int = 3, max_queued: int = 10_000) -> None:
        self._connection = Connection(redis_url)
        self._messenger = Messenger(self._connection)
        self._max_attempts = max_attempts
        self._max_queued = max_queued

    def submit(self, spec: TrainingSpec, request_id: str = "") -> JobRecord:
        """Queue a job; the same `request_id` again answers the same job.

        Raises:
            InvalidArgument: the request id or the size of the specification.
            AlreadyExists: the request id belongs to a job with another specification.
            Overloaded: too many jobs wait.
        """
        request_id = request_id or secrets.token_hex(16)
        if not _REQUEST_ID.fullmatch(request_id):
            raise InvalidArgument(
                f"request_id {request_id[:140]!r}: expected 1 to 128 printable ASCII characters "
                "without spaces",
                field="request_id",
            )
        try:
            text = spec.to_json()
        except (TypeError, ValueError) as exc:
            raise InvalidArgument(f"specification: {exc}", field="training") from exc
        if len(text) > MAX_SPEC_BYTES:
            raise InvalidArgument(
                f"specification of {len(text)} bytes: at most {MAX_SPEC_BYTES} are allowed",
                field="training",
            )
        job_id, outcome = self._connection.run(
            "submit",
            secrets.token_hex(8),
            request_id,
            spec.kind,
            text,
            self._max_attempts,
            self._max_queued,
            SCHEMA_VERSION,
        )
        if outcome == "full":
            raise Overloaded(f"{self._max_queued} jobs are waiting already", retry_after_s=30)
        if outcome == "different":
            raise AlreadyExists(
                f"request_id {request_id!r} belongs to job {job_id}, submitted with another "
                "specification"
            )
        if outcome == "created":
            self._messenger.send(spec.kind, job_id)
        return self.get(job_id)

    def get(self, job_id: str) -> JobRecord:
        """The job as it stands now.

        Raises:
            NotFound: there is no such job.
        """
        job = self._find(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}")
        return job

    def list(self, states: Iterable[JobState] = (), limit: int = 100) -> list[JobRecord]:
        """Jobs in any of `states` (default: all), newest first."""
        if limit < 1:
            raise InvalidArgument(f"limit {limit}: expected at least 1", field="limit")
        wanted = tuple(states) or tuple(JobState)
        with self._connection.errors():
            pipeline = self._connection.client.pipeline(transaction=True)
            for state in wanted:
                pipeline.zrevrange(keys.state(state), 0, limit - 1, withscores=True)
            found = [entry for page in pipeline.execute() for entry in page]
        newest = sorted(found, key=lambda entry: entry[1], reverse=True)[:limit]
        return [*self._read([job_id for job_id, _ in newest])]

    def cancel(self, job_id: str) -> JobRecord:
        """Stop a job: at once when queued, soon when running; one that has ended stays as it is.

        Raises:
            NotFound: there is no such job.
        """
        self._connection.run("cancel", job_id)
        return self.get(job_id)

    def watch(
        self,
        job_id: str,
        cursor: str = "",
        follow: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """The job's events after `cursor`, each once, until it ends; see `watch.watch`."""
        return watch(self._connection, job_id, cursor, follow=follow, stop=stop)

    def claim(self, job_id: str, worker: str, lease_s: float) -> Attempt | None:
        """Start an attempt; None where another has it, or the job is not waiting."""
        job = self._find(job_id)
        if job is None or job.state != JobState.QUEUED:
            return None
        expires_at = time.time() + lease_s
        fence = self._connection.run(
            "claim", job_id, worker, secrets.token_hex(8), int(lease_s * 1000), SCHEMA_VERSION
        )
        if not fence:
            return None
        if fence != job.fence + 1:  # others tried and gave up in between: see what they left
            job = self.get(job_id)
        job = replace(job, state=JobState.RUNNING, fence=fence, worker=worker, queue_position=0)
        return Attempt(self._connection, job, lease_s=lease_s, expires_at=expires_at)

    def reap(self) -> Repairs:
        """Give jobs of dead workers back to the queue, and send lost messages again."""
        return reap(self._connection, self._messenger, KINDS)

    def send(self, job: JobRecord) -> None:
        """Tell the workers to look at a job. Telling them twice does no harm."""
        self._messenger.send(job.kind, job.id)

    def publish_catalogue(self, catalogue: Mapping[str, Any]) -> None:
        """Make known what can be trained; writes only what has changed."""
        text = json.dumps(catalogue, sort_keys=True)
        with self._connection.errors():
            if self._connection.client.get(keys.CATALOGUE) != text:
                self._connection.client.set(keys.CATALOGUE, text)

    def read_catalogue(self) -> dict[str, Any] | None:
        """`{"architectures": […], "datasets": […]}`; None before the first worker has come."""
        with self._connection.errors():
            text = self._connection.client.get(keys.CATALOGUE)
        return dict(json.loads(str(text))) if text else None

    def report_worker(self, worker: str) -> None:
        """Say that a worker is there, for those who wonder why their job waits."""
        with self._connection.errors():
            self._connection.client.set(keys.HEARD, worker, ex=WORKER_SILENCE_S)

    def queue_length(self, kind: str = TrainingSpec.kind) -> int:
        with self._connection.errors():
            return int(self._connection.client.zcard(keys.queue(kind)))

    def ping(self) -> None:
        """Raises Unavailable where Redis does not answer."""
        with self._connection.errors():
            self._connection.client.ping()

    def check_configuration(self) -> Sequence[str]:
        """What about the server could lose a job; empty is well."""
        from wintergarden.jobs.configuration import problems

        return problems(self._connection)

    def close(self) -> None:
        self._messenger.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _find(self, job_id: str) -> JobRecord | None:
        return next(self._read([job_id]), None)

    def _read(self, job_ids: Sequence[str]) -> Iterator[JobRecord]:
        """Records of those that exist, all of one moment."""
        with self._connection.errors():
            pipeline = self._connection.client.pipeline(transaction=True)
            pipeline.exists(keys.HEARD)
            for job_id in job_ids:
                pipeline.hgetall(keys.job(job_id))
                for kind in KINDS:
                    pipeline.zrank(keys.queue(kind), job_id)
            answers = iter(pipeline.execute())
        is_worker_there = bool(next(answers))
        for job_id in job_ids:
            stored = next(answers)
            ranks = [next(answers) for _ in KINDS]
            position = next((int(rank) + 1 for rank in ranks if rank is not None), 0)
            if stored:
                job = JobRecord.from_hash(job_id, stored, position)
                yield replace(job, reason=job.reason or _why_it_waits(job, is_worker_there))


def _why_it_waits(job: JobRecord, is_worker_there: bool) -> str:
    if job.state != JobState.QUEUED:
        return ""
    if not is_worker_there:
        return "no worker is running"
    before = job.queue_position - 1
    return f"{before} {'job is' if before == 1 else 'jobs are'} before it" if before else ""
