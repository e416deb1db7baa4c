"""The private descriptor pool, its message classes and its gRPC methods."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal import enum_type_wrapper
from google.protobuf.message import Message


@cache
def pool() -> DescriptorPool:
    """The pool with every file of `proto/` and what they import."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(
        files("wintergarden.wire").joinpath("descriptors.binpb").read_bytes()
    )
    private = DescriptorPool()
    for file in descriptors.file:
        private.AddSerializedFile(file.SerializeToString())
    return private


def module_members(file_name: str) -> dict[str, Any]:
    """What `protoc` would put at the top of the Python module of `file_name`."""
    file = pool().FindFileByName(f"wintergarden/wire/{file_name}")
    members: dict[str, Any] = {"DESCRIPTOR": file}
    for name, message in file.message_types_by_name.items():
        members[name] = message_factory.GetMessageClass(message)
    for name, enum in file.enum_types_by_name.items():
        members[name] = enum_type_wrapper.EnumTypeWrapper(enum)
        members.update((value.name, value.number) for value in enum.values)
    return members


@dataclass(frozen=True)
class Method:
    """One gRPC method as the descriptors define it."""

    path: str
    request: type[Message]
    response: type[Message]
    is_client_streaming: bool
    is_server_streaming: bool

    @property
    def service(self) -> str:
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        return self.path.split("/")[2]


@cache
def methods(service: str) -> dict[str, Method]:
    """Methods of a service such as `inference.GRPCInferenceService`, by name.

    Raises:
        KeyError: no file of `proto/` defines the service.
    """
    described = pool().FindServiceByName(service)
    return {
        m.name: Method(
            path=f"/{service}/{m.name}",
            request=message_factory.GetMessageClass(m.input_type),
            response=message_factory.GetMessageClass(m.output_type),
            is_client_streaming=m.client_streaming,
            is_server_streaming=m.server_streaming,
        )
        for m in described.methods
    }
