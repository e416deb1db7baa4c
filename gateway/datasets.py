"""wintergarden.v1.DatasetsService over the store of data sets. Translation, no file formats."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from google.protobuf import json_format

from gateway.catalogue import Catalogue, Entry, uploaded_entry
from gateway.job_messages import job_message
from gateway.uploads import Uploads
from wintergarden.errors import AlreadyExists, InvalidArgument, NotFound, WintergardenError
from wintergarden.jobs import Jobs
from wintergarden.jobs.records import PrepareSpec
from wintergarden.service.transport import Call, Route, unary
from wintergarden.store.dataset_uploads import validate_digest
from wintergarden.store.datasets import DatasetStore, validate_dataset_name
from wintergarden.store.preparation import check_format, make_options
from wintergarden.wire import datasets_pb2 as pb

SERVICE = "wintergarden.v1.DatasetsService"


class DatasetsServicer:
    """Answers the calls.

    Args:
        jobs: where preparations are submitted.
        store: the uploaded data sets.
        uploads: files that are being uploaded.
        catalogue: the data sets of the trainers.
    """

    def __init__(
        self, jobs: Jobs, store: DatasetStore, uploads: Uploads, catalogue: Catalogue
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._uploads = uploads
        self._catalogue = catalogue

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "UploadDataset", self.upload),
            unary(SERVICE, "PrepareDataset", self.prepare),
            unary(SERVICE, "ListDatasets", self.list),
            unary(SERVICE, "DescribeDataset", self.describe),
            unary(SERVICE, "DeleteDataset", self.delete),
        ]

    def upload(self, request: pb.UploadDatasetRequest, _: Call) -> pb.UploadDatasetResponse:
        held = self._uploads.append(request.upload_id, request.offset, request.chunk)
        return pb.UploadDatasetResponse(held_bytes=held)

    def prepare(self, request: pb.PrepareDatasetRequest, _: Call) -> pb.PrepareDatasetResponse:
        """All is checked before the upload is asked for, so that a client can ask before it."""
        sha256 = validate_digest(request.sha256.lower())
        wishes = json_format.MessageToDict(request.options, preserving_proto_field_name=True)
        spec = PrepareSpec(
            name=self._free_name(request.name),
            upload=sha256,
            format=check_format(request.format),
            options=make_options(wishes).model_dump(mode="json"),
        )
        self._keep(request.upload_id, sha256)
        record = self._jobs.submit(spec, request.request_id)
        return pb.PrepareDatasetResponse(job=job_message(record))

    def list(self, _: pb.ListDatasetsRequest, __: Call) -> pb.ListDatasetsResponse:
        architectures = self._catalogue.architectures()
        return pb.ListDatasetsResponse(
            datasets=[_message(entry, architectures) for entry in self._catalogue.datasets()]
        )

    def describe(self, request: pb.DescribeDatasetRequest, _: Call) -> pb.DescribeDatasetResponse:
        architectures = self._catalogue.architectures()
        for entry in self._catalogue.registered_datasets():
            if entry["name"] == request.name:
                return pb.DescribeDatasetResponse(
                    dataset=_message(entry, architectures),
                    feature_names=entry.get("feature_names", ()),
                    units=entry.get("units", ""),
                    value_range=entry.get("value_range") or (),
                )
        stored = self._store.find(request.name)
        manifest = stored.manifest
        return pb.DescribeDatasetResponse(
            dataset=_message(uploaded_entry(stored), architectures),
            feature_names=manifest.feature_names,
            units=manifest.units,
            value_range=manifest.value_range or (),
            format=manifest.format,
            upload_sha256=manifest.upload.sha256,
            upload_bytes=manifest.upload.bytes,
            options_json=json.dumps(manifest.options),
            report_json=json.dumps(manifest.report),
        )

    def delete(self, request: pb.DeleteDatasetRequest, _: Call) -> pb.DeleteDatasetResponse:
        if any(entry["name"] == request.name for entry in self._catalogue.registered_datasets()):
            raise InvalidArgument(
                f"data set {request.name!r} comes with the trainers and cannot be deleted",
                field="name",
            )
        return pb.DeleteDatasetResponse(digest=self._store.delete(request.name))

    def _free_name(self, name: str) -> str:
        validate_dataset_name(name)
        if any(entry["name"] == name for entry in self._catalogue.registered_datasets()):
            raise AlreadyExists(
                f"data set {name!r} comes with the trainers; give yours another name"
            )
        return name

    def _keep(self, upload_id: str, sha256: str) -> None:
        """Bring the uploaded file to the store; where it is there already, that is well too."""
        if self._store.uploads.find(sha256) is None:
            if not upload_id:
                raise NotFound(f"no file with sha256 {sha256} was uploaded")
            try:
                path = self._uploads.finished(upload_id, sha256)
            except InvalidArgument:
                self._uploads.discard(upload_id)  # it can only be begun anew
                raise
            self._store.uploads.keep(path, sha256)
            with contextlib.suppress(WintergardenError):  # the next one tries again
                self._store.drop_unused_uploads()
        if upload_id:
            self._uploads.discard(upload_id)


def _message(entry: Entry, architectures: Sequence[Entry]) -> pb.Dataset:
    fitting = [a for a in architectures if entry["name"] in a["datasets"]]
    # Networks of sequences take tables too, but nobody begins with them there.
    fitting.sort(key=lambda a: "language-modelling" in a["tasks"] and not _is_sequence(entry))
    return pb.Dataset(
        name=entry["name"],
        summary=entry["summary"],
        task=entry["task"],
        input_shape=entry["input_shape"],
        class_labels=entry["class_labels"],
        split_sizes=entry["split_sizes"],
        source=entry["source"],
        digest=entry.get("digest", ""),
        architectures=[a["name"] for a in fitting],
    )


def _is_sequence(entry: Entry) -> bool:
    return entry["task"] not in ("tabular-classification", "regression")
