"""wintergarden.v1.ModelsService over the model store."""

from __future__ import annotations

from gateway.uploads import Uploads
from wintergarden.errors import DataLoss, InvalidArgument, NotFound, Unsupported
from wintergarden.service.transport import Call, Route, unary
from wintergarden.store import Manifest, ModelStore, validate_model_name
from wintergarden.store.labels import Labels, make_labels
from wintergarden.wire import models_pb2 as pb

SERVICE = "wintergarden.v1.ModelsService"


class ModelsServicer:
    def __init__(self, store: ModelStore, uploads: Uploads) -> None:
        self._store = store
        self._uploads = uploads

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "ListModels", self.list),
            unary(SERVICE, "DescribeModel", self.describe),
            unary(SERVICE, "UploadModel", self.upload),
            unary(SERVICE, "ImportModel", self.import_),
            unary(SERVICE, "DeleteModel", self.delete),
            unary(SERVICE, "LabelModel", self.label),
        ]

    def list(self, _: pb.ListModelsRequest, __: Call) -> pb.ListModelsResponse:
        response = pb.ListModelsResponse()
        for name, versions in sorted(self._store.published().items()):
            summary = pb.ModelSummary(name=name, versions=versions)
            try:
                manifest = self._store.read_manifest(name, versions[-1])
            except NotFound:  # deleted while we look
                continue
            except (DataLoss, Unsupported) as error:
                summary.problem = error.message
            else:
                summary.task, summary.architecture = manifest.task, manifest.architecture
            response.models.append(summary)
        return response

    def describe(self, request: pb.DescribeModelRequest, _: Call) -> pb.DescribeModelResponse:
        version = request.version or self._store.latest_version(request.name)
        manifest = self._store.read_manifest(request.name, version)
        return pb.DescribeModelResponse(
            model=version_message(manifest),
            labels=labels_message(self._store.labels(request.name)),
        )

    def upload(self, request: pb.UploadModelRequest, _: Call) -> pb.UploadModelResponse:
        held = self._uploads.append(request.upload_id, request.offset, request.chunk)
        return pb.UploadModelResponse(held_bytes=held)

    def import_(self, request: pb.ImportModelRequest, _: Call) -> pb.ImportModelResponse:
        validate_model_name(request.name)
        if len(request.value_range) not in (0, 2):
            raise InvalidArgument(
                f"value_range has {len(request.value_range)} numbers; give low and high, or none",
                field="value_range",
            )
        low_high = tuple(request.value_range)
        manifest = self._store.import_onnx(
            request.name,
            self._uploads.read(request.upload_id, request.sha256),
            class_labels=list(request.class_labels),
            value_range=(low_high[0], low_high[1]) if low_high else None,
        )
        self._uploads.discard(request.upload_id)
        return pb.ImportModelResponse(model=version_message(manifest))

    def delete(self, request: pb.DeleteModelRequest, _: Call) -> pb.DeleteModelResponse:
        deleted = self._store.delete(request.name, request.version or None)
        return pb.DeleteModelResponse(deleted_versions=deleted)

    def label(self, request: pb.LabelModelRequest, _: Call) -> pb.LabelModelResponse:
        wanted = request.labels
        labels = make_labels(
            labels=dict(wanted.labels),
            split=dict(wanted.split),
            shadow=wanted.shadow or None,
            revision=wanted.revision,
        )
        return pb.LabelModelResponse(
            labels=labels_message(self._store.set_labels(request.name, labels))
        )


def labels_message(labels: Labels) -> pb.ModelLabels:
    """The labels as the wire shows them."""
    return pb.ModelLabels(
        labels=labels.labels,
        split=labels.split,
        shadow=labels.shadow or 0,
        revision=labels.revision,
    )


def version_message(manifest: Manifest) -> pb.ModelVersion:
    """The manifest as the wire shows it."""
    message = pb.ModelVersion(
        name=manifest.model,
        version=manifest.version,
        digest=manifest.digest,
        manifest_json=manifest.to_json().decode(),
        is_verified=manifest.is_verified,
    )
    message.created_at.FromDatetime(manifest.created_at)
    return message
