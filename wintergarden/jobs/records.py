"""What a job is: its specification, its states, its record. Knows no Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

SCHEMA_VERSION = 1
"""Of the records. A worker leaves jobs of a newer schema to newer workers."""


class JobState(StrEnum):
    """QUEUED → RUNNING → SUCCEEDED | FAILED | CANCELLED; RUNNING → QUEUED when an attempt ends."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """What to train. `kind` names the queue and the Celery task that do it."""

    kind: ClassVar[str] = "train"

    architecture: str
    dataset: str
    model: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def to_json(self) -> str:
        """Equal specifications have equal JSON: submission compares it."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it stood at one moment.

    Times are Unix seconds of the Redis server's clock; None where it has not happened yet.
    """

    id: str
    kind: str
    state: JobState
    spec: TrainingSpec
    request_id: str
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    """Why it failed, was cancelled, or still waits."""
    fence: int = 0
    """How many times it was started; the newest attempt's licence to write."""
    failures: int = 0
    """Attempts that ended badly; the job FAILED when they reach `max_attempts`."""
    max_attempts: int = 3
    worker: str = ""
    progress: float = 0.0
    phase: str = ""
    queue_position: int = 0
    """1 is the next to run; 0 is not queued."""
    is_cancel_requested: bool = False
    model_name: str = ""
    model_version: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    offered_version: int = 0
    """The version an attempt was last allowed to publish; it may or may not exist."""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_hash(cls, job_id: str, stored: Mapping[str, str], queue_position: int = 0) -> Self:
        """The record as the scripts write it; fields of later schemas are passed over."""
        return cls(
            id=job_id,
            kind=stored["kind"],
            state=JobState(stored["state"]),
            spec=TrainingSpec.from_json(stored["spec"]),
            request_id=stored["request_id"],
            submitted_at=int(stored["submitted_at"]) / 1000,
            started_at=_seconds(stored.get("started_at")),
            ended_at=_seconds(stored.get("ended_at")),
            reason=stored.get("reason", ""),
            fence=int(stored["fence"]),
            failures=int(stored["failures"]),
            max_attempts=int(stored["max_attempts"]),
            worker=stored.get("worker", ""),
            progress=float(stored.get("progress", 0.0)),
            phase=stored.get("phase", ""),
            queue_position=queue_position,
            is_cancel_requested=stored.get("cancel_requested") == "1",
            model_name=stored.get("model_name", ""),
            model_version=int(stored.get("model_version", 0)),
            metrics=json.loads(stored.get("metrics", "{}")),
            offered_version=int(stored.get("offered_version", 0)),
            schema_version=int(stored["schema_version"]),
        )


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
