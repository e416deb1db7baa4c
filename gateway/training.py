"""wintergarden.v1.TrainingService over the job records. No Redis, no torch: only translation."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from gateway.catalogue import Catalogue
from wintergarden.errors import InvalidArgument
from wintergarden.jobs import JobRecord, Jobs, JobState
from wintergarden.jobs.events import Event, LogWritten, MetricsReported, Progressed, StateChanged
from wintergarden.service.transport import Call, Route, server_stream, unary
from wintergarden.store import validate_model_name
from wintergarden.wire import training_pb2 as pb

SERVICE = "wintergarden.v1.TrainingService"
DEFAULT_LIST_LIMIT = 100
MAX_LIST_LIMIT = 1_000


class TrainingServicer:
    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._catalogue = Catalogue(jobs)

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "SubmitTraining", self.submit),
            unary(SERVICE, "GetJob", self.get),
            unary(SERVICE, "ListJobs", self.list),
            unary(SERVICE, "CancelJob", self.cancel),
            server_stream(SERVICE, "WatchJob", self.watch, is_endless=True),
            unary(SERVICE, "DescribeArchitectures", self.describe_architectures),
            unary(SERVICE, "DescribeDatasets", self.describe_datasets),
        ]

    def submit(self, request: pb.SubmitTrainingRequest, _: Call) -> pb.SubmitTrainingResponse:
        spec = self._catalogue.check(request.training)
        validate_model_name(spec.model)
        record = self._jobs.submit(spec, request.request_id)
        return pb.SubmitTrainingResponse(job=job_message(record))

    def get(self, request: pb.GetJobRequest, _: Call) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    def list(self, request: pb.ListJobsRequest, _: Call) -> pb.ListJobsResponse:
        if not 0 <= request.limit <= MAX_LIST_LIMIT:
            raise InvalidArgument(
                f"limit {request.limit} is not in 0..{MAX_LIST_LIMIT}", field="limit"
            )
        states = [_state(value) for value in request.states]
        records = self._jobs.list(states=states, limit=request.limit or DEFAULT_LIST_LIMIT)
        return pb.ListJobsResponse(jobs=[job_message(record) for record in records])

    def cancel(self, request: pb.CancelJobRequest, _: Call) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_message(self._jobs.cancel(request.job_id)))

    def watch(
        self, request: pb.WatchJobRequest, call: Call
    ) -> Generator[pb.WatchJobResponse, None, None]:
        events = self._jobs.watch(
            request.job_id, cursor=request.cursor, stop=lambda: call.is_cancelled
        )
        for event in events:
            yield pb.WatchJobResponse(event=event_message(event))

    def describe_architectures(
        self, _: pb.DescribeArchitecturesRequest, __: Call
    ) -> pb.DescribeArchitecturesResponse:
        response = pb.DescribeArchitecturesResponse()
        for entry in self._catalogue.architectures():
            response.architectures.add(
                name=entry["name"],
                summary=entry["summary"],
                task=entry["task"],
                source=entry["source"],
                hyperparameters_schema_json=json.dumps(entry["hyperparameters_schema"]),
                datasets=entry["datasets"],
            )
        return response

    def describe_datasets(
        self, _: pb.DescribeDatasetsRequest, __: Call
    ) -> pb.DescribeDatasetsResponse:
        response = pb.DescribeDatasetsResponse()
        for entry in self._catalogue.datasets():
            response.datasets.add(
                name=entry["name"],
                summary=entry["summary"],
                task=entry["task"],
                input_shape=entry["input_shape"],
                class_labels=entry["class_labels"],
                split_sizes=entry["split_sizes"],
                source=entry["source"],
            )
        return response


def job_message(record: JobRecord) -> pb.Job:
    """The record as the wire shows it."""
    job = pb.Job(
        id=record.id,
        kind=record.kind,
        state=_state_number(record.state),
        training=pb.TrainingSpec(
            model=record.spec.model,
            architecture=record.spec.architecture,
            dataset=record.spec.dataset,
            hyperparameters_json=json.dumps(dict(record.spec.hyperparameters), sort_keys=True),
            seed=record.spec.seed,
        ),
        reason=record.reason,
        attempt=record.fence,
        progress=record.progress,
        phase=record.phase,
        queue_position=record.queue_position,
        worker=record.worker,
        model_name=record.model_name,
        model_version=record.model_version,
        metrics=dict(record.metrics),
    )
    times: Mapping[str, float | None] = {
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
    }
    for field, seconds in times.items():
        if seconds is not None:
            _set_time(getattr(job, field), seconds)
    return job


def event_message(event: Event) -> pb.JobEvent:
    """The event as the wire shows it."""
    message = pb.JobEvent(
        cursor=event.cursor, fence=event.fence, sequence=event.sequence, step=event.step
    )
    _set_time(message.time, event.time)
    match event.body:
        case StateChanged(state, reason):
            message.state.state = _state_number(state)
            message.state.reason = reason
        case MetricsReported(values):
            message.metrics.values.update(values)
        case LogWritten(level, text):
            message.log.level, message.log.text = level, text
        case Progressed(phase, fraction):
            message.progress.phase, message.progress.fraction = phase, fraction
    return message


def _state(number: int) -> JobState:
    known = {_state_number(state): state for state in JobState}
    if number not in known:
        raise InvalidArgument(
            f"no job state {number}; there are "
            + ", ".join(f"{n} ({state})" for n, state in known.items()),
            field="states",
        )
    return known[number]


def _state_number(state: JobState) -> Any:
    return pb.JobState.Value(f"JOB_STATE_{state.name}")


def _set_time(timestamp: Any, seconds: float) -> None:
    timestamp.FromMilliseconds(round(seconds * 1000))
