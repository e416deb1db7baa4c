import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
    JOB_STATE_PAUSED: _ClassVar[JobState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_STATE_PAUSED: JobState

class TrainingSpec(_message.Message):
    __slots__ = ("model", "architecture", "dataset", "hyperparameters_json", "seed", "device", "processes", "max_seconds", "max_memory_mb", "variants", "promote")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_FIELD_NUMBER: _ClassVar[int]
    model: str
    architecture: str
    dataset: str
    hyperparameters_json: str
    seed: int
    device: str
    processes: int
    max_seconds: float
    max_memory_mb: int
    variants: _containers.RepeatedScalarFieldContainer[str]
    promote: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., architecture: _Optional[str] = ..., dataset: _Optional[str] = ..., hyperparameters_json: _Optional[str] = ..., seed: _Optional[int] = ..., device: _Optional[str] = ..., processes: _Optional[int] = ..., max_seconds: _Optional[float] = ..., max_memory_mb: _Optional[int] = ..., variants: _Optional[_Iterable[str]] = ..., promote: _Optional[_Iterable[str]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "kind", "state", "training", "reason", "attempt", "progress", "phase", "queue_position", "worker", "submitted_at", "started_at", "ended_at", "model_name", "model_version", "metrics", "priority", "parent", "requested", "checkpoint_step", "ran_seconds", "failures", "max_attempts", "spec_json")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_STEP_FIELD_NUMBER: _ClassVar[int]
    RAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    state: JobState
    training: TrainingSpec
    reason: str
    attempt: int
    progress: float
    phase: str
    queue_position: int
    worker: str
    submitted_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    model_name: str
    model_version: int
    metrics: _containers.ScalarMap[str, float]
    priority: int
    parent: str
    requested: str
    checkpoint_step: int
    ran_seconds: float
    failures: int
    max_attempts: int
    spec_json: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., reason: _Optional[str] = ..., attempt: _Optional[int] = ..., progress: _Optional[float] = ..., phase: _Optional[str] = ..., queue_position: _Optional[int] = ..., worker: _Optional[str] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., priority: _Optional[int] = ..., parent: _Optional[str] = ..., requested: _Optional[str] = ..., checkpoint_step: _Optional[int] = ..., ran_seconds: _Optional[float] = ..., failures: _Optional[int] = ..., max_attempts: _Optional[int] = ..., spec_json: _Optional[str] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("cursor", "fence", "sequence", "step", "time", "state", "metrics", "log", "progress", "checkpoint", "picture")
    class StateChange(_message.Message):
        __slots__ = ("state", "reason")
        STATE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        state: JobState
        reason: str
        def __init__(self, state: _Optional[_Union[JobState, str]] = ..., reason: _Optional[str] = ...) -> None: ...
    class Metrics(_message.Message):
        __slots__ = ("values",)
        class ValuesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: float
            def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
        VALUES_FIELD_NUMBER: _ClassVar[int]
        values: _containers.ScalarMap[str, float]
        def __init__(self, values: _Optional[_Mapping[str, float]] = ...) -> None: ...
    class LogLine(_message.Message):
        __slots__ = ("level", "text")
        LEVEL_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        level: str
        text: str
        def __init__(self, level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
    class Progress(_message.Message):
        __slots__ = ("phase", "fraction")
        PHASE_FIELD_NUMBER: _ClassVar[int]
        FRACTION_FIELD_NUMBER: _ClassVar[int]
        phase: str
        fraction: float
        def __init__(self, phase: _Optional[str] = ..., fraction: _Optional[float] = ...) -> None: ...
    class Checkpoint(_message.Message):
        __slots__ = ("name",)
        NAME_FIELD_NUMBER: _ClassVar[int]
        name: str
        def __init__(self, name: _Optional[str] = ...) -> None: ...
    class Picture(_message.Message):
        __slots__ = ("name", "caption")
        NAME_FIELD_NUMBER: _ClassVar[int]
        CAPTION_FIELD_NUMBER: _ClassVar[int]
        name: str
        caption: str
        def __init__(self, name: _Optional[str] = ..., caption: _Optional[str] = ...) -> None: ...
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    fence: int
    sequence: int
    step: int
    time: _timestamp_pb2.Timestamp
    state: JobEvent.StateChange
    metrics: JobEvent.Metrics
    log: JobEvent.LogLine
    progress: JobEvent.Progress
    checkpoint: JobEvent.Checkpoint
    picture: JobEvent.Picture
    def __init__(self, cursor: _Optional[str] = ..., fence: _Optional[int] = ..., sequence: _Optional[int] = ..., step: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[JobEvent.StateChange, _Mapping]] = ..., metrics: _Optional[_Union[JobEvent.Metrics, _Mapping]] = ..., log: _Optional[_Union[JobEvent.LogLine, _Mapping]] = ..., progress: _Optional[_Union[JobEvent.Progress, _Mapping]] = ..., checkpoint: _Optional[_Union[JobEvent.Checkpoint, _Mapping]] = ..., picture: _Optional[_Union[JobEvent.Picture, _Mapping]] = ...) -> None: ...

class SubmitTrainingRequest(_message.Message):
    __slots__ = ("training", "request_id", "priority")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    training: TrainingSpec
    request_id: str
    priority: int
    def __init__(self, training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class SubmitTrainingResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class SearchSpec(_message.Message):
    __slots__ = ("training", "space_json", "trials", "parallel", "metric", "minimize", "pruning", "seed")
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    SPACE_JSON_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    MINIMIZE_FIELD_NUMBER: _ClassVar[int]
    PRUNING_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    training: TrainingSpec
    space_json: str
    trials: int
    parallel: int
    metric: str
    minimize: bool
    pruning: str
    seed: int
    def __init__(self, training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., space_json: _Optional[str] = ..., trials: _Optional[int] = ..., parallel: _Optional[int] = ..., metric: _Optional[str] = ..., minimize: bool = ..., pruning: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class SubmitSearchRequest(_message.Message):
    __slots__ = ("search", "request_id", "priority")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    search: SearchSpec
    request_id: str
    priority: int
    def __init__(self, search: _Optional[_Union[SearchSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class SubmitSearchResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("states", "limit", "parent")
    STATES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[JobState]
    limit: int
    parent: str
    def __init__(self, states: _Optional[_Iterable[_Union[JobState, str]]] = ..., limit: _Optional[int] = ..., parent: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class PauseJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class PauseJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ResumeJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class CloneJobRequest(_message.Message):
    __slots__ = ("job_id", "changes_json", "request_id", "priority")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGES_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    changes_json: str
    request_id: str
    priority: int
    def __init__(self, job_id: _Optional[str] = ..., changes_json: _Optional[str] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class CloneJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "cursor")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    cursor: str
    def __init__(self, job_id: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: JobEvent
    def __init__(self, event: _Optional[_Union[JobEvent, _Mapping]] = ...) -> None: ...

class DescribeArchitecturesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeArchitecturesResponse(_message.Message):
    __slots__ = ("architectures",)
    class Architecture(_message.Message):
        __slots__ = ("name", "summary", "task", "source", "hyperparameters_schema_json", "datasets")
        NAME_FIELD_NUMBER: _ClassVar[int]
        SUMMARY_FIELD_NUMBER: _ClassVar[int]
        TASK_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        HYPERPARAMETERS_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
        DATASETS_FIELD_NUMBER: _ClassVar[int]
        name: str
        summary: str
        task: str
        source: str
        hyperparameters_schema_json: str
        datasets: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., task: _Optional[str] = ..., source: _Optional[str] = ..., hyperparameters_schema_json: _Optional[str] = ..., datasets: _Optional[_Iterable[str]] = ...) -> None: ...
    ARCHITECTURES_FIELD_NUMBER: _ClassVar[int]
    architectures: _containers.RepeatedCompositeFieldContainer[DescribeArchitecturesResponse.Architecture]
    def __init__(self, architectures: _Optional[_Iterable[_Union[DescribeArchitecturesResponse.Architecture, _Mapping]]] = ...) -> None: ...

class DescribeDatasetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeDatasetsResponse(_message.Message):
    __slots__ = ("datasets",)
    class Dataset(_message.Message):
        __slots__ = ("name", "summary", "task", "input_shape", "class_labels", "split_sizes", "source")
        class SplitSizesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: int
            def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        SUMMARY_FIELD_NUMBER: _ClassVar[int]
        TASK_FIELD_NUMBER: _ClassVar[int]
        INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
        CLASS_LABELS_FIELD_NUMBER: _ClassVar[int]
        SPLIT_SIZES_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        name: str
        summary: str
        task: str
        input_shape: _containers.RepeatedScalarFieldContainer[int]
        class_labels: _containers.RepeatedScalarFieldContainer[str]
        split_sizes: _containers.ScalarMap[str, int]
        source: str
        def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., task: _Optional[str] = ..., input_shape: _Optional[_Iterable[int]] = ..., class_labels: _Optional[_Iterable[str]] = ..., split_sizes: _Optional[_Mapping[str, int]] = ..., source: _Optional[str] = ...) -> None: ...
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[DescribeDatasetsResponse.Dataset]
    def __init__(self, datasets: _Optional[_Iterable[_Union[DescribeDatasetsResponse.Dataset, _Mapping]]] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers", "queued")
    class Worker(_message.Message):
        __slots__ = ("name", "routes", "concurrency", "running", "memory_mb", "devices")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ROUTES_FIELD_NUMBER: _ClassVar[int]
        CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
        RUNNING_FIELD_NUMBER: _ClassVar[int]
        MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
        DEVICES_FIELD_NUMBER: _ClassVar[int]
        name: str
        routes: _containers.RepeatedScalarFieldContainer[str]
        concurrency: int
        running: int
        memory_mb: int
        devices: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, name: _Optional[str] = ..., routes: _Optional[_Iterable[str]] = ..., concurrency: _Optional[int] = ..., running: _Optional[int] = ..., memory_mb: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ...) -> None: ...
    class QueuedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[ListWorkersResponse.Worker]
    queued: _containers.ScalarMap[str, int]
    def __init__(self, workers: _Optional[_Iterable[_Union[ListWorkersResponse.Worker, _Mapping]]] = ..., queued: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ListJobFilesRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ListJobFilesResponse(_message.Message):
    __slots__ = ("files", "summary_json")
    class File(_message.Message):
        __slots__ = ("name", "size", "sha256")
        NAME_FIELD_NUMBER: _ClassVar[int]
        SIZE_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        name: str
        size: int
        sha256: str
        def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...
    FILES_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[ListJobFilesResponse.File]
    summary_json: str
    def __init__(self, files: _Optional[_Iterable[_Union[ListJobFilesResponse.File, _Mapping]]] = ..., summary_json: _Optional[str] = ...) -> None: ...

class ReadJobFileRequest(_message.Message):
    __slots__ = ("job_id", "name", "offset")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    name: str
    offset: int
    def __init__(self, job_id: _Optional[str] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class ReadJobFileResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...
