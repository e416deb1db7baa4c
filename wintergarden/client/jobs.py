"""Jobs: where each stands, what it reports, and what can be asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from wintergarden.client.call import Call, Flow
from wintergarden.wire import training_pb2 as pb
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.TrainingService")
WATCH = _METHODS["WatchJob"]


class JobState(StrEnum):
    UNSPECIFIED = "unspecified"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @classmethod
    def from_wire(cls, value: int) -> JobState:
        return cls(pb.JobState.Name(value).removeprefix("JOB_STATE_").lower())

    @property
    def on_wire(self) -> pb.JobState:
        value: pb.JobState = pb.JobState.Value(f"JOB_STATE_{self.name}")
        return value


@dataclass(frozen=True)
class Job:
    """A job as it stood when it was asked for.

    `progress` is 0 to 1; `queue_position` 1 is the next to run, 0 is not queued; `reason` says
    why it failed, was cancelled or still waits; `requested` is what a running job was asked to do
    and has not done yet. `model_version` and `metrics` belong to a job that succeeded. `spec` is
    all of what it is to do; the fields after it are those of a training.
    """

    id: str
    kind: str
    state: JobState
    spec: Mapping[str, Any]
    architecture: str
    dataset: str
    hyperparameters: Mapping[str, Any]
    seed: int
    reason: str
    attempt: int
    progress: float
    phase: str
    queue_position: int
    worker: str
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    model: str
    model_version: int
    metrics: Mapping[str, float]
    priority: int = 0
    parent: str = ""
    requested: str = ""
    checkpoint_step: int = 0
    ran_seconds: float = 0.0
    failures: int = 0
    max_attempts: int = 0

    @classmethod
    def from_message(cls, job: pb.Job) -> Job:
        return cls(
            id=job.id,
            kind=job.kind,
            state=JobState.from_wire(job.state),
            spec=json.loads(job.spec_json or "{}"),
            architecture=job.training.architecture,
            dataset=job.training.dataset,
            hyperparameters=json.loads(job.training.hyperparameters_json or "{}"),
            seed=job.training.seed,
            reason=job.reason,
            attempt=job.attempt,
            progress=job.progress,
            phase=job.phase,
            queue_position=job.queue_position,
            worker=job.worker,
            submitted_at=_time(job, "submitted_at"),
            started_at=_time(job, "started_at"),
            ended_at=_time(job, "ended_at"),
            model=job.model_name or job.training.model,
            model_version=job.model_version,
            metrics=dict(job.metrics),
            priority=job.priority,
            parent=job.parent,
            requested=job.requested,
            checkpoint_step=job.checkpoint_step,
            ran_seconds=job.ran_seconds,
            failures=job.failures,
            max_attempts=job.max_attempts,
        )


@dataclass(frozen=True)
class Event:
    """Something a job reported; `attempt` counts its starts, `step` its training steps."""

    cursor: str
    attempt: int
    sequence: int
    step: int
    time: datetime | None

    @classmethod
    def from_message(cls, event: pb.JobEvent) -> Event:
        head = (event.cursor, event.fence, event.sequence, event.step, _time(event, "time"))
        match event.WhichOneof("event"):
            case "state":
                return StateChanged(
                    *head, JobState.from_wire(event.state.state), event.state.reason
                )
            case "metrics":
                return MetricsReported(*head, dict(event.metrics.values))
            case "log":
                return LogWritten(*head, event.log.level, event.log.text)
            case "progress":
                return Progressed(*head, event.progress.phase, event.progress.fraction)
            case "checkpoint":
                return CheckpointKept(*head, event.checkpoint.name)
            case "picture":
                return PictureShown(*head, event.picture.name, event.picture.caption)
        return cls(*head)  # from a server newer than this client


@dataclass(frozen=True)
class StateChanged(Event):
    state: JobState
    reason: str


@dataclass(frozen=True)
class MetricsReported(Event):
    values: Mapping[str, float]


@dataclass(frozen=True)
class LogWritten(Event):
    level: str
    text: str


@dataclass(frozen=True)
class Progressed(Event):
    phase: str
    fraction: float


@dataclass(frozen=True)
class CheckpointKept(Event):
    """The next attempt would go on from this event's step."""

    name: str


@dataclass(frozen=True)
class PictureShown(Event):
    """A picture in the store, below the job's own files."""

    name: str
    caption: str


@dataclass(frozen=True)
class Worker:
    """One that takes jobs. `memory_mb` is what a job may need there; 0 is not known."""

    name: str
    routes: tuple[str, ...]
    concurrency: int
    running: int
    memory_mb: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Workers:
    """Those heard of in the last half minute; `queued` counts the jobs that wait, by route."""

    workers: tuple[Worker, ...]
    queued: Mapping[str, int]


def get(job_id: str) -> Flow[Job]:
    """A job as it stands now."""
    response = yield Call(_METHODS["GetJob"], pb.GetJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def list_jobs(
    *, states: Iterable[JobState | str] = (), limit: int = 100, parent: str = ""
) -> Flow[list[Job]]:
    """Jobs, newest first; `states` filters, for example ["queued", "running"].

    With a parent, the jobs it has submitted, in their order.
    """
    wire_states = [JobState(state).on_wire for state in states]
    request = pb.ListJobsRequest(states=wire_states, limit=limit, parent=parent)
    response = yield Call(_METHODS["ListJobs"], request)
    return [Job.from_message(job) for job in response.jobs]


def cancel(job_id: str) -> Flow[Job]:
    """Stop a job; one that has ended stays as it is."""
    response = yield Call(_METHODS["CancelJob"], pb.CancelJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def pause(job_id: str) -> Flow[Job]:
    """Hold a job until it is resumed: at once when it waits, after a checkpoint when it runs."""
    response = yield Call(_METHODS["PauseJob"], pb.PauseJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def resume(job_id: str) -> Flow[Job]:
    """Let a paused job go on where it was."""
    response = yield Call(_METHODS["ResumeJob"], pb.ResumeJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def workers() -> Flow[Workers]:
    """Who takes jobs, and how many wait."""
    response = yield Call(_METHODS["ListWorkers"], pb.ListWorkersRequest())
    return Workers(
        workers=tuple(
            Worker(
                name=w.name,
                routes=tuple(w.routes),
                concurrency=w.concurrency,
                running=w.running,
                memory_mb=w.memory_mb,
                devices=tuple(w.devices),
            )
            for w in response.workers
        ),
        queued=dict(response.queued),
    )


class Watching:
    """Where a watcher stands in a job's events, so that it can go on after a lost connection."""

    def __init__(self, job_id: str, cursor: str = "") -> None:
        self.job_id = job_id
        self.cursor = cursor
        self.has_ended = False

    def request(self) -> pb.WatchJobRequest:
        return pb.WatchJobRequest(job_id=self.job_id, cursor=self.cursor)

    def accept(self, response: pb.WatchJobResponse) -> Event:
        event = Event.from_message(response.event)
        self.cursor = event.cursor
        self.has_ended = isinstance(event, StateChanged) and event.state.is_final
        return event


def _time(message: pb.Job | pb.JobEvent, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    moment: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return moment
