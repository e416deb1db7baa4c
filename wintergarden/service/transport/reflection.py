"""Server reflection: what `grpcurl` asks before it can call anything.

It streams both ways, so grpcio answers it on every transport. Descriptors come from our
private pool, those of health from the default one.
https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from wintergarden.service import health
from wintergarden.wire import pool

# v1 differs from v1alpha in its package name alone; newer clients ask for v1 first.
SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


class _Descriptors:
    """Our pool, then the default one; with the methods that the reflection servicer calls."""

    def __init__(self) -> None:
        self._pools = (pool.pool(), descriptor_pool.Default())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def find(*arguments: Any) -> Any:
            for candidate in self._pools:
                try:
                    return getattr(candidate, name)(*arguments)
                except KeyError:
                    continue
            raise KeyError(arguments)

        return find


def reflection_handlers(services: Sequence[str]) -> list[grpc.GenericRpcHandler]:
    """Handlers of both reflection services, for `grpc.server` and `grpc.aio.server`."""
    servicer = reflection.ReflectionServicer(
        [*services, health.SERVICE, *SERVICES], pool=_Descriptors()
    )
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method})
        for service in SERVICES
    ]
