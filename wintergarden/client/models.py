"""The model store, through the gateway."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wintergarden.client.call import Call, Flow
from wintergarden.wire import models_pb2 as pb
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.ModelsService")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ModelSummary:
    """A model and its versions.

    `task` and `architecture` are the latest version's; `problem` says why it cannot be read.
    """

    name: str
    versions: tuple[int, ...]
    task: str
    architecture: str
    problem: str = ""


@dataclass(frozen=True)
class ModelLabels:
    """Names for versions of a model, and who answers requests that name none.

    `labels` are versions by label; `split` holds shares by label, which sum to 1, and where it is
    empty the latest version answers; `shadow` is a version that gets a copy of those requests, 0
    for none; `revision` counts the changes.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    split: Mapping[str, float] = field(default_factory=dict)
    shadow: int = 0
    revision: int = 0

    @classmethod
    def from_message(cls, labels: pb.ModelLabels) -> ModelLabels:
        return cls(dict(labels.labels), dict(labels.split), labels.shadow, labels.revision)


@dataclass(frozen=True)
class ModelVersion:
    """One immutable version.

    `digest` is the sha256 of the model.onnx that is served; `is_verified` says that it came with
    golden outputs, which are replayed before it is served; `manifest` says what goes in and
    comes out, in which units, and where the model comes from; `labels` are the model's, where
    they were asked for.
    """

    name: str
    version: int
    digest: str
    manifest: Mapping[str, Any]
    created_at: datetime
    is_verified: bool
    labels: ModelLabels = ModelLabels()

    @classmethod
    def from_message(
        cls, model: pb.ModelVersion, labels: ModelLabels | None = None
    ) -> ModelVersion:
        return cls(
            name=model.name,
            version=model.version,
            digest=model.digest,
            manifest=json.loads(model.manifest_json or "{}"),
            created_at=model.created_at.ToDatetime(tzinfo=UTC),
            is_verified=model.is_verified,
            labels=labels or ModelLabels(),
        )


def list_models() -> Flow[list[ModelSummary]]:
    """Every model of the store."""
    response = yield Call(_METHODS["ListModels"], pb.ListModelsRequest())
    return [
        ModelSummary(m.name, tuple(m.versions), m.task, m.architecture, m.problem)
        for m in response.models
    ]


def describe(name: str, *, version: int = 0) -> Flow[ModelVersion]:
    """A version with its manifest; version 0 is the latest."""
    request = pb.DescribeModelRequest(name=name, version=version)
    response = yield Call(_METHODS["DescribeModel"], request)
    labels = ModelLabels.from_message(response.labels)
    return ModelVersion.from_message(response.model, labels)


def import_onnx(
    name: str,
    path: Path | str,
    *,
    class_labels: Sequence[str] = (),
    value_range: tuple[float, float] | None = None,
) -> Flow[ModelVersion]:
    """Make an ONNX file from anywhere a version of model `name`.

    Args:
        name: of the model; a new version if it exists.
        path: one self-contained .onnx file.
        class_labels: names of the output classes, in order.
        value_range: lowest and highest valid value of the input, for attacks and pictures.

    Raises:
        InvalidArgument: not a model we may serve; the message says why.
    """
    upload_id = uuid.uuid4().hex
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        offset = 0
        while chunk := file.read(CHUNK_BYTES):
            # A chunk sent twice is the same bytes at the same place: repeating is harmless.
            yield Call(
                _METHODS["UploadModel"],
                pb.UploadModelRequest(upload_id=upload_id, offset=offset, chunk=chunk),
            )
            digest.update(chunk)
            offset += len(chunk)
    response = yield Call(
        _METHODS["ImportModel"],
        pb.ImportModelRequest(
            name=name,
            upload_id=upload_id,
            sha256=digest.hexdigest(),
            class_labels=class_labels,
            value_range=value_range or (),
        ),
        timeout_s=300.0,
        is_repeatable=False,  # a second try would publish a second version
    )
    return ModelVersion.from_message(response.model)


def delete(name: str, *, version: int = 0) -> Flow[list[int]]:
    """Delete a version, or with version 0 every one; returns the deleted."""
    request = pb.DeleteModelRequest(name=name, version=version)
    response = yield Call(_METHODS["DeleteModel"], request, is_repeatable=False)
    return list(response.deleted_versions)


def label(name: str, labels: ModelLabels) -> Flow[ModelLabels]:
    """Replace the labels of a model.

    Args:
        name: of the model.
        labels: with the revision that `describe` told; returned is what is set now.

    Raises:
        FailedPrecondition: somebody else has changed them since.
        InvalidArgument: shares that do not sum to 1, or a name that is no label.
        NotFound: no such model or version.
    """
    message = pb.ModelLabels(
        labels=labels.labels, split=labels.split, shadow=labels.shadow, revision=labels.revision
    )
    request = pb.LabelModelRequest(name=name, labels=message)
    response = yield Call(_METHODS["LabelModel"], request, is_repeatable=False)
    return ModelLabels.from_message(response.labels)
