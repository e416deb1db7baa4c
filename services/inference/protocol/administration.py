"""The calls that change the server: loading and unloading, shared memory, traces, the log.

Each of them is off unless a setting allows it; what is off says which setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.inference.protocol.metadata import SERVICE
from services.inference.protocol.shared_memory import CUDA, OFF, Regions
from services.inference.repository.control import ModelControl
from wintergarden.errors import InvalidArgument, NotFound, Unsupported
from wintergarden.service.transport import Call, Route, unary
from wintergarden.wire import open_inference_pb2 as pb

_CONFIG = "config"
_FILE = "file:"
_DEPENDENTS = "unload_dependents"


class Settings(Protocol):
    """Settings that can be read and changed while serving, in the protocol's own messages."""

    def update(self, settings: Mapping[str, Any]) -> Mapping[str, Any]: ...


class TraceSettings(Protocol):
    def update(self, model: str, settings: Mapping[str, Any]) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Administration:
    """Ten calls of Triton's extensions.

    Attributes:
        control: of the models.
        regions: of shared memory; None where it is off.
        traces: of the server and of each model.
        log: of the process.
    """

    control: ModelControl
    regions: Regions | None
    traces: TraceSettings
    log: Settings

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "RepositoryModelLoad", self.load),
            unary(SERVICE, "RepositoryModelUnload", self.unload),
            unary(SERVICE, "SystemSharedMemoryStatus", self.shared_memory_status),
            unary(SERVICE, "SystemSharedMemoryRegister", self.register_shared_memory),
            unary(SERVICE, "SystemSharedMemoryUnregister", self.unregister_shared_memory),
            unary(SERVICE, "CudaSharedMemoryStatus", self.cuda_shared_memory_status),
            unary(SERVICE, "CudaSharedMemoryRegister", self.register_cuda_shared_memory),
            unary(SERVICE, "CudaSharedMemoryUnregister", self.unregister_cuda_shared_memory),
            unary(SERVICE, "TraceSetting", self.trace_setting),
            unary(SERVICE, "LogSettings", self.log_settings),
        ]

    def load(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load or reload; answers when the model is ready, or says why it is not."""
        _check_repository(request.repository_name)
        config: str | None = None
        files: dict[str, bytes] = {}
        for name, parameter in request.parameters.items():
            kind = parameter.WhichOneof("parameter_choice")
            if name == _CONFIG and kind == "string_param":
                config = parameter.string_param
            elif name.startswith(_FILE) and kind == "bytes_param":
                files[name.removeprefix(_FILE)] = parameter.bytes_param
            else:
                raise InvalidArgument(
                    f"parameter {name!r:.200} with {kind or 'no value'}; allowed are {_CONFIG!r} "
                    f"(string_param, JSON) and '{_FILE}<version>/<name>' (bytes_param)",
                    field=f"parameters.{name:.200}",
                )
        self.control.load(request.model_name, config, files)
        return pb.RepositoryModelLoadResponse()

    def unload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Take no more requests for a model; those under way are finished."""
        _check_repository(request.repository_name)
        unload_dependents = False
        for name, parameter in request.parameters.items():
            if name != _DEPENDENTS or parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidArgument(
                    f"parameter {name!r:.200}; allowed is {_DEPENDENTS!r} (bool_param)",
                    field=f"parameters.{name:.200}",
                )
            unload_dependents = parameter.bool_param
        self.control.unload(request.model_name, unload_dependents=unload_dependents)
        return pb.RepositoryModelUnloadResponse()

    def shared_memory_status(
        self, request: pb.SystemSharedMemoryStatusRequest, call: Call
    ) -> pb.SystemSharedMemoryStatusResponse:
        status = pb.SystemSharedMemoryStatusResponse()
        for region in self._regions.status(request.name):
            status.regions[region.name].MergeFrom(
                pb.SystemSharedMemoryStatusResponse.RegionStatus(
                    name=region.name,
                    key=region.key,
                    offset=region.offset,
                    byte_size=region.byte_size,
                )
            )
        return status

    def register_shared_memory(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: Call
    ) -> pb.SystemSharedMemoryRegisterResponse:
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def unregister_shared_memory(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """One region, or without a name all of them."""
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def cuda_shared_memory_status(
        self, request: pb.CudaSharedMemoryStatusRequest, call: Call
    ) -> pb.CudaSharedMemoryStatusResponse:
        """There is none; clients that tidy up before they begin ask all the same."""
        if request.name:
            raise NotFound(f"no CUDA shared memory region {request.name!r:.200}; there are none")
        return pb.CudaSharedMemoryStatusResponse()

    def register_cuda_shared_memory(
        self, request: pb.CudaSharedMemoryRegisterRequest, call: Call
    ) -> pb.CudaSharedMemoryRegisterResponse:
        raise Unsupported(CUDA)

    def unregister_cuda_shared_memory(
        self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """An unknown region is no error, as in Triton."""
        return pb.CudaSharedMemoryUnregisterResponse()

    def trace_setting(self, request: pb.TraceSettingRequest, call: Call) -> pb.TraceSettingResponse:
        """Change what is named and answer with all; a setting without values is cleared."""
        wanted = {name: list(value.value) for name, value in request.settings.items()}
        settings = self.traces.update(request.model_name, wanted)
        response = pb.TraceSettingResponse()
        for name, values in settings.items():
            response.settings[name].value.extend(values)
        return response

    def log_settings(self, request: pb.LogSettingsRequest, call: Call) -> pb.LogSettingsResponse:
        """Change what is named and answer with all."""
        wanted = {}
        for name, value in request.settings.items():
            kind = value.WhichOneof("parameter_choice")
            wanted[name] = getattr(value, kind) if kind else None
        response = pb.LogSettingsResponse()
        for name, setting in self.log.update(wanted).items():
            if isinstance(setting, bool):
                response.settings[name].bool_param = setting
            elif isinstance(setting, int):
                response.settings[name].uint32_param = setting
            else:
                response.settings[name].string_param = setting
        return response

    @property
    def _regions(self) -> Regions:
        if self.regions is None:
            raise Unsupported(OFF)
        return self.regions


def _check_repository(name: str) -> None:
    if name:
        raise Unsupported(
            f"repository_name {name!r:.200}: there is one repository, without a name; leave the "
            "field empty"
        )
