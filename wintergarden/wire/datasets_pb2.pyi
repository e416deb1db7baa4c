from wintergarden.wire import training_pb2 as _training_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadDatasetRequest(_message.Message):
    __slots__ = ("upload_id", "offset", "chunk")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    offset: int
    chunk: bytes
    def __init__(self, upload_id: _Optional[str] = ..., offset: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadDatasetResponse(_message.Message):
    __slots__ = ("held_bytes",)
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    held_bytes: int
    def __init__(self, held_bytes: _Optional[int] = ...) -> None: ...

class PreparationOptions(_message.Message):
    __slots__ = ("task", "summary", "source", "units", "label", "text", "split", "delimiter", "drop", "categorical", "max_categories", "missing", "duplicates", "validation", "test", "seed", "height", "width", "color")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    DELIMITER_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    CATEGORICAL_FIELD_NUMBER: _ClassVar[int]
    MAX_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    task: str
    summary: str
    source: str
    units: str
    label: str
    text: str
    split: str
    delimiter: str
    drop: _containers.RepeatedScalarFieldContainer[str]
    categorical: _containers.RepeatedScalarFieldContainer[str]
    max_categories: int
    missing: str
    duplicates: str
    validation: float
    test: float
    seed: int
    height: int
    width: int
    color: str
    def __init__(self, task: _Optional[str] = ..., summary: _Optional[str] = ..., source: _Optional[str] = ..., units: _Optional[str] = ..., label: _Optional[str] = ..., text: _Optional[str] = ..., split: _Optional[str] = ..., delimiter: _Optional[str] = ..., drop: _Optional[_Iterable[str]] = ..., categorical: _Optional[_Iterable[str]] = ..., max_categories: _Optional[int] = ..., missing: _Optional[str] = ..., duplicates: _Optional[str] = ..., validation: _Optional[float] = ..., test: _Optional[float] = ..., seed: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., color: _Optional[str] = ...) -> None: ...

class PrepareDatasetRequest(_message.Message):
    __slots__ = ("name", "upload_id", "sha256", "format", "options", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    upload_id: str
    sha256: str
    format: str
    options: PreparationOptions
    request_id: str
    def __init__(self, name: _Optional[str] = ..., upload_id: _Optional[str] = ..., sha256: _Optional[str] = ..., format: _Optional[str] = ..., options: _Optional[_Union[PreparationOptions, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class PrepareDatasetResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _training_pb2.Job
    def __init__(self, job: _Optional[_Union[_training_pb2.Job, _Mapping]] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("name", "summary", "task", "input_shape", "class_labels", "split_sizes", "source", "digest", "architectures")
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
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURES_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    task: str
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    class_labels: _containers.RepeatedScalarFieldContainer[str]
    split_sizes: _containers.ScalarMap[str, int]
    source: str
    digest: str
    architectures: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., task: _Optional[str] = ..., input_shape: _Optional[_Iterable[int]] = ..., class_labels: _Optional[_Iterable[str]] = ..., split_sizes: _Optional[_Mapping[str, int]] = ..., source: _Optional[str] = ..., digest: _Optional[str] = ..., architectures: _Optional[_Iterable[str]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets",)
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ...) -> None: ...

class DescribeDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DescribeDatasetResponse(_message.Message):
    __slots__ = ("dataset", "feature_names", "units", "value_range", "format", "upload_sha256", "upload_bytes", "options_json", "report_json")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    VALUE_RANGE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_SHA256_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    REPORT_JSON_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    feature_names: _containers.RepeatedScalarFieldContainer[str]
    units: str
    value_range: _containers.RepeatedScalarFieldContainer[float]
    format: str
    upload_sha256: str
    upload_bytes: int
    options_json: str
    report_json: str
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ..., feature_names: _Optional[_Iterable[str]] = ..., units: _Optional[str] = ..., value_range: _Optional[_Iterable[float]] = ..., format: _Optional[str] = ..., upload_sha256: _Optional[str] = ..., upload_bytes: _Optional[int] = ..., options_json: _Optional[str] = ..., report_json: _Optional[str] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...
