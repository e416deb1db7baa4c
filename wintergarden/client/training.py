"""Training jobs: what is submitted, where it stands, what it reports."""

from __future__ import annotations

import json
import uuid
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
    """A training job as it stood when it was asked for.

    `progress` is 0 to 1; `queue_position` 1 is the next to run, 0 is not queued; `reason` says
    why it failed, was cancelled or still waits. `model_version` and `metrics` belong to a job
    that succeeded.
    """

    id: str
    state: JobState
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

    @classmethod
    def from_message(cls, job: pb.Job) -> Job:
        return cls(
            id=job.id,
            state=JobState.from_wire(job.state),
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
class Architecture:
    """What can be trained. `hyperparameters_schema` is a JSON Schema; `source` names the paper."""

    name: str
    summary: str
    task: str
    source: str
    hyperparameters_schema: Mapping[str, Any]
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """What can be trained on; `input_shape` is one example's, `split_sizes` count examples."""

    name: str
    summary: str
    task: str
    input_shape: tuple[int, ...]
    class_labels: tuple[str, ...]
    split_sizes: Mapping[str, int]
    source: str


def submit(
    architecture: str,
    dataset: str,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    model: str = "",
    seed: int = 0,
    request_id: str | None = None,
) -> Flow[Job]:
    """Queue a training job.

    Args:
        architecture: for example "lenet5"; `architectures` lists them.
        dataset: for example "mnist-5k"; `datasets` lists them.
        hyperparameters: validated by the server against the architecture's schema.
        model: the name to publish under; default: architecture-dataset.
        seed: of everything random in the training.
        request_id: the same id submitted again returns the same job; default: a new one, so
            that a repeated request cannot become two jobs.

    Raises:
        NotFound: an unknown architecture or data set; the message names the known ones.
        InvalidArgument: a hyperparameter; the message names it and its limits.
    """
    spec = pb.TrainingSpec(
        model=model,
        architecture=architecture,
        dataset=dataset,
        hyperparameters_json=json.dumps(dict(hyperparameters or {})),
        seed=seed,
    )
    request_id = request_id or uuid.uuid4().hex
    response = yield Call(
        _METHODS["SubmitTraining"],
        pb.SubmitTrainingRequest(training=spec, request_id=request_id),
    )
    return Job.from_message(response.job)


def get(job_id: str) -> Flow[Job]:
    """A job as it stands now."""
    response = yield Call(_METHODS["GetJob"], pb.GetJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def list_jobs(*, states: Iterable[JobState | str] = (), limit: int = 100) -> Flow[list[Job]]:
    """Jobs, newest first; `states` filters, for example ["queued", "running"]."""
    wire_states = [JobState(state).on_wire for state in states]
    response = yield Call(_METHODS["ListJobs"], pb.ListJobsRequest(states=wire_states, limit=limit))
    return [Job.from_message(job) for job in response.jobs]


def cancel(job_id: str) -> Flow[Job]:
    """Stop a job; one that has ended stays as it is."""
    response = yield Call(_METHODS["CancelJob"], pb.CancelJobRequest(job_id=job_id))
    return Job.from_message(response.job)


def architectures() -> Flow[list[Architecture]]:
    """What the workers can train."""
    response = yield Call(_METHODS["DescribeArchitectures"], pb.DescribeArchitecturesRequest())
    return [
        Architecture(
            name=a.name,
            summary=a.summary,
            task=a.task,
            source=a.source,
            hyperparameters_schema=json.loads(a.hyperparameters_schema_json or "{}"),
            datasets=tuple(a.datasets),
        )
        for a in response.architectures
    ]


def datasets() -> Flow[list[Dataset]]:
    """What the workers can train on."""
    response = yield Call(_METHODS["DescribeDatasets"], pb.DescribeDatasetsRequest())
    return [
        Dataset(
            name=d.name,
            summary=d.summary,
            task=d.task,
            input_shape=tuple(d.input_shape),
            class_labels=tuple(d.class_labels),
            split_sizes=dict(d.split_sizes),
            source=d.source,
        )
        for d in response.datasets
    ]


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
