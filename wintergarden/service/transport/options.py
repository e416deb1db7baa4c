"""Bounds of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wintergarden.runtime import available_threads

Transport = Literal["native", "grpcio"]


def default_io_threads() -> int:
    """Two, but one where Python and the models have no core to spare (measured on two cores)."""
    return 1 if available_threads() <= 2 else 2


@dataclass(frozen=True)
class ServerOptions:
    """Bounds of a server; each holds per address.

    Attributes:
        transport: native is pygrpc-native (HTTP/2 in Rust), grpcio is grpc.aio.
        max_request_bytes: longer requests get RESOURCE_EXHAUSTED; grpcio refuses them
            before reading them whole, native after.
        max_queued_calls: calls accepted and not yet answered; streams are not counted.
        max_queued_bytes: request bytes of those calls.
        workers: threads for unary handlers that may wait.
        max_streams: streaming calls at a time, over all connections; those that stream both
            ways are counted by themselves on the native transport.
        max_concurrent_streams: HTTP/2 streams, so calls at a time, per connection.
        io_threads: threads of the native transport that speak HTTP/2.
        max_unsent_messages: answers of one stream both ways that wait for its client to read;
            beyond them no further request is taken from it.
        max_unsent_bytes: bytes of those answers; likewise of requests read ahead.
        reuse_port: let other processes of the same user bind the same TCP ports
            (SO_REUSEPORT); the kernel spreads connections over them.
        linger_s: how long a stopping server keeps answering UNAVAILABLE after its last
            answer, so that nothing it wrote is lost with the connection.
    """

    transport: Transport = "native"
    max_request_bytes: int = 64 * 1024 * 1024
    max_queued_calls: int = 2_048
    max_queued_bytes: int = 256 * 1024 * 1024
    workers: int = 16
    max_streams: int = 128
    max_concurrent_streams: int = 256
    io_threads: int = field(default_factory=default_io_threads)
    max_unsent_messages: int = 1_024
    max_unsent_bytes: int = 16 * 1024 * 1024
    reuse_port: bool = False
    linger_s: float = 0.25

    def __post_init__(self) -> None:
        if self.max_queued_bytes < self.max_request_bytes:
            raise ValueError(
                f"max_queued_bytes {self.max_queued_bytes} must hold one request of "
                f"max_request_bytes {self.max_request_bytes}"
            )
