"""Data sets: those of the trainers, and your own."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from wintergarden.client.call import Call, Flow, Work
from wintergarden.client.jobs import Job
from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound
from wintergarden.wire import datasets_pb2 as pb
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.DatasetsService")
CHUNK_BYTES = 1 << 21
_STORING_S = 600.0
_FRESH_STARTS = 3

FORMATS = {".npz": "npz", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".zip": "images"}
"""Formats by the end of a file's name; texts are asked for by `format="text"`."""

OnProgress = Callable[[int, int], None]
"""Told bytes sent and bytes in all."""


class PreparationOptions(TypedDict, total=False):
    """How a file becomes a data set; every one may be left out.

    Attributes:
        task: what is expected, such as "tabular-classification"; another is refused.
        summary: one line, for people.
        source: where the data come from, for people.
        units: of the inputs' values, for people.
        label: the column with the classes; default "label".
        text: the column with the texts; default "text".
        split: the column that says train, validation or test.
        delimiter: of a CSV file; default: a tab where the first line has one, else a comma.
        drop: columns that are left out.
        categorical: columns of numbers that are names, such as postal codes.
        max_categories: of one column; default 64.
        missing: "refuse" (default) or "impute": the median of the training part, or a category.
        duplicates: "keep" (default) or "drop".
        validation: share of the examples; default 0.1.
        test: share of the examples; default 0.2.
        seed: of the parts; default 0.
        height: that pictures are resized to, with `width`.
        width: see `height`.
        color: "auto" (default), "grey" or "rgb".
    """

    task: str
    summary: str
    source: str
    units: str
    label: str
    text: str
    split: str
    delimiter: str
    drop: Iterable[str]
    categorical: Iterable[str]
    max_categories: int
    missing: str
    duplicates: str
    validation: float
    test: float
    seed: int
    height: int
    width: int
    color: str


@dataclass(frozen=True)
class StoredDataset:
    """A data set.

    `input_shape` is one example's, `split_sizes` count examples, `architectures` can be trained
    on it. An uploaded one has a `digest`, which names it for good: train on `sha256:<digest>`.
    """

    name: str
    summary: str
    task: str
    input_shape: tuple[int, ...]
    class_labels: tuple[str, ...]
    split_sizes: Mapping[str, int]
    source: str
    digest: str
    architectures: tuple[str, ...]

    @classmethod
    def from_message(cls, dataset: pb.Dataset) -> StoredDataset:
        return cls(**_fields(dataset))


@dataclass(frozen=True)
class DatasetDescription(StoredDataset):
    """A data set and what was found in it.

    `options` say how an uploaded one was prepared, defaults included; `report` counts classes,
    missing values and duplicates, describes columns or sizes, and warns.
    """

    feature_names: tuple[str, ...] = ()
    units: str = ""
    value_range: tuple[float, ...] = ()
    format: str = ""
    upload_sha256: str = ""
    upload_bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


def list_datasets() -> Flow[list[StoredDataset]]:
    """Those of the trainers, then the uploaded."""
    response = yield Call(_METHODS["ListDatasets"], pb.ListDatasetsRequest())
    return [StoredDataset.from_message(dataset) for dataset in response.datasets]


def describe(name: str) -> Flow[DatasetDescription]:
    """A data set by name or `sha256:<digest>`, with its report.

    Raises:
        NotFound: there is none; the message names those there are.
    """
    request = pb.DescribeDatasetRequest(name=name)
    response = yield Call(_METHODS["DescribeDataset"], request)
    return DatasetDescription(
        **_fields(response.dataset),
        feature_names=tuple(response.feature_names),
        units=response.units,
        value_range=tuple(response.value_range),
        format=response.format,
        upload_sha256=response.upload_sha256,
        upload_bytes=response.upload_bytes,
        options=json.loads(response.options_json or "{}"),
        report=json.loads(response.report_json or "{}"),
    )


def delete(name: str) -> Flow[str]:
    """Take a name away, and with its last name the data set; returns its digest."""
    request = pb.DeleteDatasetRequest(name=name)
    response = yield Call(_METHODS["DeleteDataset"], request, is_repeatable=False)
    digest: str = response.digest
    return digest


