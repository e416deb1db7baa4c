"""What a job is: its specification, its states, its record. Knows no Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, Self, cast

SCHEMA_VERSION = 2
"""Of the records; `scripts/record.lua` says the same. Older code leaves newer jobs alone."""


class JobState(StrEnum):
    """QUEUED → RUNNING → SUCCEEDED | FAILED | CANCELLED.

    RUNNING → QUEUED when an attempt ends without a result; QUEUED, RUNNING → PAUSED → QUEUED
    when somebody asks for it.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class Spec:
    """What a job is to do. Its fields are JSON values.

    Attributes:
        kind: names what carries it out.
    """

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def route(self) -> str:
        """The queue: of workers that can do it."""
        return self.kind

    @property
    def memory_mb(self) -> int:
        """Mebibytes that a worker must have for it; 0: any will do."""
        return 0

    def to_json(self) -> str:
        """Equal specifications have equal JSON: submission compares it."""
        return json.dumps(asdict(cast("Any", self)), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The specification; fields of later versions are passed over."""
        known = {field.name for field in fields(cast("Any", cls))}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


@dataclass(frozen=True, slots=True)
class TrainingSpec(Spec):
    """What to train.

    Attributes:
        architecture: that the trainers know.
        dataset: that they know, one that was uploaded, or `sha256:<digest>` of one.
        model: the name to publish under.
        hyperparameters: by name, as the architecture's schema allows.
        seed: of everything random.
        device: auto, cpu or cuda; cuda waits for a worker that has it.
        processes: ranks that share each batch (DistributedDataParallel).
        max_seconds: of running, over all attempts; 0 is no limit.
        max_memory_mb: mebibytes that the training may use; 0 is no limit.
        variants: of the served graph, beside the one in float32: fp16, int8.
        promote: conditions such as `test_accuracy>=0.97`; the published version becomes
            `stable` when all of them hold. None given: no label is touched.
        is_trial: of a search, its parent, which alone sees what it publishes.
    """

    kind: ClassVar[str] = "train"

    architecture: str
    dataset: str
    model: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    processes: int = 1
    max_seconds: float = 0.0
    max_memory_mb: int = 0
    variants: Sequence[str] = ()
    promote: Sequence[str] = ()
    is_trial: bool = False

    def __post_init__(self) -> None:
        for name in ("variants", "promote"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def route(self) -> str:
        return "train.cuda" if self.device == "cuda" else "train"

    @property
    def memory_mb(self) -> int:
        return self.max_memory_mb


@dataclass(frozen=True, slots=True)
class SearchSpec(Spec):
    """Which hyperparameters to search; each trial is a training job, a child of this one.

    Attributes:
        training: the fields of `TrainingSpec` that all trials have in common.
        space: by hyperparameter what it may be; see `trainer.search.space`.
        trials: how many, at most.
        parallel: how many at once, at most.
        metric: that a training reports after each epoch; never of the held-out examples.
        is_maximised: whether more of it is better.
        pruning: what gives trials up early: median, hyperband or none.
        seed: of the search's choices.
        promote: as `TrainingSpec.promote`, for the best trial's model.
    """

    kind: ClassVar[str] = "search"

    training: Mapping[str, Any]
    space: Mapping[str, Any]
    trials: int = 20
    parallel: int = 2
    metric: str = "validation_accuracy"
    is_maximised: bool = True
    pruning: str = "median"
    seed: int = 0
    promote: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "promote", tuple(self.promote))  # JSON has lists

    @property
    def model(self) -> str:
        return str(self.training["model"])


@dataclass(frozen=True, slots=True)
class PrepareSpec(Spec):
    """What to make a data set of.

    Attributes:
        name: that the data set gets.
        upload: sha256 of the uploaded file, which is in the store.
        format: of the file.
        options: of the preparation, all of them (`wintergarden.store.preparation`).
    """

    kind: ClassVar[str] = "prepare"

    name: str
    upload: str
    format: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplainSpec(Spec):
    """What to explain or attack, and which model: the very version, by its digest.

    Attributes:
        operation: explain, attack or robustness.
        method: that the workers know.
        model: name of the explained model.
        version: of it.
        digest: sha256 of the version's graph.
        request: sha256 of the request, which is the job's file `request.pb`.
        rows: how many the request holds; 0: the examples say.
        examples: first and number of the version's held-out examples, where they are explained.
        parameters: of the request, for people: without its arrays.
        max_seconds: of running, over all attempts; 0 is no limit.
        max_memory_mb: mebibytes that the job may use; 0 is no limit.
    """

    kind: ClassVar[str] = "explain"

    operation: str
    method: str
    model: str
    version: int
    digest: str
    request: str
    rows: int = 0
    examples: Sequence[int] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: float = 0.0
    max_memory_mb: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple(self.examples))  # JSON has lists

    @property
    def memory_mb(self) -> int:
        return self.max_memory_mb


@dataclass(frozen=True, slots=True)
class UnknownSpec(Spec):
    """Of a kind that newer code knows: listed like any other, and run by newer workers."""

    kind: ClassVar[str] = "unknown"

    content: str

    def to_json(self) -> str:
        return self.content


SPECS: dict[str, type[Spec]] = {
    spec.kind: spec for spec in (TrainingSpec, SearchSpec, PrepareSpec, ExplainSpec)
}
"""Every kind of job."""


def read_spec(kind: str, text: str) -> Spec:
    known = SPECS.get(kind)
    return known.from_json(text) if known else UnknownSpec(text)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it stood at one moment.

    Times are Unix seconds of the Redis server's clock; None where it has not happened yet.
    """

    id: str
    kind: str
    state: JobState
    spec: Spec
    request_id: str
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    """Why it failed, was cancelled, or still waits."""
    fence: int = 0
    """How many times it was started; the newest attempt's licence to write."""
    failures: int = 0
    """Attempts that ended badly since one got further than all before; the job FAILED when they
    reach `max_attempts`."""
    max_attempts: int = 3
    worker: str = ""
    progress: float = 0.0
    phase: str = ""
    queue_position: int = 0
    """1 is the next to run; 0 is not queued."""
    route: str = "train"
    """The queue it waits in."""
    memory_mb: int = 0
    priority: int = 0
    """Jobs of a higher one run first; of the same, in the order of their submission."""
    parent: str = ""
    """The job that submitted it; cancelling that one cancels it."""
    requested: str = ""
    """What a running job was asked to do and has not done yet: cancel, pause."""
    ran_seconds: float = 0.0
    """Of all attempts that have ended."""
    checkpoint: str = ""
    """Where the next attempt goes on, below the store's `jobs/<id>/`; empty: at the beginning."""
    checkpoint_step: int = 0
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
            spec=read_spec(stored["kind"], stored["spec"]),
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
            route=stored.get("route", stored["kind"]),
            memory_mb=int(stored.get("memory_mb", 0)),
            priority=int(stored.get("priority", 0)),
            parent=stored.get("parent", ""),
            requested=stored.get("requested", ""),
            ran_seconds=int(stored.get("ran_ms", 0)) / 1000,
            checkpoint=stored.get("checkpoint", ""),
            checkpoint_step=int(stored.get("checkpoint_step", 0)),
            model_name=stored.get("model_name", ""),
            model_version=int(stored.get("model_version", 0)),
            metrics=json.loads(stored.get("metrics", "{}")),
            offered_version=int(stored.get("offered_version", 0)),
            schema_version=int(stored["schema_version"]),
        )


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
