"""Durable jobs: submit, look, watch, cancel, pause; and, for workers, claim and repair."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from wintergarden.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    Unavailable,
)
from wintergarden.jobs import archive, keys, workers
from wintergarden.jobs.attempt import Attempt
from wintergarden.jobs.broker import Messenger
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.events import Event
from wintergarden.jobs.reaper import Repairs, reap
from wintergarden.jobs.records import JobRecord, JobState, Spec, TrainingSpec
from wintergarden.jobs.watch import watch
from wintergarden.jobs.workers import Worker

MAX_SPEC_BYTES = 64 << 10
MAX_PRIORITY = 100

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Jobs:
    """The job records of one deployment. Thread-safe; connects at the first use.

    Every method raises `Unavailable` while Redis does not answer.

    Args:
        redis_url: see `Connection`.
        max_attempts: how often a job may fail, without getting any further, before it is FAILED.
        max_queued: jobs that may wait in one queue, or are paused; the next is refused.
        read_archive: where events come from that Redis no longer has; None: nowhere, and a watch
            of a job that ended long ago has the last one alone.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        max_attempts: int = 3,
        max_queued: int = 10_000,
        read_archive: archive.Read | None = None,
    ) -> None:
        self._connection = Connection(redis_url)
        self._messenger = Messenger(self._connection)
        self._max_attempts = max_attempts
        self._max_queued = max_queued
        self._read_archive = read_archive

    def submit(
        self,
        spec: Spec,
        request_id: str = "",
        *,
        priority: int = 0,
        parent: str = "",
        max_attempts: int | None = None,
        job_id: str = "",
    ) -> JobRecord:
        """Queue a job; the same `request_id` again answers the same job.

        Args:
            spec: what to do.
            request_id: 1 to 128 printable characters; empty: a new one.
            priority: -100 to 100; higher ones run first.
            parent: the job on whose behalf this one is; it ends with it when cancelled.
            max_attempts: as the constructor's, for this job.
            job_id: `new_id`, where files of the job are written before it is queued.

        Raises:
            InvalidArgument: the request id, the priority, or the size of the specification.
            AlreadyExists: the request id belongs to a job with another specification.
            FailedPrecondition: the parent is none, has ended or is being cancelled.
            Overloaded: too many jobs wait.
        """
        request_id = request_id or secrets.token_hex(16)
        text = _checked(spec, request_id, priority)
        job_id, outcome = self._connection.run(
            "submit",
            job_id or new_id(),
            request_id,
            spec.kind,
            spec.route,
            text,
            max_attempts or self._max_attempts,
            self._max_queued,
            priority,
            parent,
            spec.memory_mb,
        )
        if outcome == "full":
            raise Overloaded(
                f"{self._max_queued} jobs are waiting or paused already, no more are allowed",
                retry_after_s=30,
            )
        if outcome == "orphan":
            raise FailedPrecondition(f"job {parent!r}, its parent, is not running")
        if outcome == "different":
            raise AlreadyExists(
                f"request_id {request_id!r} belongs to job {job_id}, submitted with another "
                "specification"
            )
        if outcome == "created":
            self._messenger.send(spec.route, job_id)
        return self.get(job_id)

    def find_request(self, request_id: str) -> JobRecord | None:
        """The job that was submitted with a request id; None: there is none."""
        with self._connection.errors():
            job_id = self._connection.client.get(keys.request(request_id))
        return self._find(str(job_id)) if job_id else None

    def get(self, job_id: str) -> JobRecord:
        """The job as it stands now.

        Raises:
            NotFound: there is no such job.
        """
        job = self._find(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}")
        return job

    def list(
        self, states: Iterable[JobState] = (), limit: int = 100, parent: str = ""
    ) -> list[JobRecord]:
        """Jobs in any of `states` (default: all), newest first; one's children in their order."""
        if parent:
            with self._connection.errors():
                ids = self._connection.client.zrange(keys.children(parent), 0, -1)
            children = [*self._read(ids)]
            return [job for job in children if not states or job.state in states][:limit]
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
        """Stop a job, and its children: at once when it waits, soon when it runs.

        One that has ended stays as it is.

        Raises:
            NotFound: there is no such job.
        """
        return self._request(job_id, "cancel")[0]

    def pause(self, job_id: str) -> JobRecord:
        """Hold a job until it is resumed: at once when it waits, after a checkpoint when it runs.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: it has ended.
        """
        return self._refuse_ended(self._request(job_id, "pause")[0], "paused")

    def resume(self, job_id: str) -> JobRecord:
        """Let a paused job go on from its checkpoint, in its old place in the queue.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: it has ended.
        """
        job, before = self._request(job_id, "resume")
        self._refuse_ended(job, "resumed")
        if before == JobState.PAUSED:  # of one that waits, the workers have been told
            self.send(job)
        return job

    def forget(self, job_id: str) -> bool:
        """Delete the record and events of a job that has ended; whether that was done."""
        return bool(self._connection.run("forget", job_id))

    def ended_for(self, age_s: float, limit: int = 100) -> Sequence[str]:
        """Ids of jobs that ended longer ago than so many seconds, the oldest first."""
        latest_ms = self._connection.now_ms() - age_s * 1000
        with self._connection.errors():
            found: list[str] = self._connection.client.zrangebyscore(
                keys.ENDED, "-inf", f"({latest_ms:.0f}", 0, limit
            )
        return found

    def watch(
        self,
        job_id: str,
        cursor: str = "",
        follow: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """The job's events after `cursor`, each once, until it ends; see `watch.watch`."""
        return watch(
            self._connection,
            job_id,
            cursor,
            follow=follow,
            stop=stop,
            read_archive=self._read_archive,
        )

    def archive_due(self, limit: int = 100) -> Sequence[str]:
        """Ids of ended jobs whose events are to be seen to; see `archive_events`."""
        return archive.due(self._connection, limit)

    def archive_events(self, job_id: str, put: archive.Put, keep_s: float) -> str:
        """Archive an ended job's events, or drop those archived before; see `archive.see_to`."""
        return archive.see_to(self._connection, job_id, put, keep_s)

    def claim(self, job_id: str, worker: str, lease_s: float, memory_mb: int = 0) -> Attempt | None:
        """Start an attempt on the first job of the queue that `job_id` belongs to.

        A message is an occasion to look: the job it names need not be the one whose turn it is.

        Args:
            job_id: that a message named.
            worker: who claims.
            lease_s: how long the job is theirs unless renewed.
            memory_mb: mebibytes they have for it; 0: any job will do.

        Returns:
            The attempt; None where no job waits that they can run.
        """
        self._connection.require_replicas()
        expires_at = time.time() + lease_s
        token = secrets.token_hex(8)
        try:
            claimed, fence = self._connection.run(
                "claim", job_id, worker, token, int(lease_s * 1000), memory_mb
            )
            if not fence:
                return None
            job = self.get(claimed)
        except Unavailable:
            # The claim may stand all the same, and nobody would work under it.
            with suppress(Unavailable, Overloaded):
                self._connection.run(
                    "unclaim", token, f"worker {worker} could not be sure of its claim"
                )
            raise
        job = replace(job, state=JobState.RUNNING, fence=fence, worker=worker, queue_position=0)
        return Attempt(self._connection, job, token=token, lease_s=lease_s, expires_at=expires_at)

    def reap(self) -> Repairs:
        """Give jobs of dead workers back to the queue, and send lost messages again."""
        return reap(self._connection, self._messenger)

    def send(self, job: JobRecord) -> None:
        """Tell the workers to look at a job. Telling them twice does no harm."""
        self._messenger.send(job.route, job.id)

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

    def report_worker(self, worker: Worker) -> None:
        """Say that a worker is there, and what it can do."""
        workers.report(self._connection, worker)

    def workers(self) -> Sequence[Worker]:
        """Those heard of in the last half minute."""
        return workers.read(self._connection)

    def queue_length(self, route: str = TrainingSpec.kind) -> int:
        with self._connection.errors():
            return int(self._connection.client.zcard(keys.queue(route)))

    def queue_lengths(self) -> dict[str, int]:
        """Jobs that wait, by route."""
        with self._connection.errors():
            routes = sorted(self._connection.client.smembers(keys.ROUTES))
        return {route: self.queue_length(route) for route in routes}

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

    def _request(self, job_id: str, what: str) -> tuple[JobRecord, str]:
        """The job after it, and its state before."""
        before = str(self._connection.run("request", job_id, what))
        if before == "newer":
            raise FailedPrecondition(
                f"job {job_id} was submitted by a newer version of this system; ask one of that"
            )
        return self.get(job_id), before

    def _refuse_ended(self, job: JobRecord, done: str) -> JobRecord:
        if job.state.is_final:
            raise FailedPrecondition(
                f"job {job.id} has ended ({job.state}) and cannot be {done}; clone it to run it "
                "again"
            )
        return job

    def _find(self, job_id: str) -> JobRecord | None:
        return next(self._read([job_id]), None)

    def _read(self, job_ids: Sequence[str]) -> Iterator[JobRecord]:
        """Records of those that exist."""
        with self._connection.errors():
            pipeline = self._connection.client.pipeline(transaction=True)
            for job_id in job_ids:
                pipeline.hgetall(keys.job(job_id))
            stored = {job_id: h for job_id, h in zip(job_ids, pipeline.execute(), strict=True) if h}
        jobs = [JobRecord.from_hash(job_id, h) for job_id, h in stored.items()]
        queued = [job for job in jobs if job.state == JobState.QUEUED]
        if not queued:
            return iter(jobs)
        with self._connection.errors():
            pipeline = self._connection.client.pipeline(transaction=False)
            for job in queued:
                pipeline.zrank(keys.queue(job.route), job.id)
            ranks = dict(zip((job.id for job in queued), pipeline.execute(), strict=True))
        there = self.workers()
        return (_placed(job, ranks.get(job.id), there) for job in jobs)


def new_id() -> str:
    """An id for a job that is yet to be submitted."""
    return secrets.token_hex(8)


def _placed(job: JobRecord, rank: int | None, there: Sequence[Worker]) -> JobRecord:
    """A job with its place in the queue and, unless an attempt left another, why it waits."""
    if rank is None:  # it does not wait, or has begun to run between two looks
        return job
    reason = workers.why_none(there, job.route, job.memory_mb)
    if not reason and rank:
        reason = f"{rank} {'job is' if rank == 1 else 'jobs are'} before it"
    return replace(job, queue_position=int(rank) + 1, reason=job.reason or reason)


def _checked(spec: Spec, request_id: str, priority: int) -> str:
    """The specification as JSON."""
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument(
            f"request_id {request_id[:140]!r}: expected 1 to 128 printable ASCII characters "
            "without spaces",
            field="request_id",
        )
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidArgument(
            f"priority {priority}: expected {-MAX_PRIORITY} to {MAX_PRIORITY}", field="priority"
        )
    try:
        text = spec.to_json()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidArgument(f"specification: {exc}", field=spec.kind) from exc
    if len(text) > MAX_SPEC_BYTES:
        raise InvalidArgument(
            f"specification of {len(text)} bytes: at most {MAX_SPEC_BYTES} are allowed",
            field=spec.kind,
        )
    return text