def upload(
    path: Path | str,
    name: str,
    *,
    format: str = "",
    on_progress: OnProgress = lambda sent, total: None,
    request_id: str | None = None,
    **options: Unpack[PreparationOptions],
) -> Flow[Job]:
    """Upload a file and have a data set made of it; the job that does so.

    What broke off is gone on with: the upload is known by the file's content. A file that was
    uploaded before is not sent again.

    Args:
        path: of an NPZ, CSV, TSV or Parquet file, or a ZIP archive.
        name: of the data set; one of that name is replaced.
        format: npz, csv, parquet, images or text; default: by the end of the file's name.
        on_progress: told how far the upload is.
        request_id: the same id submitted again returns the same job; default: a new one.
        options: see `PreparationOptions`.

    Raises:
        InvalidArgument: an option; the message names it and what is allowed.
        Overloaded: no space there at the moment; upload again later, and it goes on.
    """
    path = Path(path)
    wanted = format or FORMATS.get(path.suffix.lower(), "")
    if not wanted:
        raise InvalidArgument(
            f"{path.name} ends in none of {', '.join(FORMATS)}: say its format, one of "
            f"{', '.join(sorted({*FORMATS.values(), 'text'}))}",
            field="format",
        )
    sha256 = yield Work(lambda: _sha256(path))
    request = _request(name, sha256, wanted, options, request_id)
    try:  # first: whatever is wrong with the options is said before anything is sent
        return (yield from _prepare(request))
    except NotFound:
        request.upload_id = sha256[:32]
    yield from _send(path, request.upload_id, on_progress)
    return (yield from _prepare(request))


def prepare(
    name: str,
    sha256: str,
    format: str,
    *,
    request_id: str | None = None,
    **options: Unpack[PreparationOptions],
) -> Flow[Job]:
    """Have a data set made of a file that was uploaded before, in another way or by another name.

    Raises:
        NotFound: no file of that sha256 was uploaded.
        InvalidArgument: an option; the message names it and what is allowed.
    """
    return (yield from _prepare(_request(name, sha256, format, options, request_id)))


def _request(
    name: str,
    sha256: str,
    format_: str,
    options: PreparationOptions,
    request_id: str | None,
) -> pb.PrepareDatasetRequest:
    known = PreparationOptions.__annotations__
    for option in options:
        if option not in known:
            raise InvalidArgument(
                f"option {option}: there is no such option; there are {', '.join(known)}",
                field=f"options.{option}",
            )
    return pb.PrepareDatasetRequest(
        name=name,
        sha256=sha256,
        format=format_,
        options=pb.PreparationOptions(**options),
        request_id=request_id or uuid.uuid4().hex,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prepare(request: pb.PrepareDatasetRequest) -> Flow[Job]:
    response = yield Call(_METHODS["PrepareDataset"], request, timeout_s=_STORING_S)
    return Job.from_message(response.job)


def _send(path: Path, upload_id: str, on_progress: OnProgress) -> Flow[None]:
    """Chunk by chunk, from where the server is."""
    method, total = _METHODS["UploadDataset"], path.stat().st_size
    for left in reversed(range(_FRESH_STARTS)):
        ask = pb.UploadDatasetRequest(upload_id=upload_id)
        held = (yield Call(method, ask)).held_bytes
        try:
            with path.open("rb") as file:
                file.seek(held)
                on_progress(held, total)
                while chunk := file.read(CHUNK_BYTES):
                    # Sent twice it is the same bytes at the same place: repeating is harmless.
                    request = pb.UploadDatasetRequest(upload_id=upload_id, offset=held, chunk=chunk)
                    yield Call(method, request)
                    held += len(chunk)
                    on_progress(held, total)
            return
        except FailedPrecondition:  # the server lost what it held: it was started anew
            if not left:
                raise


def _fields(dataset: pb.Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "summary": dataset.summary,
        "task": dataset.task,
        "input_shape": tuple(dataset.input_shape),
        "class_labels": tuple(dataset.class_labels),
        "split_sizes": dict(dataset.split_sizes),
        "source": dataset.source,
        "digest": dataset.digest,
        "architectures": tuple(dataset.architectures),
    }
