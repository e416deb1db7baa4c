"""What the server says about itself and its models: the calls that only read."""

from __future__ import annotations

from collections.abc import Sequence

import wintergarden
from services.inference.repository.repository import Repository, State
from services.inference.scheduling.statistics import to_message
from wintergarden.errors import NotFound, Unavailable, Unsupported
from wintergarden.runtime import TensorSpec
from wintergarden.service.transport import Call, Route, unary
from wintergarden.wire import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
PLATFORM = "onnxruntime_onnx"  # Triton's name for it


class Metadata:
    """Seven calls of the protocol and its extensions."""

    def __init__(
        self, repository: Repository, extensions: Sequence[str], server_name: str = "wintergarden"
    ) -> None:
        """`extensions`: those of Triton's names that hold here."""
        self._repository = repository
        self._server_name = server_name
        self._extensions = tuple(extensions)

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "ServerLive", self.server_live),
            unary(SERVICE, "ServerReady", self.server_ready),
            unary(SERVICE, "ModelReady", self.model_ready),
            unary(SERVICE, "ServerMetadata", self.server_metadata),
            unary(SERVICE, "ModelMetadata", self.model_metadata),
            unary(SERVICE, "ModelConfig", self.model_config),
            unary(SERVICE, "ModelStatistics", self.model_statistics),
            unary(SERVICE, "RepositoryIndex", self.repository_index),
        ]

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
            name=self._server_name, version=wintergarden.__version__, extensions=self._extensions
        )

    def model_metadata(
        self, request: pb.ModelMetadataRequest, call: Call
    ) -> pb.ModelMetadataResponse:
        """Of the version asked for, or the latest; with all versions that are served."""
        model = self._repository.resolve(request.name, request.version)
        versions = [m.version for m in self._repository.models() if m.name == request.name]
        signatures = [model.signature]
        if model.generator is not None:
            signatures.append(model.generator.signature)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=map(str, versions),
            platform=model.configuration.platform or PLATFORM,
            inputs=[_metadata(spec) for each in signatures for spec in each.inputs],
            outputs=[_metadata(spec) for each in signatures for spec in each.outputs],
        )

    def model_config(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        """As it is in force, with all that was filled in."""
        model = self._repository.resolve(request.name, request.version)
        return pb.ModelConfigResponse(config=model.configuration)

    def model_statistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        """Of one version, of all versions of a model, or of everything that is served."""
        models = self._repository.models()
        if request.name and request.version:
            models = [self._repository.resolve(request.name, request.version)]
        elif request.name:
            self._repository.resolve(request.name)  # or say what is wrong with the name
            models = [model for model in models if model.name == request.name]
        elif request.version:
            raise Unsupported("a version without the name of its model; give both, or neither")
        return pb.ModelStatisticsResponse(
            model_stats=[
                to_message(m.name, str(m.version), m.scheduler.statistics.read()) for m in models
            ]
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


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
