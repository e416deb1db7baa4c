"""For tests of every room: a real server on a free port, and a channel to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from wintergarden.service.errors import DETAILS_KEY
from wintergarden.service.transport import Route, Server, ServerOptions, create_server

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@contextmanager
def running(
    routes: Sequence[Route],
    options: ServerOptions | None = None,
    *,
    services: Sequence[str] = (),
    fallback_socket: str | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[tuple[Server, grpc.Channel]]:
    """A started server whose services all serve; stopped without grace on leaving."""
    server = create_server(
        routes, [address], options, services=services, fallback_socket=fallback_socket
    )
    server.start()
    server.health.set_serving("", True)
    target = address if address.startswith("unix:") else f"127.0.0.1:{server.ports[0]}"
    try:
        with grpc.insecure_channel(target, UNLIMITED) as channel:
            yield server, channel
    finally:
        server.stop(0)


def details_of(error: grpc.RpcError) -> dict[str, object]:
    """The `google.rpc` details of a status by their type's short name: ErrorInfo, RetryInfo, …"""
    from google.rpc import error_details_pb2, status_pb2

    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing[DETAILS_KEY])
    found: dict[str, object] = {"code": status.code, "message": status.message}
    for packed in status.details:
        name = packed.TypeName().rsplit(".", 1)[-1]
        detail = getattr(error_details_pb2, name)()
        packed.Unpack(detail)
        found[name] = detail
    return found
