"""Translates the Open Inference Protocol to the repository and its engines, and back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from time import perf_counter_ns

import structlog

import wintergarden
from services.inference import codec
from services.inference.repository import Model, Repository, State
from services.inference.scheduling import Array, SequenceControl
from services.inference.statistics import Failure
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    NotFound,
    Unavailable,
    Unsupported,
    WintergardenError,
)
from wintergarden.runtime import TensorSpec
from wintergarden.service.transport import Call, Route, parse, unary
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

SERVICE = "inference.GRPCInferenceService"
INFER = methods(SERVICE)["ModelInfer"]
PLATFORM = "onnxruntime_onnx"  # Triton's name for it
# Of Triton's names, those that hold here.
EXTENSIONS = ("binary_tensor_data", "model_repository")

_log = structlog.get_logger(__name__)


class Inference:
    """One ModelInfer call on its way through an engine; a `batching.Request`."""

    __slots__ = (
        "_asked", "_call", "_id",
        "arrived_ns", "feeds", "form", "model", "priority", "rows", "sequence", "timeout_us",
    )  # fmt: skip

    def __init__(
        self, call: Call, request: pb.ModelInferRequest, model: Model, arrived_ns: int
    ) -> None:
        """Reads the request as one for `model`.

        Raises:
            InvalidArgument: it does not fit the model.
            Unsupported: it asks for an extension that is not served.
        """
        signature = model.signature
        self.model = model
        self.arrived_ns = arrived_ns
        self._asked = asked = codec.read(request, signature)
        self.priority = asked.priority
        self.timeout_us = asked.timeout_us
        self.sequence: SequenceControl | None = asked.sequence
        self.feeds: Sequence[Array | None] = asked.feeds
        self.rows: int = signature.rows(asked.feeds)
        self.form: Hashable = signature.form(asked.feeds)
        self._id = request.id
        self._call = call

    @property
    def is_abandoned(self) -> bool:
        return self._call.is_cancelled

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self._call.respond(self.model.responses.write(self._id, self._asked, outputs))

    def refuse(self, error: Exception) -> None:
        if isinstance(error, Cancelled) and not self._call.is_gone:
            error = DeadlineExceeded("the deadline passed while the request waited for its turn")
        self._call.fail(error)


class Servicer:
    """The six calls of the protocol and RepositoryIndex."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def routes(self) -> list[Route]:
        return [
            Route(INFER.path, self.infer_one, is_inline=True, batch_handler=self.infer),
            unary(SERVICE, "ServerLive", self.server_live),
            unary(SERVICE, "ServerReady", self.server_ready),
            unary(SERVICE, "ModelReady", self.model_ready),
            unary(SERVICE, "ServerMetadata", self.server_metadata),
            unary(SERVICE, "ModelMetadata", self.model_metadata),
            unary(SERVICE, "RepositoryIndex", self.repository_index),
        ]

    def infer(self, calls: Sequence[Call]) -> None:
        """ModelInfer, for all calls that arrived together. What is wrong with one fails one."""
        arrived_ns = perf_counter_ns()
        together: dict[Model, list[Inference]] = {}
        for call in calls:
            try:
                inference = self._read(call, arrived_ns)
            except Exception as error:
                _log.debug("not inferred", failure=Failure.OTHER, error=repr(error))
                call.fail(error)
            else:
                together.setdefault(inference.model, []).append(inference)
        for model, inferences in together.items():
            model.scheduler.submit(inferences)

    def infer_one(self, call: Call) -> None:
        self.infer([call])

    def server_live(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        """Ready once every published version has been tried, and then whatever is loading."""
        return pb.ServerReadyResponse(ready=self._repository.is_complete)

    def model_ready(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """An unknown model is not ready, and no error, as in Triton."""
        try:
            self._repository.resolve(request.name, request.version)
        except (NotFound, Unavailable):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def server_metadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="wintergarden", version=wintergarden.__version__, extensions=EXTENSIONS
        )

    def model_metadata(
        self, request: pb.ModelMetadataRequest, call: Call
    ) -> pb.ModelMetadataResponse:
        """Of the version asked for, or the latest; with all versions that are served."""
        signature = self._repository.resolve(request.name, request.version).signature
        versions = [m.version for m in self._repository.models() if m.name == request.name]
        return pb.ModelMetadataResponse(
            name=signature.model,
            versions=map(str, versions),
            platform=PLATFORM,
            inputs=map(_metadata, signature.inputs),
            outputs=map(_metadata, signature.outputs),
        )

    def repository_index(
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        if request.repository_name:
            raise Unsupported(
                f"repository_name {request.repository_name!r:.200}: there is one repository, "
                "without a name; leave the field empty"
            )
        index = pb.RepositoryIndexResponse()
        for entry in self._repository.entries():
            if entry.state is State.READY or not request.ready:
                index.models.add(
                    name=entry.name,
                    version=str(entry.version),
                    state=entry.state,
                    reason=entry.reason,
                )
        return index

    def _read(self, call: Call, arrived_ns: int) -> Inference:
        request = parse(INFER, call)
        model = self._repository.resolve(request.model_name, request.model_version)
        try:
            return Inference(call, request, model, arrived_ns)
        except WintergardenError:
            model.scheduler.statistics.failed(Failure.OTHER)
            raise


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
