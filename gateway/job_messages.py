"""Job records and events as the wire shows them, and the other way round. Only translation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from wintergarden.errors import InvalidArgument
from wintergarden.jobs import JobRecord, JobState, TrainingSpec
from wintergarden.jobs.events import (
    CheckpointKept,
    Event,
    LogWritten,
    MetricsReported,
    PictureShown,
    Progressed,
    StateChanged,
)
from wintergarden.wire import training_pb2 as pb

_SHOWN = {field.name for field in pb.TrainingSpec.DESCRIPTOR.fields} | {"hyperparameters"}


def job_message(record: JobRecord) -> pb.Job:
    """The record as the wire shows it."""
    job = pb.Job(
        id=record.id,
        kind=record.kind,
        state=_state_number(record.state),
        spec_json=record.spec.to_json(),
        reason=record.reason,
        attempt=record.fence,
        progress=record.progress,
        phase=record.phase,
        queue_position=record.queue_position,
        worker=record.worker,
        model_name=record.model_name,
        model_version=record.model_version,
        metrics=dict(record.metrics),
        priority=record.priority,
        parent=record.parent,
        requested=record.requested,
        checkpoint_step=record.checkpoint_step,
        ran_seconds=record.ran_seconds,
        failures=record.failures,
        max_attempts=record.max_attempts,
    )
    if isinstance(record.spec, TrainingSpec):
        job.training.CopyFrom(training_message(training_fields(record.spec)))
    times: Mapping[str, float | None] = {
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
    }
    for field, seconds in times.items():
        if seconds is not None:
            _set_time(getattr(job, field), seconds)
    return job


def training_fields(spec: TrainingSpec) -> dict[str, Any]:
    """What the wire shows of a training's specification, as JSON values."""
    fields = json.loads(spec.to_json())
    return {name: value for name, value in fields.items() if name in _SHOWN}


def training_message(fields: Mapping[str, Any]) -> pb.TrainingSpec:
    """A training's specification, from the fields of its JSON.

    Raises:
        InvalidArgument: a field that there is not, or a value of another type.
    """
    plain = {name: value for name, value in fields.items() if name != "hyperparameters"}
    try:
        message: pb.TrainingSpec = json_format.ParseDict(plain, pb.TrainingSpec())
    except json_format.ParseError as error:
        raise InvalidArgument(f"specification: {error}", field="training") from error
    message.hyperparameters_json = json.dumps(fields.get("hyperparameters", {}), sort_keys=True)
    return message


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
        case CheckpointKept(name):
            message.checkpoint.name = name
        case PictureShown(name, caption):
            message.picture.name, message.picture.caption = name, caption
    return message


def job_state(number: int) -> JobState:
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
